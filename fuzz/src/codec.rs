//! Reads arbitrary bytes as saved nodes and as payloads of effects.
//!
//! The first byte selects the use of the rest, a series of pieces, each after its length (two bytes, little-endian).
//! The pieces are the frames of a load or, with bit 0, payloads of AGG.APPLY that create a node and change it. With bit
//! 1 payloads follow the frames. With bit 2 the commands at the end run at the node's clock.
//!
//! # Invariants
//!
//! - A rejected piece changes nothing, and no piece makes the core allocate more than a small multiple of its bytes.
//! - An accepted node loads again from its frames with the same digest, and later pieces have the same effect on both.
//! - Afterwards every command runs, and every record is well-formed.

use crate::json::members;
use crate::line::{Dialect, parse};
use crate::memory::measured;
use crate::server::{BASE, Server, Value, digest, frames, load};
use aggregator_core::id::MAX_AHEAD_US;
use aggregator_core::node::{Node, SnapshotLoader};
use aggregator_core::{Command, Counters, Settings};
use std::collections::BTreeSet;

/// Returns the bytes of an input, for seeds.
pub fn seed(mode: u8, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![mode];
    for piece in pieces {
        bytes.extend((piece.len() as u16).to_le_bytes());
        bytes.extend(piece);
    }
    bytes
}

fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (piece, after) = rest.split_at(len);
        pieces.push(piece);
        data = after;
    }
    pieces
}

/// Returns the memory that the core may allocate for `bytes` of input, bytes.
fn bound(pieces: &[&[u8]]) -> isize {
    // A frame's histograms take at most 128 KiB, and those of its last metric 20 KiB. The shortest form of the largest
    // one (2,560 bytes) has 14 bytes, and its window and metric some 30 more.
    let of_piece = |piece: &&[u8]| (128 * piece.len()).min(64 * piece.len() + (148 << 10));
    (pieces.iter().map(of_piece).sum::<usize>() + (64 << 10)) as isize
}

/// The largest id that the module accepts from a client.
const MAX_ID: u64 = BASE as u64 * 1000 + MAX_AHEAD_US;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (&mode, data) = data.split_first().unwrap_or((&0, &[]));
    let mut pieces = pieces(data).into_iter();
    let node = if mode & 1 == 0 {
        loaded(&mut pieces)
    } else {
        created(&mut pieces)
    };
    let Some(mut node) = node else { return };
    if mode & 3 != 0 {
        for piece in pieces {
            apply(&mut node, piece);
        }
    }
    check_copy(&node);
    // The module runs nothing on an unfinished node.
    if node.is_unfinished() {
        return;
    }
    let now_ms = if mode & 4 == 0 {
        BASE
    } else {
        // A clock beyond the year 2255 has no ids left.
        node.clock_ms().clamp(BASE, 4_000_000_000_000)
    };
    probe(node, now_ms);
}

fn loaded<'a>(pieces: &mut impl Iterator<Item = &'a [u8]>) -> Option<Node> {
    let mut loader = SnapshotLoader::new(1, 5, MAX_ID);
    let mut seen = Vec::new();
    let (node, peak, _) = measured(|| {
        for piece in pieces.by_ref() {
            seen.push(piece);
            match loader.frame(piece) {
                Err(_) => return None,
                Ok(true) => return loader.finish().ok(),
                Ok(false) => {}
            }
        }
        None
    });
    assert!(peak <= bound(&seen), "{peak} bytes for {seen:?}");
    node
}

fn created<'a>(pieces: &mut impl Iterator<Item = &'a [u8]>) -> Option<Node> {
    let first = pieces.next()?;
    let create = || Node::create(first, 1, 5, MAX_ID, &mut Counters::default());
    let (node, peak, _) = measured(create);
    assert!(peak <= bound(&[first]), "{peak} bytes for {first:?}");
    node.ok().map(|(node, _)| node)
}

fn apply(node: &mut Node, piece: &[u8]) {
    let before = digest(node);
    // A replica that was just synchronised must do the same.
    let mut copy = load(&frames(node)).expect("what was written loads");
    let mut counters = Counters::default();
    let (result, peak, _) = measured(|| node.apply(piece, 5, MAX_ID, &mut counters));
    assert!(peak <= bound(&[piece]), "{peak} bytes for {piece:?}");
    match result {
        Ok(_) => {
            copy.apply(piece, 9, MAX_ID, &mut counters)
                .expect("the copy takes it");
            assert_eq!(digest(node), digest(&copy), "the synchronised replica");
        }
        Err(_) => assert_eq!(before, digest(node), "rejected, and changed"),
    }
}

fn check_copy(node: &Node) {
    let copy = load(&frames(node)).expect("what was written loads");
    assert_eq!(digest(node), digest(&copy), "the loaded node");
    assert_eq!(frames(node), frames(&copy), "the loaded node's frames");
}

const QUEUES: [&[u8]; 5] = [b"MIN", b"HOUR", b"LOG", b"ERROR", b"REALITY"];
const FAMILIES: [&[u8]; 3] = [b"METRIC", b"ERROR", b"REALITY"];

/// Runs every command on a node, until no record is pending.
fn probe(mut node: Node, now_ms: i64) {
    let mut server = Server::new(Settings::default(), now_ms);
    node.restart(server.now.mono_ms);
    let node = &mut node;
    read(&mut server, node);
    drain(&mut server, node, Command::Fetch);
    report(&mut server, node);
    sweep(&mut server, node);
    for queue in [b"ERROR", b"REALITY".as_slice()] {
        run_one(&mut server, node, Command::Requeue, &[queue]);
    }
    read(&mut server, node);
    server.pass(40_000);
    sweep(&mut server, node);
    for family in FAMILIES {
        for name in names(&mut server, node, family).into_iter().step_by(2) {
            run_one(&mut server, node, Command::Forget, &[family, &name]);
        }
    }
    check_copy(node);
    // Two days: what has a lifetime expires.
    server.pass(200_000_000);
    sweep(&mut server, node);
    drain(&mut server, node, Command::Pop);
    read(&mut server, node);
    check_copy(node);
}

fn run_one(server: &mut Server, node: &mut Node, command: Command, args: &[&[u8]]) -> Value {
    match server.run(node, command, args) {
        Ok(reply) => reply,
        Err(error) => panic!("{command:?} {args:?}: {error}"),
    }
}

fn sweep(server: &mut Server, node: &mut Node) {
    for n in 0..5_000 {
        if !server.sweep(node, n == 0) {
            return;
        }
    }
    panic!("a sweep that does not end");
}

fn names(server: &mut Server, node: &mut Node, family: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut cursor = b"0".to_vec();
    for _ in 0..5_000 {
        let reply = run_one(server, node, Command::Scan, &[family, &cursor]);
        names.extend(reply.list()[1].list().iter().map(|n| n.bulk().to_vec()));
        cursor = reply.list()[0].bulk().to_vec();
        if cursor == b"0" {
            assert!(names.iter().collect::<BTreeSet<_>>().len() == names.len());
            return names;
        }
    }
    panic!("a scan that does not end");
}

/// Runs all commands that only read.
fn read(server: &mut Server, node: &mut Node) {
    let info = run_one(server, node, Command::Info, &[]);
    for queue in QUEUES {
        let args: [&[u8]; 3] = [queue, b"COUNT", b"10000"];
        let up = run_one(server, node, Command::Peek, &args);
        check_records(&up);
        let down: [&[u8]; 4] = [queue, b"REV", b"COUNT", b"10000"];
        let down = run_one(server, node, Command::Peek, &down);
        let mut down = down.list().to_vec();
        down.reverse();
        let len = up.list().len();
        assert_eq!(up.list(), down, "up and down");
        let queue = std::str::from_utf8(queue).expect("a name");
        assert_eq!(
            info.at("queues").at(queue).at("length").int(),
            len as i64,
            "{queue}"
        );
    }
    let lines: [&[u8]; 4] = [b"MIN", b"HOUR", b"FORMAT", b"LINE"];
    for entry in run_one(server, node, Command::Peek, &lines).list() {
        let line = std::str::from_utf8(entry.list()[3].bulk()).expect("a line is UTF-8");
        parse(line, Dialect::Two).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    }
    let last: [&[u8]; 3] = [b"METRIC", b"0", b"WITHLAST"];
    run_one(server, node, Command::Scan, &last);
    for family in FAMILIES {
        run_one(
            server,
            node,
            Command::Scan,
            &[family, b"0", b"WITHVALUES", b"COUNT", b"10000"],
        );
        for name in names(server, node, family) {
            let got = run_one(server, node, Command::Get, &[family, &name]);
            assert_ne!(got, Value::Null, "a name that was listed");
            if family == b"METRIC" {
                for window in [b"MIN".as_slice(), b"HOUR"] {
                    run_one(server, node, Command::Range, &[&name, window]);
                }
            }
        }
    }
}

/// Empties the queues by POP, or by FETCH, NACK, EXTEND and ACK.
fn drain(server: &mut Server, node: &mut Node, command: Command) {
    for queue in QUEUES {
        for _ in 0..5_000 {
            let reply = run_one(server, node, command, &[queue, b"COUNT", b"50"]);
            let ids: Vec<i64> = reply.list().iter().map(|e| e.list()[1].int()).collect();
            assert!(
                ids.windows(2).all(|w| w[0] < w[1]),
                "ids that do not grow: {ids:?}"
            );
            check_records(&reply);
            if ids.is_empty() {
                break;
            }
            if command == Command::Pop {
                continue;
            }
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            let mut args: Vec<&[u8]> = vec![queue];
            args.extend(ids.iter().map(String::as_bytes));
            let mut extend = args.clone();
            extend.insert(1, b"5000");
            let n = ids.len() as i64;
            assert_eq!(run_one(server, node, Command::Extend, &extend).int(), n);
            assert_eq!(run_one(server, node, Command::Nack, &args).int(), n);
            let again = run_one(server, node, Command::Fetch, &[queue, b"COUNT", b"50"]);
            assert!(
                again.list().len() as i64 == n || n == 50,
                "given back, and not there"
            );
            assert_eq!(run_one(server, node, Command::Ack, &args).int(), n);
        }
        let left = run_one(server, node, Command::Peek, &[queue]);
        assert!(left.list().is_empty(), "a queue that does not drain");
    }
}

/// Runs all commands that report, about items that exist.
fn report(server: &mut Server, node: &mut Node) {
    for name in names(server, node, b"METRIC").into_iter().take(20) {
        // The metric has one of the types.
        let accepted = ["ABS", "DIFF", "INC"].map(|kind| {
            let args: [&[u8]; 5] = [&name, b"5", kind.as_bytes(), b"TAGS", b"a:1"];
            server.run(node, Command::Stat, &args).is_ok()
        });
        let count = accepted.iter().filter(|is_accepted| **is_accepted).count();
        assert_eq!(count, 1, "{accepted:?}");
        server.pass(1_000);
        let _ = server.run(node, Command::Stat, &[&name, b"1e308", b"DIFF"]);
        let _ = server.run(
            node,
            Command::Mstat,
            &[b"VALUES", &name, b"-1e308", b"new", b"1"],
        );
    }
    for name in names(server, node, b"ERROR").into_iter().take(20) {
        run_one(server, node, Command::Error, &[b"m", b"KEY", &name]);
    }
    for name in names(server, node, b"REALITY").into_iter().take(20) {
        run_one(server, node, Command::Reality, &[&name, b"M", b"[1]"]);
        let words: [&[u8]; 5] = [&name, b"M", b"2", b"TTL", b"9"];
        run_one(server, node, Command::Reality, &words);
    }
    run_one(server, node, Command::Log, &[b"hello"]);
}

/// Checks that all records in a reply of POP, FETCH or PEEK are well-formed.
pub fn check_records(reply: &Value) {
    for entry in reply.list() {
        let [queue, id, deliveries, record] = entry.list() else {
            panic!("not a record: {entry:?}");
        };
        assert!(id.int() > 0 && deliveries.int() >= 0, "{entry:?}");
        let record = std::str::from_utf8(record.bulk()).expect("a record is UTF-8");
        if record.starts_with('{') {
            check_record(queue.bulk(), id.int(), record);
        } else {
            parse(record, Dialect::Two).unwrap_or_else(|e| panic!("{e}: {record:?}"));
        }
    }
}

/// Returns the names of percentiles and of the histogram, which are between `last` and `tags`.
fn of_histogram<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let after = names.iter().skip_while(|name| **name != "last").skip(1);
    let is_percentile = |name: &str| {
        let digits = name.strip_prefix('p');
        digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit() || b == b'_'))
    };
    after
        .take_while(|name| **name == "hist" || is_percentile(name))
        .copied()
        .collect()
}

fn check_record(queue: &[u8], id: i64, record: &str) {
    let fields: &[&str] = match queue {
        b"LOG" => &[
            "node", "queue", "id", "message", "level", "severity", "tags", "epoch",
        ],
        b"ERROR" => &[
            "node",
            "queue",
            "id",
            "key",
            "message",
            "public",
            "level",
            "severity",
            "type",
            "tags",
            "code",
            "func",
            "file",
            "backtrace",
            "gid",
            "nid",
            "occurrences",
            "first",
            "last",
        ],
        b"REALITY" => &[
            "node", "queue", "id", "key", "model", "json", "tags", "epoch", "gone",
        ],
        _ => &[
            "node", "queue", "id", "metric", "type", "window", "start", "end", "count", "sum",
            "avg", "min", "max", "last", "tags",
        ],
    };
    let members = members(record).unwrap_or_else(|e| panic!("{e}: {record}"));
    let names: Vec<&str> = members.iter().map(|(n, _)| n.as_str()).collect();
    let histogram = of_histogram(&names);
    let others: Vec<&str> = names
        .iter()
        .filter(|name| !histogram.contains(name))
        .copied()
        .collect();
    assert_eq!(others, fields, "{record}");
    assert!(
        histogram.is_empty() || matches!(queue, b"MIN" | b"HOUR"),
        "{record}"
    );
    assert_eq!(members[1].1.trim_matches('"').as_bytes(), queue);
    assert_eq!(members[2].1, id.to_string());
    let tags = members
        .iter()
        .find(|(n, _)| n == "tags")
        .expect("it has tags");
    crate::json::members(tags.1).unwrap_or_else(|e| panic!("{e}: {record}"));
}
