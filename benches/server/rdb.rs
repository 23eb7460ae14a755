//! RDB: the CPU time of saving and loading a node of 200 MB, compared with as many bytes in strings of 200 bytes.

use std::time::{Duration, Instant};

use redis::Value;

use crate::fill::{HOUR, MIN, Metrics, hours_ago, take_all};
use crate::host::Host;
use crate::load::{Clients, Random, Requests};
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::memory::used;
use crate::options::Options;
use crate::{Result, say};

const SECTION: &str = "rdb";
const BYTES: f64 = 200e6;
const STRING: usize = 200;

/// The target: half the speed of strings.
const TIMES: f64 = 2.0;

/// Measures all rows.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    if !["save a node", "load a node"]
        .iter()
        .any(|name| options.wants(SECTION, name))
    {
        return Ok(Vec::new());
    }
    let wanted = if options.quick { BYTES / 8.0 } else { BYTES };
    say(&format!("{SECTION}: a node of {:.0} MB", wanted / 1e6));
    let mut node = Host::start(&[], "max-memory 8gb max-series 20000000")?;
    let (bytes, metrics) = fill_node(&node, wanted)?;
    let mut strings = Host::start(&[], "")?;
    fill_strings(&strings, (bytes / STRING as f64) as usize)?;
    let mut took: [Vec<f64>; 6] = Default::default();
    for round in 1..=options.rounds().min(3) {
        say(&format!("{SECTION}: round {round}"));
        let (save, load) = save_and_load(&mut node, "node1")?;
        let (string_save, string_load) = save_and_load(&mut strings, "")?;
        let all = [
            string_save,
            save,
            save / string_save,
            string_load,
            load,
            load / string_load,
        ];
        took.iter_mut()
            .zip(all)
            .for_each(|(values, value)| values.push(value));
    }
    let mb = bytes / 1e6;
    let file = std::fs::metadata(node.dir().join("dump.rdb"))?.len() as f64 / 1e6;
    let note = format!("{metrics} metrics with history, {mb:.0} MB, {file:.0} MB in the file");
    let mut measurements = Vec::new();
    for (what, values) in ["save", "load"].iter().zip(took.chunks(3)) {
        let [base, value, ratio] = [0, 1, 2].map(|i| Spread::of(&values[i]));
        let (Some(base), Some(value), Some(ratio)) = (base, value, ratio) else {
            continue;
        };
        let base_name = format!("{what} strings of 200 bytes, {mb:.0} MB");
        measurements.push(Measurement::new(
            SECTION,
            &base_name,
            Unit::Milliseconds,
            base,
        ));
        let name = format!("{what} a node of {mb:.0} MB");
        measurements.push(
            Measurement::new(SECTION, &name, Unit::Milliseconds, value)
                .beside(&base_name, ratio)
                .at_most(Target::Ratio(TIMES))
                .noting(note.clone()),
        );
    }
    Ok(measurements)
}

/// Metrics with their default history until the node has so many bytes; its bytes and metrics.
fn fill_node(host: &Host, wanted: f64) -> Result<(f64, usize)> {
    const FIRST: usize = 2_000;
    let first = hours_ago(30);
    let hours = (0..25).map(|i| first + i * HOUR);
    let minutes = (1..15).map(|i| first + 24 * HOUR + i * MIN);
    let starts: Vec<i64> = hours.chain(minutes).collect();
    let mut sized = FIRST;
    let before = used(host)?;
    let mut bytes = 0.0;
    // The first pass tells how many metrics are needed.
    for _ in 0..2 {
        let _: Value = host.ask("DEL node1")?;
        Metrics {
            host,
            node: "node1",
            count: sized,
            random: Random(6),
        }
        .replay(&starts)?;
        take_all(host, "node1")?;
        bytes = used(host)? - before;
        if bytes < wanted * 0.9 {
            sized = (sized as f64 * wanted / bytes) as usize;
        }
    }
    let info: Value = host.ask("AGG.INFO node1")?;
    Ok((bytes, testkit::int(&info, "metrics") as usize))
}

fn fill_strings(host: &Host, count: usize) -> Result<()> {
    let mut random = Random(7);
    let mut requests = Requests::build(64, count, |i| {
        vec!["SET".into(), format!("key:{i:012}"), random.text(STRING)]
    });
    Clients::connect(host.port(), 8)?.run(&mut requests, count, b"+OK")?;
    Ok(())
}

/// Returns the CPU milliseconds of SAVE, and of a start that loads the file. Checks that the node is unchanged.
fn save_and_load(host: &mut Host, node: &str) -> Result<(f64, f64)> {
    let digest = |host: &Host| -> Result<Vec<String>> {
        match node {
            "" => Ok(Vec::new()),
            node => host.ask(&format!("DEBUG DIGEST-VALUE {node}")),
        }
    };
    // The timer still closes the windows of the reports.
    let mut stored = digest(host)?;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(if node.is_empty() { 0 } else { 1 }));
        let before = std::mem::replace(&mut stored, digest(host)?);
        if stored == before {
            break;
        }
    }
    let before = host.cpu()?;
    let _: Value = redis::cmd("SAVE").query(&mut patient(host)?)?;
    let save = (host.cpu()? - before) as f64 / 1e6;
    let start = Instant::now();
    host.restart();
    let load = host.cpu()? as f64 / 1e6;
    if digest(host)? != stored {
        return Err("the node differs after it was loaded".into());
    }
    say(&format!(
        "loaded after {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok((save, load))
}

/// Opens a connection without a timeout.
fn patient(host: &Host) -> Result<redis::Connection> {
    let connection = host.connection();
    connection.set_read_timeout(None)?;
    Ok(connection)
}
