//! AGG.IMPORT at the memory limit: nothing is evicted for it, what fits is accepted, and the limit holds.

use redis::Value;

use crate::support::*;
use testkit::*;

/// A record of a node as AGG.FETCH delivers it, with its id.
fn record(queue: &str, id: u64, len: usize) -> [Vec<u8>; 2] {
    let message = "x".repeat(len);
    let text = format!(r#"{{"node":"hub","queue":"{queue}","id":{id},"message":"{message}"}}"#);
    [id.to_string().into(), text.into()]
}

fn import(queue: &str, records: impl Iterator<Item = [Vec<u8>; 2]>) -> Words {
    let mut words = split(&format!("AGG.IMPORT hub {queue}"));
    words.extend(records.flatten());
    words
}

/// Imports to the limit, with records of these lengths. Returns how many were stored.
fn fill(server: &Server, queue: &str, gap: u64, len: usize, limit: i64) -> u64 {
    let mut connection = server.connection();
    let (mut stored, mut tries) = (0, 0);
    loop {
        let ids = (stored + 1..).take(40);
        let command = import(queue, ids.map(|i| record(queue, gap * i, len)));
        match burst(&mut connection, &[command]).remove(0) {
            Ok(Value::Int(n)) => {
                assert!(n > 0);
                stored += n as u64;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(
                    error.starts_with("AGGFULL AGG.IMPORT: agg.max-memory ("),
                    "{error}"
                );
                return stored;
            }
        }
        assert!(agg(server, "agg_held") <= limit);
        tries += 1;
        assert!(tries < 100_000);
    }
}

#[test]
fn imports_fill_memory_to_the_limit_and_evict_nothing() {
    let _beside = beside();
    let limit = 8 * MB;
    let settings = format!("{CALM} max-memory 8mb queue-import 64mb");
    for (queue, gap, len) in [
        ("LOG", 1, 300),
        ("ERROR", 1, 10),
        ("LOG", 7, 50_000),
        ("LOG", 2, 600),
    ] {
        let Some(server) = server(&settings) else {
            return;
        };
        let mut connection = server.connection();
        for i in 0..500 {
            let _: i64 = ask(&mut connection, &format!("AGG.LOG other {i}"));
        }
        let stored = fill(&server, queue, gap, len, limit);
        let held = agg(&server, "agg_held");
        assert!(held > limit / 2, "{stored} records, {held} bytes");
        assert_eq!(agg(&server, "agg_dropped_max_memory"), 0);
        assert_eq!(of_queue(&server, "other", "LOG", "length"), 500);
        assert_eq!(of_queue(&server, "hub", queue, "length"), stored as i64);
        // Reports of others are accepted as long as records that may be evicted give way, and imports never do.
        for i in 0..200 {
            let _ = burst(
                &mut connection,
                &[split(&format!("AGG.LOG other again-{i}"))],
            );
        }
        assert_eq!(of_queue(&server, "hub", queue, "length"), stored as i64);
        assert!(agg(&server, "agg_held") <= limit);
        // Once the hub is drained, the rest arrives.
        let mut drained = 0;
        while let Value::Array(records) =
            ask(&mut connection, &format!("AGG.POP hub {queue} COUNT 1000"))
            && !records.is_empty()
        {
            drained += records.len() as u64;
        }
        assert_eq!(drained, stored);
        let next = import(queue, [record(queue, gap * (stored + 1), len)].into_iter());
        assert_eq!(burst(&mut connection, &[next]).remove(0), Ok(Value::Int(1)));
        // What is known is a duplicate, and takes nothing.
        let known = import(queue, [record(queue, gap, len)].into_iter());
        assert_eq!(
            burst(&mut connection, &[known]).remove(0),
            Ok(Value::Int(1))
        );
        assert_eq!(of_queue(&server, "hub", queue, "length"), 1);
    }
}

#[test]
fn new_node_is_imported_as_far_as_it_fits() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 1mb")) else {
        return;
    };
    let records = (1..=3_000).map(|id| record("LOG", id, 600));
    let command = import("LOG", records);
    let Ok(Value::Int(stored)) = burst(&mut server.connection(), &[command]).remove(0) else {
        panic!("not accepted");
    };
    assert!((300..2_900).contains(&stored), "{stored}");
    assert!(agg(&server, "agg_held") <= MB);
    assert_eq!(agg(&server, "agg_import_refused"), 3_000 - stored);
}

#[test]
fn node_limit_holds_for_imports() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 64mb max-node-memory 1mb")) else {
        return;
    };
    let mut connection = server.connection();
    let mut next = 1;
    let error = loop {
        let command = import("LOG", (next..next + 50).map(|id| record("LOG", id, 600)));
        match burst(&mut connection, &[command]).remove(0) {
            Ok(Value::Int(n)) => next += n as u64,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(
        error.starts_with("AGGFULL AGG.IMPORT: agg.max-node-memory ("),
        "{error}"
    );
    assert!(server.ask::<i64>("MEMORY USAGE hub") <= MB + 1_024);
}
