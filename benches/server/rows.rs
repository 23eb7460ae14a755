//! The rows of the command benchmark: which commands are sent, beside which base row, and with which target.

use crate::load::{Random, Requests, TOTAL};
use crate::options::Options;

/// The number of samples in one AGG.MSTAT.
pub const SAMPLES: usize = 100;

/// The number of known errors, and of objects.
const OBJECTS: usize = 1000;

/// The base rows: the server's own cost of a module command with the same arguments.
pub const NOTHING: &str = "a do-nothing command";
const NOTHING_OF_ERROR: &str = "a do-nothing command with an error's arguments";
const NOTHING_OF_OBJECT: &str = "a do-nothing command with an object's arguments";

const TAGS: &str = "dim:iops location:elgouna";

/// A row: a kind of request.
pub struct Row {
    pub name: String,
    /// The name of the base row.
    pub base: &'static str,
    /// The target for the ratio to the base row.
    pub target: Option<f64>,
    /// The divisor of the number of requests per round, for rows whose commands are long.
    pub share: usize,
    /// The number of operations in one command.
    pub per: usize,
    /// The expected beginning of each reply; empty: anything but an error.
    pub expected: &'static [u8],
    pub load: Load,
}

/// The sender of the commands.
pub enum Load {
    /// The load generator.
    Own {
        /// Creates all names, in their order, so that they lie in memory in another order than they are requested.
        warm_up: Requests,
        requests: Requests,
    },
    /// redis-benchmark, to verify the load generator.
    RedisBenchmark(Vec<&'static str>),
}

/// Builds rows for a number of names.
pub struct Builder<'a> {
    pub options: &'a Options,
    pub names: usize,
}

impl Builder<'_> {
    /// Builds a row of `count` different commands.
    pub fn row(&self, name: &str, count: usize, words: impl Fn(usize) -> Vec<String>) -> Row {
        let batch = self.options.pipeline as usize;
        let order = Random(1).order(count);
        // At least one full batch, so that commands without a name are sent in batches of the same size.
        let whole = count.max(batch);
        Row {
            name: name.into(),
            base: "SET",
            target: None,
            share: 1,
            per: 1,
            expected: b"",
            load: Load::Own {
                warm_up: Requests::build(batch, count, &words),
                requests: Requests::build(batch, whole, |i| words(order[i % count])).after_a_pass(),
            },
        }
    }

    pub fn set(&self) -> Row {
        self.row("SET", self.names, |i| {
            line(&format!("SET {} 0123456789abcdef", key(i)))
        })
        .expecting(b"+OK")
    }

    pub fn stat(&self, name: &str, node: &str, diff: bool, tags: bool) -> Row {
        self.row(name, self.names, |i| {
            let value = if diff { TOTAL.into() } else { value(i) };
            let mut words = line(&format!("AGG.STAT {node} {} {value}", metric(i)));
            words.extend(diff.then(|| "DIFF".into()));
            if tags {
                words.extend(["TAGS".into(), TAGS.into()]);
            }
            words
        })
        .expecting(b":1\r\n")
    }

    /// Builds a row of commands with the arguments of AGG.MSTAT, with names in this order. The warm-up reports them in
    /// their own order.
    pub fn many(&self, name: &str, first: &str, diff: bool, order: &[usize]) -> Row {
        let pair = |i| vec![metric(i), if diff { TOTAL.into() } else { value(i) }];
        self.lists(name, first, order, pair)
    }

    /// Builds a row of commands that begin with `first`, each with the words of so many samples.
    pub fn lists(
        &self,
        name: &str,
        first: &str,
        order: &[usize],
        sample: impl Fn(usize) -> Vec<String>,
    ) -> Row {
        let command = |names: &mut dyn Iterator<Item = usize>| {
            let mut words = line(first);
            words.extend(names.flat_map(&sample));
            words
        };
        let commands = self.names / SAMPLES;
        // Smaller than a pass, so that all clients have some.
        let batch = commands / (2 * self.options.clients as usize);
        let batch = batch.clamp(1, self.options.pipeline as usize);
        Row {
            name: name.into(),
            base: "SET",
            target: None,
            share: SAMPLES / 2,
            per: SAMPLES,
            expected: b"",
            load: Load::Own {
                warm_up: Requests::build(batch, commands, |i| {
                    command(&mut (i * SAMPLES..(i + 1) * SAMPLES))
                }),
                requests: Requests::build(batch, commands, |i| {
                    command(&mut order[i * SAMPLES..(i + 1) * SAMPLES].iter().copied())
                })
                .after_a_pass(),
            },
        }
    }

    /// Builds the rows of samples, without targets.
    pub fn samples(&self) -> Vec<Row> {
        let mut rows = vec![
            self.stat("AGG.STAT ABS", "abs", false, false),
            self.stat("AGG.STAT DIFF", "diff", true, false),
            self.stat("AGG.STAT ABS with TAGS", "abs-tags", false, true),
            self.stat("AGG.STAT DIFF with TAGS", "diff-tags", true, true),
        ];
        let mixed = Random(2).order(self.names);
        // As from programs that report the same list again and again.
        let same: Vec<usize> = (0..self.names).collect();
        for (name, first, diff, order) in [
            ("ABS", "AGG.MSTAT mabs VALUES", false, &mixed),
            ("DIFF", "AGG.MSTAT mdiff DIFF VALUES", true, &mixed),
            ("ABS in one order", "AGG.MSTAT mlist VALUES", false, &same),
        ] {
            let name = format!("AGG.MSTAT of {SAMPLES} {name}, per sample");
            let row = self.many(&name, first, diff, order);
            // All samples were accepted.
            rows.push(row.expecting(b"*3\r\n:100\r\n:0\r\n*0\r\n"));
        }
        rows
    }

    pub fn lines(&self) -> Vec<Row> {
        let texts = texts(OBJECTS, 100);
        let xadd = self.row("XADD MAXLEN ~ 5000 of 100 bytes", OBJECTS, |i| {
            let mut words = line("XADD stream MAXLEN ~ 5000 * m");
            words.push(texts[i].clone());
            words
        });
        let log = self.row("AGG.LOG of 100 bytes", OBJECTS, |i| {
            vec!["AGG.LOG".into(), "logs".into(), texts[i].clone()]
        });
        vec![
            xadd,
            log.beside("XADD MAXLEN ~ 5000 of 100 bytes").at_most(0.6),
        ]
    }

    pub fn states(&self) -> Vec<Row> {
        let messages = texts(OBJECTS, 60);
        let error = |i: usize| {
            let mut words = vec!["AGG.ERROR".into(), "state".into(), messages[i].clone()];
            words.extend(line("FUNC read_sector FILE disk.c"));
            words
        };
        let objects: Vec<String> = (0..OBJECTS).map(object).collect();
        let reality = |i: usize| {
            let mut words = line(&format!("AGG.REALITY state disk{i:04} system.Disk"));
            words.push(objects[i].clone());
            words
        };
        let nothing = |mut words: Vec<String>| {
            words[0] = "NOOP.STAT".into();
            words
        };
        vec![
            self.row(NOTHING_OF_ERROR, OBJECTS, |i| nothing(error(i))),
            self.row("AGG.ERROR known", OBJECTS, error)
                .beside(NOTHING_OF_ERROR)
                .at_most(2.0),
            self.row(NOTHING_OF_OBJECT, OBJECTS, |i| nothing(reality(i))),
            self.row("AGG.REALITY unchanged, 480 bytes", OBJECTS, reality)
                .expecting(b":0\r\n")
                .beside(NOTHING_OF_OBJECT)
                .at_most(2.0),
        ]
    }

    /// Builds the row of a loaded script that does the same job.
    pub fn script(&self, script: &redis::Script) -> Row {
        let sha = script.get_hash();
        let mut row = self
            .row("a Lua script that does as AGG.STAT", self.names, |i| {
                let (name, value) = (metric(i), value(i));
                let mut words = line(&format!(
                    "EVALSHA {sha} 2 stat:lua:{name} queue:lua {value} ABS"
                ));
                words.push(TAGS.into());
                words
            })
            .expecting(b":1\r\n");
        row.share = 4;
        row
    }
}

impl Row {
    pub fn beside(mut self, base: &'static str) -> Row {
        self.base = base;
        self
    }

    pub fn at_most(mut self, target: f64) -> Row {
        self.target = Some(target);
        self
    }

    pub fn expecting(mut self, reply: &'static [u8]) -> Row {
        self.expected = reply;
        self
    }

    pub fn checked_by(name: &str, words: &[&'static str]) -> Row {
        Row {
            name: format!("{name}, by redis-benchmark"),
            base: "SET, by redis-benchmark",
            target: None,
            share: 1,
            per: 1,
            expected: b"",
            load: Load::RedisBenchmark(words.to_vec()),
        }
    }
}

/// Splits a text at spaces.
pub fn line(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Returns a key as redis-benchmark writes it.
fn key(i: usize) -> String {
    format!("key:{i:012}")
}

/// Returns the name of a metric, as long as a key.
pub fn metric(i: usize) -> String {
    format!("cpu:{i:012}")
}

pub fn value(i: usize) -> String {
    Random(i as u64).value()
}

fn texts(n: usize, len: usize) -> Vec<String> {
    let mut random = Random(3);
    (0..n).map(|_| random.text(len)).collect()
}

/// Returns an object of 480 bytes.
fn object(i: usize) -> String {
    let mut random = Random(i as u64);
    let mut text = format!(
        r#"{{"name":"sd{i}","model":"{}","size":480103981056,"rotational":false,"mounted":true,"partitions":[{{"number":1,"size":1073741824,"type":"ef00"}},{{"number":2,"size":479030239232,"type":"8300"}}],"temperature":31.5,"firmware":"{}","serial":""#,
        random.text(20),
        random.text(8)
    );
    let rest = 480 - text.len() - 2;
    text += &random.text(rest);
    text += "\"}";
    text
}
