//! The speed at which `agg poll` drains one server whose queue is full, as line protocol into a file, on a machine
//! that it shares with the server; beside it a loop in Python that does the same.
//!
//! `cargo bench -p agg --bench poll [-- RECORDS]`, a million by default. Each run ends with a check of the output:
//! it contains every record once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::Server;

const METRICS: usize = 50_000;
/// Samples in one AGG.MSTAT.
const PART: usize = 500;
/// Ticks of /proc's clock in a second, on every Linux.
const TICKS: f64 = 100.0;

/// Starts a program that drains a server into a file.
type Start = dyn Fn(&Server, &Path) -> Child;

fn main() {
    let given = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let count: usize = given.unwrap_or(1_000_000);
    let windows = count.div_ceil(METRICS);
    let count = windows * METRICS;
    // The last windows stay open: windows that are not counted must not close during a run.
    let settings = "max-memory 8gb max-series 100000 queue-min 6gb min-history 0 hour-history 0 \
                    flush-delay-ms 900000";
    let Some(server) = Server::with_settings(settings) else {
        std::process::exit(1);
    };
    println!("{count} records of {METRICS} metrics with two tags, one server, one node");
    let mut rounds: Vec<(&str, Box<Start>)> = Vec::new();
    rounds.push(("agg poll, LINE to a file", Box::new(poll)));
    rounds.push(("agg poll, LINE to a file", Box::new(poll)));
    rounds.push(("agg poll, LINE to a file", Box::new(poll)));
    match python() {
        Some(path) => rounds.push((
            "a loop in Python",
            Box::new(move |server, out| plain(server, out, count, &path)),
        )),
        None => println!("without redis-py no comparison: python3 -m pip is needed"),
    }
    for (round, (name, start)) in rounds.into_iter().enumerate() {
        let () = server.ask("FLUSHALL");
        fill(&server, round, windows);
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let before = cpu(server.pid());
        let begin = Instant::now();
        let mut child = start(&server, &out);
        let mut connection = server.connection();
        loop {
            let left: redis::Value = testkit::ask(&mut connection, "AGG.INFO n1");
            let queues = testkit::at(&left, "queues").unwrap();
            if testkit::int(testkit::at(queues, "MIN").unwrap(), "length") == 0 {
                break;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(300),
                "it takes for ever"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let took = begin.elapsed().as_secs_f64();
        let (ours, servers) = (cpu(child.id()), cpu(server.pid()) - before);
        let peak = peak(child.id());
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
        let text = std::fs::read(&out).unwrap();
        check(&text, count);
        println!(
            "{name}: {:.0} records/s ({took:.2} s; CPU for each record: server {:.2} µs, poller {:.2} µs; \
             poller's memory at most {peak} MB; {} MB written)",
            count as f64 / took,
            servers * 1e6 / count as f64,
            ours * 1e6 / count as f64,
            text.len() >> 20
        );
    }
}

/// Closes so many windows of all metrics.
fn fill(server: &Server, round: usize, windows: usize) {
    let hour = 3_600_000;
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as usize;
    let start = (now / hour - 100 * (round + 1)) * hour;
    let mut connection = server.connection();
    for window in 0..=windows {
        let at = start + window * 300_000;
        let mut pipe = redis::pipe();
        for first in (0..METRICS).step_by(PART) {
            let command = pipe.cmd("AGG.MSTAT").arg("n1");
            command.arg("TAGS").arg("dim:iops location:berlin");
            command.arg("AT").arg(at).arg("VALUES");
            for metric in first..first + PART {
                let value = (metric * 37 + window * 11) % 1000;
                command.arg(format!("disk.iops@sd{metric}"));
                command.arg(format!("{}.{}", value, window % 10));
            }
            command.ignore();
        }
        let () = pipe.query(&mut connection).unwrap();
    }
}

fn poll(server: &Server, out: &Path) -> Child {
    let dir = out.parent().unwrap();
    let settings = dir.join("poller.toml");
    let text = format!(
        "dead-letters = {:?}\n[[source]]\nurls = [\"{}\"]\n[[route]]\nqueues = [\"MIN\"]\nsinks = [\"out\"]\n\
         [sink.out]\ntype = \"file\"\nformat = \"line\"\npath = {out:?}\n",
        dir.join("dead"),
        server.url()
    );
    std::fs::write(&settings, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_agg"))
        .arg("poll")
        .arg("--config")
        .arg(&settings)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn plain(server: &Server, out: &Path, count: usize, packages: &Path) -> Child {
    Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/drain.py"))
        .args([&server.port.to_string(), "n1"])
        .arg(out)
        .arg(count.to_string())
        .env("PYTHONPATH", packages)
        .spawn()
        .unwrap()
}

/// The folder in which redis-py is, fetched if need be.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench/python");
    if !folder.join("redis").exists() {
        let fetched = Command::new("python3")
            .args(["-m", "pip", "install", "-q", "--target"])
            .arg(&folder)
            .arg("redis")
            .status();
        fetched.ok().filter(std::process::ExitStatus::success)?;
    }
    Some(folder)
}

/// Every record once: a metric's windows differ in their start.
fn check(text: &[u8], count: usize) {
    let mut seen = HashSet::with_capacity(count);
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let series = line.split(|byte| *byte == b' ').next().unwrap();
        let start = line.rsplit(|byte| *byte == b' ').next().unwrap();
        assert!(seen.insert((series, start)), "written twice");
    }
    assert_eq!(seen.len(), count, "records");
}

/// CPU time of a process so far, seconds; 0 where it has ended.
fn cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| -> f64 {
        fields
            .get(index)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / TICKS
}

/// The maximum resident memory of a process, MB; 0 where it has ended.
fn peak(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok())
        .map_or(0, |kb: u64| kb >> 10)
}
