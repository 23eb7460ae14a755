//! The cost of draining: AGG.FETCH and AGG.ACK of 1000 records at once, compared with XREADGROUP and XACK of a stream
//! that holds the same texts.

use redis::Value;

use crate::fill::{MIN, Metrics, hours_ago};
use crate::host::Host;
use crate::load::{Clients, Random, Requests};
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::options::Options;
use crate::{Result, say};
use testkit::{QueuedRecord, list, queued_records};

const SECTION: &str = "drain";
const BATCH: usize = 1000;
const METRICS: usize = 1000;

/// The rows: name, queue, format, target.
const KINDS: [(&str, &str, &str, f64); 3] = [
    ("AGG.FETCH + AGG.ACK of MIN as JSON", "MIN", "JSON", 0.45),
    ("AGG.FETCH + AGG.ACK of MIN as LINE", "MIN", "LINE", 0.7),
    ("AGG.FETCH + AGG.ACK of LOG as JSON", "LOG", "JSON", 0.45),
];

/// Measures all rows.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    if !KINDS.iter().any(|(name, ..)| options.wants(SECTION, name)) {
        return Ok(Vec::new());
    }
    let host = Host::start(&[], "max-memory 2gb queue-log 64mb")?;
    let windows = if options.quick { 10 } else { 40 };
    let mut measurements = Vec::new();
    // Far in the past, so that each round has its own windows that have ended.
    let mut hour = hours_ago(24 * 365);
    for (name, queue, format, most) in KINDS {
        if !options.wants(SECTION, name) {
            continue;
        }
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for round in 1..=options.rounds() {
            say(&format!(
                "{SECTION}: round {round} of {}, {name}",
                options.rounds()
            ));
            crate::fill::take_all(&host, "node1")?;
            match queue {
                "LOG" => fill_log(&host, windows * METRICS)?,
                _ => fill_min(&host, windows, hour)?,
            }
            hour += 48 * crate::fill::HOUR;
            let (ns, texts) = fetch(&host, queue, format)?;
            let stream = read_stream(&host, &texts)?;
            bytes = texts.iter().map(String::len).sum::<usize>() / texts.len().max(1);
            ours.push(ns);
            theirs.push(stream);
            ratios.push(ns / stream);
        }
        let base = format!("XREADGROUP + XACK of the same {bytes} bytes");
        let [ours, theirs, ratio] = [ours, theirs, ratios].map(|values| Spread::of(&values));
        let (Some(ours), Some(theirs), Some(ratio)) = (ours, theirs, ratio) else {
            continue;
        };
        measurements.push(Measurement::new(SECTION, &base, Unit::Nanoseconds, theirs));
        measurements.push(
            Measurement::new(SECTION, name, Unit::Nanoseconds, ours)
                .beside(&base, ratio)
                .at_most(Target::Ratio(most)),
        );
    }
    Ok(measurements)
}

fn fill_min(host: &Host, windows: usize, first: i64) -> Result<()> {
    // One more closes the last window.
    let starts: Vec<i64> = (0..=windows as i64).map(|i| first + i * MIN).collect();
    let random = Random(first as u64);
    let (node, count) = ("node1", METRICS);
    Metrics {
        host,
        node,
        count,
        random,
    }
    .replay(&starts)
}

fn fill_log(host: &Host, lines: usize) -> Result<()> {
    let mut random = Random(4);
    let mut requests = Requests::build(64, lines, |_| {
        vec!["AGG.LOG".into(), "node1".into(), random.text(100)]
    });
    Clients::connect(host.port(), 8)?.run(&mut requests, lines, b":")?;
    Ok(())
}

/// Drains a queue. Returns nanoseconds per record, and the records.
fn fetch(host: &Host, queue: &str, format: &str) -> Result<(f64, Vec<String>)> {
    let mut connection = host.connection();
    let mut texts = Vec::new();
    let before = host.cpu()?;
    loop {
        let reply: Value = redis::cmd("AGG.FETCH")
            .arg(&["node1", queue, "FORMAT", format, "COUNT"])
            .arg(BATCH)
            .query(&mut connection)?;
        let taken = queued_records(&reply);
        if taken.is_empty() {
            break;
        }
        let ids: Vec<i64> = taken.iter().map(|entry| entry.id).collect();
        let removed: usize = redis::cmd("AGG.ACK")
            .arg(&["node1", queue])
            .arg(&ids)
            .query(&mut connection)?;
        if removed != ids.len() {
            return Err(format!("{} of {} were acknowledged", removed, ids.len()).into());
        }
        texts.extend(taken.into_iter().map(|QueuedRecord { text, .. }| text));
    }
    let ns = (host.cpu()? - before) as f64 / texts.len() as f64;
    Ok((ns, texts))
}

/// Adds texts to a stream and reads them by a group. Returns nanoseconds per text.
fn read_stream(host: &Host, texts: &[String]) -> Result<f64> {
    let _: Value = host.ask("DEL stream")?;
    let mut requests = Requests::build(64, texts.len(), |i| {
        let mut words = crate::rows::line("XADD stream * r");
        words.push(texts[i].clone());
        words
    });
    Clients::connect(host.port(), 1)?.run(&mut requests, texts.len(), b"$")?;
    let _: Value = host.ask("XGROUP CREATE stream pollers 0")?;
    let mut connection = host.connection();
    let mut taken = 0;
    let before = host.cpu()?;
    loop {
        let reply: Value = redis::cmd("XREADGROUP")
            .arg(&["GROUP", "pollers", "one", "COUNT"])
            .arg(BATCH)
            .arg(&["STREAMS", "stream", ">"])
            .query(&mut connection)?;
        if reply == Value::Nil {
            break;
        }
        let entries = list(&list(&list(&reply)[0])[1]);
        let ids: Vec<Value> = entries.iter().map(|entry| list(entry)[0].clone()).collect();
        let ids: Vec<String> = redis::from_redis_value(Value::Array(ids))?;
        let acknowledged: usize = redis::cmd("XACK")
            .arg(&["stream", "pollers"])
            .arg(&ids)
            .query(&mut connection)?;
        taken += acknowledged;
    }
    match taken == texts.len() {
        true => Ok((host.cpu()? - before) as f64 / taken as f64),
        false => Err(format!(
            "{taken} of {} entries were read from the stream",
            texts.len()
        )
        .into()),
    }
}
