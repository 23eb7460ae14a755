//! The cost of commands: the server's CPU time per command compared with SET and other base rows. All rows of a section
//! are measured in one server, in turn over the rounds, so that a noisy machine disturbs all of them alike. Ratios are
//! of values from the same round.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Result;
use crate::host::{Host, folder, root};
use crate::load::{Clients, Random, Requests, TOTAL};
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::options::Options;
use crate::say;

/// The number of samples in one AGG.MSTAT.
const SAMPLES: usize = 100;

/// The number of known errors, and of objects.
const OBJECTS: usize = 1000;

/// Settings that fit the metrics of all rows.
pub const LARGE_LIMITS: &str = "max-series 20000000 max-memory 8gb";

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

/// What sends the commands.
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
                requests: Requests::build(batch, whole, |i| words(order[i % count])),
            },
        }
    }

    fn set(&self) -> Row {
        self.row("SET", self.names, |i| {
            line(&format!("SET {} 0123456789abcdef", key(i)))
        })
        .expecting(b"+OK")
    }

    fn stat(&self, name: &str, node: &str, diff: bool, tags: bool) -> Row {
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
    fn many(&self, name: &str, first: &str, diff: bool, order: &[usize]) -> Row {
        let command = |names: &mut dyn Iterator<Item = usize>| {
            let mut words = line(first);
            for i in names {
                words.push(metric(i));
                words.push(if diff { TOTAL.into() } else { value(i) });
            }
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
                }),
            },
        }
    }

    fn samples(&self) -> Vec<Row> {
        let at_most = [0.9, 0.9, 1.0, 1.0];
        let rows = [
            self.stat("AGG.STAT ABS", "abs", false, false),
            self.stat("AGG.STAT DIFF", "diff", true, false),
            self.stat("AGG.STAT ABS with TAGS", "abs-tags", false, true),
            self.stat("AGG.STAT DIFF with TAGS", "diff-tags", true, true),
        ];
        let mut rows: Vec<Row> = (rows.into_iter().zip(at_most))
            .map(|(row, most)| row.at_most(most))
            .collect();
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
            rows.push(row.expecting(b"*3\r\n:100\r\n:0\r\n*0\r\n").at_most(0.25));
        }
        rows
    }

    fn lines(&self) -> Vec<Row> {
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

    fn states(&self) -> Vec<Row> {
        let messages = texts(OBJECTS, 60);
        let error = |i: usize| {
            let mut words = vec!["AGG.ERROR".into(), "state".into(), messages[i].clone()];
            words.extend(line("FUNC read_sector FILE disk.c"));
            words
        };
        let bytes = error(0)[2..].iter().map(String::len).sum();
        let set_error = self.row("SET of an error's bytes", OBJECTS, |i| {
            vec!["SET".into(), format!("e{}", key(i)), "x".repeat(bytes)]
        });
        let objects: Vec<String> = (0..OBJECTS).map(object).collect();
        let set_object = self.row("SET of an object's bytes", OBJECTS, |i| {
            vec!["SET".into(), format!("o{}", key(i)), objects[i].clone()]
        });
        let reality = self
            .row("AGG.REALITY unchanged, 480 bytes", OBJECTS, |i| {
                let mut words = line(&format!("AGG.REALITY state disk{i:04} system.Disk"));
                words.push(objects[i].clone());
                words
            })
            .expecting(b":0\r\n");
        vec![
            set_error,
            self.row("AGG.ERROR known", OBJECTS, error)
                .beside("SET of an error's bytes")
                .at_most(1.2),
            set_object,
            reality.beside("SET of an object's bytes").at_most(1.2),
        ]
    }

    /// Builds the row of a loaded script that does the same job.
    fn script(&self, script: &redis::Script) -> Row {
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
    fn beside(mut self, base: &'static str) -> Row {
        self.base = base;
        self
    }

    fn at_most(mut self, target: f64) -> Row {
        self.target = Some(target);
        self
    }

    fn expecting(mut self, reply: &'static [u8]) -> Row {
        self.expected = reply;
        self
    }

    fn checked_by(name: &str, words: &[&'static str]) -> Row {
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

    fn run(&mut self, host: &Host, clients: &mut Clients, plan: &Plan) -> Result<Cost> {
        let commands = (plan.requests / self.share).max(1);
        let before = host.cpu()?;
        let (commands, wrong) = match &mut self.load {
            Load::Own { requests, .. } => {
                let replies = clients.run(requests, commands, self.expected)?;
                (replies.commands, (replies.wrong, replies.first_wrong))
            }
            Load::RedisBenchmark(words) => {
                redis_benchmark(host, words, plan)?;
                (plan.requests, Default::default())
            }
        };
        let ns = (host.cpu()? - before) as f64 / (commands * self.per) as f64;
        Ok(Cost { ns, wrong })
    }
}

struct Cost {
    ns: f64,
    wrong: (usize, String),
}

/// How many commands are sent, and how.
struct Plan {
    names: usize,
    requests: usize,
    rounds: usize,
    pipeline: usize,
    clients: usize,
}

/// Returns the rows of a section that are wanted, with their base rows.
fn wanted(options: &Options, section: &str, rows: Vec<Row>) -> Vec<Row> {
    let asked = |row: &Row| options.wants(section, &row.name);
    let bases: Vec<&str> = (rows.iter().filter(|row| asked(row)))
        .flat_map(|row| [row.base, row.name.as_str()])
        .collect();
    let keep: Vec<bool> = (rows.iter())
        .map(|row| bases.contains(&row.name.as_str()))
        .collect();
    (rows.into_iter().zip(keep))
        .filter_map(|(row, keep)| keep.then_some(row))
        .collect()
}

fn any_wanted(options: &Options, section: &str, rows: &[Row]) -> bool {
    rows.iter().any(|row| options.wants(section, &row.name))
}

/// Measures rows, in turn.
pub fn measure(
    host: &Host,
    options: &Options,
    section: &str,
    names: usize,
    rows: Vec<Row>,
) -> Result<Vec<Measurement>> {
    let mut rows = wanted(options, section, rows);
    let plan = Plan {
        names,
        requests: match section {
            // The AOF grows until the server stops.
            "aof" => options.requests() / 2,
            _ => options.requests(),
        },
        rounds: options.rounds(),
        pipeline: options.pipeline as usize,
        clients: options.clients as usize,
    };
    let mut clients = Clients::connect(host.port(), plan.clients)?;
    for row in &mut rows {
        say(&format!("{section}: warming up {}", row.name));
        if let Load::Own { warm_up, .. } = &mut row.load {
            let commands = warm_up.commands();
            clients.run(warm_up, commands, b"")?;
        }
    }
    let mut took: HashMap<String, Vec<f64>> = HashMap::new();
    let mut notes: HashMap<String, String> = HashMap::new();
    for round in 1..=plan.rounds {
        for row in &mut rows {
            say(&format!(
                "{section}: round {round} of {}, {}",
                plan.rounds, row.name
            ));
            match row.run(host, &mut clients, &plan) {
                Ok(Cost { ns, wrong }) => {
                    took.entry(row.name.clone()).or_default().push(ns);
                    if wrong.0 > 0 {
                        let note =
                            format!("{} replies were wrong, the first: {}", wrong.0, wrong.1);
                        notes.insert(row.name.clone(), note);
                    }
                }
                Err(error) if matches!(row.load, Load::RedisBenchmark(_)) => {
                    notes.insert(row.name.clone(), error.to_string());
                }
                Err(error) => return Err(format!("{}: {error}", row.name).into()),
            }
        }
    }
    let measurements = rows
        .iter()
        .map(|row| measurement(section, row, &took, &notes));
    Ok(measurements.collect())
}

fn measurement(
    section: &str,
    row: &Row,
    took: &HashMap<String, Vec<f64>>,
    notes: &HashMap<String, String>,
) -> Measurement {
    let note = notes.get(&row.name).cloned().unwrap_or_default();
    let values = took.get(&row.name).map_or(&[][..], Vec::as_slice);
    let Some(value) = Spread::of(values) else {
        return Measurement::missing(section, &row.name, &note);
    };
    let mut measurement =
        Measurement::new(section, &row.name, Unit::Nanoseconds, value).noting(note);
    if row.base == row.name {
        return measurement;
    }
    let ratios: Vec<f64> = (took.get(row.base).into_iter().flatten())
        .zip(values)
        .map(|(base, value)| value / base)
        .collect();
    if let Some(ratio) = Spread::of(&ratios) {
        measurement = measurement.beside(row.base, ratio);
    }
    measurement.target = row.target.map(Target::Ratio);
    measurement
}

/// Measures all commands in one server, without persistence.
pub fn plain(options: &Options, names: usize, is_first: bool) -> Result<Vec<Measurement>> {
    let section = format!("commands, {names} names");
    let script = redis::Script::new(include_str!("../stat.lua"));
    let builder = Builder { options, names };
    let mut rows = vec![
        builder.row("PING", 1, |_| line("PING")).expecting(b"+PONG"),
        builder.set(),
        builder.row("a do-nothing command", names, |i| {
            line(&format!("NOOP.STAT abs {} {}", metric(i), value(i)))
        }),
        builder.many(
            "a do-nothing command with 200 arguments, per 2",
            "NOOP.STAT abs VALUES",
            false,
            &Random(2).order(names),
        ),
    ];
    rows.extend(builder.samples());
    if is_first {
        rows.push(builder.script(&script));
        rows.extend(builder.lines());
        rows.extend(builder.states());
        rows.push(Row::checked_by(
            "SET",
            &["SET", "key:__rand_int__", "0123456789abcdef"],
        ));
        rows.push(Row::checked_by(
            "AGG.STAT ABS",
            &["AGG.STAT", "abs", "cpu:__rand_int__", "42.5"],
        ));
    }
    if !any_wanted(options, &section, &rows) {
        return Ok(Vec::new());
    }
    let noop = build_noop()?;
    let host = Host::start(&["--loadmodule", &noop.display().to_string()], LARGE_LIMITS)?;
    script.load(&mut host.connection())?;
    measure(&host, options, &section, names, rows)
}

/// Measures the commands that write, with an AOF that is synced every second.
pub fn with_aof(options: &Options) -> Result<Vec<Measurement>> {
    let names = options.names()[0];
    let builder = Builder { options, names };
    let mut rows = vec![builder.set()];
    rows.extend(builder.samples());
    rows.extend(builder.lines());
    rows.extend(builder.states());
    for row in &mut rows {
        row.target = row.target.map(|most| most * 1.3);
    }
    if !any_wanted(options, "aof", &rows) {
        return Ok(Vec::new());
    }
    // Without rewrites, which are no part of a command.
    let host = Host::start(
        &[
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--auto-aof-rewrite-percentage",
            "0",
        ],
        LARGE_LIMITS,
    )?;
    measure(&host, options, "aof", names, rows)
}

/// Compares with RedisTimeSeries in one server, with rules for the average and the maximum of 300 s and 3600 s.
pub fn beside_time_series(options: &Options) -> Result<Vec<Measurement>> {
    const SECTION: &str = "timeseries";
    const RULES: &str = "TS.ADD with four rules";
    // A series with rules takes more than 20,000 bytes.
    let names = options.names()[0].min(10_000);
    let builder = Builder { options, names };
    let add = |name: &str, prefix: &'static str| {
        let mut row = builder.row(name, names, move |i| {
            line(&format!("TS.ADD {prefix}:{} * {}", metric(i), value(i)))
        });
        row.share = 4;
        row.expected = b":";
        row
    };
    let rows = vec![
        builder.set(),
        add("TS.ADD without rules", "plain"),
        add(RULES, "ruled"),
        builder
            .stat("AGG.STAT ABS", "abs", false, false)
            .beside(RULES)
            .at_most(1.0 / 3.0),
        builder
            .stat("AGG.STAT DIFF with TAGS", "diff", true, true)
            .beside(RULES)
            .at_most(1.0 / 3.0),
    ];
    if !any_wanted(options, SECTION, &rows) {
        return Ok(Vec::new());
    }
    let Some((program, module)) = time_series()? else {
        let why = "RedisTimeSeries is not available: see scripts/servers.sh";
        return Ok(vec![Measurement::missing(SECTION, RULES, why)]);
    };
    let host = Host::start_by(&program, &["--loadmodule", &module], LARGE_LIMITS)?;
    create_series(&host, options, names)?;
    let mut measurements = measure(&host, options, SECTION, names, rows)?;
    let version = host.ask::<String>("INFO modules")?;
    let version = (version.lines())
        .find(|line| line.contains("name=timeseries"))
        .and_then(|line| line.split(',').find_map(|part| part.strip_prefix("ver=")))
        .unwrap_or("?");
    for measurement in measurements.iter_mut().filter(|f| f.name == RULES) {
        measurement.note = format!("{names} names, version {version}")
            + if measurement.note.is_empty() {
                ""
            } else {
                "; "
            }
            + &measurement.note;
    }
    Ok(measurements)
}

fn create_series(host: &Host, options: &Options, names: usize) -> Result<()> {
    let mut commands = Vec::new();
    for i in 0..names {
        let name = metric(i);
        commands.push(format!("TS.CREATE plain:{name} DUPLICATE_POLICY LAST"));
        commands.push(format!("TS.CREATE ruled:{name} DUPLICATE_POLICY LAST"));
        for (kind, window) in [("avg", 300), ("max", 300), ("avg", 3600), ("max", 3600)] {
            let to = format!("ruled:{name}:{kind}:{window}");
            commands.push(format!("TS.CREATE {to}"));
            let ms = window * 1000;
            commands.push(format!(
                "TS.CREATERULE ruled:{name} {to} AGGREGATION {kind} {ms}"
            ));
        }
    }
    let mut requests = Requests::build(options.pipeline as usize, commands.len(), |i| {
        line(&commands[i])
    });
    // On one connection, to keep the order.
    let replies = Clients::connect(host.port(), 1)?.run(&mut requests, commands.len(), b"+OK")?;
    match replies.wrong {
        0 => Ok(()),
        _ => Err(format!("creating series failed: {}", replies.first_wrong).into()),
    }
}

/// Returns a program that starts the server with the libraries that RedisTimeSeries needs, and the path of its module.
fn time_series() -> Result<Option<(String, String)>> {
    let libraries = root().join("target/servers/lib");
    let module = libraries.join("redistimeseries.so");
    if !module.exists() {
        return Ok(None);
    }
    let program = folder()?.join("server-with-libraries");
    let server = crate::host::server_program()?;
    let text = format!(
        "#!/bin/sh\nexec env LD_LIBRARY_PATH='{}' '{server}' \"$@\"\n",
        libraries.display()
    );
    std::fs::write(&program, text)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(Some((
        program.display().to_string(),
        module.display().to_string(),
    )))
}

fn build_noop() -> Result<PathBuf> {
    let to = folder()?.join("noop.so");
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&to)
        .arg(root().join("benches/noop.c"))
        .status()?;
    match status.success() {
        true => Ok(to),
        false => Err("building benches/noop.c failed".into()),
    }
}

fn redis_benchmark(host: &Host, words: &[&str], plan: &Plan) -> Result<()> {
    let numbers = [
        ("-p", usize::from(host.port())),
        ("-P", plan.pipeline),
        ("-c", plan.clients),
        ("-n", plan.requests),
        ("-r", plan.names),
    ];
    let status = Command::new("redis-benchmark")
        .args(
            numbers
                .iter()
                .flat_map(|(flag, n)| [flag.to_string(), n.to_string()]),
        )
        .arg("-q")
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("redis-benchmark: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("redis-benchmark failed".into()),
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
fn metric(i: usize) -> String {
    format!("cpu:{i:012}")
}

fn value(i: usize) -> String {
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
