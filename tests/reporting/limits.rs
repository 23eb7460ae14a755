//! Names that are too long and nodes that are full: the command is rejected as a whole, and known names keep working.

use super::*;

#[test]
fn names_and_tags_that_are_too_long_are_rejected() {
    let Some(server) = stocked("max-item-size 64") else {
        return;
    };
    let (most, long) = ("a".repeat(64), "a".repeat(65));
    for (line, what) in [
        ("AGG.STAT n LONG 1", "AGG.STAT: metric"),
        ("AGG.STAT n gauge 1 TAGS LONG", "AGG.STAT: TAGS"),
        ("AGG.MSTAT n TAGS LONG VALUES gauge 1", "AGG.MSTAT: TAGS"),
        ("AGG.HIST n LONG VALUES 1 1", "AGG.HIST: metric"),
        ("AGG.HIST n m SUM LONG VALUES 1 1", "AGG.HIST: SUM"),
        ("AGG.HIST n m TAGS LONG VALUES 1 1", "AGG.HIST: TAGS"),
        ("AGG.LOG n line TAGS LONG", "AGG.LOG: TAGS"),
        ("AGG.ERROR n failed TAGS LONG", "AGG.ERROR: TAGS"),
        ("AGG.ERROR n failed CODE LONG", "AGG.ERROR: CODE"),
        ("AGG.ERROR n failed FUNC LONG", "AGG.ERROR: FUNC"),
        ("AGG.ERROR n failed FILE LONG", "AGG.ERROR: FILE"),
        ("AGG.ERROR n failed KEY LONG", "AGG.ERROR: KEY"),
        ("AGG.REALITY n LONG m {}", "AGG.REALITY: key"),
        ("AGG.REALITY n k LONG {}", "AGG.REALITY: model"),
        ("AGG.REALITY n k m LONG", "AGG.REALITY: json"),
        ("AGG.REALITY n k m {} TAGS LONG", "AGG.REALITY: TAGS"),
        ("AGG.FORGET n METRIC LONG", "AGG.FORGET: name"),
    ] {
        let why = format!("ERR {what} '{most}…' has 65 bytes: agg.max-item-size allows 64");
        assert_rejected(&server, &line.replace("LONG", &long), &why);
    }
    for line in [
        "AGG.STAT LONG m 1",
        "AGG.MSTAT LONG VALUES m 1",
        "AGG.HIST LONG m VALUES 1 1",
        "AGG.LOG LONG line",
        "AGG.ERROR LONG failed",
        "AGG.REALITY LONG k m {}",
        "AGG.FORGET LONG METRIC m",
        "AGG.REQUEUE LONG ERROR",
    ] {
        let line = line.replace("LONG", &long);
        let (name, _) = line.split_once(' ').unwrap();
        let why = format!("ERR {name}: node '{most}…' has 65 bytes: agg.max-item-size allows 64");
        assert_rejected_once(&server, &words(&line), &why);
    }
    let many: Value = server.ask(&format!("AGG.MSTAT n VALUES {long} 1"));
    assert_eq!(
        many,
        mstat(
            0,
            0,
            &[(
                0,
                &format!("metric '{most}…' has 65 bytes: agg.max-item-size allows 64")
            )]
        )
    );
    // The maximum length is accepted.
    let json = format!("\"{}\"", &most[2..]);
    for line in [
        format!("AGG.STAT {most} {most} 1 TAGS {most}"),
        format!("AGG.ERROR n {most} CODE {most} FUNC {most} FILE {most} KEY {most}"),
        format!("AGG.REALITY n {most} {most} {json}"),
    ] {
        server.ask::<Value>(&line);
    }
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!(int(&info, "truncated"), 0);
}

#[test]
fn pattern_that_is_too_long_is_rejected() {
    let Some(server) = stocked("max-item-size 64") else {
        return;
    };
    server.ask::<Value>("AGG.POP n ERROR");
    let before = state(&server);
    let message = server.error(&format!("AGG.REQUEUE n ERROR MATCH {}", "*".repeat(65)));
    assert!(
        message.starts_with("ERR AGG.REQUEUE: ")
            && message.ends_with("has 65 bytes: agg.max-item-size allows 64"),
        "{message}"
    );
    assert_eq!(state(&server), before);
}

#[test]
fn metric_beyond_max_series_is_rejected_and_others_continue() {
    let Some(server) = stocked("max-series 2") else {
        return;
    };
    let why = "cannot create metric 'third': the node has reached agg.max-series (2)";
    assert_rejected_once(
        &server,
        &words("AGG.STAT n third 1"),
        &format!("AGGFULL AGG.STAT: {why}"),
    );
    assert_rejected_once(
        &server,
        &words("AGG.MSTAT n ATOMIC VALUES gauge 1 third 1"),
        &format!("AGGFULL AGG.MSTAT: sample 1: {why}; no sample was accepted"),
    );
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT n VALUES third 1 gauge 5"),
        mstat(1, 0, &[(0, why)])
    );
    assert_eq!(metric(&server, "gauge", "last"), "5");
    assert_eq!(node_rejections(&server, "max-series"), 3);
    // The limit applies per node, and forgotten names no longer count.
    assert_eq!(server.ask::<i64>("AGG.STAT other third 1"), 1);
    server.ask::<i64>("AGG.FORGET n METRIC gauge");
    assert_eq!(server.ask::<i64>("AGG.STAT n third 1"), 1);
}

#[test]
fn new_node_cannot_start_with_more_metrics_than_max_series() {
    let Some(server) = stocked("max-series 2") else {
        return;
    };
    assert_rejected_once(
        &server,
        &words("AGG.MSTAT new ATOMIC VALUES a 1 b 1 a 2 c 1"),
        "AGGFULL AGG.MSTAT: sample 3: cannot create metric 'c': the node has reached agg.max-series (2); no sample was accepted",
    );
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT new VALUES a 1 b 1 a 2 c 1"),
        mstat(
            3,
            0,
            &[(
                3,
                "cannot create metric 'c': the node has reached agg.max-series (2)"
            )]
        )
    );
}

#[test]
fn object_beyond_max_realities_is_rejected_and_others_continue() {
    let Some(server) = stocked("max-realities 2") else {
        return;
    };
    server.ask::<i64>("AGG.REALITY n sdb system.Disk {}");
    let full = "AGGFULL AGG.REALITY: cannot create object 'sdc': the node has reached agg.max-realities (2)";
    assert_rejected_once(&server, &words("AGG.REALITY n sdc system.Disk {}"), full);
    assert_eq!(node_rejections(&server, "max-realities"), 1);
    assert_eq!(server.ask::<i64>("AGG.REALITY n sdb system.Disk [1]"), 1);
    assert_eq!(server.ask::<i64>("AGG.REALITY other sdc system.Disk {}"), 1);
    // Gone objects that are not yet delivered are counted separately.
    server.ask::<i64>("AGG.FORGET n REALITY sdb");
    assert_eq!(server.ask::<i64>("AGG.REALITY n sdc system.Disk {}"), 1);
    assert_eq!(int(&server.ask("AGG.INFO n"), "realities"), 2);
    assert_eq!(look(&server, "REALITY").len(), 3);
}
