//! The memory limit is lowered by CONFIG SET: the excess is trimmed in slices, so that other clients are served
//! meanwhile. Writes that need memory are rejected until then; writes that only count or free memory work.

use std::time::{Duration, Instant};

use crate::support::*;
use testkit::*;

#[test]
fn lowered_limit_is_reached_within_seconds_without_blocking() {
    let _alone = alone();
    let much = amount(96, 512) as i64;
    let Some(server) = server(&format!(
        "{CALM} max-memory {much}mb queue-log 64mb queue-min 1gb"
    )) else {
        return;
    };
    let mut connection = server.connection();
    let line = "x".repeat(300);
    // Many small records are more work to drop than few large ones.
    for node in 0..8 {
        for _ in 0..(much as usize * 250 / 8) {
            let commands: Vec<_> = (0..10)
                .map(|_| split(&format!("AGG.LOG n{node} {line}")))
                .collect();
            burst(&mut connection, &commands);
        }
    }
    let _: i64 = ask(&mut connection, "AGG.STAT n0 old 1");
    let before = agg(&server, "agg_held");
    assert!(before > much * MB * 7 / 10, "{before}");
    let limit = 8 * MB;
    let started = Instant::now();
    // In one burst, so that the timer does not run in between: the command leaves the work to the timer, and commands
    // that need memory are rejected meanwhile.
    let set = format!("CONFIG SET agg.max-memory {limit}");
    let answers = burst(
        &mut connection,
        &[&set, "AGG.LOG n1 hello", "AGG.STAT n0 new 1", "INFO agg"].map(split),
    );
    let info: String = redis::from_redis_value(answers[3].clone().unwrap()).unwrap();
    assert!(
        info_field::<i64>(&info, "agg_held") > limit + 2 * MB,
        "{info}"
    );
    let mut rejected = 0;
    for answer in &answers[1..3] {
        let error = answer.as_ref().expect_err("it needs memory");
        assert!(error.contains("agg.max-memory (8388608 bytes)"), "{error}");
        rejected += 1;
    }
    let mut waits = Vec::new();
    let mut other = server.connection();
    let took = loop {
        let sent = Instant::now();
        let _: String = ask(&mut other, "PING");
        waits.push(sent.elapsed());
        let probes = ["AGG.STAT n0 old 2", "AGG.LOG n1 hello", "AGG.STAT n0 new 1"];
        let answers = burst(&mut connection, &probes.map(split));
        answers[0]
            .as_ref()
            .expect("known metrics continue to be counted");
        let held = agg(&server, "agg_held");
        if held <= limit {
            break started.elapsed();
        }
        for answer in &answers[1..] {
            if let Err(error) = answer {
                assert!(error.contains("agg.max-memory (8388608 bytes)"), "{error}");
                rejected += 1;
            } else if held > limit + 2 * MB {
                panic!("a write that needs memory was taken while {held} bytes were held");
            }
        }
        assert!(
            started.elapsed() < Duration::from_secs(300),
            "still {held} bytes"
        );
    };
    let slowest = *waits.iter().max().unwrap();
    let pings = waits.len();
    println!(
        "{before} bytes trimmed to {limit} in {took:?}; {pings} pings, the slowest {slowest:?}; {rejected} rejections"
    );
    // Milliseconds on an idle machine.
    assert!(slowest < Duration::from_secs(20), "a PING took {slowest:?}");
    assert!(agg(&server, "agg_dropped_max_memory") > 0);
    // Below the limit everything works.
    until("a line is taken", || {
        burst(&mut connection, &[split("AGG.LOG n1 hello")])[0]
            .is_ok()
            .then_some(())
    });
}

#[test]
fn data_that_cannot_be_dropped_is_kept_and_only_new_data_is_rejected_until_the_limit_is_raised() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 32mb")) else {
        return;
    };
    let mut connection = server.connection();
    let metrics: Vec<_> = (0..5000)
        .map(|i| split(&format!("AGG.STAT n m{i} 1")))
        .collect();
    burst(&mut connection, &metrics);
    let held = agg(&server, "agg_held");
    let _: () = ask(&mut connection, "CONFIG SET agg.max-memory 1mb");
    for answer in burst(&mut connection, &metrics) {
        assert_eq!(answer, Ok(redis::Value::Int(1)));
    }
    for line in [
        "AGG.STAT n new 1",
        "AGG.LOG n x",
        "AGG.ERROR n x",
        "AGG.REALITY n k m 1",
    ] {
        let rejection = server.error(line);
        assert!(
            rejection.starts_with("AGGFULL")
                && rejection.contains("agg.max-memory (1048576 bytes)"),
            "{rejection}"
        );
    }
    assert_eq!(agg(&server, "agg_metrics"), 5000);
    let grew = agg(&server, "agg_held") - held;
    assert!(grew.abs() < 16 << 10, "it grew by {grew} above the limit");
    for i in 0..100 {
        assert_eq!(server.ask::<i64>(&format!("AGG.FORGET n METRIC m{i}")), 1);
    }
    let _: () = ask(&mut connection, "CONFIG SET agg.max-memory 32mb");
    for line in ["AGG.STAT n new 1", "AGG.LOG n x"] {
        let _: i64 = ask(&mut connection, line);
    }
}
