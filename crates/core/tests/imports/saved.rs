//! Saved imports, and hostile payloads: each is rejected, and changes nothing.

use super::{import_logs, log};
use crate::support::{BASE, World, digest, frames, reload};
use aggregator_core::codec::put_u64;
use aggregator_core::id::MAX_ID;
use aggregator_core::node::SnapshotLoader;
use aggregator_core::{Counters, Node};

const LOG: u8 = 2;

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend(bytes);
}

fn world() -> World {
    let mut w = World::new();
    w.run("LOG own");
    import_logs(&mut w, 10, &[10, 11, 20, 30]).unwrap();
    w.run("ACK LOG 11");
    w
}

#[test]
fn node_without_imports_is_saved_as_before() {
    let mut w = World::new();
    w.run("LOG own");
    let kinds: Vec<u8> = frames(w.node.as_ref().unwrap())
        .iter()
        .map(|frame| frame[0])
        .collect();
    assert_eq!(kinds, [0x10, 0x12, 0x1f]);
    let end = frames(w.node.as_ref().unwrap()).pop().unwrap();
    assert_eq!(end.len(), 1 + 8);
}

#[test]
fn loaded_node_knows_what_was_imported() {
    let mut w = world();
    let mut node = reload(w.node.as_ref().unwrap());
    node.restart(0);
    w.replica = Some(reload(&node));
    w.node = Some(node);
    assert_eq!(import_logs(&mut w, 0, &[5, 10, 11, 20, 21]), Ok(5));
    let info = w.run("INFO");
    assert_eq!(info.at("imported").int(), 1);
    assert_eq!(info.at("queues").at("LOG").at("length").int(), 5);
}

#[test]
fn many_ranges_and_long_records_are_saved_in_frames() {
    let mut w = World::new();
    let ids: Vec<u64> = (1..=8_000)
        .map(|i| BASE as u64 * 1000 - 2 * i)
        .rev()
        .collect();
    import_logs(&mut w, 0, &ids).unwrap();
    let frames = frames(w.node.as_ref().unwrap());
    let count = |kind: u8| frames.iter().filter(|frame| frame[0] == kind).count();
    assert!(count(0x17) > 1 && count(0x18) > 5, "{}", frames.len());
}

/// A frame of ids: a mark, and ranges as first ids and lengths.
fn ids_frame(mark: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut frame = vec![0x17, LOG];
    put_u64(&mut frame, mark);
    for (first, len) in ranges {
        put_u64(&mut frame, *first);
        put_u64(&mut frame, *len);
    }
    frame
}

fn records_frame(records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut frame = vec![0x18, LOG];
    for (id, text) in records {
        put_u64(&mut frame, *id);
        put_bytes(&mut frame, text);
    }
    frame
}

/// Loads frames after the first one of a node. Returns whether the last is taken.
fn takes(loaded: &[Vec<u8>]) -> Result<bool, String> {
    let w = world();
    let saved = frames(w.node.as_ref().unwrap());
    let mut loader = SnapshotLoader::new(1, 5, BASE as u64 * 1000 + 1_000);
    assert!(!loader.frame(&saved[0]).unwrap());
    // Its own record.
    assert!(!loader.frame(&saved[1]).unwrap());
    let (last, before) = loaded.split_last().unwrap();
    for frame in before {
        assert!(!loader.frame(frame).unwrap());
    }
    loader.frame(last).map_err(|error| error.to_string())
}

#[test]
fn inconsistent_ids_are_rejected() {
    let record = |id| records_frame(&[(id, log(id, "x"))]);
    assert_eq!(takes(&[ids_frame(10, &[(10, 1), (20, 0)])]), Ok(false));
    let many: Vec<(u64, u64)> = (1..=16_385).map(|i| (3 * i, 1)).collect();
    let parts: Vec<Vec<u8>> = many[..16_384]
        .chunks(8_000)
        .map(|part| ids_frame(1, part))
        .collect();
    assert_eq!(takes(&parts), Ok(false));
    let with_more = [&parts[..], &[ids_frame(1, &many[16_384..])]].concat();
    let wrong = "inconsistent ranges of imported ids";
    for (frames, expected) in [
        (vec![ids_frame(10, &[(9, 1)])], wrong),
        (vec![ids_frame(0, &[(0, 1)])], wrong),
        (vec![ids_frame(1, &[(5, 5), (10, 1)])], wrong),
        (vec![ids_frame(1, &[(5, 4), (10, 1)])], wrong),
        (
            vec![ids_frame(1, &[(5, 1)]), ids_frame(2, &[(9, 1)])],
            wrong,
        ),
        (
            vec![ids_frame(1, &[(5, 1)]), ids_frame(1, &[(7, 1)])],
            wrong,
        ),
        (
            vec![ids_frame(1, &[(5, 1)]), record(5), ids_frame(1, &[(9, 1)])],
            wrong,
        ),
        (with_more, wrong),
        (
            vec![ids_frame(1, &[(5, MAX_ID)])],
            "an id is too far ahead of the clock",
        ),
        (
            vec![ids_frame(MAX_ID, &[])],
            "an id is too far ahead of the clock",
        ),
        (vec![record(5)], "an imported record whose id is not"),
        (
            vec![ids_frame(1, &[(5, 1)]), record(7)],
            "an imported record whose id is not",
        ),
        (
            vec![ids_frame(1, &[(5, 1)]), record(MAX_ID)],
            "an id is too far ahead of the clock",
        ),
        (
            vec![ids_frame(1, &[(5, 1)]), record(6), record(5)],
            "ids are not increasing",
        ),
        (
            vec![
                ids_frame(1, &[(BASE as u64 * 1000 - 5, 9)]),
                record(BASE as u64 * 1000),
            ],
            "an imported record whose id is not",
        ),
        (
            vec![ids_frame(1, &[(5, 1)]), records_frame(&[(5, log(6, "x"))])],
            "an invalid imported record",
        ),
        (
            vec![
                ids_frame(1, &[(5, 1)]),
                records_frame(&[(5, b"{".to_vec())]),
            ],
            "an invalid imported record",
        ),
        (vec![vec![0x17, 5, 0]], "an unknown queue"),
        (vec![vec![0x18, 9]], "an unknown queue"),
        (
            vec![
                ids_frame(1, &[(5, 1)]),
                vec![0x1f, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            ],
            "the last frame has other counts",
        ),
        (
            vec![ids_frame(1, &[(5, 1)]), vec![0x1f, 0, 0, 0, 0, 0, 1, 0, 0]],
            "the last frame has other counts",
        ),
    ] {
        assert_eq!(takes(&frames), Err(expected.to_owned()), "{frames:?}");
    }
}

/// Effects that import: a queue, a floor, the number of records, differences of ids, texts.
fn effects(queue: u8, floor: u64, count: u64, records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut payload = vec![3];
    // Zigzag.
    put_u64(&mut payload, BASE as u64 * 2);
    put_u64(&mut payload, 1);
    payload.extend([22, queue]);
    put_u64(&mut payload, floor);
    put_u64(&mut payload, count);
    for (step, text) in records {
        put_u64(&mut payload, *step);
        put_bytes(&mut payload, text);
    }
    payload
}

fn apply(node: &mut Node, payload: &[u8]) -> Result<u64, String> {
    let max_id = BASE as u64 * 1000 + 1_000;
    node.apply(payload, 5, max_id, &mut Counters::default())
        .map_err(|error| error.to_string())
}

#[test]
fn invalid_effects_are_rejected_and_change_nothing() {
    let mut w = world();
    let own = w.peek("LOG")[3].0;
    let node = w.node.as_mut().unwrap();
    let before = digest(node);
    let good = (40, log(40, "x"));
    for (payload, expected) in [
        (
            effects(5, 0, 1, std::slice::from_ref(&good)),
            "an unknown queue",
        ),
        (
            effects(LOG, 0, 2, std::slice::from_ref(&good)),
            "unexpected end of data",
        ),
        (
            effects(LOG, 0, 1, &[(0, log(0, "x"))]),
            "an id is out of range",
        ),
        (
            effects(LOG, 0, 2, &[good.clone(), (0, log(40, "x"))]),
            "an id is out of range",
        ),
        (
            effects(LOG, 0, 2, &[good.clone(), (MAX_ID, vec![])]),
            "an id is out of range",
        ),
        (effects(LOG, MAX_ID + 1, 0, &[]), "an id is out of range"),
        (
            effects(LOG, MAX_ID, 0, &[]),
            "an id is too far ahead of the clock",
        ),
        (
            effects(LOG, 0, 1, &[(MAX_ID, log(MAX_ID, "x"))]),
            "an id is too far ahead of the clock",
        ),
        (
            effects(LOG, 0, 1, &[(40, log(41, "x"))]),
            "an invalid imported record",
        ),
        (
            effects(
                1,
                0,
                1,
                &[(40, br#"{"node":"n","queue":"HOUR","id":40}"#.to_vec())],
            ),
            "an invalid imported record",
        ),
        (effects(LOG, 0, u64::MAX, &[]), "unexpected end of data"),
    ] {
        assert_eq!(apply(node, &payload), Err(expected.to_owned()));
        assert_eq!(digest(node), before, "{expected}");
    }
    // What is known, and the id of an own record, is ignored.
    let clash = effects(LOG, 0, 2, &[(10, log(10, "y")), (own - 10, log(own, "y"))]);
    assert!(apply(node, &clash).is_ok());
    assert_eq!(digest(node), before);
    assert!(apply(node, &effects(LOG, 0, 1, &[good])).is_ok());
    assert_ne!(digest(node), before);
}
