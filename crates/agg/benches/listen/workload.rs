//! The packets and requests that are sent.

use std::fmt::Write;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::load::{Load, Packet};

/// Lines of a load, which are repeated.
const LINES: usize = 20_000;
/// Lines of a request.
pub const INFLUXDB_LINES: u64 = 1000;
/// Bytes that are written to a stream at once.
const CHUNK: usize = 16 << 10;

/// 600 counters, 300 timers and 100 gauges without tags, in turn. `size`: bytes of a packet; 0: one line each.
pub fn statsd(size: usize) -> Load {
    datagrams(size, |i| {
        let page = i * 7919 % 1000;
        match i % 10 {
            0..6 => format!("shop.page{page}.views:1|c"),
            6..9 => format!("shop.page{page}.time:{}|ms", i * 31 % 500),
            _ => format!("shop.page{page}.queue:{}|g", i * 31 % 50),
        }
    })
}

/// 1,000 timers with two tags.
pub fn dogstatsd(size: usize) -> Load {
    datagrams(size, |i| {
        let (route, time) = (i * 7919 % 500, i * 31 % 500);
        let method = ["GET", "POST"][i % 2];
        format!("page.time:{time}.5|ms|#route:/pay/{route},method:{method}")
    })
}

/// Messages of RFC 5424 with the time.
pub fn syslog(is_stream: bool) -> Load {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.123Z"])
        .output();
    let time = String::from_utf8(output.expect("date runs").stdout).expect("text");
    let time = time.trim();
    let line = |i: usize| {
        format!(
            "<134>1 {time} web{} nginx {} - - GET /orders/{} HTTP/1.1 200 in {} ms\n",
            i % 20,
            1000 + i % 8,
            i * 7919 % 10_000,
            i * 31 % 500
        )
    };
    let size = if is_stream { CHUNK } else { 0 };
    Load {
        is_stream,
        ..packed(size, "", line)
    }
}

/// Lines with two tags, two fields and the time.
pub fn influxdb(connection: usize) -> Vec<u8> {
    let mut body = String::new();
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    for i in 0..INFLUXDB_LINES {
        let (user, system) = (i * 31 % 1000, i * 17 % 100);
        let _ = writeln!(
            body,
            "cpu,host=web{connection}-{},region=eu usage_user={user}.5,usage_system={system}i {}",
            i % 200,
            time.as_nanos()
        );
    }
    body.into_bytes()
}

fn datagrams(size: usize, line: impl Fn(usize) -> String) -> Load {
    packed(size, "\n", line)
}

/// Puts lines together to packets of up to `size` bytes.
fn packed(size: usize, separator: &str, line: impl Fn(usize) -> String) -> Load {
    let mut packets: Vec<Packet> = Vec::new();
    for i in 0..LINES {
        let line = line(i);
        match packets.last_mut() {
            Some(last) if last.bytes.len() + separator.len() + line.len() <= size => {
                last.bytes.extend_from_slice(separator.as_bytes());
                last.bytes.extend_from_slice(line.as_bytes());
                last.count += 1;
            }
            _ => packets.push(Packet {
                bytes: line.into_bytes(),
                count: 1,
            }),
        }
    }
    Load {
        packets,
        is_stream: false,
    }
}
