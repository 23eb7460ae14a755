//! The promise of docs/stability.md for data: this version reads what older versions wrote. The directories beside this
//! file are named after the versions that wrote them and never change: `dump` is a node by DUMP, `rdb` the RDB file of
//! its server, `aof` the commands that made it as in the AOF of its server, `held.json` its contents.
//!
//! Each version has its own directory: `AGG_WRITE_STABLE=1 cargo test --test main stable::` writes missing ones.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;

use serde_json::Value as Json;
use testkit::*;

const QUEUES: [&str; 5] = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];

/// Long ago, so that the windows close; a full hour.
const START: i64 = 1_704_103_200_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stable")
}

fn file(version: &str, name: &str) -> PathBuf {
    folder().join(version).join(name)
}

/// Converts a reply to JSON.
fn plain(reply: &redis::Value) -> Json {
    match reply {
        redis::Value::Int(number) => (*number).into(),
        redis::Value::BulkString(text) => String::from_utf8(text.clone()).unwrap().into(),
        redis::Value::Array(parts) => parts.iter().map(plain).collect(),
        other => panic!("{other:?}"),
    }
}

/// Returns the contents of a node as its users see them.
fn held(server: &Server) -> Json {
    let mut held = serde_json::Map::new();
    for queue in QUEUES {
        let mut records = server.peek("n", queue);
        // A field that 0.1.0 did not have.
        for record in &mut records {
            if let Some(level) = record["level"].as_u64() {
                let severity = record.as_object_mut().unwrap().remove("severity");
                assert_eq!(
                    severity.unwrap(),
                    aggregator_protocol::level::severity(level as u8)
                );
            }
        }
        held.insert(queue.into(), records.into());
    }
    for metric in ["load", "bytes"] {
        // Counts of samples or restarts are not saved.
        for field in ["type", "last", "tags"] {
            let value = server.field(&format!("AGG.GET n METRIC {metric}"), field);
            held.insert(format!("{metric} {field}"), plain(&value.unwrap()));
        }
        for window in ["MIN", "HOUR"] {
            let range: redis::Value = server.ask(&format!("AGG.RANGE n {metric} {window}"));
            held.insert(format!("{metric} {window}"), plain(&range));
        }
    }
    let error: redis::Value = server.ask("AGG.GET n ERROR E42");
    held.insert("occurrences".into(), int(&error, "occurrences").into());
    held.insert("message".into(), text(&error, "message").into());
    held.into()
}

/// Every kind of data of a node, and every way in which it is added and removed.
fn fill(server: &Server) {
    let mut c = server.connection();
    let mut tell = |words: &[&str]| {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let _: redis::Value = send(&mut c, &words).unwrap();
    };
    for i in 0..30_i64 {
        let at = (START + i * 60_000).to_string();
        let (load, bytes) = (format!("{}.25", i % 7), (i % 20 * 1_000).to_string());
        tell(&[
            "AGG.STAT",
            "n",
            "load",
            &load,
            "TAGS",
            "unit:one rack:a1",
            "AT",
            &at,
        ]);
        tell(&[
            "AGG.MSTAT",
            "n",
            "DIFF",
            "AT",
            &at,
            "VALUES",
            "bytes",
            &bytes,
            "b@sda",
            &bytes,
        ]);
        tell(&[
            "AGG.LOG",
            "n",
            &format!("line {i} \"ä\"\n"),
            "LEVEL",
            "3",
            "TAGS",
            "job:x",
            "AT",
            &at,
        ]);
        tell(&[
            "AGG.ERROR",
            "n",
            "it failed",
            "KEY",
            "E42",
            "TYPE",
            "OPS",
            "FILE",
            "a.c",
            "AT",
            &at,
        ]);
    }
    let json = r#"{ "size": 1.50, "up": true, "names": ["a", "\u00e4"] }"#;
    tell(&["AGG.REALITY", "n", "eth0", "net.Link", json, "TAGS", "a:b"]);
    tell(&["AGG.REALITY", "n", "eth1", "net.Link", "{}"]);
    tell(&["AGG.FORGET", "n", "REALITY", "eth1"]);
    tell(&["AGG.POP", "n", "LOG", "COUNT", "20"]);
    until("the windows close", || {
        (server.peek("n", "HOUR").len() == 3).then_some(())
    });
    tell(&["AGG.POP", "n", "MIN", "COUNT", "2"]);
}

#[test]
fn current_version_has_its_files() {
    let version = env!("CARGO_PKG_VERSION");
    if file(version, "held.json").exists() {
        return;
    }
    assert!(
        std::env::var_os("AGG_WRITE_STABLE").is_some(),
        "{version} has none: see the first lines of {}",
        file!()
    );
    std::fs::create_dir_all(folder().join(version)).unwrap();
    let server = Server::with_module(&SYNCED_AOF, "").unwrap();
    fill(&server);
    let dump: Vec<u8> = server.ask("DUMP n");
    std::fs::write(file(version, "dump"), dump).unwrap();
    let aof = server.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
    std::fs::copy(aof, file(version, "aof")).unwrap();
    let () = server.ask("SAVE");
    std::fs::copy(server.dir().join("dump.rdb"), file(version, "rdb")).unwrap();
    let text = serde_json::to_string_pretty(&held(&server)).unwrap();
    std::fs::write(file(version, "held.json"), text + "\n").unwrap();
}

/// Returns the versions that have files.
fn versions() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let versions: Vec<String> = names.filter(|name| name != "mod.rs").collect();
    assert!(versions.contains(&"0.1.0".to_owned()));
    versions
}

fn expected(version: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(file(version, "held.json")).unwrap()).unwrap()
}

#[test]
fn dump_of_each_version_is_restored() {
    for version in versions() {
        let Some(server) = Server::start() else {
            return;
        };
        let dump = std::fs::read(file(&version, "dump")).unwrap();
        let () = server.send(&[b"RESTORE", b"n", b"0", &dump]);
        assert_eq!(held(&server), expected(&version), "{version}");
    }
}

#[test]
fn rdb_file_of_each_version_is_loaded() {
    for version in versions() {
        let Some(mut server) = Server::start() else {
            return;
        };
        server.stop();
        std::fs::copy(file(&version, "rdb"), server.dir().join("dump.rdb")).unwrap();
        server.restart();
        assert_eq!(held(&server), expected(&version), "{version}");
    }
}

#[test]
fn stability_page_names_the_written_versions() {
    let page = include_str!("../../docs/stability.md");
    let words: Vec<&str> = page.split_whitespace().collect();
    let after = |words: &[&str], text: &str| {
        let at = words.windows(2).position(|two| two.join(" ") == text);
        let number = words[at.unwrap() + 2].trim_end_matches([',', '.']);
        number.parse::<u32>().unwrap()
    };
    let said = [
        "format, currently",
        "encoding, currently",
        "version, currently",
    ]
    .map(|text| after(&words, text));
    let sources = [
        include_str!("../../crates/core/src/node/snapshot/mod.rs"),
        include_str!("../../src/data_type.rs"),
        include_str!("../../crates/core/src/effect/mod.rs"),
    ];
    let names = ["FORMAT: u64 = ", "ENCODING: c_int = ", "VERSION: u8 = "];
    for ((said, source), name) in said.into_iter().zip(sources).zip(names) {
        let (_, rest) = source.split_once(name).unwrap();
        let (is, _) = rest.split_once(';').unwrap();
        assert_eq!(said.to_string(), is, "{name}");
    }
}

#[test]
fn aof_of_each_version_is_replayed() {
    for version in versions() {
        let Some(server) = Server::start() else {
            return;
        };
        let aof = std::fs::read(file(&version, "aof")).unwrap();
        let address = server.url().replace("redis://", "");
        let mut link = TcpStream::connect(address).unwrap();
        link.write_all(&aof).unwrap();
        link.shutdown(Shutdown::Write).unwrap();
        let mut answers = String::new();
        std::io::Read::read_to_string(&mut link, &mut answers).unwrap();
        let rejected = answers.lines().find(|line| line.starts_with('-'));
        assert_eq!(rejected, None, "{version}");
        assert_eq!(held(&server), expected(&version), "{version}");
    }
}
