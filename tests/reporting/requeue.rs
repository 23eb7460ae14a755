//! AGG.REQUEUE: known errors and objects are queued again.

use super::*;

#[test]
fn requeue_queues_known_errors_and_objects_again() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for key in ["disk.a", "disk.b", "nic.a"] {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {key}"));
        server.ask::<Value>(&format!("AGG.REALITY n {key} m {{}}"));
    }
    for queue in ["ERROR", "REALITY"] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")),
            0,
            "all of it waits, and none was handed out"
        );
        let popped = queued_records(&server.ask(&format!("AGG.POP n {queue}")));
        assert_eq!(
            server.ask::<i64>(&format!("agg.requeue n {queue} match disk.*")),
            2
        );
        let again = look(&server, queue);
        let keys: Vec<_> = again.iter().map(|e| e.json()["key"].clone()).collect();
        assert_eq!(keys, ["disk.a", "disk.b"]);
        assert!(
            again
                .iter()
                .all(|e| e.id > popped[2].id && e.deliveries == 0)
        );
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REQUEUE n {queue} MATCH nothing")),
            0
        );
        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 1);
        assert_eq!(look(&server, queue).len(), 3);
    }
}

#[test]
fn requeue_gives_leased_records_a_new_id() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed");
    server.ask::<Value>("AGG.REALITY n k m {}");
    for queue in ["ERROR", "REALITY"] {
        let fetched = queued_records(&server.ask(&format!("AGG.FETCH n {queue}")));
        let old = fetched[0].id;
        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 1);
        let new = only(&server, queue);
        assert!(new.id > old);
        assert_eq!(
            server.ask::<i64>(&format!("AGG.ACK n {queue} {old}")),
            0,
            "the old record is gone"
        );
        assert_eq!(only(&server, queue), new);
    }
}

#[test]
fn requeue_of_a_missing_node_queues_nothing() {
    let Some(server) = stocked("") else { return };
    let before = state(&server);
    assert_eq!(server.ask::<i64>("AGG.REQUEUE new ERROR"), 0);
    assert_eq!(server.ask::<i64>("AGG.REQUEUE new REALITY MATCH *"), 0);
    assert_eq!(state(&server), before);
}

#[test]
fn requeue_with_invalid_arguments_is_rejected() {
    let Some(server) = stocked("") else { return };
    let usage = "AGG.REQUEUE node ERROR|REALITY [MATCH glob]";
    let arity = "ERR wrong number of arguments for 'AGG.REQUEUE' command";
    assert_rejected_once(&server, &words("AGG.REQUEUE"), arity);
    assert_rejected(&server, "AGG.REQUEUE n", arity);
    // Existing names would be queued if the command were not rejected.
    server.ask::<Value>("AGG.POP n ERROR REALITY");
    for (arguments, why) in [
        (
            "LOG",
            "invalid queue 'LOG': expected one of ERROR, REALITY".to_owned(),
        ),
        (
            "''",
            "invalid queue '': expected one of ERROR, REALITY".to_owned(),
        ),
        (
            "ERROR REALITY",
            format!("unknown option 'REALITY'; usage: {usage}"),
        ),
        (
            "ERROR MATCH",
            format!("MATCH requires a value; usage: {usage}"),
        ),
        ("ERROR MATCH * MATCH *", "MATCH is given twice".to_owned()),
    ] {
        assert_rejected(
            &server,
            &format!("AGG.REQUEUE n {arguments}"),
            &format!("ERR AGG.REQUEUE: {why}"),
        );
    }
}
