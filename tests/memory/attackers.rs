//! Attackers: each sends one kind of command, many at once, until it is stopped. It fails if a reply is neither a
//! number nor an error that names the limit and the setting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use redis::{Connection, Value};

use testkit::*;

/// The commands of one round.
pub type Attack = fn(&mut Random) -> Vec<Words>;

/// The outcome of an attack.
#[derive(Debug, Default)]
pub struct Outcome {
    pub taken: u64,
    pub full: u64,
}

/// A running attack.
pub struct Attacker {
    is_over: Arc<AtomicBool>,
    rejected: Arc<AtomicU64>,
    thread: JoinHandle<Outcome>,
}

impl Attacker {
    pub fn start(server: &Server, attack: Attack, seed: u64) -> Attacker {
        let is_over = Arc::new(AtomicBool::new(false));
        let rejected = Arc::new(AtomicU64::new(0));
        let mut connection = server.connection();
        let (o, r) = (is_over.clone(), rejected.clone());
        let thread = std::thread::spawn(move || {
            let (mut random, mut outcome) = (Random(seed), Outcome::default());
            while !o.load(Relaxed) {
                let commands = attack(&mut random);
                send_all(&mut connection, &commands, &mut outcome);
                r.store(outcome.full, Relaxed);
            }
            outcome
        });
        Attacker {
            is_over,
            rejected,
            thread,
        }
    }

    /// Returns how many commands and samples have been rejected so far.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    pub fn stop(self) -> Outcome {
        self.is_over.store(true, Relaxed);
        self.thread.join().expect("every answer is as it should be")
    }
}

/// Sends commands and checks their replies.
pub fn send_all(connection: &mut Connection, commands: &[Words], outcome: &mut Outcome) {
    for (answer, command) in burst(connection, commands).into_iter().zip(commands) {
        match answer {
            Ok(Value::Array(items)) if command[0] == b"AGG.MSTAT" => {
                outcome.taken += 1;
                for bad in list(&items[2]) {
                    let why = format!("{:?}", list(bad)[1]);
                    outcome.full += 1;
                    assert!(why.contains("agg.max-"), "{why}");
                }
            }
            Ok(_) => outcome.taken += 1,
            Err(error) => {
                outcome.full += 1;
                check_rejection(&error);
            }
        }
    }
}

/// Asserts that a rejection names the limit and the setting.
pub fn check_rejection(error: &str) {
    let names = [
        "agg.max-memory (",
        "agg.max-node-memory (",
        "agg.max-series (",
        "agg.max-realities (",
    ];
    assert!(
        error.starts_with("AGGFULL AGG.") && names.iter().any(|name| error.contains(name)),
        "{error}"
    );
}

/// Returns the words of a command; `split` would split words that contain blanks.
fn owned(parts: &[&str]) -> Words {
    parts.iter().map(|part| part.as_bytes().to_vec()).collect()
}

/// New metrics, singly and many in one command.
pub fn names(random: &mut Random) -> Vec<Words> {
    let node = format!("names{}", random.below(3));
    let mut commands: Vec<Words> = (0..60)
        .map(|_| {
            let len = 8 + random.below(120);
            owned(&["AGG.STAT", &node, &random.text(len), "1", "TAGS", "a:b"])
        })
        .collect();
    let mut many = owned(&["AGG.MSTAT", &node, "VALUES"]);
    for _ in 0..200 {
        many.extend(owned(&[&random.text(20), "1.5"]));
    }
    commands.push(many);
    commands
}

/// Tag lists of 60 kB, a new one with each sample of existing metrics.
pub fn tags(random: &mut Random) -> Vec<Words> {
    let metric = |random: &mut Random| format!("t{}", random.below(30));
    (0..6)
        .map(|_| {
            let tags = format!("big:{}", random.text(60_000));
            owned(&["AGG.STAT", "tags", &metric(random), "1", "TAGS", &tags])
        })
        .collect()
}

/// Small tag lists, a new one with each sample.
pub fn tag_churn(random: &mut Random) -> Vec<Words> {
    (0..100)
        .map(|_| {
            let (metric, tags) = (random.below(200), random.text(12));
            split(&format!(
                "AGG.STAT churn c{metric} 1 TAGS a:{tags} AT {}",
                now_ms()
            ))
        })
        .collect()
}

/// Messages of 64 kB and short ones.
pub fn messages(random: &mut Random) -> Vec<Words> {
    let node = format!("logs{}", random.below(4));
    let mut commands: Vec<Words> = (0..4)
        .map(|_| owned(&["AGG.LOG", &node, &random.text(65_536), "TAGS", "a:b"]))
        .collect();
    commands.extend((0..30).map(|_| owned(&["AGG.LOG", &node, &random.text(30)])));
    commands
}

/// Errors that are all different, with all fields.
pub fn errors(random: &mut Random) -> Vec<Words> {
    (0..50)
        .map(|_| {
            let (len, back) = (10 + random.below(200), random.below(3000));
            let (message, back) = (random.text(len), random.text(back));
            owned(&[
                "AGG.ERROR",
                "errors",
                &message,
                "PUBLIC",
                "p",
                "CODE",
                "c",
                "FUNC",
                "f",
                "FILE",
                "p",
                "BACKTRACE",
                &back,
            ])
        })
        .collect()
}

/// Objects that grow and shrink.
pub fn objects(random: &mut Random) -> Vec<Words> {
    (0..10)
        .map(|_| {
            let most = *random.one(&[10, 1000, 60_000]);
            let len = random.below(most);
            let json = format!("\"{}\"", random.text(len));
            let key = format!("o{}", random.below(2000));
            owned(&["AGG.REALITY", "objects", &key, "system.Disk", &json])
        })
        .collect()
}

/// New nodes with something of everything.
pub fn nodes(random: &mut Random) -> Vec<Words> {
    (0..25)
        .flat_map(|_| {
            let node = format!("node{}", random.below(4000));
            [
                split(&format!("AGG.STAT {node} m 1")),
                split(&format!("AGG.LOG {node} hello")),
                split(&format!("AGG.ERROR {node} failed")),
                split(&format!("AGG.REALITY {node} k m []")),
            ]
        })
        .collect()
}

/// Samples that each start another window and so close the one before.
pub fn windows(random: &mut Random) -> Vec<Words> {
    let start = now_ms() - 50_000;
    (0..100)
        .map(|i| {
            let metric = random.below(150);
            let at = start + i * 500;
            let tags = "x".repeat(random.below(300));
            split(&format!(
                "AGG.STAT windows w{metric} 1 TAGS a:{tags} AT {at}"
            ))
        })
        .collect()
}

/// Histograms as large as they can be: of values far from each other, each of which occurred often.
pub fn histograms(random: &mut Random) -> Vec<Words> {
    let at = now_ms() - random.below(3_000) as i64;
    (0..60)
        .flat_map(|_| {
            let metric = format!("h{}", random.below(100));
            let (low, high) = (random.below(300), random.below(300));
            let pairs = format!("1e-{low} 4294967296 1e{high} 1 -{low}.5 70000 {high} 3");
            [
                split(&format!("AGG.HIST hist {metric} AT {at} VALUES {pairs}")),
                split(&format!(
                    "AGG.STAT hist {metric} {low}e-2 HIST TIMES 4294967296"
                )),
                split(&format!(
                    "AGG.HIST hist {metric} VALUES {high} 70000 1 300 1000 20"
                )),
            ]
        })
        .collect()
}

/// A poller that fetches with long leases and never acknowledges.
pub fn leases(random: &mut Random) -> Vec<Words> {
    let nodes = [
        "logs0", "logs1", "errors", "objects", "windows", "tags", "node7",
    ];
    let node = random.one(&nodes);
    vec![split(&format!(
        "AGG.FETCH {node} MIN HOUR LOG ERROR REALITY COUNT 500 LEASE 36000000"
    ))]
}

/// Requeues everything.
pub fn requeue(_: &mut Random) -> Vec<Words> {
    vec![
        split("AGG.REQUEUE errors ERROR"),
        split("AGG.REQUEUE objects REALITY"),
    ]
}

/// Forgets existing names and reports them again. As the window of a forgotten metric is delivered only once, other
/// metrics are reported and forgotten, too: each gives two records.
pub fn forget(random: &mut Random) -> Vec<Words> {
    (0..20)
        .flat_map(|_| {
            let (metric, object) = (random.below(150), random.below(2000));
            let (other, tags) = (random.below(1 << 16), "x".repeat(random.below(300)));
            [
                split(&format!("AGG.STAT windows f{other} 1 TAGS a:{tags}")),
                split(&format!("AGG.FORGET windows METRIC f{other}")),
                split(&format!("AGG.FORGET windows METRIC w{metric}")),
                split(&format!("AGG.FORGET objects REALITY o{object}")),
                split(&format!("AGG.STAT windows w{metric} 2")),
            ]
        })
        .collect()
}

/// All attacks by name.
pub const ALL: [(&str, Attack); 12] = [
    ("names", names),
    ("tags", tags),
    ("tag churn", tag_churn),
    ("messages", messages),
    ("errors", errors),
    ("objects", objects),
    ("nodes", nodes),
    ("windows", windows),
    ("histograms", histograms),
    ("leases", leases),
    ("requeue", requeue),
    ("forget", forget),
];

/// Creates the metrics whose tags an attack changes.
pub fn prepare(server: &Server) {
    let mut connection = server.connection();
    let samples = (0..30).map(|i| split(&format!("AGG.STAT tags t{i} 1")));
    let samples: Vec<Words> = samples.collect();
    burst(&mut connection, &samples)
        .into_iter()
        .for_each(|answer| {
            answer.unwrap();
        });
}
