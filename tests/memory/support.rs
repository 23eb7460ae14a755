//! The memory used by a server, seen from outside: its `used_memory` without what is not the module's, compared with
//! what the module reports; and a watcher that looks continuously.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::Connection;

use testkit::*;

pub const MB: i64 = 1 << 20;

/// The cost of a key for the server besides its value, with a name of up to some 20 bytes: entries of the tables (both,
/// while they grow), objects, the name.
const KEY: i64 = 200;

/// What else the server allocates meanwhile: tables that grow in advance, and the text of an INFO.
const SERVER: i64 = 256 << 10;

/// Arguments of a server whose memory is only that of its keys and clients.
pub const PLAIN: [&str; 6] = [
    "--slowlog-log-slower-than",
    "-1",
    "--latency-monitor-threshold",
    "0",
    "--lazyfree-lazy-user-del",
    "no",
];

/// Tests that measure how long a server takes to reply run alone, the others beside each other, as many as the machine
/// has processors.
static GATE: RwLock<()> = RwLock::new(());

pub fn alone() -> RwLockWriteGuard<'static, ()> {
    GATE.write()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub fn beside() -> (Slot, RwLockReadGuard<'static, ()>) {
    let slot = slot();
    let gate = GATE.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    (slot, gate)
}

/// Returns how long an attack lasts.
pub fn attack_time() -> Duration {
    Duration::from_millis(amount(3_000, 60_000) as u64)
}

/// Starts a server that keeps nothing but keys and clients.
pub fn server(settings: &str) -> Option<Server> {
    Server::with_module(&PLAIN, settings)
}

/// One look at a server, in one transaction; bytes.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// `used_memory`.
    pub used: i64,
    /// The part of clients: buffers of what they sent and have not read.
    pub clients: i64,
    pub keys: i64,
    /// The memory used as the module reports it.
    pub held: i64,
    /// `agg.max-memory`.
    pub max: i64,
    pub metrics: i64,
}

/// The replies to the commands of a look.
type Answers = (String, String, String, i64);

/// Adds the commands of a look: clients first, because its own replies fill their buffers.
fn looking(pipe: &mut redis::Pipeline) {
    pipe.cmd("CLIENT").arg("LIST");
    pipe.cmd("INFO").arg("memory");
    pipe.cmd("INFO").arg("agg");
    pipe.cmd("DBSIZE");
}

impl Look {
    pub fn at(connection: &mut Connection) -> Look {
        let mut pipe = redis::pipe();
        looking(pipe.atomic());
        let answers = pipe.query(connection);
        Look::of(answers.unwrap_or_else(|error| panic!("the server is gone: {error}")))
    }

    /// Looks before and after the deletion of a key, with nothing in between.
    pub fn around_del(connection: &mut Connection, key: &str) -> (Look, Look) {
        let mut pipe = redis::pipe();
        looking(pipe.atomic());
        pipe.cmd("DEL").arg(key);
        looking(&mut pipe);
        let (c, m, a, k, _, c2, m2, a2, k2): (_, _, _, _, i64, _, _, _, _) =
            pipe.query(connection).unwrap();
        (Look::of((c, m, a, k)), Look::of((c2, m2, a2, k2)))
    }

    fn of((clients, memory, agg, keys): Answers) -> Look {
        let of_client = |line: &str| -> i64 {
            let word = line
                .split(' ')
                .find_map(|word| word.strip_prefix("tot-mem="));
            word.map_or(0, |n| n.parse().unwrap())
        };
        Look {
            used: info_field::<i64>(&memory, "used_memory"),
            clients: clients.lines().map(of_client).sum(),
            keys,
            held: info_field::<i64>(&agg, "agg_held"),
            max: info_field::<i64>(&agg, "agg_max_memory"),
            metrics: info_field::<i64>(&agg, "agg_metrics"),
        }
    }

    /// Returns the memory without that of clients.
    pub fn net(&self) -> i64 {
        self.used - self.clients
    }

    /// Returns how much `used_memory` of the module grew since the server was empty.
    pub fn growth(&self, empty: &Look) -> i64 {
        self.net() - empty.net() - (self.keys - empty.keys) * KEY
    }

    /// Returns what is wrong, given the current limit.
    fn fault(&self, empty: &Look, bound: i64) -> Option<String> {
        let growth = self.growth(empty);
        let held = self.held - empty.held;
        // Longer or shorter names, and tables that have just grown, are memory of the server.
        let keys = (self.keys - empty.keys) * KEY;
        let tolerance = SERVER + keys;
        if self.held > bound {
            return Some(format!(
                "{} more are held than {bound}: {self:?}",
                self.held - bound
            ));
        }
        if growth > bound - empty.held + tolerance {
            return Some(format!(
                "used_memory grew by {growth}, the bound is {bound}: {self:?}"
            ));
        }
        let difference = (growth - held).abs();
        (difference > tolerance + held / 50).then(|| {
            format!(
                "used_memory grew by {growth}, what is held by {held}: {self:?}, empty: {empty:?}"
            )
        })
    }
}

/// Returns a number of INFO agg.
pub fn agg(server: &Server, name: &str) -> i64 {
    server.info_field("agg", name)
}

/// The observations of a watcher.
#[derive(Default)]
pub struct Seen {
    pub looks: usize,
    pub most_held: i64,
    pub most_growth: i64,
    /// The largest difference between the memory used and the growth of `used_memory`.
    pub most_apart: i64,
    pub faults: Vec<String>,
}

/// Looks at a server continuously.
pub struct Watcher {
    /// The current bound: the limit, or the memory that was used when it was lowered.
    pub bound: Arc<AtomicI64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watcher {
    /// Starts on a server that is empty.
    pub fn start(server: &Server) -> Watcher {
        let mut connection = server.connection();
        // The first look allocates what looks need.
        Look::at(&mut connection);
        let empty = Look::at(&mut connection);
        let bound = Arc::new(AtomicI64::new(empty.max));
        let is_over = Arc::new(AtomicBool::new(false));
        let (c, o) = (bound.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !o.load(Relaxed) || seen.looks <= 5 {
                let before = c.load(Relaxed);
                let look = Look::at(&mut connection);
                // It may have been raised or lowered during the look.
                let bound = before.max(c.load(Relaxed));
                let growth = look.growth(&empty);
                seen.looks += 1;
                seen.most_held = seen.most_held.max(look.held);
                seen.most_growth = seen.most_growth.max(growth);
                let apart = (growth - (look.held - empty.held)).abs();
                seen.most_apart = seen.most_apart.max(apart);
                seen.faults.extend(look.fault(&empty, bound));
                std::thread::sleep(Duration::from_millis(20));
            }
            seen
        });
        Watcher {
            bound,
            is_over,
            thread,
        }
    }

    /// Stops and asserts that nothing was wrong.
    pub fn stop(self, what: &str) -> Seen {
        self.is_over.store(true, Relaxed);
        let seen = self.thread.join().expect("the watcher sees the server");
        println!(
            "{what}: {} looks, held {} KiB at most of {} KiB, used_memory grew by {} KiB at most, {} KiB apart at most",
            seen.looks,
            seen.most_held >> 10,
            self.bound.load(Relaxed) >> 10,
            seen.most_growth >> 10,
            seen.most_apart >> 10
        );
        let shown: Vec<&String> = seen.faults.iter().take(3).collect();
        assert!(
            seen.faults.is_empty(),
            "{what}: {} of {} looks were wrong: {shown:#?}",
            seen.faults.len(),
            seen.looks
        );
        seen
    }
}

/// Asserts that drops by reason and drops by queue have the same sum, and returns it.
pub fn check_drops(server: &Server) -> i64 {
    let info: String = server.ask("INFO agg");
    let by_queue: i64 = ["min", "hour", "log", "error", "reality"]
        .iter()
        .map(|queue| info_field::<i64>(&info, &format!("agg_{queue}_dropped")))
        .sum();
    let reasons = [
        "queue_full",
        "max_memory",
        "max_node_memory",
        "max_errors",
        "max_gone",
    ];
    let by_reason: i64 = reasons
        .iter()
        .map(|reason| {
            let count = info_field::<i64>(&info, &format!("agg_dropped_{reason}"));
            let last = info_field::<i64>(&info, &format!("agg_dropped_{reason}_last"));
            assert_eq!(count > 0, last > 0, "{reason}: {info}");
            count
        })
        .sum();
    assert_eq!(by_queue, by_reason, "{info}");
    by_queue
}
