//! The cost of commands: the server's CPU time per command compared with SET and other base rows. All rows of a section
//! are measured in one server, in turn over the rounds, so that a noisy machine disturbs all of them alike. Ratios are
//! of values from the same round.

use crate::Result;
use crate::host::{Host, folder, root};
use crate::load::{Clients, Random};
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::options::Options;
use crate::rows::{Builder, Load, NOTHING, Row, line, metric, value};
use crate::say;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Settings that fit the metrics of all rows.
pub const LARGE_LIMITS: &str = "max-series 20000000 max-memory 8gb";

struct Cost {
    ns: f64,
    wrong: (usize, String),
}

/// The number of commands, and the way they are sent.
struct Plan {
    names: usize,
    requests: usize,
    rounds: usize,
    pipeline: usize,
    clients: usize,
}

impl Row {
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

pub fn any_wanted(options: &Options, section: &str, rows: &[Row]) -> bool {
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
        builder.row(NOTHING, names, |i| {
            line(&format!("NOOP.STAT abs {} {}", metric(i), value(i)))
        }),
        builder.many(
            "a do-nothing command with 200 arguments, per 2",
            "NOOP.STAT abs VALUES",
            false,
            &Random(2).order(names),
        ),
    ];
    rows.extend(builder.samples().into_iter().map(|row| goal(row, is_first)));
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

/// Sets the target of a row of samples. Where waiting for memory dominates, which SET does alike, that is beside SET;
/// with few metrics, whose commands wait little, beside a command that does nothing.
fn goal(row: Row, has_many_names: bool) -> Row {
    match (row.name.as_str(), has_many_names) {
        ("AGG.STAT ABS", true) => row.at_most(0.95),
        ("AGG.STAT DIFF with TAGS", true) => row.at_most(1.15),
        ("AGG.MSTAT of 100 DIFF, per sample", true) => row.at_most(0.2),
        ("AGG.STAT ABS", false) => row.beside(NOTHING).at_most(1.7),
        _ => row,
    }
}

/// Measures the commands that write, with an AOF that is synced every second.
pub fn with_aof(options: &Options) -> Result<Vec<Measurement>> {
    let names = options.names()[0];
    let builder = Builder { options, names };
    let mut rows = vec![builder.set()];
    rows.extend((builder.samples().into_iter()).map(|row| goal(row, true)));
    rows.extend(builder.lines());
    for row in &mut rows {
        row.target = row.target.map(|most| most * 1.3);
    }
    // A command that does nothing writes nothing to the AOF, so it is no measure here.
    rows.extend(builder.states().into_iter().filter_map(|mut row| {
        row.target = None;
        row.name.starts_with("AGG.").then(|| row.beside("SET"))
    }));
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
