//! An endpoint that keeps what it gets, as a stub: HTTP has no server of its own.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::stub::{Answer, Stub};

use super::super::target::{Fault, Guarantee, Target, by_id};

pub struct Http {
    inner: Arc<Mutex<Inner>>,
    proxy: Proxy,
    _stub: Stub,
}

#[derive(Default)]
struct Inner {
    stored: Vec<String>,
    fault: Option<Fault>,
}

impl Target for Http {
    const NAME: &'static str = "http";
    const SERVER: &'static str = "a stub";
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn start(_: Fault) -> Option<Http> {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let kept = inner.clone();
        let stub = Stub::start(move |_, request| kept.lock().unwrap().answer(&request.body));
        let port = stub.url.rsplit(':').next().unwrap().parse().unwrap();
        Some(Http {
            inner,
            proxy: Proxy::start(port),
            _stub: stub,
        })
    }

    fn sink(&self) -> String {
        let port = self.proxy.port;
        format!(
            "type = \"http\"\nurl = \"http://127.0.0.1:{port}/in\"\nbatch-lines = 50\ntimeout = \"3s\""
        )
    }

    fn stored(&self) -> Vec<String> {
        self.inner.lock().unwrap().stored.clone()
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        self.inner.lock().unwrap().fault = Some(fault);
        match fault {
            Fault::Away => {
                self.proxy.cut();
                "no response"
            }
            Fault::Reject => "HTTP 422: no such message",
            Fault::Full => "HTTP 507",
            Fault::Conflict => "so the request is probably wrong",
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        self.inner.lock().unwrap().fault = None;
        if fault == Fault::Away {
            self.proxy.repair();
        }
    }
}

impl Inner {
    fn answer(&mut self, body: &str) -> Answer {
        let records: Vec<Value> = serde_json::from_str(body).unwrap();
        match self.fault {
            Some(Fault::Full) => return (507, "Retry-After: 1\r\n", String::new()),
            Some(Fault::Conflict) => return (400, "", "no such table".into()),
            Some(Fault::Reject) if records.iter().any(|record| record["message"] == "poison") => {
                return (422, "", r#"{"message": "no such message"}"#.into());
            }
            _ => {}
        }
        self.stored.extend(records.iter().map(by_id));
        (204, "", String::new())
    }
}
