//! A client that runs random commands on three nodes in two databases: reports, drains, settings, and what happens to
//! keys and servers. It sends them singly, in transactions and scripts, and in bursts of many within a millisecond.

use redis::{Cmd, Connection, Value};

use crate::command::{send, words};
use crate::node::imported;
use crate::random::Random;
use crate::reply::queued_records;
use crate::server::Server;
use crate::wait::now_ms;

/// Settings of a primary on which much happens in little time: windows close, queues overflow, limits and lifetimes are
/// reached.
pub const BUSY: &str = "min-window 1 hour-window 2 flush-delay-ms 50 max-future-ms 2000 min-interval-ms 20 max-gap 3 \
    min-history 3 hour-history 2 queue-min 16kb queue-hour 8kb queue-log 4kb queue-import 1kb max-series 40 max-errors 12 \
    max-realities 6 max-sources 4 max-item-size 128 error-interval-ms 100 series-ttl 2 error-ttl 2 reality-ttl 1";

/// Settings of replicas, each of which would decide everything differently.
pub const OTHERS: [&str; 2] = [
    "min-window 60 hour-window 120 flush-delay-ms 0 max-future-ms 0 min-interval-ms 3600000 max-gap 1 min-history 0 \
    hour-history 1 queue-min 1kb queue-hour 1kb queue-log 1kb max-series 1 max-errors 1 max-realities 1 \
    max-sources 1 max-item-size 64 error-interval-ms 1 series-ttl 1 error-ttl 1 reality-ttl 1 max-memory 1mb",
    "min-window 1200 hour-window 1200 flush-delay-ms 3600000 max-future-ms 3600000 min-interval-ms 1 max-gap 86400 \
    min-history 100 hour-history 100 max-series 100000 series-ttl 0 error-ttl 0 reality-ttl 0",
];

/// True if keys and objects get a time to live. Where a client replays an AOF later, none may: what has expired by then
/// would end at once, with all that follows.
#[derive(Clone, Copy, PartialEq)]
pub enum Lifetimes {
    /// Some keys and objects expire.
    Finite,
    /// None does.
    Infinite,
}

/// See the file's header.
pub struct RandomWorkload {
    /// The random choices.
    pub random: Random,
    /// True if it restores what it dumped. Such a payload is replayed verbatim, and no older server reads it.
    pub restores: bool,
    connection: Connection,
    lifetimes: Lifetimes,
    /// Queue and id of records that were leased.
    fetched: Vec<(String, i64)>,
    /// The number of commands that were carried out.
    pub done: u64,
    /// The number of commands that were rejected.
    pub rejected: u64,
}

impl RandomWorkload {
    /// Connects to a server.
    pub fn new(server: &Server, seed: u64, lifetimes: Lifetimes) -> RandomWorkload {
        RandomWorkload {
            random: Random(seed),
            restores: true,
            connection: server.connection(),
            lifetimes,
            fetched: Vec::new(),
            done: 0,
            rejected: 0,
        }
    }

    /// Sends a command, split by [`words`], which may be rejected.
    fn send(&mut self, line: &str) -> Option<Value> {
        let reply = send(&mut self.connection, &words(line));
        self.count(line, reply)
    }

    fn count(&mut self, line: &str, reply: redis::RedisResult<Value>) -> Option<Value> {
        match reply {
            Ok(reply) => {
                self.done += 1;
                Some(reply)
            }
            Err(error) => {
                assert!(!error.is_io_error(), "{line}: {error}");
                self.rejected += 1;
                None
            }
        }
    }

    /// Sends commands without waiting in between.
    fn burst(&mut self, lines: &[String]) {
        let mut packed = Vec::new();
        for line in lines {
            let mut command = Cmd::new();
            words(line).into_iter().for_each(|word| {
                command.arg(word);
            });
            packed.extend(command.get_packed_command());
        }
        self.connection.send_packed_command(&packed).unwrap();
        for line in lines {
            let reply = self.connection.recv_response();
            self.count(line, reply);
        }
    }

    /// Runs one random command, or several that belong together.
    pub fn act(&mut self) {
        let db = self.random.word(&["0", "0", "0", "4"]);
        self.send(&format!("SELECT {db}"));
        let node = self.random.word(&["a", "a", "b", "c"]);
        match self.random.below(48) {
            0..20 => {
                let line = self.report(node);
                self.send(&line);
            }
            20..30 => self.drain(node),
            30..33 => {
                let mut lines: Vec<String> = (0..3).map(|_| self.report(node)).collect();
                lines.insert(0, "MULTI".into());
                lines.push(format!("AGG.FETCH {node} LOG ERROR COUNT 2 LEASE 100"));
                lines.push("EXEC".into());
                self.burst(&lines);
            }
            33..38 => self.crowd(node),
            38 => self.overflow(node),
            39..41 => {
                let script = "redis.call('AGG.LOG',KEYS[1],'x') redis.call('AGG.STAT',KEYS[1],'m1',ARGV[1]) \
                    redis.call('AGG.POP',KEYS[1],'LOG') return redis.call('AGG.STAT',KEYS[1],'m2',ARGV[1])";
                let mut eval = Cmd::new();
                eval.arg("EVAL").arg(script).arg(1).arg(node).arg("1.5");
                let reply = eval.query(&mut self.connection);
                self.count("EVAL", reply);
            }
            41 => {
                let line = self.setting();
                self.send(&line);
            }
            42..47 => self.upset(node),
            _ => {
                let line = self.trouble();
                self.send(&line);
            }
        }
    }

    /// Sends many plain samples within a millisecond, occasionally with something else in between. Samples are
    /// replicated verbatim wherever that means the same.
    fn crowd(&mut self, node: &str) {
        let other = self.random.word(&["a", "b", "c"]);
        let mut lines = Vec::new();
        for _ in 0..10 + self.random.below(30) {
            let n = self.random.below(1000);
            lines.push(match self.random.below(24) {
                0..11 => format!("AGG.STAT {node} m{} {n}", n % 8),
                11 => format!(
                    "AGG.STAT {node} m{} {n} SEQ s{} {}",
                    n % 8,
                    n % 5,
                    self.done
                ),
                12..16 => format!("AGG.STAT {node} d{} {} DIFF", n % 3, now_ms() % 100_000),
                16..19 => format!("AGG.MSTAT {node} VALUES m1 {n} m2 1 bad x m{} 3", n % 40),
                19 => format!("COPY {node} {other} REPLACE"),
                20 => format!("RENAME {node} {other}"),
                21 => format!("AGG.LOG {node} 'in a crowd'"),
                22 => format!("AGG.POP {node} MIN LOG COUNT 1"),
                _ => format!("MOVE {node} 4"),
            });
        }
        self.burst(&lines);
    }

    /// Fills the LOG queue of a node beyond its limit, which drains and flushes would otherwise keep from happening.
    fn overflow(&mut self, node: &str) {
        let message = self.random.text(100);
        let record = |n| format!("AGG.LOG {node} {message}{n}");
        self.burst(&(0..80).map(record).collect::<Vec<_>>());
    }

    fn report(&mut self, node: &str) -> String {
        let is_lasting = self.lifetimes == Lifetimes::Infinite;
        let r = &mut self.random;
        let at = match r.below(4) {
            0 => format!(" AT {}", now_ms() + r.below(6000) as i64 - 4500),
            _ => String::new(),
        };
        let tags = match r.below(3) {
            0 => format!(" TAGS a:{}", r.below(3)),
            1 => r.word(&["", " TAGS 'b c:d'", " TAGS ''"]).to_owned(),
            _ => String::new(),
        };
        let n = match r.below(5) {
            0 => r
                .word(&["0", "-0", "1e308", "-1e308", "5e-324", "0.1", "1e-400"])
                .to_owned(),
            _ => (r.below(1_000_000) as f64 / 1000.0).to_string(),
        };
        let seq = match r.below(6) {
            // Some are repetitions.
            0 => format!(" SEQ s{} {}", r.below(7), now_ms() / 4),
            _ => String::new(),
        };
        let hist = r.word(&["", "", " HIST"]);
        let long = "y".repeat(r.below(200));
        match r.below(13) {
            0 | 1 => {
                let option = r.word(&["", "", " ADD", " TIMES 3"]);
                format!(
                    "AGG.STAT {node} m{} {n}{option}{hist}{tags}{at}{seq}",
                    r.below(30)
                )
            }
            2 => {
                let (metric, increment, times) = (r.below(4), r.below(1_000), 1 + r.below(9));
                format!(
                    "AGG.STAT {node} i{metric} {increment}.5 INC TIMES {times}{hist}{tags}{at}{seq}"
                )
            }
            3 => {
                let big = ["18446744073709551615", "1e18", "0.5", "3"];
                let total = match r.below(6) {
                    0 => r.word(&big).to_owned(),
                    _ => (now_ms() % 100_000).to_string(),
                };
                format!(
                    "AGG.STAT {node} d{} {total} DIFF{hist}{tags}{at}{seq}",
                    r.below(4)
                )
            }
            4 => format!(
                "AGG.MSTAT {node}{hist}{tags}{at}{seq}{} VALUES m1 {n} m{} {n} m2 1 bad {}",
                r.word(&["", "", " ATOMIC"]),
                r.below(30),
                r.word(&["x", "1"])
            ),
            9 => {
                let rows = format!(
                    "'' m{0} {n} '' 1 INC i{1} 2.5 9 0 DIFF d{1} {0} '' '' bad m1 1 ''",
                    r.below(30),
                    r.below(4)
                );
                format!(
                    "AGG.MSTAT {node}{tags}{at}{seq} COLUMNS HIST TYPE METRIC VALUE TIMES VALUES {rows}"
                )
            }
            5 => format!("AGG.LOG {node} 'hello é \n{long}'{tags}{at}{seq}"),
            6 => format!(
                "AGG.ERROR {node} e{long} KEY e{}{tags}{at}{seq}{}",
                r.below(18),
                r.word(&["", " PUBLIC p LEVEL 9 TYPE BUG CODE c FUNC f FILE p GID 1"])
            ),
            7 | 8 => {
                let ttl = if is_lasting {
                    ""
                } else {
                    r.word(&["", " TTL 0", " TTL 1"])
                };
                let (object, n) = (r.below(9), r.below(3));
                format!("AGG.REALITY {node} o{object} m '[{n}, {{}}]'{tags}{ttl}{at}")
            }
            10 => {
                let totals = r.word(&["", " SUM 7 MIN -1e3", " MAX 500 MIN 0.25"]);
                let len = r.word(&["1", "3", "30"]).parse().unwrap_or(1);
                let pairs = (0..len).map(|i| format!(" {n} {} {i}.5 1", 1 + r.below(9)));
                let pairs: String = pairs.collect();
                format!(
                    "AGG.HIST {node} m{}{totals}{tags}{at}{seq} VALUES{pairs}",
                    r.below(30)
                )
            }
            11 => {
                let queue = r.word(&["MIN", "HOUR", "LOG", "ERROR", "REALITY"]);
                // Some are duplicates, late, or of one range.
                let first = (now_ms() - r.below(3000) as i64) / 100 * 100_000 + r.below(9) as i64;
                let floor = match r.below(3) {
                    0 => format!(" FLOOR {}", first - 1_000_000),
                    _ => String::new(),
                };
                let ids = (first..).step_by(1 + r.below(2)).take(1 + r.below(5));
                let records: String = ids.map(|id| imported(node, queue, id)).collect();
                format!("AGG.IMPORT {node} {queue}{floor}{records}")
            }
            _ => {
                let what = r.word(&["METRIC m", "METRIC d", "METRIC i", "ERROR e", "REALITY o"]);
                format!("AGG.FORGET {node} {what}{}", r.below(9))
            }
        }
    }

    fn drain(&mut self, node: &str) {
        let r = &mut self.random;
        let queue = r.word(&["MIN", "HOUR", "LOG", "ERROR", "REALITY", "ERROR REALITY"]);
        let count = 1 + r.below(4);
        let line = match r.below(10) {
            0..2 => format!("AGG.POP {node} {queue} COUNT {count}"),
            2..5 => format!("AGG.FETCH {node} {queue} COUNT {count} LEASE 150"),
            5 => format!("AGG.REQUEUE {node} {}", r.word(&["ERROR", "REALITY"])),
            n => {
                let back = r.below(3) + 1;
                let Some((queue, id)) = self.fetched.iter().rev().nth(back - 1) else {
                    return;
                };
                match n {
                    6..8 => format!("AGG.ACK {node} {queue} {id}"),
                    8 => format!("AGG.NACK {node} {queue} {id}"),
                    _ => format!("AGG.EXTEND {node} {queue} 300 {id}"),
                }
            }
        };
        let reply = self.send(&line);
        if let Some(reply) = reply.filter(|_| line.starts_with("AGG.FETCH")) {
            let ids = queued_records(&reply).into_iter().map(|e| (e.queue, e.id));
            self.fetched.extend(ids);
        }
    }

    fn setting(&mut self) -> String {
        let r = &mut self.random;
        let setting = r.word(&[
            "agg.flush-delay-ms 0",
            "agg.flush-delay-ms 200",
            "agg.flush-jitter-ms 0",
            "agg.flush-jitter-ms 700",
            "agg.min-history 1",
            "agg.min-history 5",
            "agg.hour-history 0",
            "agg.queue-log 2kb",
            "agg.queue-log 8kb",
            "agg.queue-min 4kb",
            "agg.queue-min 64kb",
            "agg.min-interval-ms 1",
            "agg.min-interval-ms 100",
            "agg.max-gap 1",
            "agg.max-gap 100",
            "agg.max-errors 5",
            "agg.max-errors 20",
            "agg.max-realities 3",
            "agg.max-sources 2",
            "agg.max-sources 5",
            "agg.max-series 20",
            "agg.max-series 100",
            "agg.max-future-ms 0",
            "agg.max-future-ms 3000",
            "agg.error-interval-ms 50",
            "agg.max-item-size 64",
            "agg.max-memory 1mb",
            "agg.percentiles 99.9",
            "agg.percentiles ''",
            "agg.hist-records yes",
            "agg.hist-match m1*",
            "agg.max-memory 256mb",
            "agg.min-window 2 agg.hour-window 4",
            "agg.min-window 1 agg.hour-window 2",
        ]);
        format!("CONFIG SET {setting}")
    }

    /// Renames, copies, moves, replaces, expires or deletes keys.
    fn upset(&mut self, node: &str) {
        let line = match self.random.below(20) {
            0..3 => format!("RENAME {node} c"),
            3..6 => format!("COPY {node} b REPLACE"),
            6 => format!("COPY {node} c DB 4 REPLACE"),
            7..10 => format!("MOVE {node} 4"),
            10 if self.lifetimes == Lifetimes::Finite => format!("PEXPIRE {node} 300"),
            11..14 => format!("PERSIST {node}"),
            14 => "SWAPDB 0 4".into(),
            15 => format!("UNLINK {node}"),
            16 => format!("DEL {node}"),
            17 if self.lifetimes == Lifetimes::Finite => format!("SET {node} 'another type' PX 50"),
            17 => format!("SET {node} 'another type'"),
            18 if self.restores => {
                let dump =
                    send::<Option<Vec<u8>>>(&mut self.connection, &words(&format!("DUMP {node}")));
                if let Ok(Some(dump)) = dump {
                    let restore: [&[u8]; 5] = [b"RESTORE", b"b", b"0", &dump, b"REPLACE"];
                    let reply = send(&mut self.connection, &restore);
                    self.count("RESTORE", reply);
                }
                return;
            }
            _ => self
                .random
                .word(&["FLUSHDB", "FLUSHDB ASYNC", "PING", "PING"])
                .into(),
        };
        self.send(&line);
    }

    /// Pauses clients, rewrites the AOF, cuts replication links or reloads.
    fn trouble(&mut self) -> String {
        let mut lines = vec![
            "CLIENT PAUSE 250 WRITE",
            "CLIENT PAUSE 100 ALL",
            "BGREWRITEAOF",
            "CLIENT KILL TYPE replica",
        ];
        // A reload omits expired keys and tells neither replicas nor the AOF.
        if self.lifetimes == Lifetimes::Infinite {
            lines.push("DEBUG RELOAD");
        }
        self.random.word(&lines).to_owned()
    }
}
