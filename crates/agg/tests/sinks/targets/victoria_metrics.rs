//! Samples of a real VictoriaMetrics, by remote write or by line protocol. It becomes read-only where the disk has less free
//! space than its settings ask for. It has no log of its writes, so it is ended instead of killed.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::until;
use crate::support::victoria::Victoria;

use super::super::target::{Fault, Guarantee, Target, by_window};
use super::prometheus::{self, WINDOW, by_start};
use super::route::Route;

/// A database that a protocol writes to.
pub struct VictoriaMetrics<P> {
    server: Victoria,
    route: Route,
    protocol: PhantomData<P>,
    reads: AtomicUsize,
}

/// How samples are written.
pub trait Protocol {
    const NAME: &'static str;
    const TITLE: &'static str;
    /// The time of a sample after the start of its window, milliseconds.
    const AFTER_START: i64;

    /// Returns the keys of a sink.
    fn sink(port: u16) -> String;
}

pub struct RemoteWrite;

impl Protocol for RemoteWrite {
    const NAME: &'static str = "prometheus";
    const TITLE: &'static str = "prometheus, VictoriaMetrics 1.79";
    const AFTER_START: i64 = WINDOW - 1;

    fn sink(port: u16) -> String {
        prometheus::sink(port)
    }
}

pub struct LineProtocol;

impl Protocol for LineProtocol {
    const NAME: &'static str = "influxdb";
    const TITLE: &'static str = "influxdb, VictoriaMetrics 1.79";
    const AFTER_START: i64 = 0;

    fn sink(port: u16) -> String {
        format!(
            "type = \"influxdb\"\nurl = \"http://127.0.0.1:{port}\"\ndatabase = \"grid\"\nbatch-lines = 50\ntimeout = \"3s\""
        )
    }
}

/// Keeps one of equal samples.
const ONCE: &str = "-dedup.minScrapeInterval=1ms";
/// More than any disk has.
const READ_ONLY: &str = "-storage.minFreeDiskSpaceBytes=1000000GB";

impl<P: Protocol> Target for VictoriaMetrics<P> {
    const NAME: &'static str = P::NAME;
    const SERVER: &'static str = "VictoriaMetrics 1.79";
    const TITLE: &'static str = P::TITLE;
    const GUARANTEE: Guarantee = Guarantee::Once;
    const QUEUES: &'static [&'static str] = &["MIN"];

    fn support(fault: Fault) -> Result<(), &'static str> {
        match fault {
            Fault::Reject => Err("it drops what it does not accept without an error"),
            Fault::Conflict => Err("its series have no schema"),
            _ => Ok(()),
        }
    }

    fn start(fault: Fault) -> Option<VictoriaMetrics<P>> {
        let server = Victoria::with(&[ONCE])?;
        let route = Route::to(server.port, fault);
        Some(VictoriaMetrics {
            server,
            route,
            protocol: PhantomData,
            reads: AtomicUsize::new(0),
        })
    }

    fn sink(&self) -> String {
        P::sink(self.route.port)
    }

    fn key(record: &Value) -> String {
        by_start(record)
    }

    fn stored(&self) -> Vec<String> {
        self.server.flush();
        let mut all = Vec::new();
        // Another selector each time: the result of one that was used while series were added may stay without them.
        let n = self.reads.fetch_add(1, Ordering::Relaxed);
        let selector = format!(r#"{{__name__=~"m.*_count",node!="none{n}"}}"#);
        for series in self.server.export(&selector) {
            let labels = &series["metric"];
            let name = labels["__name__"].as_str().unwrap();
            let metric = name.trim_end_matches("_count");
            for time in series["timestamps"].as_array().unwrap() {
                let start = time.as_i64().unwrap() - P::AFTER_START;
                all.push(by_window(labels["node"].as_str().unwrap(), metric, start));
            }
        }
        all
    }

    fn stored_in_the_end(&self) -> Vec<String> {
        // On a busy machine the newest series are found a little later, also after a flush. Their order is random.
        let mut before = None;
        until("the series stay the same", || {
            std::thread::sleep(Duration::from_secs(1));
            let mut all = self.stored();
            all.sort();
            let is_same = before.as_ref() == Some(&all);
            before = Some(all);
            is_same.then(|| before.take())?
        })
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
            Fault::Full => {
                self.server.stop();
                self.server.start_again(&[ONCE, READ_ONLY]);
                "the storage is in read-only mode"
            }
            _ => "",
        }
    }

    fn repair(&mut self, fault: Fault) {
        match fault {
            Fault::Away => self.server.start_again(&[ONCE]),
            Fault::Full => {
                self.server.stop();
                self.server.start_again(&[ONCE]);
            }
            _ => {}
        }
    }
}
