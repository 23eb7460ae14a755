//! The documented upgrade of a running pair loses nothing. The commands of the page run while programs report and a
//! poller drains; every acknowledged write is in the poller's file afterwards. One module stands for the old and the
//! new version.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value as Json;

use crate::page::{self, Step};
use crate::session::Session;
use testkit::*;

/// A poller that ends with the test.
struct Poller(Child);

impl Drop for Poller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reports to the primary of the two until stopped. Returns the log entries and the last total of the counter that were
/// acknowledged.
fn report(
    ports: [u16; 2],
    ends: &AtomicBool,
    reported: &Mutex<BTreeMap<String, i64>>,
) -> (u64, i64) {
    let (mut n, mut total, mut at) = (0, 0, 0);
    while !ends.load(Relaxed) {
        let Some(mut connection) = connect(ports[at]) else {
            at = 1 - at;
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        while !ends.load(Relaxed) {
            let line = format!("line {n}");
            let id: redis::RedisResult<i64> = redis::cmd("AGG.LOG")
                .arg("node1")
                .arg(&line)
                .query(&mut connection);
            let Ok(id) = id else { break };
            reported.lock().unwrap().insert(line, id);
            n += 1;
            let counted: redis::RedisResult<i64> = redis::cmd("AGG.ERROR")
                .arg("node1")
                .arg("disk sda: read failed")
                .query::<(String, i64)>(&mut connection)
                .map(|(_, occurrences)| occurrences);
            let Ok(occurrences) = counted else { break };
            assert!(occurrences > total, "{occurrences} after {total}");
            total = occurrences;
            std::thread::sleep(Duration::from_millis(1));
        }
        at = 1 - at;
    }
    (n, total)
}

fn connect(port: u16) -> Option<redis::Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let connection = client.get_connection_with_timeout(Duration::from_secs(1));
    let connection = connection.ok()?;
    connection
        .set_read_timeout(Some(Duration::from_secs(300)))
        .unwrap();
    Some(connection)
}

#[test]
fn upgrade_loses_no_acknowledged_write() {
    let Some(session) = Session::new(free_port()) else {
        return;
    };
    let text = page::read("docs/operations.md");
    let steps = page::steps(page::section(&text, "## Upgrade of a pair"));
    let last: Vec<&Step> = steps.iter().rev().take(1).collect();
    assert!(last[0].command.contains("7781"), "{}", last[0].command);
    let ports = [session.port(7781), session.port(7782)];
    let records = session.dir().join("pair.jsonl");
    let file = session.dir().join("pair.toml");
    let sources: String = ports
        .iter()
        .map(|port| format!("[[source]]\nurls = [\"redis://127.0.0.1:{port}\"]\n"))
        .collect();
    let config = format!(
        "lease = \"2s\"\n{sources}[[route]]\nqueues = [\"LOG\", \"ERROR\"]\nsinks = [\"all\"]\n\
         [sink.all]\ntype = \"file\"\npath = {records:?}\n"
    );
    std::fs::write(&file, config).unwrap();
    let poller = Command::new(page::root().join("target/debug/agg"))
        .args(["poll", "--config"])
        .arg(&file)
        .current_dir(session.dir())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let poller = Poller(poller);
    let (ends, reported) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    let (lines, occurrences) = std::thread::scope(|scope| {
        let guard = FlagOnDrop::new(&ends, true);
        let reporter = scope.spawn(|| report(ports, &ends, &reported));
        // The servers end with the session, which ends when this returns, so their data is read before.
        session.run_and("docs/operations.md", &steps, || {
            std::thread::sleep(Duration::from_millis(500));
            drop(guard);
            until("all lines are in the file", || {
                let reported = reported.lock().unwrap();
                let taken = taken(&records);
                reported
                    .iter()
                    .all(|(line, id)| taken.get(line).is_some_and(|ids| ids.contains(id)))
                    .then_some(())
            });
        });
        reporter.join().unwrap()
    });
    drop(poller);
    let taken = taken(&records);
    // A report whose connection broke may have been accepted without a reply, and was then sent again.
    let ids: usize = taken.values().map(Vec::len).sum();
    eprintln!("{lines} lines answered, {ids} ids in the file, {occurrences} occurrences");
    assert!(lines > 500, "only {lines} lines were reported");
    assert!(ids as u64 <= lines + 10, "{ids} ids for {lines} lines");
}

/// Returns the log entries in the poller's file with their ids.
fn taken(path: &std::path::Path) -> BTreeMap<String, Vec<i64>> {
    let mut taken: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    for record in text
        .lines()
        .filter_map(|l| serde_json::from_str::<Json>(l).ok())
    {
        if let (Some(line), Some(id)) = (record["message"].as_str(), record["id"].as_i64())
            && record["queue"] == "LOG"
        {
            let ids = taken.entry(line.to_owned()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    taken
}
