//! MEMORY USAGE and the bytes of AGG.INFO equal the memory that the server frees when the node is deleted.

use redis::Value;

use crate::attackers;
use crate::support::*;
use testkit::*;

/// The memory that a look itself uses: a buffer of replies.
const LOOK: i64 = 1 << 10;

#[test]
fn memory_usage_of_a_node_is_what_its_deletion_frees() {
    let _beside = beside();
    let Some(server) = server("min-window 1 hour-window 2 flush-delay-ms 100") else {
        return;
    };
    let mut connection = server.connection();
    fill(&mut connection, "something-of-everything");
    fill_much(&mut connection, "much");
    let mut random = Random(seed());
    for _ in 0..8 {
        for (_, attack) in attackers::ALL {
            burst(&mut connection, &attack(&mut random));
        }
    }
    // Objects shrink, records are removed from the middle, metrics are forgotten.
    for line in [
        "AGG.FETCH logs0 LOG COUNT 20",
        "AGG.POP much LOG ERROR REALITY COUNT 300",
        "AGG.POP objects REALITY COUNT 5",
    ] {
        let _: Value = ask(&mut connection, line);
    }
    let forget: Vec<_> = (0..150)
        .map(|i| split(&format!("AGG.FORGET much METRIC metric.3.{i}")))
        .collect();
    burst(&mut connection, &forget);
    // These stay, so that the server's table of keys does not shrink during the measurement, as that of Redis 7.4 would
    // at a DEL.
    let others: Vec<_> = (0..4096)
        .map(|i| split(&format!("SET other.{i} 1")))
        .collect();
    burst(&mut connection, &others);
    // Until the open windows have closed the value changes during the measurement.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let mut keys: Vec<String> = ask(&mut connection, "KEYS *");
    keys.retain(|key| !key.starts_with("other."));
    assert!(keys.len() < others.len());
    // At the first time the server allocates what it needs for this.
    Look::around_del(&mut connection, "nothing");
    Look::around_del(&mut connection, "nothing");
    let mut compared = 0;
    for key in keys {
        let usage: i64 = ask(&mut connection, &format!("MEMORY USAGE {key} SAMPLES 0"));
        let info: Value = ask(&mut connection, &format!("AGG.INFO {key}"));
        let (before, after) = Look::around_del(&mut connection, &key);
        let freed = before.net() - after.net();
        let shown = int(&info, "bytes");
        let near = |n: i64, slack: i64| (n - freed).abs() <= freed / 20 + slack;
        assert!(
            near(usage, LOOK),
            "{key}: MEMORY USAGE {usage}, its end freed {freed}"
        );
        assert!(
            near(shown, LOOK),
            "{key}: AGG.INFO {shown}, its end freed {freed}"
        );
        let held = before.held - after.held;
        assert!(
            (shown - held).abs() <= held / 50 + 128,
            "{key}: AGG.INFO {shown}, the module freed {held}"
        );
        if freed > 100_000 {
            compared += 1;
            println!("{key}: MEMORY USAGE {usage}, AGG.INFO {shown}, freed {freed}");
        }
    }
    assert!(compared >= 6, "{compared} large nodes");
}
