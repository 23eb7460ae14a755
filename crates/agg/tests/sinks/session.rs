//! One test: a source with records, a target, pollers between them, and the final check.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::place::{Place, left, settings, until_empty};
use crate::support::{HeapPeak, Lines, Running, Server, of_queue, past_hour, records, until};

use super::target::{Fault, Guarantee, Target, by_id};

/// The memory of records in flight, the least that is allowed, MiB.
pub const IN_FLIGHT_MB: u64 = 4;
/// The memory of a poller that has no records, with any sink, measured, bytes.
const IDLE: u64 = 3400 << 10;
/// The limit of the memory of a poller besides the pages of its files, bytes. While the target hangs it is
/// `max-in-flight` beside [`IDLE`]: 7.6 MiB of 4, 21 of 16, 37 of 32. Replies that are read, and writes that are encoded
/// and sent, take as much again at the most, each.
const LIMIT: u64 = IDLE + 3 * (IN_FLIGHT_MB << 20);

/// A test in progress.
pub struct Session<T: Target> {
    pub target: T,
    pub source: Server,
    /// What the reasons of dead letters contain.
    pub rejection: &'static str,
    place: Place,
    started: Instant,
    nodes: Vec<String>,
    /// The identities of the records that the target has to have, and of those that it rejects.
    expected: BTreeSet<String>,
    poisoned: BTreeSet<String>,
    /// Those that run, the oldest first.
    pollers: Vec<Poller>,
    /// The maximum memory of those that have ended, bytes.
    peak: u64,
}

struct Poller {
    running: Running,
    errors: Lines,
    heap: HeapPeak,
}

/// What a test measured.
#[derive(Debug)]
pub struct Measured {
    pub records: usize,
    /// Copies in the target besides the first.
    pub repeats: usize,
    pub dead: usize,
    /// The maximum memory of a poller, besides the pages of its files.
    pub peak_mb: f64,
    pub seconds: f64,
}

impl<T: Target> Session<T> {
    /// Starts a source and a target; `None` if a program is missing.
    pub fn start(fault: Fault) -> Option<Session<T>> {
        // Windows close at once, and large log entries fit.
        let source = Server::with_settings("max-item-size 4mb flush-delay-ms 0")?;
        let target = T::start(fault)?;
        let queues: Vec<String> = T::QUEUES.iter().map(|queue| format!("{queue:?}")).collect();
        let rest = format!(
            "[[route]]\nqueues = [{}]\nsinks = [\"out\"]\n[sink.out]\n{}\n",
            queues.join(", "),
            target.sink()
        );
        let head = format!("max-in-flight = \"{IN_FLIGHT_MB}mb\"\n");
        let place = Place::new(&format!("{head}{}", settings(&source, &rest)));
        Some(Session {
            target,
            source,
            rejection: "",
            place,
            started: Instant::now(),
            nodes: Vec::new(),
            expected: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            pollers: Vec::new(),
            peak: 0,
        })
    }

    /// Writes about `count` records to two new nodes. Each has a message or a name of about this many bytes. No poller may
    /// store any of them meanwhile.
    pub fn write(&mut self, count: usize, bytes: usize) {
        let round = self.nodes.len();
        let nodes = [format!("n{round}"), format!("n{}", round + 1)];
        let each = count / (2 * T::QUEUES.len());
        for node in &nodes {
            if T::QUEUES.contains(&"LOG") {
                self.log(node, each, &"1".repeat(bytes));
            }
            if T::QUEUES.contains(&"MIN") {
                let tail = "x".repeat(bytes);
                let names: Vec<String> = (0..each / 2).map(|n| format!("m{n}{tail}")).collect();
                self.windows(node, &names);
            }
        }
        self.nodes.extend(nodes.clone());
        for node in &nodes {
            let keys: Vec<String> = self.peek(node).iter().map(T::key).collect();
            self.expected.extend(keys);
        }
    }

    /// Writes a few records that the target rejects, between others.
    pub fn write_poison(&mut self) {
        let node = format!("n{}", self.nodes.len());
        let poison = T::poison();
        for part in 0..3 {
            if T::QUEUES.contains(&"LOG") {
                self.log(&node, 20, "1");
                self.log(&node, 1, &poison);
            } else {
                let mut names: Vec<String> = (0..20).map(|n| format!("m{part}_{n}")).collect();
                if part == 1 {
                    names.push(poison.clone());
                }
                self.windows(&node, &names);
            }
        }
        for record in self.peek(&node) {
            let is_poison = record["message"] == poison || record["metric"] == poison;
            match is_poison {
                true => self.poisoned.insert(by_id(&record)),
                false => self.expected.insert(T::key(&record)),
            };
        }
        assert!(!self.poisoned.is_empty());
        self.nodes.push(node);
    }

    fn log(&self, node: &str, count: usize, text: &str) {
        let mut connection = self.source.connection();
        for part in (0..count).collect::<Vec<_>>().chunks(500) {
            let mut pipe = redis::pipe();
            for _ in part {
                pipe.cmd("AGG.LOG").arg(node).arg(text).ignore();
            }
            pipe.query::<()>(&mut connection).unwrap();
        }
    }

    /// Closes two windows of each metric.
    fn windows(&self, node: &str, names: &[String]) {
        let before = match self.nodes_exist(node) {
            true => left(&self.source, &[node], "MIN"),
            false => 0,
        };
        let mut connection = self.source.connection();
        for at in [past_hour(), past_hour() + 300_000] {
            for part in names.chunks(500) {
                let mut command = redis::cmd("AGG.MSTAT");
                command.arg(node).arg("AT").arg(at).arg("ABS").arg("VALUES");
                for name in part {
                    command.arg(name).arg("1.5");
                }
                command.query::<redis::Value>(&mut connection).unwrap();
            }
        }
        let expected = before + 2 * names.len() as i64;
        until("the windows close", || {
            (left(&self.source, &[node], "MIN") == expected).then_some(())
        });
    }

    fn nodes_exist(&self, node: &str) -> bool {
        self.source.ask::<i64>(&format!("EXISTS {node}")) == 1
    }

    /// Returns all records of the queues of a node, leased ones too.
    fn peek(&self, node: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for queue in T::QUEUES {
            let mut from = 0;
            loop {
                let line = format!("AGG.PEEK {node} {queue} COUNT 10000 FROM {from}");
                let page = records(&self.source.ask::<redis::Value>(&line));
                let Some(last) = page.last() else { break };
                from = last["id"].as_i64().unwrap() + 1;
                all.extend(page);
            }
            let length = left(&self.source, &[node], queue);
            let found = all
                .iter()
                .filter(|record| record["queue"] == *queue)
                .count();
            assert_eq!(found as i64, length, "records were drained meanwhile");
        }
        all
    }

    /// Starts a poller, beside those that run.
    pub fn poll(&mut self) {
        let mut running = Running::start(&mut self.target.wrap(self.place.command("poll")));
        let (errors, heap) = (running.errors(), running.watch_heap());
        self.target.attach(running.0.id());
        self.pollers.push(Poller {
            running,
            errors,
            heap,
        });
    }

    /// Kills the poller, as `kill -9` does.
    pub fn kill(&mut self) {
        let mut poller = self.pollers.pop().unwrap();
        self.peak = self.peak.max(poller.heap.bytes());
        poller.running.0.kill().unwrap();
        poller.running.wait();
    }

    /// Stops a poller without an end, as a machine that hangs.
    pub fn freeze(&self, poller: usize) {
        let running = &self.pollers[poller].running;
        running.signal("STOP");
        until("the poller is stopped", || {
            running.is_stopped().then_some(())
        });
    }

    /// Lets a stopped poller continue.
    pub fn resume(&self, poller: usize) {
        self.pollers[poller].running.signal("CONT");
    }

    /// Stops a poller that holds no lock on the target, for which the others would wait.
    pub fn freeze_between_writes(&self, poller: usize) {
        until("the poller holds no lock", || {
            self.freeze(poller);
            if self.target.is_locked() {
                self.resume(poller);
                return None;
            }
            Some(())
        });
    }

    /// Stops the only poller while it has records that it has not acknowledged. If it stores all before it is stopped, it
    /// gets this many more, in messages or names with this many bytes.
    pub fn freeze_with_records(&mut self, count: usize, bytes: usize) {
        until("the poller has records", || {
            self.freeze_between_writes(0);
            if self.leased() > 0 {
                return Some(());
            }
            // No record may be stored before it is counted.
            if self.is_drained() {
                self.write(count, bytes);
            }
            self.resume(0);
            None
        });
    }

    /// Ends a poller, as a service manager does.
    pub fn end(&mut self, poller: usize) {
        let mut poller = self.pollers.remove(poller);
        assert_eq!(poller.running.end_by("TERM").code(), Some(0));
        self.peak = self.peak.max(poller.heap.bytes());
    }

    /// Waits until the poller logs that it retries for a reason.
    pub fn until_retried(&mut self, reason: &str) {
        let errors = &mut self.pollers.last_mut().unwrap().errors;
        let found = errors.by_ref().any(|line| {
            // Shown if the test fails.
            println!("{line}");
            line.contains("sink out: ") && line.contains(reason) && line.ends_with("retrying")
        });
        assert!(found, "the poller ended without {reason:?}");
    }

    /// Returns the number of copies in the target.
    pub fn copies(&self) -> usize {
        self.target.stored().len()
    }

    /// Waits until the target has more copies than this.
    pub fn until_more_than(&self, copies: usize) {
        let start = Instant::now();
        while self.copies() <= copies {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "nothing is stored"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the queues are empty.
    pub fn until_drained(&self) {
        let nodes: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        for queue in T::QUEUES {
            until_empty(&self.source, &nodes, queue);
        }
    }

    fn is_drained(&self) -> bool {
        let nodes: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        T::QUEUES
            .iter()
            .all(|queue| left(&self.source, &nodes, queue) == 0)
    }

    /// Returns the number of leased records.
    pub fn leased(&self) -> i64 {
        let of_node = |node: &String| {
            let leased = |queue: &&str| of_queue(&self.source, node, queue, "leased");
            T::QUEUES.iter().map(leased).sum::<i64>()
        };
        self.nodes.iter().map(of_node).sum()
    }

    /// Waits for the last record and checks everything.
    pub fn finish(mut self) -> Measured {
        self.until_drained();
        // A file system of the poller ends with it.
        let stored = self.target.stored_in_the_end();
        self.end(0);
        assert!(self.pollers.is_empty());
        assert_eq!(self.leased(), 0);
        let distinct: BTreeSet<String> = stored.iter().cloned().collect();
        let lost: Vec<_> = self.expected.difference(&distinct).take(5).collect();
        assert!(lost.is_empty(), "lost: {lost:?} ...");
        let strange: Vec<_> = distinct.difference(&self.expected).take(5).collect();
        assert!(strange.is_empty(), "never sent: {strange:?} ...");
        let repeats = stored.len() - distinct.len();
        if T::GUARANTEE == Guarantee::Once {
            assert_eq!(repeats, 0, "stored more than once");
        }
        let [peak_mb, limit] = [self.peak, LIMIT].map(|bytes| bytes as f64 / f64::from(1 << 20));
        assert!(
            peak_mb <= limit,
            "a poller had {peak_mb:.1} MiB, more than {limit:.1}"
        );
        Measured {
            records: self.expected.len(),
            repeats,
            dead: self.check_dead_letters(),
            peak_mb,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }

    /// Checks that the dead letters are the poisoned records, each once and with the reason. Returns their number.
    fn check_dead_letters(&self) -> usize {
        let lines = self.place.lines("dead");
        let letters: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let found: BTreeSet<String> = letters.iter().map(by_id).collect();
        assert_eq!(found, self.poisoned, "{lines:#?}");
        assert_eq!(
            letters.len(),
            found.len(),
            "one dead letter for each record"
        );
        for letter in &letters {
            let reason = letter["reason"].as_str().unwrap();
            assert!(reason.contains(self.rejection), "{reason}");
        }
        letters.len()
    }
}
