//! An endpoint as a stub: HTTP has no server of its own.

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::stub::{Answer, Request};

use super::super::target::{Fault, Guarantee, Target, by_id};
use super::endpoint::Endpoint;

pub struct Http(Endpoint);

impl Target for Http {
    const NAME: &'static str = "http";
    const SERVER: &'static str = "a stub";
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn start(_: Fault) -> Option<Http> {
        Some(Http(Endpoint::start((204, "", String::new()), receive)))
    }

    fn sink(&self) -> String {
        let url = self.0.url();
        format!("type = \"http\"\nurl = \"{url}/in\"\nbatch-lines = 50\ntimeout = \"3s\"")
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
            Fault::Reject => "HTTP 422: no such message",
            Fault::Full => "HTTP 507",
            Fault::Conflict => "so the request is probably wrong",
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        self.0.repair(fault);
    }
}

fn receive(fault: Option<Fault>, request: &Request) -> Result<Vec<String>, Answer> {
    let records: Vec<Value> = serde_json::from_str(&request.body).unwrap();
    match fault {
        Some(Fault::Full) => Err((507, "Retry-After: 1\r\n", String::new())),
        Some(Fault::Conflict) => Err((400, "", "no such table".into())),
        Some(Fault::Reject) if records.iter().any(|record| record["message"] == "poison") => {
            Err((422, "", r#"{"message": "no such message"}"#.into()))
        }
        _ => Ok(records.iter().map(by_id).collect()),
    }
}
