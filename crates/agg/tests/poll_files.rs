//! `agg poll` and files: rotated, compressed and shared; and tags that a route changes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::place::{Id, Place, id, left, log, settings, until_empty};
use crate::support::{Server, past_hour, until};

/// Returns the lines of all files of this name, including rotated ones, plain or compressed.
fn all_lines(place: &Place, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for file in std::fs::read_dir(place.path("")).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let text = match file_name(&path) {
            other if !other.starts_with(name) => continue,
            other if other.ends_with(".zst") => zstd::decode_all(&bytes[..]).unwrap(),
            other if other.ends_with(".gz") => crate::support::stub::gunzip(&bytes),
            _ => bytes,
        };
        lines.extend(String::from_utf8(text).unwrap().lines().map(str::to_owned));
    }
    lines
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Returns settings that send logs to the file `out`, with more settings of the sink.
fn rotated(more: &str) -> String {
    format!(
        "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"records\"]\n[sink.records]\ntype = \"file\"\n\
         path = \"{{dir}}/out\"\n{more}\n"
    )
}

#[test]
fn two_pollers_share_files_that_are_rotated_and_compressed() {
    let Some(server) = Server::start() else {
        return;
    };
    let rest = rotated("rotate = \"50kb\"\nrotate-every = \"1s\"\ncompress = \"zstd\"");
    // Long, so that nothing is redelivered on a slow machine.
    let head = settings(&server, &rest).replace("lease = \"1s\"", "lease = \"30s\"");
    let place = Place::new(&head);
    // Left by a crash.
    std::fs::write(
        place.path("out.1"),
        "{\"node\":\"old\",\"queue\":\"LOG\",\"id\":1}\n",
    )
    .unwrap();
    std::fs::write(place.path("out.1.zst.tmp"), "half").unwrap();
    let mut pollers = [place.start(), place.start()];
    let mut all = BTreeSet::new();
    // One after the other: records that come together are written together.
    for _ in 0..6 {
        all.extend(log(&server, &["n1", "n2"], 500, &"x".repeat(200)));
        until_empty(&server, &["n1", "n2"], "LOG");
    }
    until("all that was moved aside is compressed", || {
        let files = std::fs::read_dir(place.path("")).unwrap();
        let names: Vec<String> = files
            .map(|file| file_name(&file.unwrap().path()).to_owned())
            .filter(|name| name.starts_with("out."))
            .collect();
        let done = names.iter().all(|name| name.ends_with(".zst"));
        (done && names.len() > 4).then_some(())
    });
    for poller in &mut pollers {
        assert_eq!(poller.end_by("TERM").code(), Some(0));
    }
    let ids: Vec<Id> = all_lines(&place, "out")
        .iter()
        .map(|line| id(line))
        .collect();
    let once: BTreeSet<Id> = ids.iter().cloned().collect();
    all.insert(("old".into(), "LOG".into(), 1));
    assert_eq!(once, all);
    assert_eq!(ids.len(), once.len());
}

#[test]
fn route_changes_tags_in_both_formats() {
    let Some(server) = Server::start() else {
        return;
    };
    let rest = r#"
[[route]]
queues = ["MIN"]
include = ["web*"]
add-tags = { dc = "berlin", rack = "r 1" }
rename-tags = { dim = "dimension" }
drop-tags = ["node"]
sinks = ["json", "line"]

[[route]]
queues = ["MIN"]
sinks = ["json", "line"]

[sink.json]
type = "file"
path = "{dir}/json"

[sink.line]
type = "file"
path = "{dir}/line"
format = "line"
"#;
    let place = Place::new(&settings(&server, rest));
    let start = past_hour();
    let nodes = ["web1", "db1"];
    for node in nodes {
        for at in [start, start + 300_000] {
            let at = at.to_string();
            let mut words: Vec<&[u8]> = vec![b"AGG.STAT", node.as_bytes(), b"load@0", b"1.5"];
            let tags = b"dim:x rack:mine node:theirs";
            words.extend([b"TAGS", &tags[..], b"AT", at.as_bytes()]);
            let _: i64 = server.send(&words);
        }
    }
    until("the windows close", || {
        (left(&server, &nodes, "MIN") == 4).then_some(())
    });
    let mut before: Vec<Value> = nodes
        .iter()
        .flat_map(|node| server.peek(node, "MIN"))
        .collect();
    let mut running = place.start();
    until_empty(&server, &nodes, "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    for record in &mut before {
        if record["node"] == "web1" {
            // The tag of the sample is kept.
            record["tags"] = json!({"dimension": "x", "rack": "mine", "dc": "berlin"});
        }
    }
    let after = place.lines("json");
    let mut after: Vec<Value> = after
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for records in [&mut before, &mut after] {
        records.sort_by_key(|record| (record["node"].to_string(), record["id"].as_i64()));
    }
    assert_eq!(after, before);
    let lines = place.lines("line");
    let count = |head: &str| lines.iter().filter(|line| line.starts_with(head)).count();
    assert_eq!(lines.len(), 4);
    let web = "load,dc=berlin,dimension=x,instance=0,node=web1,rack=mine,window=300s avg=1.5,";
    assert_eq!(count(web), 2, "{lines:?}");
    let db = "load,dim=x,instance=0,node=db1,node_=theirs,rack=mine,window=300s avg=1.5,";
    assert_eq!(count(db), 2, "{lines:?}");
}

#[test]
fn poller_killed_while_compressing_loses_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let rest = rotated("rotate = \"20kb\"\ncompress = \"gzip\"");
    let place = Place::new(&settings(&server, &rest));
    let mut all = BTreeSet::new();
    let files = || -> Vec<String> {
        let files = std::fs::read_dir(place.path("")).unwrap();
        let names = files.map(|file| file_name(&file.unwrap().path()).to_owned());
        names.filter(|name| name.starts_with("out")).collect()
    };
    for round in 0..6 {
        all.extend(log(&server, &["n1", "n2"], 1000, &"x".repeat(300)));
        let count = files().len();
        let mut poller = place.start();
        until("something is moved aside", || {
            (files().len() > count).then_some(())
        });
        // At another moment each time.
        std::thread::sleep(std::time::Duration::from_millis(3 * round));
        poller.0.kill().unwrap();
        poller.wait();
    }
    let mut poller = place.start();
    // So that it is at work before the signal, although the crashes may have left nothing to do.
    all.extend(log(&server, &["n1"], 500, "x"));
    until_empty(&server, &["n1", "n2"], "LOG");
    until("what the crashes left is finished", || {
        let names = files();
        let mut asides = names.iter().filter(|name| *name != "out");
        asides.all(|name| name.ends_with(".gz")).then_some(())
    });
    assert_eq!(poller.end_by("TERM").code(), Some(0));
    let ids: BTreeSet<Id> = all_lines(&place, "out")
        .iter()
        .map(|line| id(line))
        .collect();
    assert_eq!(ids, all);
}
