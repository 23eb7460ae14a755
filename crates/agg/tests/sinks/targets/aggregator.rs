//! Queues of another server with the module.

use crate::support::proxy::Proxy;
use crate::support::{SYNCED_AOF, Server, records};

use super::super::target::{Fault, Guarantee, Target, by_id};
use super::route::Route;

pub struct Aggregator {
    server: Server,
    route: Route,
}

/// The longest record that the target accepts: 32 times its `agg.max-item-size`.
const MAX_RECORD: usize = 32 * (32 << 10);

impl Target for Aggregator {
    const NAME: &'static str = "aggregator";
    const SERVER: &'static str = "Redis with the module";
    const GUARANTEE: Guarantee = Guarantee::Once;

    fn start(fault: Fault) -> Option<Aggregator> {
        let settings = match fault {
            Fault::Reject => "max-item-size 32kb",
            _ => "",
        };
        let server = Server::with_module(&SYNCED_AOF, settings)?;
        let route = Route::to(server.port, fault);
        Some(Aggregator { server, route })
    }

    fn sink(&self) -> String {
        format!(
            "type = \"aggregator\"\nuri = \"redis://127.0.0.1:{}\"\nbatch-lines = 50\nbatch-bytes = \"4mb\"",
            self.route.port
        )
    }

    fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut nodes: Vec<String> = self.server.ask("KEYS *");
        nodes.sort();
        for node in nodes {
            for queue in ["LOG", "MIN"] {
                let mut from = 0;
                loop {
                    let line = format!("AGG.PEEK {node} {queue} FROM {from} COUNT 1000");
                    let page = records(&self.server.ask::<redis::Value>(&line));
                    let Some(last) = page.last() else { break };
                    from = last["id"].as_i64().unwrap() + 1;
                    all.extend(page.iter().map(by_id));
                }
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
                "connection refused"
            }
            Fault::Slow => "no answer within 5 s",
            Fault::Reject => "agg.max-item-size allows 1048576",
            Fault::Full => {
                self.server.ask::<()>("CONFIG SET maxmemory 1");
                "OOM"
            }
            Fault::Conflict => {
                for node in ["n0", "n1"] {
                    self.server.ask::<()>(&format!("SET {node} x"));
                }
                "WRONGTYPE"
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.server.restart(),
            Fault::Full => self.server.ask("CONFIG SET maxmemory 0"),
            Fault::Conflict => self.server.ask("DEL n0 n1"),
            _ => {}
        }
    }

    fn poison() -> String {
        "x".repeat(MAX_RECORD + 1)
    }
}
