//! Saved nodes are restored with an equal digest, all pending records, and open windows that still close.

mod aof;
mod crashes;
mod files;
mod windows;

use redis::{Connection, Value};
use testkit::*;

/// Saves at shutdown.
const RDB: [&str; 2] = ["--save", "3600 1000000"];

/// Like [`SYNCED_AOF`], but BGREWRITEAOF writes an RDB file.
const AOF_WITH_PREAMBLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

fn peek(connection: &mut Connection, node: &str, queue: &str) -> Vec<QueuedRecord> {
    queued_records(&ask(
        connection,
        &format!("AGG.PEEK {node} {queue} COUNT 10000"),
    ))
}

/// The state of a node that must survive.
#[derive(Debug, PartialEq)]
struct State {
    place: (u32, &'static str),
    digest: Vec<String>,
    /// Queue, id and content of pending records.
    waits: Vec<(String, i64, String)>,
    /// AGG.GET without the counters, which are not part of the value.
    metric: Vec<Value>,
    range: Value,
}

fn state(server: &Server, place: (u32, &'static str)) -> State {
    let (db, node) = place;
    let mut c = server.connection_to(db);
    let waits = QUEUES
        .iter()
        .flat_map(|queue| peek(&mut c, node, queue))
        .map(|record| (record.queue, record.id, record.text))
        .collect();
    let metric: Value = ask(&mut c, &format!("AGG.GET {node} METRIC cpu.load@0"));
    let fields = ["name", "type", "tags", "last", "at", "min", "hour"];
    State {
        place,
        digest: ask(&mut c, &format!("DEBUG DIGEST-VALUE {node}")),
        waits,
        metric: fields.map(|f| at(&metric, f).unwrap().clone()).into(),
        range: ask(&mut c, &format!("AGG.RANGE {node} cpu.load@0 HOUR")),
    }
}

/// Describes the first difference.
fn assert_same(before: &State, after: &State) {
    for (was, is) in before.waits.iter().zip(&after.waits) {
        assert_eq!(was, is);
    }
    assert_eq!(before.waits.len(), after.waits.len());
    assert_eq!(before.metric, after.metric);
    assert_eq!(before.range, after.range);
    assert_eq!(before, after);
}

/// Returns whether a window of the metric has closed.
fn closes(connection: &mut Connection, node: &str, metric: &str) {
    until(&format!("{node} closes the window of {metric}"), || {
        peek(connection, node, "MIN")
            .iter()
            .any(|record| record.json()["metric"] == metric)
            .then_some(())
    });
}

fn shut_down_and_restart(server: &mut Server) {
    server.shut_down();
    server.restart();
}

fn rewrite_aof(server: &Server) {
    let _: String = server.ask("BGREWRITEAOF");
    until("the AOF is rewritten", || {
        let info: String = server.ask("INFO persistence");
        let is = |line: &str| info.lines().any(|l| l == line);
        (is("aof_rewrite_in_progress:0") && is("aof_rewrite_scheduled:0")).then_some(())
    });
    let info: String = server.ask("INFO persistence");
    assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
}

/// Returns the contents of the AOF files with this suffix.
fn aof_files(server: &Server, ending: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(server.dir().join("appendonlydir")).unwrap() {
        let path = file.unwrap().path();
        if path.to_str().unwrap().ends_with(ending) {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}
