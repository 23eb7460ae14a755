//! Samples of a real Prometheus, which receives remote write.

use serde_json::Value;

use crate::support::prometheus::Prometheus;
use crate::support::proxy::Proxy;

use super::super::target::{Fault, Guarantee, Target, by_window};

pub struct Receiver {
    server: Prometheus,
    proxy: Proxy,
    port: u16,
}

/// The length of a window of MIN, milliseconds.
const WINDOW: i64 = 300_000;

impl Target for Receiver {
    const NAME: &'static str = "prometheus";
    const SERVER: &'static str = "Prometheus 2.42";
    const GUARANTEE: Guarantee = Guarantee::Once;
    const QUEUES: &'static [&'static str] = &["MIN"];

    fn support(fault: Fault) -> Result<(), &'static str> {
        match fault {
            Fault::Reject => Err(
                "tests of the sink alone show that samples that are too old are the only dead letters",
            ),
            Fault::Full => Err("not made with Prometheus"),
            Fault::Conflict => Err("series have no schema"),
            _ => Ok(()),
        }
    }

    fn start(fault: Fault) -> Option<Receiver> {
        let server = Prometheus::receiving("1d", &[])?;
        let proxy = Proxy::start(server.port);
        let port = if fault == Fault::Away {
            server.port
        } else {
            proxy.port
        };
        Some(Receiver {
            server,
            proxy,
            port,
        })
    }

    fn sink(&self) -> String {
        format!(
            "type = \"prometheus\"\nurl = \"http://127.0.0.1:{}/api/v1/write\"\nbatch-lines = 50\ntimeout = \"3s\"",
            self.port
        )
    }

    fn key(record: &Value) -> String {
        let text = |field: &str| record[field].as_str().unwrap();
        by_window(
            text("node"),
            text("metric"),
            record["start"].as_i64().unwrap(),
        )
    }

    fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (labels, samples) in self.server.samples("{__name__=~\"m.*_count\"}") {
            let metric = labels["__name__"].trim_end_matches("_count");
            for (time, _) in samples {
                // The last millisecond of the window.
                all.push(by_window(&labels["node"], metric, time + 1 - WINDOW));
            }
        }
        all
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        if fault == Fault::Away {
            self.server.stop();
        }
        ""
    }

    fn repair(&mut self, fault: Fault) {
        if fault == Fault::Away {
            self.server.restart();
        }
    }
}
