//! RESTORE of damaged payloads.

use redis::Value;

use super::mutate::payload;
use super::support::*;
use testkit::*;

/// Payloads that are sent at once.
const BATCH: usize = 100;

#[test]
fn damaged_payloads_are_rejected_or_restored_nodes_work() {
    let Some(server) = server() else { return };
    let mut report = FailureReport::new("RESTORE");
    let dumps = dumps(&server);
    for dump in &dumps {
        let words = [
            b"RESTORE".as_slice(),
            b"whole",
            b"0",
            &dump.payload(),
            b"REPLACE",
        ];
        let _: Value = server.send(&words);
    }
    let mut connection = server.connection();
    let _: () = ask(&mut connection, "FLUSHALL");
    let total = env_number("AGG_PAYLOADS").map_or(amount(20_000, 1_000_000), |n| n as usize);
    let before = resident(server.pid()).map_or(0, |(rss, _)| rss);
    let mut random = Random(seed());
    let (mut sent, mut taken, mut bytes, mut kept) = (0, 0, 0, Vec::new());
    while sent < total {
        let commands: Vec<Words> = (0..BATCH)
            .map(|i| {
                let payload = payload(&mut random, &dumps);
                bytes += payload.len();
                let mut words = split(&format!("RESTORE r{} 0", sent + i));
                words.push(payload);
                words
            })
            .collect();
        report.is(&format!("RESTORE, payloads from {sent} on"), &commands);
        for (i, answer) in burst(&mut connection, &commands).into_iter().enumerate() {
            match answer {
                Ok(_) => kept.push(format!("r{}", sent + i)),
                Err(error) => assert!(
                    error.starts_with("ERR Bad data format")
                        || error.starts_with("ERR DUMP payload version"),
                    "{error}"
                ),
            }
        }
        sent += BATCH;
        if kept.len() >= 200 || sent >= total {
            taken += kept.len();
            reload(&mut connection, &kept);
            for key in &kept {
                // One in a hundred thousand has become a string, which the server accepts.
                if ask::<String>(&mut connection, &format!("TYPE {key}")) == "aggr-node" {
                    exercise(&mut connection, key);
                }
            }
            reload(&mut connection, &kept);
            kept.clear();
            let _: () = ask(&mut connection, "FLUSHALL");
        }
    }
    let grew = is_well(&server, before, 96 << 20);
    println!(
        "{sent} payloads of {} bytes on average, {taken} taken; {} KiB more resident at most",
        bytes / sent,
        grew >> 10
    );
    assert!(
        taken > sent / 200,
        "{taken} of {sent} taken: nothing was tested behind RESTORE"
    );
}

#[test]
fn payloads_that_claim_more_than_they_hold_allocate_nothing() {
    let Some(server) = server() else { return };
    let _told = FailureReport::new("claims");
    let dumps = dumps(&server);
    let mut connection = server.connection();
    let before = resident(server.pid()).map_or(0, |(rss, _)| rss);
    let huge: [&[u8]; 4] = [
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0x7f],
    ];
    // Puts a number in the place of each byte of each frame, so that every count and length claims it.
    for (i, dump) in dumps.iter().take(3).enumerate() {
        for (f, frame) in dump.frames.iter().enumerate() {
            let claims = (0..frame.len().min(600)).flat_map(|at| huge.map(|n| (at, n)));
            let commands: Vec<Words> = claims
                .map(|(at, n)| {
                    let mut dump = dump.clone();
                    drop(dump.frames[f].splice(at..=at, n.iter().copied()));
                    let mut words = split(&format!("RESTORE c{i}.{f} 0 PAYLOAD REPLACE"));
                    words[3] = dump.payload();
                    words
                })
                .collect();
            commands
                .chunks(BATCH)
                .for_each(|some| drop(burst(&mut connection, some)));
        }
    }
    is_well(&server, before, 32 << 20);
}
