//! AGG.MSTAT: many samples at once, of which all, some or none are accepted.

use super::*;

const MSTAT: &str = "AGG.MSTAT node [ABS|ADD|DIFF|INC] [HIST] [TAGS tags] [AT ms] [ATOMIC] [SEQ source n] \
                     VALUES metric value [metric value ...]|COLUMNS column [column ...] VALUES value [value ...]";

#[test]
fn many_samples_share_their_type_tags_and_time() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!("agg.mstat n at {t} tags 'host:a' diff values a 1 b 2 c 3");
    assert_eq!(tell::<Value>(&server, &line), mstat(3, 0, &[]));
    for (name, last) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let shown: Value = server.ask(&format!("AGG.GET n METRIC {name}"));
        assert_eq!(
            (text(&shown, "type"), text(&shown, "last")),
            ("DIFF".into(), last.into())
        );
        assert_eq!(int(&shown, "at"), t);
        assert_eq!(text(at(&shown, "tags").unwrap(), "host"), "a");
    }
    // A metric may be named many times, and every sample counts, whatever its time.
    let line = format!("AGG.MSTAT n AT {t} VALUES g 1 g 2 g 6");
    assert_eq!(server.ask::<Value>(&line), mstat(3, 0, &[]));
    let shown: Value = server.ask("AGG.GET n METRIC g");
    let open = &list(at(&shown, "min").unwrap())[0];
    assert_eq!((int(open, "count"), double(open, "avg")), (3, 3.0));
    assert_eq!(text(&shown, "last"), "6");
}

#[test]
fn valid_samples_are_accepted_and_invalid_ones_named() {
    let Some(server) = stocked("") else { return };
    let line = "AGG.MSTAT n VALUES gauge 5 counter 7 '' 1 x 0x10 x 1e309 x 1e-400 x 2";
    assert_eq!(
        tell::<Value>(&server, line),
        mstat(
            2,
            0,
            &[
                (
                    1,
                    "metric 'counter' is DIFF, the sample ABS: use AGG.FORGET node METRIC name to reset the metric"
                ),
                (2, "metric must not be empty"),
                (3, "invalid value '0x10': expected a decimal number"),
                (4, "invalid value '1e309': too large for a double"),
                (5, "invalid value '1e-400': too close to 0 for a double"),
            ]
        )
    );
    assert_eq!(metric(&server, "gauge", "last"), "5");
    assert_eq!(metric(&server, "x", "last"), "2");
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT n DIFF VALUES counter -3 counter 9"),
        mstat(
            1,
            0,
            &[(0, "invalid value '-3': a DIFF metric must not be negative")]
        )
    );
}

#[test]
fn samples_that_are_all_invalid_change_nothing() {
    let Some(server) = stocked("") else { return };
    let before = state(&server);
    for node in ["n", "new"] {
        assert_eq!(
            server.ask::<Value>(&format!("AGG.MSTAT {node} TAGS b:2 VALUES gauge x")),
            mstat(0, 0, &[(0, "invalid value 'x': expected a decimal number")])
        );
    }
    assert_eq!(state(&server), before);
}

#[test]
fn late_samples_are_counted_apart_from_accepted_ones() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    server.ask::<i64>(&format!("AGG.STAT n c 100 DIFF AT {t}"));
    let before = state(&server);
    let line = format!("AGG.MSTAT n DIFF AT {} VALUES c 90 c 95", t - 1);
    assert_eq!(server.ask::<Value>(&line), mstat(0, 2, &[]));
    assert_eq!(state(&server), before, "late samples change nothing");
    let line = format!("AGG.MSTAT n DIFF AT {} VALUES d 1 c 90 c x", t - 1);
    assert_eq!(
        server.ask::<Value>(&line),
        mstat(1, 1, &[(2, "invalid value 'x': expected a decimal number")])
    );
    assert_eq!(metric(&server, "c", "last"), "100");
    assert_eq!(int(&server.ask("AGG.GET n METRIC c"), "late"), 3);
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 3);
}

#[test]
fn atomic_accepts_all_samples_or_none() {
    let Some(server) = stocked("") else { return };
    for (options, samples, why) in [
        (
            "",
            "gauge 5 x 1 x 0x10",
            "sample 2: invalid value '0x10': expected a decimal number",
        ),
        ("", "gauge 5 '' 1", "sample 1: metric must not be empty"),
        (
            "DIFF",
            "x 5 y -1",
            "sample 1: invalid value '-1': a DIFF metric must not be negative",
        ),
    ] {
        let line = format!("AGG.MSTAT n {options} TAGS b:2 ATOMIC VALUES {samples}");
        let why = format!("ERR AGG.MSTAT: {why}; no sample was accepted");
        assert_rejected(&server, &line, &why);
    }
    assert_rejected_once(
        &server,
        &words("AGG.MSTAT n ATOMIC VALUES gauge 5 counter 7"),
        "ERR AGG.MSTAT: sample 1: metric 'counter' is DIFF, the sample ABS: use AGG.FORGET node METRIC name to reset the metric; no sample was accepted",
    );
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT n atomic VALUES gauge 5 x 6"),
        mstat(2, 0, &[])
    );
}

#[test]
fn atomic_does_not_treat_a_late_sample_as_invalid() {
    let Some(server) = stocked("") else { return };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.STAT n c 100 DIFF AT {t}"));
    let line = format!("AGG.MSTAT n DIFF AT {} ATOMIC VALUES c 90 d 1", t - 1);
    assert_eq!(server.ask::<Value>(&line), mstat(1, 1, &[]));
}

#[test]
fn samples_with_missing_unknown_or_repeated_arguments_are_rejected() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.MSTAT' command";
    assert_rejected_once(&server, &words("AGG.MSTAT"), arity);
    assert_rejected(&server, "AGG.MSTAT n VALUES", arity);
    assert_rejected(&server, "AGG.MSTAT n VALUES gauge", arity);
    for (arguments, why) in [
        (
            "gauge 1 x 2",
            format!("unknown option 'gauge'; usage: {MSTAT}"),
        ),
        ("ABS TAGS a:1", format!("VALUES is missing; usage: {MSTAT}")),
        (
            "ATOMIC ABS AT",
            format!("AT requires a value; usage: {MSTAT}"),
        ),
        (
            "ATOMIC ABS TAGS",
            format!("TAGS requires a value; usage: {MSTAT}"),
        ),
        (
            "ATOMIC ABS VALUES",
            "VALUES requires pairs of metric and value, got 0 arguments".into(),
        ),
        (
            "VALUES gauge 1 x",
            "VALUES requires pairs of metric and value, got 3 arguments".into(),
        ),
        (
            "ATOMIC VALUES gauge",
            "VALUES requires pairs of metric and value, got 1 arguments".into(),
        ),
        ("ABS ABS VALUES gauge 1", "ABS is given twice".into()),
        (
            "DIFF ABS VALUES gauge 1",
            "ABS and DIFF are both given: a sample has one type".into(),
        ),
        (
            "ATOMIC ATOMIC VALUES gauge 1",
            "ATOMIC is given twice".into(),
        ),
        (
            "TAGS a:1 TAGS a:1 VALUES gauge 1",
            "TAGS is given twice".into(),
        ),
        (
            "AT 1700000000000 AT 1700000000000 VALUES gauge 1",
            "AT is given twice".into(),
        ),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.MSTAT n {arguments}"),
            &format!("ERR AGG.MSTAT: {why}"),
        );
    }
}
