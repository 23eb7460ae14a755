//! AGG.IMPORT: records of one server are queued at another, once each, and delivered as they are.

mod lines;
mod relay;
mod saved;

use crate::support::{Value, World, records};
use aggregator_core::CommandError;

/// Records as AGG.FETCH delivered them: id, text, floor.
type Fetched = Vec<(u64, Vec<u8>, u64)>;

/// Imports records. `floor`: 0 for none.
fn import(
    w: &mut World,
    queue: &str,
    floor: u64,
    records: &[(u64, &[u8])],
) -> Result<u64, CommandError> {
    let (floor, ids): (String, Vec<String>) = (
        floor.to_string(),
        records.iter().map(|(id, _)| id.to_string()).collect(),
    );
    let mut words = vec![&b"IMPORT"[..], queue.as_bytes()];
    if floor != "0" {
        words.extend([b"FLOOR", floor.as_bytes()]);
    }
    for (id, (_, text)) in ids.iter().zip(records) {
        words.extend([id.as_bytes(), text]);
    }
    let reply = w.try_args(&words)?;
    w.check_copies();
    Ok(reply.int() as u64)
}

/// Fetches records with their floors.
fn fetch(w: &mut World, queue: &str, options: &str) -> Fetched {
    let reply = w.run(format!("FETCH {queue} WITHFLOOR {options}").trim_end());
    let record = |v: &Value| {
        let parts = v.list();
        assert_eq!((parts.len(), parts[0].text()), (5, queue.to_owned()));
        let (id, floor) = (parts[1].int() as u64, parts[4].int() as u64);
        (id, parts[3].bulk().to_vec(), floor)
    };
    reply.list().iter().map(record).collect()
}

fn log(id: u64, message: &str) -> Vec<u8> {
    format!(r#"{{"node":"n","queue":"LOG","id":{id},"message":"{message}"}}"#).into_bytes()
}

fn import_logs(w: &mut World, floor: u64, ids: &[u64]) -> Result<u64, CommandError> {
    let texts: Vec<(u64, Vec<u8>)> = ids.iter().map(|id| (*id, log(*id, "x"))).collect();
    let texts: Vec<(u64, &[u8])> = texts.iter().map(|(id, text)| (*id, &text[..])).collect();
    import(w, "LOG", floor, &texts)
}

fn ids(w: &mut World, queue: &str) -> Vec<u64> {
    w.peek(queue).iter().map(|(id, ..)| *id).collect()
}

fn counters(w: &mut World) -> [i64; 3] {
    let info = w.run("INFO");
    ["imported", "import-duplicates", "import-refused"].map(|name| info.at(name).int())
}

#[test]
fn record_is_imported_once_and_delivered_as_it_came() {
    let mut w = World::new();
    let text = br#" {"id":7,"new":[1.50,{"a":"\u00e9"}] , "queue":"LOG","node":"n"} "#;
    assert_eq!(import(&mut w, "LOG", 0, &[(7, text)]), Ok(1));
    assert!(w.ready);
    assert_eq!(import(&mut w, "LOG", 0, &[(7, text)]), Ok(1));
    assert!(!w.ready);
    let fetched = fetch(&mut w, "LOG", "");
    assert_eq!(fetched, [(7, text.to_vec(), 7)]);
    assert_eq!(import(&mut w, "LOG", 0, &[(7, text)]), Ok(1));
    assert_eq!(w.run("ACK LOG 7").int(), 1);
    assert_eq!(import(&mut w, "LOG", 0, &[(7, text)]), Ok(1));
    assert_eq!(w.peek("LOG").len(), 0);
    assert_eq!(counters(&mut w), [1, 3, 0]);
    w.check_copies();
    let id = w.run("LOG own").int() as u64;
    assert!(id > 7);
    assert_eq!(fetch(&mut w, "LOG", "")[0].0, id);
}

#[test]
fn own_and_imported_records_are_merged_by_id() {
    let mut w = World::new();
    let first = w.run("LOG a").int() as u64;
    w.pass(10);
    let second = w.run("LOG b").int() as u64;
    let between = first + 5;
    assert_eq!(import_logs(&mut w, 0, &[5, between, second + 5]), Ok(3));
    let all = [5, first, between, second, second + 5];
    assert_eq!(ids(&mut w, "LOG"), all);
    let reversed = records(&w.run("PEEK LOG REV"));
    let reversed: Vec<u64> = reversed.iter().map(|(id, ..)| *id).rev().collect();
    assert_eq!(reversed, all);
    let from = records(&w.run(&format!("PEEK LOG FROM {between}")));
    assert_eq!(from[0].0, between);
    assert!(w.run("LOG c").int() as u64 > second + 5);
    let popped = w.pop("LOG");
    assert_eq!(popped.len(), 6);
    w.check_copies();
    let queue = w.run("INFO");
    let queue = queue.at("queues").at("LOG");
    assert_eq!((queue.at("length").int(), queue.at("bytes").int()), (0, 0));
}

#[test]
fn imported_record_below_the_leases_is_delivered_next() {
    let mut w = World::new();
    import_logs(&mut w, 0, &[10, 20, 30]).unwrap();
    assert_eq!(fetch(&mut w, "LOG", "COUNT 2 LEASE 1000").len(), 2);
    import_logs(&mut w, 0, &[5, 15]).unwrap();
    assert!(w.ready);
    let next: Vec<u64> = fetch(&mut w, "LOG", "LEASE 500")
        .iter()
        .map(|r| r.0)
        .collect();
    assert_eq!(next, [5, 15, 30]);
    w.pass(500);
    let again: Vec<u64> = fetch(&mut w, "LOG", "COUNT 2")
        .iter()
        .map(|r| r.0)
        .collect();
    assert_eq!(again, [5, 15]);
    assert_eq!(w.run("NACK LOG 5 10").int(), 2);
    assert_eq!(w.run("ACK LOG 5 15 10 20 30").int(), 5);
    assert_eq!(fetch(&mut w, "LOG", "").len(), 0);
    import_logs(&mut w, 0, &[3]).unwrap();
    assert_eq!(w.run("ACK LOG 3").int(), 1);
    assert_eq!(fetch(&mut w, "LOG", "").len(), 0);
    w.check_copies();
}

#[test]
fn ids_above_a_floor_are_known_with_its_records() {
    let mut w = World::new();
    import_logs(&mut w, 0, &[10, 20, 30]).unwrap();
    // Nothing else from 22 on to 40, as far as it is not here already.
    assert_eq!(import_logs(&mut w, 22, &[25, 40]), Ok(2));
    assert_eq!(ids(&mut w, "LOG"), [10, 20, 25, 30, 40]);
    assert_eq!(import_logs(&mut w, 0, &[24, 39]), Ok(2), "covered");
    assert_eq!(import_logs(&mut w, 99, &[5, 21]), Ok(2), "not covered");
    assert_eq!(import_logs(&mut w, 0, &[19]), Ok(1), "not covered");
    assert_eq!(ids(&mut w, "LOG"), [5, 10, 19, 20, 21, 25, 30, 40]);
    let floors: Vec<u64> = fetch(&mut w, "LOG", "").iter().map(|r| r.2).collect();
    assert_eq!(floors, [5, 10, 19, 20, 21, 22, 26, 31]);
    w.run("ACK LOG 5 10 19 20 21 25 30");
    w.run("NACK LOG 40");
    assert_eq!(
        fetch(&mut w, "LOG", "COUNT 1")[0].2,
        19,
        "the leaf may send 18"
    );
    assert_eq!(import_logs(&mut w, 1, &[15]), Ok(1));
    assert_eq!(import_logs(&mut w, 0, &[3]), Ok(1), "below the mark");
    assert_eq!(import_logs(&mut w, 16, &[18]), Ok(1));
    w.run("ACK LOG 15 18");
    w.run("NACK LOG 40");
    assert_eq!(fetch(&mut w, "LOG", "COUNT 1")[0].2, 1, "all is known");
    assert_eq!(counters(&mut w), [10, 3, 0]);
}

#[test]
fn floor_of_a_record_is_behind_the_one_before() {
    let mut w = World::new();
    let mut id = || {
        w.pass(5);
        w.run("LOG a").int() as u64
    };
    let [first, second, third] = [id(), id(), id()];
    w.run("ERROR e");
    let fetched = fetch(&mut w, "LOG", "COUNT 2 LEASE 1000");
    assert_eq!([fetched[0].2, fetched[1].2], [1, first + 1]);
    // Leased ones count: they may come back.
    assert_eq!(fetch(&mut w, "LOG", "LEASE 1000")[0].2, second + 1);
    w.run(&format!("ACK LOG {second}"));
    w.run(&format!("NACK LOG {third}"));
    assert_eq!(fetch(&mut w, "LOG", "LEASE 1000")[0].2, first + 1);
    w.run(&format!("ACK LOG {first}"));
    w.run(&format!("NACK LOG {third}"));
    let last = fetch(&mut w, "LOG", "");
    assert_eq!((last[0].0, last[0].2), (third, 1));
    assert_eq!(fetch(&mut w, "ERROR", "FORMAT JSON")[0].2, 1);
    assert_eq!(w.run("FETCH LOG").list().len(), 0);
}

#[test]
fn all_queues_take_imports_and_errors_are_no_errors_of_the_node() {
    let mut w = World::new();
    w.run("ERROR own KEY k");
    w.run("REALITY k M 1");
    for queue in ["ERROR", "REALITY"] {
        let text = format!(r#"{{"node":"n","queue":"{queue}","id":4,"key":"k"}}"#);
        assert_eq!(import(&mut w, queue, 2, &[(4, text.as_bytes())]), Ok(1));
        assert_eq!(ids(&mut w, queue).len(), 2);
    }
    let info = w.run("INFO");
    assert_eq!(
        (info.at("errors").int(), info.at("realities").int()),
        (1, 1)
    );
    assert_eq!(w.pop("ERROR").len(), 2);
    w.check_copies();
    assert_eq!(w.fetch("REALITY").len(), 2);
    assert_eq!(w.run("ACK REALITY 4").int(), 1);
    assert_eq!(w.run("REQUEUE REALITY").int(), 1);
    w.check_copies();
}

#[test]
fn bad_arguments_change_nothing_and_say_which() {
    let mut w = World::new();
    let own = w.run("LOG own").int();
    let ahead = w.now.wall_us + 86_400_000_001;
    let (max, good) = (
        "x".repeat(5_000_000),
        r#"{"node":"n","queue":"LOG","id":1}"#,
    );
    let min = r#"{"node":"n","queue":"MIN","id":1,"metric":"m","window":300,"start":0,"count":1,"sum":1,"avg":1,"min":1,"max":1,"last":1,"tags":{}}"#;
    let bad = |from: &str, to: &str| format!("MIN 1 {}", min.replace(from, to));
    let many = (1..=10_001)
        .map(|id| format!(" {id} {{}}"))
        .collect::<String>();
    for (words, expected) in [
        (
            "LOG".into(),
            "id is missing; usage: AGG.IMPORT node queue [FLOOR floor] id record [id record ...]",
        ),
        (
            "LOG 1".into(),
            "id is missing; usage: AGG.IMPORT node queue [FLOOR floor] id record [id record ...]",
        ),
        (
            format!("LOG 1 {good} 2"),
            "record is missing; usage: AGG.IMPORT node queue [FLOOR floor] id record [id record ...]",
        ),
        (
            format!("LOGS 1 {good}"),
            "invalid queue 'LOGS': expected one of MIN, HOUR, LOG, ERROR, REALITY",
        ),
        (
            format!("LOG FLOOR x 1 {good}"),
            "invalid FLOOR 'x': expected an integer from 0 to 9007199254740991",
        ),
        (
            format!("LOG CEILING 1 1 {good}"),
            "unknown option 'CEILING'; usage: AGG.IMPORT node queue [FLOOR floor] id record [id record ...]",
        ),
        (
            format!("LOG 0 {good}"),
            "invalid id of record 1 '0': expected an integer from 1 to 9007199254740991",
        ),
        (
            format!("LOG 1 {good} 1 {good}"),
            "record 2: the id 1 is not above the one before, 1",
        ),
        (
            format!("LOG {ahead} {good}"),
            "record 1: the id 1700089200000001 is 86400 s ahead of the server's clock: the maximum is a day",
        ),
        (
            format!("LOG{many}"),
            "10001 records given: the maximum is 10000",
        ),
        (
            format!("LOG 1 {max}"),
            "record 1: 5000000 bytes: agg.max-item-size allows 2097152",
        ),
        (
            format!("LOG 1 {good} 2 {{"),
            "record 2: invalid JSON: expected a name at byte 1",
        ),
        ("LOG 1 []".into(), "record 1: not a JSON object"),
        ("LOG 1 {}".into(), "record 1: node is not a string"),
        (
            r#"LOG 1 {"node":"m"}"#.into(),
            "record 1: node is 'm', not 'n'",
        ),
        (format!("MIN 1 {good}"), "record 1: queue is not MIN"),
        (format!("LOG 1 {good} 2 {good}"), "record 2: id is not 2"),
        (
            bad(r#""metric":"m","#, ""),
            "record 1: metric is not a name",
        ),
        (
            bad(r#""metric":"m""#, r#""metric":"""#),
            "record 1: metric is not a name",
        ),
        (
            bad(r#""window":300"#, r#""window":0"#),
            "record 1: window is not a number of seconds",
        ),
        (
            bad(r#""start":0"#, r#""start":1.5"#),
            "record 1: start is not a time in Unix milliseconds",
        ),
        (
            bad(r#""count":1"#, r#""count":-1"#),
            "record 1: count is not an integer",
        ),
        (
            bad(r#""sum":1"#, r#""sum":"1""#),
            "record 1: sum is not a number",
        ),
        (
            bad(r#""avg":1"#, r#""avg":1e999"#),
            "record 1: avg is not a number",
        ),
        (
            bad(r#""last":1"#, r#""last":1,"p99":null"#),
            "record 1: p99 is not a number",
        ),
        (bad(r#","tags":{}"#, ""), "record 1: tags is missing"),
        (
            bad(r#""tags":{}"#, r#""tags":[]"#),
            "record 1: tags is not an object",
        ),
        (
            bad(r#""tags":{}"#, r#""tags":{"a":1}"#),
            "record 1: the tag 'a' is neither a string nor true",
        ),
        (
            bad(r#""tags":{}"#, r#""tags":{"":"x"}"#),
            "record 1: the name of a tag is empty",
        ),
        (
            format!(r#"LOG {own} {{"node":"n","queue":"LOG","id":{own}}}"#),
            "record 1: the node has a record of its own with the id 1700002800000000 in LOG",
        ),
    ] {
        let error = w.error(&format!("IMPORT {words}"));
        assert_eq!(error, format!("ERR AGG.IMPORT: {expected}"));
        assert_eq!(ids(&mut w, "LOG"), [own as u64]);
    }
    assert_eq!(w.run(&format!("IMPORT MIN 1 {min}")).int(), 1);
    w.settings.queue_import = 1024;
    let long = log(3, &"x".repeat(1000));
    let error = import(&mut w, "LOG", 0, &[(3, &long)])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "ERR AGG.IMPORT: record 1: 1110 bytes: agg.queue-import allows 1024"
    );
    w.check_copies();
}

#[test]
fn prefix_is_accepted_that_fits_the_queue() {
    let mut w = World::new();
    w.settings.queue_import = 1024;
    let ids: Vec<u64> = (1..=20).collect();
    let stored = import_logs(&mut w, 1, &ids).unwrap();
    let (first, rest) = ids.split_at(stored as usize);
    assert!((7..15).contains(&stored), "{stored}");
    let error = import_logs(&mut w, 0, rest).unwrap_err();
    assert_eq!(
        error.to_string(),
        "AGGFULL AGG.IMPORT: agg.queue-import (1024 bytes) reached in LOG: drain the queue or raise the limit"
    );
    assert_eq!(import_logs(&mut w, 0, &ids), Ok(stored));
    assert_eq!(counters(&mut w)[2] as usize, 3 * rest.len());
    assert_eq!(w.pop("LOG").len() as u64, stored);
    assert_eq!(import_logs(&mut w, 0, first), Ok(stored), "duplicates");
    let more = import_logs(&mut w, 0, &ids).unwrap();
    assert!(more >= stored + 7, "{more}");
    let info = w.run("INFO");
    assert_eq!(info.at("refused").at("queue-import").int(), 1);
}

#[test]
fn without_memory_nothing_new_is_imported_and_nothing_evicted() {
    let mut w = World::new();
    for i in 0..9 {
        w.run(&format!("LOG own-{i}"));
    }
    import_logs(&mut w, 0, &[1]).unwrap();
    w.memory_pressure = true;
    let error = import_logs(&mut w, 0, &[2]).unwrap_err().to_string();
    assert!(
        error.starts_with("AGGFULL AGG.IMPORT: agg.max-memory"),
        "{error}"
    );
    assert_eq!(import_logs(&mut w, 0, &[1, 2, 3]), Ok(1));
    assert_eq!(ids(&mut w, "LOG").len(), 10);
    assert_eq!(counters(&mut w), [1, 1, 3]);
    w.memory_pressure = false;
    assert_eq!(import_logs(&mut w, 0, &[1, 2, 3]), Ok(3));
}

#[test]
fn too_many_gaps_are_refused_until_they_are_closed() {
    let mut w = World::new();
    let ids: Vec<u64> = (1..=16_500).map(|i| 3 * i).collect();
    assert_eq!(import_logs(&mut w, 0, &ids[..9_000]), Ok(9_000));
    assert_eq!(import_logs(&mut w, 0, &ids[9_000..]), Ok(16_384 - 9_000));
    let error = import_logs(&mut w, 0, &ids[16_384..])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "AGGFULL AGG.IMPORT: too many gaps between the ids in LOG: give each record its FLOOR"
    );
    assert_eq!(import_logs(&mut w, 0, &[4, 8]), Ok(2), "next to others");
    let first = ids[16_384];
    assert_eq!(import_logs(&mut w, first - 2, &ids[16_384..]), Ok(116));
    // The lowest record of the sender is always taken.
    assert_eq!(import_logs(&mut w, 1, &[2]), Ok(1));
    assert_eq!(import_logs(&mut w, 5, &[11]), Ok(1));
    assert_eq!(w.peek("LOG").len(), 10_000);
}

/// However many records another relay leaves to be brought, the hub remembers their gaps alone.
#[test]
fn ids_of_a_relay_need_few_ranges() {
    let (mut leaf, mut hub) = (World::new(), World::new());
    for _ in 0..40 {
        for _ in 0..500 {
            leaf.run("LOG x");
            leaf.pass(1);
        }
    }
    // One record stays with a relay that hangs.
    let late = fetch(&mut leaf, "LOG", "COUNT 1 LEASE 3600000");
    let mut brought = 0;
    loop {
        let fetched = fetch(&mut leaf, "LOG", "COUNT 2000 LEASE 3600000");
        let Some((_, _, floor)) = fetched.first() else {
            break;
        };
        let texts: Vec<(u64, &[u8])> = fetched
            .iter()
            .map(|(id, text, _)| (*id, &text[..]))
            .collect();
        assert_eq!(
            import(&mut hub, "LOG", *floor, &texts),
            Ok(texts.len() as u64)
        );
        brought += texts.len();
        hub.pop("LOG");
    }
    assert_eq!(brought, 19_999);
    let texts: Vec<(u64, &[u8])> = late.iter().map(|(id, text, _)| (*id, &text[..])).collect();
    assert_eq!(import(&mut hub, "LOG", late[0].2, &texts), Ok(1));
    assert_eq!(counters(&mut hub), [20_000, 0, 0]);
}
