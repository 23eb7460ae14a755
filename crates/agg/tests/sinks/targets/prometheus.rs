//! Samples of a real Prometheus, which receives remote write. Its series have no schema: instead it does not receive until it
//! is restarted.

use serde_json::{Value, json};

use crate::support::place::{Place, remote_write};
use crate::support::prometheus::Prometheus;
use crate::support::proxy::Proxy;
use crate::support::{err, past_hour};

use super::super::target::{Fault, Guarantee, Target, by_window};
use super::route::Route;

pub struct Receiver {
    server: Prometheus,
    route: Route,
}

/// The length of a window of MIN, milliseconds.
pub const WINDOW: i64 = 300_000;
/// The number of samples of the windows that make others too old. Those of the suite have one.
const NEWER: u32 = 7;

impl Target for Receiver {
    const NAME: &'static str = "prometheus";
    const SERVER: &'static str = "Prometheus 2.42";
    const GUARANTEE: Guarantee = Guarantee::Once;
    const QUEUES: &'static [&'static str] = &["MIN"];

    fn start(fault: Fault) -> Option<Receiver> {
        let server = match fault {
            Fault::Full => Prometheus::receiving_on_small_disk("1d")?,
            // Then a sample that is older than the newest of its series is rejected.
            Fault::Reject => Prometheus::receiving("0s", &[])?,
            _ => Prometheus::receiving("1d", &[])?,
        };
        let route = Route::to(server.port, fault);
        Some(Receiver { server, route })
    }

    fn sink(&self) -> String {
        sink(self.route.port)
    }

    fn key(record: &Value) -> String {
        by_start(record)
    }

    fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (labels, samples) in self.server.samples(r#"{__name__=~"(m.*|poison)_count"}"#) {
            let metric = labels["__name__"].trim_end_matches("_count");
            for (time, count) in samples {
                if count == f64::from(NEWER) {
                    continue;
                }
                // The last millisecond of the window.
                all.push(by_window(&labels["node"], metric, time + 1 - WINDOW));
            }
        }
        all
    }

    fn proxy(&self) -> Option<&Proxy> {
        Some(&self.route.proxy)
    }

    fn inflict(&mut self, fault: Fault) -> &'static str {
        match fault {
            Fault::Away => {
                self.server.stop();
                ""
            }
            Fault::Slow => "nothing within 3s",
            Fault::Reject => {
                self.write_newer();
                "HTTP 400: out of order sample"
            }
            Fault::Full => {
                self.server.disk().fill();
                "no space left on device"
            }
            Fault::Conflict => {
                self.server.receive(false);
                "HTTP 404: remote write receiver needs to be enabled"
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.server.restart(),
            Fault::Full => self.server.disk().empty(),
            Fault::Conflict => self.server.receive(true),
            _ => {}
        }
    }
}

impl Receiver {
    /// Writes a sample of each series that records with the name of [`Target::poison`] belong to, newer than all of them.
    fn write_newer(&self) {
        let start = past_hour() + 2 * WINDOW;
        let lines: Vec<String> = (0..10)
            .map(|node| {
                let record = json!({
                    "node": format!("n{node}"), "queue": "MIN", "id": 1, "metric": Receiver::poison(), "type": "ABS",
                    "window": WINDOW / 1000, "start": start, "end": start + WINDOW, "count": NEWER, "sum": 1, "avg": 1,
                    "min": 1, "max": 1, "last": 1, "tags": {},
                });
                record.to_string()
            })
            .collect();
        let head = "[[source]]\nurls = [\"redis://127.0.0.1:1\"]\n";
        let rest = remote_write(&self.server.write_url(), "");
        let place = Place::new(&format!("{head}{rest}"));
        std::fs::write(place.path("records"), lines.join("\n")).unwrap();
        let mut load = place.command("load");
        let output = load.arg(place.path("records")).output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
    }
}

/// Returns the keys of a sink that writes to this port.
pub fn sink(port: u16) -> String {
    format!(
        "type = \"prometheus\"\nurl = \"http://127.0.0.1:{port}/api/v1/write\"\nbatch-lines = 50\ntimeout = \"3s\""
    )
}

/// Returns the identity of a window.
pub fn by_start(record: &Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap();
    by_window(
        text("node"),
        text("metric"),
        record["start"].as_i64().unwrap(),
    )
}
