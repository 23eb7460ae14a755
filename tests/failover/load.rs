//! Continuous load: reporters report everything and remember what was acknowledged; drainers fetch, ack, nack, abandon
//! leases, and remember what they saw.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::Value;

use crate::calls::{Failure, Find, Link};
use crate::support::number;
use testkit::*;

/// When something was reported.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// The server carried it out between these times.
    pub sent: Instant,
    pub answered: Instant,
    /// The requested number of replicas has confirmed it.
    pub confirmed: bool,
}

/// A report that was acknowledged.
#[derive(Clone, Debug)]
pub struct Report<T> {
    pub what: T,
    pub when: When,
}

/// The acknowledged reports of one reporter. Its metrics, error and object have its name.
#[derive(Default)]
pub struct Book {
    pub node: String,
    pub name: String,
    /// Ids and messages.
    pub logs: Vec<Report<(i64, String)>>,
    /// Samples of value 1.
    pub samples: Vec<Report<()>>,
    /// Totals of a counter.
    pub totals: Vec<Report<u64>>,
    pub occurrences: Vec<Report<()>>,
    /// The numbers in the object.
    pub objects: Vec<Report<u64>>,
    /// Reports of unknown outcome.
    pub unknown_samples: u64,
    pub unknown_occurrences: u64,
    /// The last total and number that were sent.
    pub sent: u64,
}

/// Everything that was delivered: content by node, queue and id.
#[derive(Default)]
pub struct Seen {
    pub all: HashMap<(String, String, i64), String>,
    /// Ids that had two contents.
    pub clashes: Vec<String>,
}

impl Seen {
    pub fn add(&mut self, node: &str, record: &QueuedRecord) {
        let key = (node.to_owned(), record.queue.clone(), record.id);
        let before = self.all.get(&key);
        if before.is_some_and(|before| *before != record.text) {
            self.clashes.push(format!("{before:?} and {}", record.text));
        }
        self.all.insert(key, record.text.clone());
    }
}

/// See the file's header.
pub struct Load {
    find: Find,
    goes_on: Arc<AtomicBool>,
    drains: Arc<AtomicBool>,
    reporters: Vec<JoinHandle<Book>>,
    drainers: Vec<JoinHandle<()>>,
    pub seen: Arc<Mutex<Seen>>,
    done: Arc<AtomicU64>,
    /// The number of replicas that confirm each round; 0 for none.
    replicas: i64,
}

/// The queues, drained together.
pub const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

impl Load {
    /// Reporters and a drainer for each node.
    pub fn start(find: Find, nodes: &[&str], reporters_each: usize, replicas: i64) -> Load {
        let mut load = Load {
            find,
            goes_on: Arc::new(AtomicBool::new(true)),
            drains: Arc::new(AtomicBool::new(true)),
            reporters: Vec::new(),
            drainers: Vec::new(),
            seen: Arc::default(),
            done: Arc::default(),
            replicas,
        };
        for (i, node) in nodes.iter().enumerate() {
            for n in 0..reporters_each {
                load.report(node, &format!("r{n}"));
            }
            load.drain(node, 0x9e37_79b9 + i as u64);
        }
        load
    }

    fn report(&mut self, node: &str, name: &str) {
        let mut reporter = Reporter {
            link: Link::new(&self.find),
            book: Book {
                node: node.to_owned(),
                name: name.to_owned(),
                ..Book::default()
            },
            goes_on: self.goes_on.clone(),
            replicas: self.replicas,
        };
        let (goes_on, done) = (self.goes_on.clone(), self.done.clone());
        self.reporters.push(std::thread::spawn(move || {
            while goes_on.load(Relaxed) {
                reporter.round();
                done.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            reporter.book
        }));
    }

    fn drain(&mut self, node: &str, seed: u64) {
        let (drains, seen) = (self.drains.clone(), self.seen.clone());
        let mut link = Link::new(&self.find);
        let (node, mut random) = (node.to_owned(), Random(seed));
        self.drainers.push(std::thread::spawn(move || {
            let goes_on = || drains.load(Relaxed);
            while goes_on() {
                drain_once(&mut link, &node, &seen, &mut random, &goes_on);
            }
        }));
    }

    /// The number of rounds of all reporters.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Stops the reporters, lets the drainers empty all nodes, and returns what was reported and what was seen.
    pub fn finish(mut self) -> (Vec<Book>, Seen) {
        self.goes_on.store(false, Relaxed);
        let books: Vec<Book> = self
            .reporters
            .drain(..)
            .map(|r| r.join().unwrap())
            .collect();
        let mut nodes: Vec<&str> = books.iter().map(|book| book.node.as_str()).collect();
        nodes.dedup();
        let mut link = Link::new(&self.find);
        for node in nodes {
            until(&format!("{node} is drained"), || {
                // A connection follows a single node.
                link = Link::new(&self.find);
                is_drained(&mut link, node).then_some(())
            });
        }
        self.drains.store(false, Relaxed);
        self.drainers.drain(..).for_each(|d| d.join().unwrap());
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        (books, seen)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.goes_on.store(false, Relaxed);
        self.drains.store(false, Relaxed);
    }
}

/// Nothing is pending, and no window is open that could still give a MIN record.
fn is_drained(link: &mut Link, node: &str) -> bool {
    let mut call = |words: &[&str]| link.call(node, words, &|| true);
    let Ok(scan) = call(&["AGG.SCAN", node, "METRIC", "0", "COUNT", "1000"]) else {
        return false;
    };
    for name in list(&list(&scan)[1]) {
        let name: String = redis::from_redis_value(name.clone()).unwrap();
        match call(&["AGG.GET", node, "METRIC", &name]) {
            Ok(metric) if at(&metric, "min").is_some_and(|open| list(open).is_empty()) => {}
            _ => return false,
        }
    }
    // HOUR records keep coming for a while; they are not counted.
    match call(&[
        "AGG.PEEK", node, "MIN", "LOG", "ERROR", "REALITY", "COUNT", "1",
    ]) {
        Ok(waits) => list(&waits).is_empty(),
        Err(_) => false,
    }
}

/// Fetches what is available; acks most of it, nacks some, and abandons some until its lease expires.
fn drain_once(
    link: &mut Link,
    node: &str,
    seen: &Mutex<Seen>,
    random: &mut Random,
    goes_on: &dyn Fn() -> bool,
) {
    let mut fetch = vec!["AGG.FETCH", node];
    fetch.extend(QUEUES);
    fetch.extend(["COUNT", "200", "LEASE", "300", "BLOCK", "50"]);
    let Ok(reply) = link.call(node, &fetch, goes_on) else {
        return;
    };
    if reply == Value::Nil {
        return;
    }
    let fetched = queued_records(&reply);
    {
        let mut seen = seen.lock().unwrap();
        fetched.iter().for_each(|record| seen.add(node, record));
    }
    for queue in QUEUES {
        let of: Vec<String> = fetched
            .iter()
            .filter(|record| record.queue == queue)
            .map(|record| record.id.to_string())
            .collect();
        if of.is_empty() {
            continue;
        }
        let what = match random.below(10) {
            0 => "AGG.NACK",
            1 => continue,
            _ => "AGG.ACK",
        };
        let mut words = vec![what, node, queue];
        words.extend(of.iter().map(String::as_str));
        let _ = link.call(node, &words, goes_on);
    }
}

struct Reporter {
    link: Link,
    book: Book,
    goes_on: Arc<AtomicBool>,
    replicas: i64,
}

/// How long a reporter waits for its replicas.
const WAIT_MS: u64 = 300;

impl Reporter {
    /// Sends a command and remembers on which connection.
    fn call(&mut self, round: &mut Round, words: &[&str]) -> Result<(Value, When), Failure> {
        let goes_on = self.goes_on.clone();
        let sent = Instant::now();
        let node = &self.book.node;
        let reply = self.link.call(node, words, &|| goes_on.load(Relaxed));
        round.eras.push(self.link.era);
        let when = When {
            sent,
            answered: Instant::now(),
            confirmed: false,
        };
        reply.map(|reply| (reply, when))
    }

    /// One of everything.
    fn round(&mut self) {
        let (node, name) = (self.book.node.clone(), self.book.name.clone());
        self.book.sent += 1;
        let n = self.book.sent.to_string();
        let mut round = Round::default();
        let stat = ["AGG.STAT", &node, &format!("count.{name}"), "1"];
        match self.call(&mut round, &stat) {
            Ok((taken, when)) => {
                // With the time of the clock a sample is never late.
                assert_eq!(number(&taken), 1, "a sample was late");
                round.sample = Some(when);
            }
            Err(failure) => self.book.unknown_samples += u64::from(failure == Failure::Unknown),
        }
        let stat = ["AGG.STAT", &node, &format!("total.{name}"), &n, "DIFF"];
        // A sample that is not accepted is no loss: the next adds its increase.
        if let Ok((Value::Int(1), when)) = self.call(&mut round, &stat) {
            round.total = Some(when);
        }
        let message = format!("{name}-{n}");
        if let Ok((id, when)) = self.call(&mut round, &["AGG.LOG", &node, &message]) {
            round.log = Some((number(&id), message, when));
        }
        let key = format!("e.{name}");
        match self.call(&mut round, &["AGG.ERROR", &node, "broken", "KEY", &key]) {
            Ok((_, when)) => round.error = Some(when),
            Err(failure) => self.book.unknown_occurrences += u64::from(failure == Failure::Unknown),
        }
        let object = format!("o.{name}");
        let reality = ["AGG.REALITY", &node, &object, "m", &n];
        if let Ok((_, when)) = self.call(&mut round, &reality) {
            round.object = Some(when);
        }
        let confirmed =
            self.replicas > 0 && self.link.wait(self.replicas, WAIT_MS) >= self.replicas;
        // Only what was sent on the connection that waited is confirmed.
        let is_one = round.eras.iter().all(|era| *era == self.link.era);
        self.note(round, confirmed && is_one);
    }

    fn note(&mut self, round: Round, confirmed: bool) {
        let book = &mut self.book;
        fn reported<T>(what: T, when: When, confirmed: bool) -> Report<T> {
            let when = When { confirmed, ..when };
            Report { what, when }
        }
        let sample = round.sample.map(|when| reported((), when, confirmed));
        book.samples.extend(sample);
        let total = round.total.map(|when| reported(book.sent, when, confirmed));
        book.totals.extend(total);
        let log = round
            .log
            .map(|(id, message, when)| reported((id, message), when, confirmed));
        book.logs.extend(log);
        let error = round.error.map(|when| reported((), when, confirmed));
        book.occurrences.extend(error);
        let object = round
            .object
            .map(|when| reported(book.sent, when, confirmed));
        book.objects.extend(object);
    }
}

/// The acknowledged part of a round.
#[derive(Default)]
struct Round {
    sample: Option<When>,
    total: Option<When>,
    log: Option<(i64, String, When)>,
    error: Option<When>,
    object: Option<When>,
    eras: Vec<u64>,
}
