//! Payloads made to be small and to need much: memory, or time.

use std::time::{Duration, Instant};

use redis::Value;

use crate::attack::{Words, burst, resident, split};
use crate::dump::Dump;
use crate::kit::*;
use crate::support::*;

fn put_u64(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_i64(out: &mut Vec<u8>, n: i64) {
    put_u64(out, ((n << 1) ^ (n >> 63)) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A payload of effects: version, clock, first id.
fn effects() -> Vec<u8> {
    let mut payload = vec![1];
    put_i64(&mut payload, now_ms());
    put_u64(&mut payload, now_ms() as u64 * 1000);
    payload
}

/// A sample of the metric `m`, as an effect. Flags: 4 tags, 8 the tags of the sample before.
fn sample(payload: &mut Vec<u8>, flags: u8, at: i64, tags: Option<&[u8]>) {
    payload.extend([1, flags]);
    put_bytes(payload, b"m");
    put_u64(payload, 1);
    put_i64(payload, at);
    tags.iter().for_each(|tags| put_bytes(payload, tags));
}

#[test]
fn windows_of_one_payload_with_one_long_tag_list_do_not_multiply_it() {
    let Some(server) = Server::with_module(&PLAIN, "max-memory 16mb") else {
        return;
    };
    let mut connection = server.connection();
    let _: i64 = ask(&mut connection, "AGG.STAT n m 1 AT 200000000000");
    let tags = b"t".repeat(60_000);
    let mut payload = effects();
    sample(&mut payload, 4, 300_000_000_000, Some(&tags));
    // Each closes the window of the one before, whose record carries the tags.
    (1..2_000).for_each(|i| sample(&mut payload, 8, 300_000_000_000 + i * 300_000, None));
    let before = resident(server.pid()).unwrap_or((0, 0)).0;
    let answer = burst(
        &mut connection,
        &[vec![b"AGG.APPLY".to_vec(), b"n".to_vec(), payload.clone()]],
    );
    let most = resident(server.pid())
        .unwrap_or((0, 0))
        .1
        .saturating_sub(before);
    let info: Value = ask(&mut connection, "AGG.INFO n");
    let bytes = int(&info, "bytes");
    println!(
        "a payload of {} bytes: {answer:?}, the node holds {bytes}, {most} more resident",
        payload.len()
    );
    assert!(
        bytes < 16 * payload.len() as i64,
        "a payload of {} bytes made the node hold {bytes}",
        payload.len()
    );
}

#[test]
fn a_list_that_is_repeated_does_not_hold_the_server_up() {
    let Some(server) = Server::with_module(&PLAIN, CALM) else {
        return;
    };
    let mut connection = server.connection();
    for i in 0..100 {
        let errors: Vec<Words> = (0..100)
            .map(|j| split(&format!("AGG.ERROR n e{i}.{j}")))
            .collect();
        burst(&mut connection, &errors);
    }
    let mut payload = effects();
    for _ in 0..5_000 {
        // Requeue all 10,000 errors: queue 3, one run from slot 0.
        payload.extend([11, 3, 1, 0]);
        put_u64(&mut payload, 10_000);
    }
    let sent = Instant::now();
    let answer = burst(
        &mut connection,
        &[vec![b"AGG.APPLY".to_vec(), b"n".to_vec(), payload.clone()]],
    );
    let took = sent.elapsed();
    println!(
        "a payload of {} bytes: {answer:?} after {took:?}",
        payload.len()
    );
    assert!(
        took < Duration::from_secs(30),
        "a payload of {} bytes took {took:?}",
        payload.len()
    );
}

/// The smallest metric that a saved node may hold: nothing was ever counted.
fn put_metric(frame: &mut Vec<u8>, i: u32) {
    put_bytes(frame, format!("{i:x}").as_bytes());
    // ABS, no tags, no time; the value told last; no rate, nothing pending; of both lengths: closed to, open, history.
    frame.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_node_of_the_smallest_metrics_takes_a_small_multiple_of_its_payload() {
    let Some(server) = server() else { return };
    let mut connection = server.connection();
    let _: i64 = ask(&mut connection, "AGG.LOG n x");
    let _: Value = ask(&mut connection, "AGG.POP n LOG");
    let empty = Dump::parse(&ask::<Vec<u8>>(&mut connection, "DUMP n"));
    let metrics = 100_000;
    let mut dump = empty.clone();
    let mut frame = vec![0x11];
    (0..metrics).for_each(|i| put_metric(&mut frame, i));
    let mut end = vec![0x1f];
    put_u64(&mut end, metrics.into());
    end.extend([0; 5]);
    dump.frames = vec![empty.frames[0].clone(), frame, end];
    let payload = dump.payload();
    let before = resident(server.pid()).unwrap_or((0, 0)).0;
    let _: Value = send(&mut connection, &[b"RESTORE", b"m", b"0", &payload]).unwrap();
    let most = resident(server.pid())
        .unwrap_or((0, 0))
        .1
        .saturating_sub(before);
    let usage: usize = ask(&mut connection, "MEMORY USAGE m");
    println!(
        "a payload of {} bytes: {usage} held, {most} more resident at most",
        payload.len()
    );
    assert!(usage < 48 * payload.len() && most < 64 * payload.len() as u64);
    exercise(&mut connection, "m");
    reload(&mut connection, &["m".to_owned()]);
}
