//! Invalid commands and their errors.

use super::*;

const POP: &str = "AGG.POP node queue [queue ...] [COUNT n] [FORMAT JSON|LINE]";

const FETCH: &str = "AGG.FETCH node queue [queue ...] [COUNT n] [LEASE ms] [BLOCK ms] [FORMAT JSON|LINE] [WITHFLOOR]";

const PEEK: &str = "AGG.PEEK node queue [queue ...] [COUNT n] [FROM id] [REV] [FORMAT JSON|LINE]";

#[test]
fn invalid_pop_fetch_and_peek_are_rejected_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    one_of_each(&server, "n");
    let digest = server.digest("n");
    for (command, usage) in [("AGG.POP", POP), ("AGG.FETCH", FETCH), ("AGG.PEEK", PEEK)] {
        let not_an_option = |word: &str| format!("unknown option '{word}'; usage: {usage}");
        let count =
            |word: &str| format!("invalid COUNT '{word}': expected an integer from 1 to 10000");
        let for_windows =
            |queue: &str| format!("FORMAT LINE supports only MIN and HOUR, not {queue}");
        let unknown = |word: &str| {
            format!("invalid queue '{word}': expected one of MIN, HOUR, LOG, ERROR, REALITY")
        };
        for (arguments, why) in [
            ("n DAY", unknown("DAY")),
            ("n COUNT 1", unknown("COUNT")),
            ("n ", unknown("")),
            ("n LOG LOG", "queue LOG is given twice".to_owned()),
            ("n MIN hour Min", "queue MIN is given twice".to_owned()),
            ("n LOG DAY", not_an_option("DAY")),
            ("n LOG COUNT 1 MIN", not_an_option("MIN")),
            ("n LOG ", not_an_option("")),
            ("n LOG COUNT 0", count("0")),
            ("n LOG COUNT 10001", count("10001")),
            ("n LOG COUNT -1", count("-1")),
            ("n LOG COUNT 1.5", count("1.5")),
            ("n LOG COUNT ", count("")),
            (
                "n LOG COUNT 18446744073709551617",
                count("18446744073709551617"),
            ),
            (
                "n LOG COUNT",
                format!("COUNT requires a value; usage: {usage}"),
            ),
            ("n LOG COUNT 1 COUNT 1", "COUNT is given twice".to_owned()),
            ("n LOG COUNT 1 count 1", "COUNT is given twice".to_owned()),
            (
                "n MIN FORMAT XML",
                "invalid FORMAT 'XML': expected one of JSON, LINE".to_owned(),
            ),
            (
                "n MIN FORMAT",
                format!("FORMAT requires a value; usage: {usage}"),
            ),
            (
                "n MIN FORMAT LINE FORMAT LINE",
                "FORMAT is given twice".to_owned(),
            ),
            ("n LOG FORMAT LINE", for_windows("LOG")),
            ("n ERROR FORMAT line", for_windows("ERROR")),
            ("n REALITY FORMAT LINE", for_windows("REALITY")),
            ("n MIN HOUR LOG FORMAT LINE", for_windows("LOG")),
            (" LOG", "node must not be empty".to_owned()),
            // Also if the node does not exist.
            ("none LOG COUNT 0", count("0")),
        ] {
            let line = format!("{command} {arguments}");
            assert_eq!(
                server.error(&line),
                format!("ERR {command}: {why}"),
                "{line}"
            );
        }
    }
    assert_eq!(server.digest("n"), digest);
    for queue in QUEUES {
        assert_eq!(info(&server, "n", queue, "leased"), 0);
        assert_eq!(info(&server, "n", queue, "length"), 1);
    }
}

#[test]
fn options_of_one_command_are_rejected_by_the_others() {
    let Some(server) = Server::start() else {
        return;
    };
    let week = "expected an integer from 1 to 604800000";
    let block = "expected an integer from 0 to 604800000";
    let from = "expected an integer from 0 to 9007199254740991";
    for (line, why) in [
        (
            "AGG.POP n LOG LEASE 1",
            format!("unknown option 'LEASE'; usage: {POP}"),
        ),
        (
            "AGG.POP n LOG BLOCK 1",
            format!("unknown option 'BLOCK'; usage: {POP}"),
        ),
        (
            "AGG.POP n LOG FROM 1",
            format!("unknown option 'FROM'; usage: {POP}"),
        ),
        (
            "AGG.POP n LOG REV",
            format!("unknown option 'REV'; usage: {POP}"),
        ),
        (
            "AGG.FETCH n LOG REV",
            format!("unknown option 'REV'; usage: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG FROM 1",
            format!("unknown option 'FROM'; usage: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG LEASE 0",
            format!("invalid LEASE '0': {week}"),
        ),
        (
            "AGG.FETCH n LOG LEASE -5",
            format!("invalid LEASE '-5': {week}"),
        ),
        (
            "AGG.FETCH n LOG LEASE 1s",
            format!("invalid LEASE '1s': {week}"),
        ),
        (
            "AGG.FETCH n LOG LEASE 604800001",
            format!("invalid LEASE '604800001': {week}"),
        ),
        (
            "AGG.FETCH n LOG LEASE",
            format!("LEASE requires a value; usage: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG LEASE 1 LEASE 2",
            "LEASE is given twice".to_owned(),
        ),
        (
            "AGG.FETCH n LOG BLOCK -1",
            format!("invalid BLOCK '-1': {block}"),
        ),
        (
            "AGG.FETCH n LOG BLOCK 0.5",
            format!("invalid BLOCK '0.5': {block}"),
        ),
        (
            "AGG.FETCH n LOG BLOCK 604800001",
            format!("invalid BLOCK '604800001': {block}"),
        ),
        (
            "AGG.FETCH n LOG BLOCK",
            format!("BLOCK requires a value; usage: {FETCH}"),
        ),
        (
            "AGG.FETCH n LOG BLOCK 1 BLOCK 1",
            "BLOCK is given twice".to_owned(),
        ),
        (
            "AGG.PEEK n LOG LEASE 1",
            format!("unknown option 'LEASE'; usage: {PEEK}"),
        ),
        (
            "AGG.PEEK n LOG BLOCK 1",
            format!("unknown option 'BLOCK'; usage: {PEEK}"),
        ),
        (
            "AGG.PEEK n LOG FROM -1",
            format!("invalid FROM '-1': {from}"),
        ),
        ("AGG.PEEK n LOG FROM x", format!("invalid FROM 'x': {from}")),
        (
            "AGG.PEEK n LOG FROM 9007199254740992",
            format!("invalid FROM '9007199254740992': {from}"),
        ),
        (
            "AGG.PEEK n LOG FROM",
            format!("FROM requires a value; usage: {PEEK}"),
        ),
        (
            "AGG.PEEK n LOG FROM 1 FROM 1",
            "FROM is given twice".to_owned(),
        ),
        ("AGG.PEEK n LOG REV REV", "REV is given twice".to_owned()),
    ] {
        let command = line.split(' ').next().unwrap();
        assert_eq!(
            server.error(line),
            format!("ERR {command}: {why}"),
            "{line}"
        );
    }
}

#[test]
fn invalid_ack_nack_and_extend_are_rejected_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    let id = log(&server, "n", "text");
    take(&server, "AGG.FETCH n LOG LEASE 600000");
    let digest = server.digest("n");
    for (command, ms) in [("AGG.ACK", ""), ("AGG.NACK", ""), ("AGG.EXTEND", "1 ")] {
        for word in ["0", "-1", "x", "1.0", "", "01", "9007199254740992"] {
            let why =
                format!("invalid id '{word}': expected an integer from 1 to 9007199254740991");
            // Also after a valid one, which then stays unchanged.
            for ids in [
                word.to_owned(),
                format!("{id} {word}"),
                format!("{word} {id}"),
            ] {
                let line = format!("{command} n LOG {ms}{ids}");
                assert_eq!(
                    server.error(&line),
                    format!("ERR {command}: {why}"),
                    "{line}"
                );
            }
        }
        let line = format!("{command} n DAY {ms}{id}");
        let why = "invalid queue 'DAY': expected one of MIN, HOUR, LOG, ERROR, REALITY";
        assert_eq!(server.error(&line), format!("ERR {command}: {why}"));
        let line = format!("{command}  LOG {ms}{id}");
        assert_eq!(
            server.error(&line),
            format!("ERR {command}: node must not be empty")
        );
    }
    for word in ["0", "-1", "x", "604800001"] {
        let line = format!("AGG.EXTEND n LOG {word} {id}");
        let why = format!("invalid ms '{word}': expected an integer from 1 to 604800000");
        assert_eq!(server.error(&line), format!("ERR AGG.EXTEND: {why}"));
    }
    assert_eq!(server.digest("n"), digest);
    assert_eq!(info(&server, "n", "LOG", "leased"), 1);
}

#[test]
fn invalid_requeue_is_rejected_with_a_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    let usage = "AGG.REQUEUE node ERROR|REALITY [MATCH glob]";
    for (arguments, why) in [
        (
            "n LOG",
            "invalid queue 'LOG': expected one of ERROR, REALITY".to_owned(),
        ),
        (
            "n MIN",
            "invalid queue 'MIN': expected one of ERROR, REALITY".to_owned(),
        ),
        (
            "n ERROR MATCH",
            format!("MATCH requires a value; usage: {usage}"),
        ),
        ("n ERROR MATCH a MATCH b", "MATCH is given twice".to_owned()),
        (
            "n ERROR COUNT 1",
            format!("unknown option 'COUNT'; usage: {usage}"),
        ),
        (
            "n ERROR REALITY",
            format!("unknown option 'REALITY'; usage: {usage}"),
        ),
        (" ERROR", "node must not be empty".to_owned()),
    ] {
        let line = format!("AGG.REQUEUE {arguments}");
        assert_eq!(
            server.error(&line),
            format!("ERR AGG.REQUEUE: {why}"),
            "{line}"
        );
    }
}

#[test]
fn command_without_queue_or_ids_is_rejected_by_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    let id = log(&server, "n", "text");
    server.assert_arity_is_checked(&[
        "AGG.POP n",
        "AGG.FETCH n",
        "AGG.PEEK n",
        "AGG.REQUEUE n",
        "AGG.ACK n LOG",
        "AGG.NACK n LOG",
        "AGG.EXTEND n LOG 1000",
        &format!("AGG.EXTEND n LOG {id}"),
    ]);
    assert_eq!(info(&server, "n", "LOG", "length"), 1);
}

#[test]
fn key_of_another_type_is_rejected() {
    let Some(server) = Server::start() else {
        return;
    };
    server.assert_type_is_checked(&[
        "AGG.POP n LOG",
        "AGG.FETCH n LOG",
        "AGG.FETCH n LOG BLOCK 0",
        "AGG.PEEK n LOG",
        "AGG.ACK n LOG 1",
        "AGG.NACK n LOG 1",
        "AGG.EXTEND n LOG 1 1",
        "AGG.REQUEUE n ERROR",
    ]);
}
