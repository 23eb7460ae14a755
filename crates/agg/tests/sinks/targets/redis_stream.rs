//! Streams of a real Redis.

use crate::support::proxy::Proxy;
use crate::support::{SYNCED_AOF, Server};
use std::collections::HashMap;

use super::super::target::{Fault, Guarantee, Target};
use super::route::Route;

pub struct RedisStream {
    server: Server,
    route: Route,
}

/// The least that the server allows for the length of a string.
const MAX_STRING: usize = 1 << 20;

impl Target for RedisStream {
    const NAME: &'static str = "redis-stream";
    const SERVER: &'static str = "Redis";
    const GUARANTEE: Guarantee = Guarantee::Once;

    fn start(fault: Fault) -> Option<RedisStream> {
        let mut arguments = SYNCED_AOF.to_vec();
        if fault == Fault::Reject {
            arguments.extend(["--proto-max-bulk-len", "1mb"]);
        }
        let server = Server::with(&arguments)?;
        let route = Route::to(server.port, fault);
        Some(RedisStream { server, route })
    }

    fn sink(&self) -> String {
        format!(
            "type = \"redis-stream\"\nuri = \"redis://127.0.0.1:{}\"\nbatch-lines = 50\nbatch-bytes = \"4mb\"",
            self.route.port
        )
    }

    fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for stream in ["agg:log", "agg:min"] {
            let line = format!("XRANGE {stream} - +");
            let entries: Vec<(String, HashMap<String, String>)> = self.server.ask(&line);
            all.extend(
                entries.iter().map(|(_, entry)| {
                    format!("{} {} {}", entry["node"], entry["queue"], entry["id"])
                }),
            );
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
            Fault::Reject => "the server accepts 1048576 (proto-max-bulk-len)",
            Fault::Full => {
                self.server.ask::<()>("CONFIG SET maxmemory 1");
                "OOM"
            }
            Fault::Conflict => {
                for key in ["agg:log", "agg:min"] {
                    self.server.ask::<()>(&format!("SET {key} x"));
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
            Fault::Conflict => self.server.ask("DEL agg:log agg:min"),
            _ => {}
        }
    }

    fn poison() -> String {
        "x".repeat(MAX_STRING + 1)
    }
}
