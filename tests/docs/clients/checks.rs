//! What the programs of a page have to do: `report` changes a server as the page shows, `drain` stores every record.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use super::*;

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// A running program, killed with its children when dropped.
struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    fn start(mut command: Command, output: PathBuf) -> Running {
        let file = std::fs::File::create(&output).unwrap();
        let errors = file.try_clone().unwrap();
        command.stdout(file).stderr(errors).process_group(0);
        let child = command.spawn().unwrap();
        Running { child, output }
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With the redis-cli that a script has started, which would stay blocked and consume records.
        let group = format!("kill -KILL -- -{}", self.child.id());
        let _ = Command::new("bash").args(["-c", &group]).status();
        let _ = self.child.wait();
    }
}

fn ran(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{command:?}: {out}{errors}");
    assert_eq!(errors, "", "{command:?}: {out}");
    out.into_owned()
}

pub fn report_does_what_it_shows(server: &Server, page: &Page, command: Command) {
    // Both samples have to fall into one window.
    until("the window has some seconds left", || {
        let left = 300_000 - now_ms() % 300_000;
        (left > 10_000).then_some(())
    });
    let output = ran(command);
    assert_eq!(timeless(&output), timeless(&page.output), "{output}");

    let gauge: Value = server.ask("AGG.GET node1 METRIC queue.length");
    assert_eq!(text(&gauge, "type"), "ABS");
    assert_eq!(
        (text(&gauge, "last"), int(&gauge, "samples")),
        ("19".into(), 2)
    );
    let tags = at(&gauge, "tags").unwrap();
    assert_eq!(
        (text(tags, "app"), text(tags, "host")),
        ("shop".into(), "web1".into())
    );
    for (name, total) in [("net.rx@eth0", "123456"), ("net.tx@eth0", "65432")] {
        let counter: Value = server.ask(&format!("AGG.GET node1 METRIC {name}"));
        assert_eq!(text(&counter, "type"), "DIFF");
        assert_eq!(text(&counter, "last"), total);
        assert_eq!(text(at(&counter, "tags").unwrap(), "unit"), "bytes");
    }
    let load: Value = server.ask("AGG.GET node1 METRIC cpu.load");
    assert_eq!((double(&load, "last"), int(&load, "samples")), (0.5, 1));
    let [line] = &server.peek("node1", "LOG")[..] else {
        panic!("one line");
    };
    assert_eq!(line["message"], "backup finished");
    assert_eq!(line["level"], 3);
    assert_eq!(line["tags"]["job"], "nightly");
    let [error] = &server.peek("node1", "ERROR")[..] else {
        panic!("one error");
    };
    assert_eq!(error["message"], "disk sda: read failed");
    for (field, value) in [
        ("type", "OPS"),
        ("code", "EIO"),
        ("file", "disk.c"),
        ("func", "read_block"),
    ] {
        assert_eq!(error[field], value);
    }
    let [object] = &server.peek("node1", "REALITY")[..] else {
        panic!("one object");
    };
    assert_eq!(
        (&object["key"], &object["model"]),
        (&"sda".into(), &"system.Disk".into())
    );
    assert_eq!(
        object["json"],
        serde_json::json!({"size": 480103981056_u64, "mounted": true})
    );
}

/// Masks ids and times, which are numbers of 13 digits or more.
fn timeless(text: &str) -> String {
    let mut plain = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        plain.push_str(if digits.len() < 13 { &digits } else { "TIME" });
        digits.clear();
        plain.push(c);
    }
    plain.trim_end().to_owned()
}

/// Returns the records in the queues, leased or not.
fn waiting(server: &Server) -> i64 {
    let length = |queue: &&str| of_queue(server, "node1", queue, "length");
    QUEUES.iter().map(length).sum()
}

pub fn drain_keeps_what_it_cannot_store(server: &Server, dir: &Path, command: Command) {
    let before = waiting(server);
    // Here no record can be written.
    let records = dir.join("records.jsonl");
    std::fs::create_dir(&records).unwrap();
    let drain = Running::start(command, dir.join("kept.txt"));
    until("it has tried all", || {
        let kept = |line: &&str| line.starts_with("kept ") && line.contains("delivered 1 times");
        let output = drain.output();
        (output.lines().filter(kept).count() as i64 == before).then_some(())
    });
    drop(drain);
    std::fs::remove_dir(&records).unwrap();
    assert_eq!(waiting(server), before);
    // The leases would expire in half a minute.
    for record in QUEUES.iter().flat_map(|queue| ids(server, queue)) {
        let _: i64 = server.ask(&format!("AGG.NACK node1 {record}"));
    }
}

pub fn drain_stores_and_continues(server: &mut Server, dir: &Path, command: Command) {
    let mut expected: Vec<String> = QUEUES.iter().flat_map(|queue| ids(server, queue)).collect();
    assert!(expected.len() >= 3);
    let drain = Running::start(command, dir.join("stored.txt"));
    let stored = || -> Vec<String> {
        let records = std::fs::read_to_string(dir.join("records.jsonl")).unwrap_or_default();
        let id = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", record["queue"].as_str().unwrap(), record["id"])
        };
        records.lines().map(id).collect()
    };
    let all_is_stored = |expected: &[String], server: &Server| {
        let what = format!("{expected:?} is stored, acknowledged and printed");
        until(&what, || {
            // A line may be half written.
            let records = std::fs::read_to_string(dir.join("records.jsonl")).unwrap_or_default();
            let done = records.lines().count() >= expected.len() && records.ends_with('\n');
            (done && waiting(server) == 0).then_some(())
        });
        assert_eq!(stored(), expected);
        until("it has printed so", || {
            let output = drain.output();
            let printed = output
                .lines()
                .filter_map(|line| line.strip_prefix("stored "));
            printed.eq(expected).then_some(())
        });
    };
    all_is_stored(&expected, server);

    // It blocks and takes what comes.
    let id: i64 = server.ask("AGG.LOG node1 later");
    expected.push(format!("LOG {id}"));
    all_is_stored(&expected, server);

    // The server goes down with all its data and restarts.
    server.restart();
    let id: i64 = server.ask("AGG.LOG node1 again");
    expected.push(format!("LOG {id}"));
    all_is_stored(&expected, server);
}

/// Returns the records in a queue, as `LOG 1795615197776228`.
fn ids(server: &Server, queue: &str) -> Vec<String> {
    let reply: Value = server.ask(&format!("AGG.PEEK node1 {queue}"));
    let name = |record: &QueuedRecord| format!("{queue} {}", record.id);
    queued_records(&reply).iter().map(name).collect()
}

/// With memory for one metric: the first sample of the second metric is reported and dropped, the others are stored.
pub fn report_says_which_samples_do_not_fit(server: &Server, command: Command) {
    let _: String = server.ask("FLUSHALL");
    let _: String = server.ask("CONFIG SET agg.max-series 1");
    let output = ran(command);
    let full: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("full: AGGFULL AGG.STAT: cannot create metric 'cpu.load'"))
        .collect();
    assert_eq!(full.len(), 1, "{output}");
    let info: Value = server.ask("AGG.INFO node1");
    assert_eq!(int(&info, "metrics"), 1);
    let gauge: Value = server.ask("AGG.GET node1 METRIC queue.length");
    assert_eq!(int(&gauge, "samples"), 2);
    assert_eq!(waiting(server), 3);
}

pub fn recorder_loses_no_report(server: &Server, command: Command) {
    let _: String = server.ask("FLUSHALL");
    let _: String = server.ask("CONFIG SET agg.max-series 20000");
    let output = ran(command);
    assert!(
        output.starts_with("Counts(sent=7, late=0, dropped={}, waiting=0, failures=0"),
        "{output}"
    );
    for (name, kind) in [
        ("orders", "INC"),
        ("queue.length", "ABS"),
        ("sessions", "ABS"),
    ] {
        let metric: Value = server.ask(&format!("AGG.GET node1 METRIC {name}"));
        assert_eq!(text(&metric, "type"), kind, "{name}");
    }
    for name in ["order.items", "http.ms"] {
        let windows: Vec<Value> = server.ask(&format!("AGG.RANGE node1 {name} MIN"));
        assert!(at(&windows[0], "p99").is_some(), "{name}: {windows:?}");
    }
    assert_eq!(waiting(server), 2);
}

pub fn reports_reach_both_halves_of_a_cluster(page: &Page, dir: &Path, command: Command) {
    let arguments = ["--cluster-enabled", "yes"];
    let halves = [(0, 8191), (8192, 16383)].map(|(first, last)| {
        let half = Server::with_module(&arguments, "").expect("as before");
        let _: String = half.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        half
    });
    let _: String = halves[0].ask(&format!("CLUSTER MEET 127.0.0.1 {}", halves[1].port));
    for half in &halves {
        until("the cluster is whole", || {
            let info: String = half.ask("CLUSTER INFO");
            let nodes: String = half.ask("CLUSTER NODES");
            let known = nodes.lines().filter(|line| line.contains("connected"));
            (info.contains("cluster_state:ok") && known.count() == 2).then_some(())
        });
    }
    page.write(halves[0].port, dir);
    ran(command);
    let mut all = Vec::new();
    for half in &halves {
        let (_, nodes): (u64, Vec<String>) = half.ask("SCAN 0 COUNT 1000 TYPE aggr-node");
        assert!(!nodes.is_empty(), "{nodes:?}");
        for node in &nodes {
            let metric: Value = half.ask(&format!("AGG.GET {node} METRIC queue.length"));
            assert_eq!(int(&metric, "samples"), 1, "{node}");
        }
        all.extend(nodes);
    }
    all.sort();
    assert_eq!(all, ["node1", "node2", "node3", "node4"]);
}
