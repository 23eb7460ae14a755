//! What applies to all reading commands: replies for missing names, errors, and that nothing changes.

use super::*;

#[test]
fn missing_node_or_name_is_nil_or_empty() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.LOG there text");
    for node in ["missing", "there"] {
        for family in ["METRIC", "ERROR", "REALITY"] {
            let nothing = look(&server, &format!("AGG.GET {node} {family} name"));
            assert_eq!(nothing, Value::Nil, "{node} {family}");
            let end = Value::BulkString(b"0".to_vec());
            for options in ["", " WITHVALUES", " COUNT 1 MATCH *"] {
                let scanned = look(&server, &format!("AGG.SCAN {node} {family} 0{options}"));
                let expected = Value::Array(vec![end.clone(), Value::Array(vec![])]);
                assert_eq!(scanned, expected, "{node} {family}{options}");
            }
        }
        for window in ["MIN", "HOUR"] {
            let nothing = look(&server, &format!("AGG.RANGE {node} metric {window}"));
            assert_eq!(nothing, Value::Array(vec![]), "{node} {window}");
        }
    }
    assert_eq!(look(&server, "AGG.INFO missing"), Value::Nil);
    assert_eq!(server.ask::<i64>("EXISTS missing"), 0);
}

#[test]
fn invalid_reads_are_rejected_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.STAT n m 1");
    let kind =
        |word: &str| format!("invalid kind '{word}': expected one of METRIC, ERROR, REALITY");
    let cursor = |w: &str| {
        format!("invalid cursor '{w}': expected an integer from 0 to 18446744073709551615")
    };
    let count = |word: &str| format!("invalid COUNT '{word}': expected an integer from 1 to 10000");
    let time = |what: &str, word: &str| {
        format!("invalid {what} '{word}': expected a time in Unix milliseconds")
    };
    let range = "AGG.RANGE node metric MIN|HOUR [FROM ms] [TO ms]";
    let scan =
        "AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] [WITHVALUES|WITHLAST]";
    for (line, why) in [
        ("AGG.GET n LOG m", kind("LOG")),
        ("AGG.GET n  m", kind("")),
        ("AGG.GET n METRIC ", "name must not be empty".to_owned()),
        ("AGG.GET  METRIC m", "node must not be empty".to_owned()),
        ("AGG.INFO ", "node must not be empty".to_owned()),
        (
            "AGG.RANGE n m DAY",
            "invalid window 'DAY': expected one of MIN, HOUR".to_owned(),
        ),
        ("AGG.RANGE n  MIN", "metric must not be empty".to_owned()),
        ("AGG.RANGE  m MIN", "node must not be empty".to_owned()),
        (
            "AGG.RANGE n m MIN FROM",
            format!("FROM requires a value; usage: {range}"),
        ),
        ("AGG.RANGE n m MIN FROM x", time("FROM", "x")),
        ("AGG.RANGE n m MIN FROM -1", time("FROM", "-1")),
        ("AGG.RANGE n m MIN TO 1.5", time("TO", "1.5")),
        ("AGG.RANGE n m MIN TO ", time("TO", "")),
        (
            "AGG.RANGE n m MIN FROM 1 FROM 1",
            "FROM is given twice".to_owned(),
        ),
        (
            "AGG.RANGE n m MIN TO 1 to 1",
            "TO is given twice".to_owned(),
        ),
        (
            "AGG.RANGE n m MIN COUNT 1",
            format!("unknown option 'COUNT'; usage: {range}"),
        ),
        (
            "AGG.RANGE n m MIN HOUR",
            format!("unknown option 'HOUR'; usage: {range}"),
        ),
        ("AGG.SCAN n LOG 0", kind("LOG")),
        ("AGG.SCAN  METRIC 0", "node must not be empty".to_owned()),
        ("AGG.SCAN n METRIC x", cursor("x")),
        ("AGG.SCAN n METRIC -1", cursor("-1")),
        ("AGG.SCAN n METRIC ", cursor("")),
        (
            "AGG.SCAN n METRIC 18446744073709551616",
            cursor("18446744073709551616"),
        ),
        ("AGG.SCAN n METRIC 0 COUNT 0", count("0")),
        ("AGG.SCAN n METRIC 0 COUNT 10001", count("10001")),
        ("AGG.SCAN n METRIC 0 COUNT x", count("x")),
        (
            "AGG.SCAN n METRIC 0 COUNT",
            format!("COUNT requires a value; usage: {scan}"),
        ),
        (
            "AGG.SCAN n METRIC 0 COUNT 1 COUNT 1",
            "COUNT is given twice".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 MATCH",
            format!("MATCH requires a value; usage: {scan}"),
        ),
        (
            "AGG.SCAN n METRIC 0 MATCH a MATCH a",
            "MATCH is given twice".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 WITHVALUES withvalues",
            "WITHVALUES is given twice".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 withlast COUNT 1 WITHVALUES",
            "WITHLAST and WITHVALUES are both given: choose one".to_owned(),
        ),
        (
            "AGG.SCAN n METRIC 0 TYPE x",
            format!("unknown option 'TYPE'; usage: {scan}"),
        ),
    ] {
        let command = line.split(' ').next().unwrap();
        assert_eq!(
            server.error(line),
            format!("ERR {command}: {why}"),
            "{line}"
        );
        // Also if the node does not exist.
        if line.contains(" n ") {
            let line = line.replace(" n ", " missing ");
            assert_eq!(
                server.error(&line),
                format!("ERR {command}: {why}"),
                "{line}"
            );
        }
    }
}

#[test]
fn name_that_is_too_long_is_rejected_with_its_length() {
    let Some(server) = Server::with_settings("max-item-size 100") else {
        return;
    };
    let long = "x".repeat(101);
    let quoted = format!("'{}…'", "x".repeat(64));
    for (line, what) in [
        (format!("AGG.GET n METRIC {long}"), "name"),
        (format!("AGG.RANGE n {long} MIN"), "metric"),
        (format!("AGG.INFO {long}"), "node"),
    ] {
        let command = line.split(' ').next().unwrap();
        let why = format!("{what} {quoted} has 101 bytes: agg.max-item-size allows 100");
        assert_eq!(server.error(&line), format!("ERR {command}: {why}"));
    }
}

#[test]
fn wrong_number_of_arguments_is_rejected_by_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    server.assert_arity_is_checked(&[
        "AGG.GET n METRIC",
        "AGG.GET n METRIC m more",
        "AGG.RANGE n m",
        "AGG.SCAN n METRIC",
        "AGG.INFO",
        "AGG.INFO n more",
    ]);
}

#[test]
fn key_of_another_type_is_rejected() {
    let Some(server) = Server::start() else {
        return;
    };
    server.assert_type_is_checked(&[
        "AGG.GET n METRIC m",
        "AGG.RANGE n m MIN",
        "AGG.SCAN n METRIC 0",
        "AGG.INFO n",
    ]);
}

#[test]
fn reading_changes_nothing() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    for family in ["METRIC", "ERROR", "REALITY"] {
        add_all(&server, family, &some("name", 3));
    }
    let digest = server.digest("n");
    for line in [
        "AGG.GET n METRIC name0",
        "AGG.GET n ERROR name0",
        "AGG.GET n REALITY name0",
        "AGG.GET n METRIC none",
        "AGG.RANGE n name0 MIN",
        "AGG.SCAN n METRIC 0 WITHVALUES",
        "AGG.SCAN n METRIC 0 WITHLAST",
        "AGG.INFO n",
        "INFO agg",
    ] {
        server.ask::<Value>(line);
        assert_eq!(server.digest("n"), digest, "{line}");
    }
}
