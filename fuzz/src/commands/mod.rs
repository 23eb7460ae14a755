//! A sequence of commands on a primary, with time passing, failovers and restarts; its replica, which receives only
//! effects; and a naive model.
//!
//! After each step primary and replica have the same digest, and from time to time also the saved and loaded node. The
//! model knows no windows and no rules of closing. It checks that nothing is lost, doubled or invented:
//! - the counts and sums of a metric, over open windows, queued and delivered records, grow by what a sample brings,
//!   and by nothing else;
//! - a queued record of MIN, HOUR or LOG is delivered, dropped or pending; limits are kept;
//! - ids grow, one id is never delivered with two contents, a leased record is delivered to nobody else, the oldest
//!   records come first;
//! - a report of an object is answered as the contract says, and the count of an error grows by one.
//!
//! Bit 0 of the first byte chooses low limits; then statistics may be dropped, and are only counted. Bit 1 gives each
//! report a sequence number and sends it twice: the second changes nothing. With SHOW in the environment the steps are
//! printed.

mod acting;
mod items;
mod queues;
mod statistics;
mod steps;

use crate::json::members;
use crate::server::{BASE, Server, Value, digest, frames, load};
use aggregator_core::id::MAX_ID;
use aggregator_core::{
    Command, CommandError, Counters, MemoryLimit, Now, Propagation, Request, Settings,
};
use aggregator_core::{Node, Queue};
use arbitrary::{Arbitrary, Unstructured};
use std::collections::{BTreeMap, BTreeSet};
use steps::{Act, At, Object, Of, Sample};

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];
const TAGS: [&str; 4] = ["", "a:1", "b=2 a:1", "x"];
const FAMILIES: [&str; 3] = ["METRIC", "ERROR", "REALITY"];

fn pick<T: Copy, const N: usize>(of: &[T; N], which: u8) -> T {
    of[usize::from(which) % N]
}

/// Takes the steps of an input and checks the state after each.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let Ok(mode) = bytes.arbitrary::<u8>() else {
        return;
    };
    let mut world = World::new(mode & 1 != 0, mode & 2 != 0);
    let show = std::env::var_os("SHOW").is_some();
    for n in 1..=120u8 {
        if bytes.is_empty() {
            break;
        }
        let Ok(act) = bytes.arbitrary::<Act>() else {
            break;
        };
        if show {
            eprintln!("{} {act:?}", world.server.now.ms());
        }
        world.act(&act);
        world.check_replica();
        world.check_queues(&act);
        if n % 16 == 0 {
            world.check_loaded();
        }
    }
    world.check_loaded();
}

/// Count and sum of a metric over all its windows of one length.
type Totals = BTreeMap<(String, usize), (u64, f64)>;
/// A record: queue, id.
type RecordId = (usize, i64);

/// A pending record.
#[derive(Clone)]
struct PendingRecord {
    record: String,
    /// Of MIN and HOUR: metric, count, sum.
    window: Option<(String, u64, f64)>,
}

/// The state of the target.
struct World {
    server: Server,
    /// The limits are low, so records may be dropped.
    low_limits: bool,
    /// Reports have sequence numbers, of which this is the last.
    is_numbered: bool,
    number: u64,
    node: Option<Node>,
    replica: Option<Node>,
    /// The pending records, as PEEK returns them.
    pending: BTreeMap<RecordId, PendingRecord>,
    /// The content of each record that was delivered.
    contents: BTreeMap<RecordId, String>,
    /// The records that FETCH delivered last, by queue.
    recent: [Vec<i64>; 5],
    leased: BTreeMap<RecordId, u64>,
    deliveries: BTreeMap<RecordId, i64>,
    /// The largest id seen.
    top: i64,
    /// Of the records of MIN and HOUR that were removed.
    delivered: Totals,
    totals: Totals,
    /// The number of samples that missed their HOUR window, by metric.
    late_hours: BTreeMap<String, i64>,
    /// The increases of each INC and DIFF metric since it exists.
    increases: BTreeMap<String, f64>,
    /// The largest growth of the totals that the next check may find; each part or nothing, unless exact.
    grows: Vec<Growth>,
    /// True if the reply of the last step does not contain the growth of the totals.
    unknown: bool,
    /// Records removed since the last check, by queue.
    taken: [u64; 5],
    logged: u64,
    dropped: [i64; 5],
    /// The newest time reported of each object, or the time at which it was gone.
    newest: BTreeMap<String, i64>,
}

#[derive(Debug)]
struct Growth {
    metric: String,
    count: u64,
    sum: f64,
    /// In MIN, and in HOUR unless the metric counts the sample as late there; else in one length at least.
    in_min: bool,
    /// In the total of the metric, too.
    in_total: bool,
}

impl World {
    fn new(low_limits: bool, is_numbered: bool) -> World {
        let mut settings = Settings::default();
        settings.rules.history = [3, 2];
        settings.series_ttl_s = 9_000;
        settings.error_ttl_s = 12_000;
        settings.error_interval_ms = 30_000;
        settings.rules.hist_records = true;
        if low_limits {
            settings.max_series = 4;
            settings.max_errors = 3;
            settings.max_realities = 2;
            settings.max_sources = 2;
            settings.rules.queue_bytes = [300, 200, 200];
        }
        World {
            server: Server::new(settings, BASE),
            low_limits,
            is_numbered,
            number: 0,
            node: None,
            replica: None,
            pending: BTreeMap::new(),
            contents: BTreeMap::new(),
            recent: Default::default(),
            leased: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            top: 0,
            delivered: Totals::new(),
            totals: Totals::new(),
            late_hours: BTreeMap::new(),
            increases: BTreeMap::new(),
            grows: Vec::new(),
            unknown: false,
            taken: [0; 5],
            logged: 0,
            dropped: [0; 5],
            newest: BTreeMap::new(),
        }
    }

    /// Runs a command given by its words, also on the replica, and returns the reply; `None` if there is no node.
    fn run(&mut self, command: Command, words: &[&str]) -> Option<Result<Value, CommandError>> {
        use Command::{Error, Hist, Log, Mstat, Stat};
        if !self.is_numbered || !matches!(command, Stat | Mstat | Hist | Log | Error) {
            return self.run_once(command, words);
        }
        self.number += 1;
        let (source, number) = (
            format!("source-{}", self.number % 5),
            self.number.to_string(),
        );
        // Options precede VALUES.
        let at = match command {
            Mstat => 0,
            Hist => 1,
            _ => words.len(),
        };
        let mut words = words.to_vec();
        words.splice(at..at, ["SEQ", &source, &number]);
        let result = self.run_once(command, &words);
        if let Some(Ok(_)) = &result {
            let before = self.node.as_ref().map(digest);
            let again = self.run_once(command, &words).expect("the node exists");
            assert_eq!(again.ok(), Some(Value::Null), "a repetition");
            assert!(self.server.effects.is_empty());
            assert_eq!(before, self.node.as_ref().map(digest));
        }
        result
    }

    fn run_once(
        &mut self,
        command: Command,
        words: &[&str],
    ) -> Option<Result<Value, CommandError>> {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        let mut fresh = None;
        let node = match &mut self.node {
            Some(node) => node,
            None if command.creates() => fresh.insert(Node::new(&self.server.settings, 1)),
            None => return None,
        };
        let before = digest(node);
        let result = self.server.run(node, command, &words);
        if let Err(error) = &result {
            assert_eq!(before, digest(node), "rejected, and changed: {error}");
        }
        if let Some(node) = fresh.filter(|_| !self.server.effects.is_empty()) {
            self.node = Some(node);
        }
        self.replicate(command, &words);
        Some(result)
    }

    fn ask(&mut self, command: Command, words: &[&str]) -> Value {
        let words: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
        let node = self.node.as_mut().expect("a node");
        self.server.run(node, command, &words).expect("a read")
    }

    fn replicate(&mut self, command: Command, words: &[&[u8]]) {
        let mut counters = Counters::default();
        // The clocks of the replica are its own.
        let mono_ms = self.server.now.mono_ms / 3;
        match (self.server.effects.propagation(), &mut self.replica) {
            (Propagation::Nothing, _) => {}
            (Propagation::Verbatim, replica) => {
                let replica = replica.as_mut().expect("a command before any payload");
                let now = Now {
                    wall_us: replica.clock_ms() as u64 * 1000,
                    mono_ms,
                };
                let mut args: Vec<&[u8]> = vec![b"AGG", b"n"];
                args.extend(words);
                Request::parse(command, &args, &Settings::unlimited(), now)
                    .expect("it was taken")
                    .replay(replica, mono_ms, &mut counters);
            }
            (Propagation::Payload(payload), Some(replica)) => {
                replica
                    .apply(payload, mono_ms, MAX_ID, &mut counters)
                    .expect("an effect");
            }
            (Propagation::Payload(payload), replica) => {
                let created = Node::create(payload, 99, mono_ms, MAX_ID, &mut counters);
                *replica = Some(created.expect("a first effect").0);
            }
        }
    }

    fn check_replica(&self) {
        match (&self.node, &self.replica) {
            (Some(node), Some(replica)) => {
                assert_eq!(digest(node), digest(replica), "the replica differs");
            }
            (None, None) => {}
            _ => panic!("only one of primary and replica has a node"),
        }
    }

    fn check_loaded(&self) {
        if let Some(node) = &self.node {
            let copy = load(&frames(node)).expect("it loads");
            assert_eq!(digest(node), digest(&copy), "the loaded node differs");
            assert_eq!(
                digest(node),
                digest(&node.duplicate(3, 5).expect("a copy")),
                "the copy"
            );
            assert_eq!(frames(node)[1..], frames(&copy)[1..], "slots");
        }
    }
}

fn metric_name(n: u8) -> String {
    format!("m{}@x", n % 6)
}

/// Returns a level: a digit or a name.
fn level_word(n: u8) -> String {
    let names = [
        "trace", "DEBUG", "Info", "NOTICE", "warning", "ERROR", "CRITICAL",
    ];
    let name = names.get(usize::from(n % 17).wrapping_sub(10));
    name.map_or_else(|| (n % 17).to_string(), |name| (*name).to_owned())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a text")
}

fn number(bytes: &[u8]) -> f64 {
    text(bytes).parse().expect("a number")
}

fn tag_map(tags: &str) -> Value {
    let pairs = tags.split(' ').filter(|w| !w.is_empty()).map(|word| {
        let (name, value) = word.split_once([':', '=']).unwrap_or((word, "true"));
        let bulk = |t: &str| Value::Bulk(t.as_bytes().to_vec());
        (bulk(name), bulk(value))
    });
    Value::Map(pairs.collect())
}

impl PendingRecord {
    fn new(q: usize, record: &str) -> PendingRecord {
        let window = (q < 2).then(|| {
            let members = members(record).expect("a record");
            let of = |name: &str| members.iter().find(|(n, _)| n == name).expect(name).1;
            check_histogram(&members);
            (
                of("metric").trim_matches('"').to_owned(),
                of("count").parse().expect("a count"),
                number(of("sum").as_bytes()),
            )
        });
        PendingRecord {
            record: record.to_owned(),
            window,
        }
    }
}

/// Checks the percentiles of a record, and that its histogram counts all values of a gauge.
fn check_histogram(members: &[(String, &str)]) {
    let find = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let value = |name: &str| find(name).map(|v| number(v.as_bytes()));
    let ranks = ["min", "p50", "p90", "p95", "p99", "max"];
    let values: Vec<f64> = ranks.into_iter().filter_map(value).collect();
    assert!([2, 6].contains(&values.len()), "{members:?}");
    assert!(values.is_sorted(), "{members:?}");
    let histogram = find("hist");
    assert_eq!(histogram.is_some(), values.len() == 6, "{members:?}");
    if let Some(histogram) = histogram.filter(|_| find("type") == Some("\"ABS\"")) {
        let histogram: serde_json::Value = serde_json::from_str(histogram).expect("JSON");
        let side = |name: &str| -> u64 {
            let counts = histogram[name][1].as_array().expect("counts");
            counts.iter().map(|n| n.as_u64().expect("a count")).sum()
        };
        let count = histogram["zero"].as_u64().expect("a count") + side("pos") + side("neg");
        assert_eq!(
            Some(count.to_string().as_str()),
            find("count"),
            "{members:?}"
        );
    }
}

fn add(totals: &mut Totals, i: usize, record: &PendingRecord) {
    if let Some((metric, count, sum)) = &record.window {
        let total = totals.entry((metric.clone(), i)).or_default();
        *total = (total.0 + count, total.1 + sum);
    }
}
