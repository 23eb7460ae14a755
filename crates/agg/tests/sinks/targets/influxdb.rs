//! Points of a real InfluxDB 1.x. It is full when it has as many series as its settings allow: on a full disk version 1.6
//! stops answering, also when there is space again.

use serde_json::Value;

use crate::support::influx;
use crate::support::proxy::Proxy;

use super::super::target::{Fault, Guarantee, Target, by_window};
use super::prometheus::by_start;
use super::route::Route;

pub struct InfluxDb {
    server: influx::InfluxDb,
    route: Route,
}

/// The quota of series, of the fault alone: a backlog has more.
const MAX_SERIES: usize = 5000;

impl Target for InfluxDb {
    const NAME: &'static str = "influxdb";
    const SERVER: &'static str = "InfluxDB 1.6";
    const GUARANTEE: Guarantee = Guarantee::Once;
    const QUEUES: &'static [&'static str] = &["MIN"];

    fn start(fault: Fault) -> Option<InfluxDb> {
        let limit = match fault {
            Fault::Full => format!("max-series-per-database = {MAX_SERIES}"),
            _ => String::new(),
        };
        let server = influx::InfluxDb::with_data_settings(&limit)?;
        if fault != Fault::Conflict {
            server.query("CREATE DATABASE grid");
        }
        let route = Route::to(server.port, fault);
        Some(InfluxDb { server, route })
    }

    fn sink(&self) -> String {
        format!(
            "type = \"influxdb\"\nurl = \"http://127.0.0.1:{}\"\ndatabase = \"grid\"\nbatch-lines = 50\ntimeout = \"3s\"",
            self.route.port
        )
    }

    fn key(record: &Value) -> String {
        by_start(record)
    }

    fn stored(&self) -> Vec<String> {
        let series = self.server.series("SELECT avg FROM /^m/ GROUP BY node");
        let mut all = Vec::new();
        for series in series {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (metric, node) = (text(&series["name"]), text(&series["tags"]["node"]));
            for row in series["values"].as_array().unwrap() {
                let start = row[0].as_i64().unwrap();
                all.push(by_window(&node, &metric, start));
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
                "no response"
            }
            Fault::Slow => "nothing within 3s",
            Fault::Reject => {
                self.server.write("poison avg=\"text\"");
                "field type conflict"
            }
            Fault::Full => {
                let free = MAX_SERIES - self.server.query("SHOW SERIES").len();
                let lines: Vec<String> = (0..free).map(|n| format!("filler,n={n} v=1")).collect();
                self.server.write(&lines.join("\n"));
                "a quota of the target is reached: HTTP 400: partial write: max-series-per-database limit exceeded"
            }
            Fault::Conflict => {
                self.server.query("DROP DATABASE grid");
                "database not found"
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.server.restart(),
            Fault::Full => {
                self.server.query("DROP MEASUREMENT filler");
            }
            Fault::Conflict => {
                self.server.query("CREATE DATABASE grid");
            }
            _ => {}
        }
    }
}
