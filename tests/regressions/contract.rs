//! D18: encodings, scripts, clusters, leases and arguments.

use super::*;

/// D18: invalid UTF-8 stopped the consumer.
#[test]
fn d18a_invalid_utf8_leaves_as_valid_json_and_lines() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let bad: &[u8] = b"a\xff\xfe\xc3";
    let tags = [b"t\xff:", bad].concat();
    let reports: [&[&[u8]]; 4] = [
        &[b"AGG.STAT", bad, bad, b"1", b"TAGS", &tags],
        &[b"AGG.LOG", bad, bad, b"TAGS", &tags],
        &[b"AGG.ERROR", bad, bad, b"CODE", bad, b"KEY", bad],
        &[b"AGG.REALITY", bad, bad, bad, b"{}", b"TAGS", &tags],
    ];
    for report in reports {
        server.send::<Value>(report);
    }
    server.send::<i64>(&[b"AGG.FORGET", bad, b"METRIC", bad]);
    let reply: Value = server.send(&words("AGG.PEEK NODE MIN HOUR LOG ERROR REALITY").named(bad));
    let shown = "a\u{fffd}\u{fffd}\u{fffd}";
    // Parsing them as text and JSON is half of the test.
    let records = records(&reply);
    assert_eq!(all(&records, "node"), [shown; 5]);
    for (i, field) in ["metric", "metric", "message", "code", "model"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(records[i][field], shown, "{field}");
    }
    let reply: Value = server.send(&words("AGG.PEEK NODE MIN FORMAT LINE").named(bad));
    assert!(
        queued_records(&reply)[0]
            .text
            .starts_with(&format!("{shown},node={shown},"))
    );
}

/// Reads a node whose name is not text.
trait Named<'a> {
    fn named(self, node: &'a [u8]) -> Vec<&'a [u8]>;
}

impl<'a> Named<'a> for Vec<&'a [u8]> {
    fn named(mut self, node: &'a [u8]) -> Vec<&'a [u8]> {
        self[1] = node;
        self
    }
}

/// D18: it consisted of scripts, which SCRIPT FLUSH removed.
#[test]
fn d18b_commands_work_after_script_flush() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<i64>("AGG.STAT n m 1");
    server.ask::<()>("SCRIPT FLUSH");
    server.ask::<()>("FUNCTION FLUSH");
    assert_eq!(server.ask::<i64>("AGG.STAT n m 2"), 1);
    assert_eq!(double(&open(&server, "m"), "sum"), 3.0);
}

/// D18: keys were not declared, so it did not work in a cluster.
#[test]
fn d18c_every_command_declares_its_one_key_and_works_in_a_cluster() {
    let Some(server) = Server::with_module(&["--cluster-enabled", "yes"], CALM) else {
        return;
    };
    server.ask::<()>("CLUSTER ADDSLOTSRANGE 0 16383");
    until("the cluster is up", || {
        let info: String = server.ask("CLUSTER INFO");
        info.contains("cluster_state:ok").then_some(())
    });
    let lines = [
        "AGG.STAT n m 1",
        "AGG.MSTAT n VALUES m 1 o 2",
        "AGG.LOG n line",
        "AGG.ERROR n failed KEY k",
        "AGG.REALITY n k m {}",
        "AGG.PEEK n LOG",
        "AGG.FETCH n LOG",
        "AGG.ACK n LOG 1",
        "AGG.NACK n LOG 1",
        "AGG.EXTEND n LOG 1000 1",
        "AGG.POP n ERROR",
        "AGG.REQUEUE n ERROR",
        "AGG.GET n METRIC m",
        "AGG.RANGE n m MIN",
        "AGG.SCAN n METRIC 0",
        "AGG.INFO n",
        "AGG.FORGET n METRIC m",
    ];
    for line in lines {
        let keys: Vec<String> = server.ask(&format!("COMMAND GETKEYS {line}"));
        assert_eq!(keys, ["n"], "{line}");
        server.ask::<Value>(line);
    }
}

/// D18: a poller that died had lost up to 1,000 rows.
#[test]
fn d18d_records_leased_by_a_dead_poller_are_redelivered() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for i in 0..1_000 {
        server.ask::<i64>(&format!("AGG.LOG n line{i}"));
    }
    let mut poller = server.connection();
    let taken = queued_records(&ask(&mut poller, "AGG.FETCH n LOG COUNT 1000 LEASE 300"));
    assert_eq!(taken.len(), 1_000);
    drop(poller);
    let again = until("the leases end", || {
        let again = queued_records(&server.ask("AGG.FETCH n LOG COUNT 1000 LEASE 600000"));
        (!again.is_empty()).then_some(again)
    });
    let ids = |records: &[QueuedRecord]| records.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&taken));
    assert!(again.iter().all(|record| record.deliveries == 2));
}

/// D18: the hash of an error did not separate its fields.
#[test]
fn d18e_errors_that_differ_in_one_field_are_distinct() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let (one, _): (String, i64) = server.ask("AGG.ERROR n ab PUBLIC c");
    let (two, occurrences): (String, i64) = server.ask("AGG.ERROR n a PUBLIC bc");
    assert_ne!(one, two);
    assert_eq!(occurrences, 1);
    assert_eq!(int(&server.ask("AGG.INFO n"), "errors"), 2);
}

/// D18: seconds were silently taken for milliseconds.
#[test]
fn d18f_times_in_seconds_are_rejected() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let seconds = now_ms() / 1_000;
    for line in [
        "AGG.STAT n m 1",
        "AGG.LOG n line",
        "AGG.ERROR n failed",
        "AGG.REALITY n k m {}",
    ] {
        let name = line.split(' ').next().unwrap();
        assert_eq!(
            server.error(&format!("{line} AT {seconds}")),
            format!("ERR {name}: AT {seconds} looks like seconds: times are Unix milliseconds")
        );
    }
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
}

/// D18: hexadecimal numbers and blanks were accepted as values.
#[test]
fn d18g_hexadecimal_and_blank_values_are_rejected() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for value in ["0x10", "0X1P3", " 1", "1 ", " ", ""] {
        let command: [&[u8]; 4] = [b"AGG.STAT", b"n", b"m", value.as_bytes()];
        assert_eq!(
            rejection(&mut server.connection(), &command),
            format!("ERR AGG.STAT: invalid value '{value}': expected a decimal number")
        );
    }
    assert_eq!(server.ask::<i64>("EXISTS n"), 0);
}
