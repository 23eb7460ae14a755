//! A receiver of OTLP as a stub: real receivers neither name the records that they have nor reject single ones on demand.

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::stub::{Answer, Request};

use super::super::target::{Fault, Guarantee, Target, by_id, by_window};
use super::endpoint::Endpoint;
use super::prometheus::by_start;

pub struct Otlp(Endpoint);

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

impl Target for Otlp {
    const NAME: &'static str = "otlp";
    const SERVER: &'static str = "a stub";
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn start(_: Fault) -> Option<Otlp> {
        let success = (200, PROTOBUF, String::new());
        Some(Otlp(Endpoint::start(success, receive)))
    }

    fn sink(&self) -> String {
        let url = self.0.url();
        format!("type = \"otlp\"\nurl = \"{url}\"\nbatch-lines = 50\ntimeout = \"3s\"")
    }

    fn key(record: &Value) -> String {
        match record["queue"].as_str() {
            Some("MIN") => by_start(record),
            _ => by_id(record),
        }
    }

    fn stored(&self) -> Vec<String> {
        self.0.stored()
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.0.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        self.0.inflict(fault);
        match fault {
            Fault::Away => "no response",
            Fault::Slow => "nothing within 3s",
            Fault::Reject => "HTTP 400: broken",
            Fault::Full => "HTTP 429",
            Fault::Conflict => "HTTP 404",
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        self.0.repair(fault);
    }
}

fn receive(fault: Option<Fault>, request: &Request) -> Result<Vec<String>, Answer> {
    match fault {
        Some(Fault::Full) => Err((429, "Retry-After: 1\r\n", String::new())),
        // An endpoint that is not there.
        Some(Fault::Conflict) => Err((404, "", "not found".into())),
        Some(Fault::Reject) if request.body.contains("poison") => {
            // A message of the type Status.
            Err((400, PROTOBUF, "\u{8}\u{3}\u{12}\u{6}broken".into()))
        }
        _ => Ok(identities(&request.bytes)),
    }
}

/// Returns the identities of the records of a request: of a log record its attributes, of a window its number of samples.
fn identities(request: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for resource in messages(request, 1) {
        let attributes = messages(messages(resource, 1)[0], 1);
        let node = text(attribute(&attributes, "host.name").unwrap(), 1);
        for scope in messages(resource, 2) {
            for content in messages(scope, 2) {
                let attributes = messages(content, 6);
                if let Some(id) = attribute(&attributes, "aggregator.id") {
                    let queue = attribute(&attributes, "aggregator.queue").unwrap();
                    found.push(format!("{node} {} {}", text(queue, 1), number(id, 3)));
                } else if let Some(metric) = text(content, 1).strip_suffix(".count") {
                    let point = messages(messages(content, 7)[0], 1)[0];
                    found.push(by_window(&node, metric, number(point, 2) / 1_000_000));
                }
            }
        }
    }
    found
}

/// Returns the value of an attribute.
fn attribute<'a>(attributes: &[&'a [u8]], name: &str) -> Option<&'a [u8]> {
    let mut named = attributes.iter().filter(|pair| text(pair, 1) == name);
    named.next().map(|pair| messages(pair, 2)[0])
}

fn text(message: &[u8], field: u64) -> String {
    let bytes = messages(message, field).into_iter().next();
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

fn messages(message: &[u8], field: u64) -> Vec<&[u8]> {
    let fields = fields(message).into_iter();
    let of_field = fields.filter(|(number, _, bytes)| *number == field && !bytes.is_empty());
    of_field.map(|(_, _, bytes)| bytes).collect()
}

fn number(message: &[u8], field: u64) -> i64 {
    let fields = fields(message).into_iter();
    let mut of_field = fields.filter(|(number, _, _)| *number == field);
    of_field.next().unwrap().1 as i64
}

/// Reads a message of Protocol Buffers: the fields, each with its number or its bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let (mut number, mut bytes) = (0, &[][..]);
        match key & 7 {
            0 => number = varint(&mut message),
            1 => {
                let (value, rest) = message.split_at(8);
                number = u64::from_le_bytes(value.try_into().unwrap());
                message = rest;
            }
            2 => {
                let length = varint(&mut message) as usize;
                (bytes, message) = message.split_at(length);
            }
            other => panic!("wire type {other}"),
        }
        found.push((key >> 3, number, bytes));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}
