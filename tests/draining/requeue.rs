//! AGG.REQUEUE delivers again what was delivered.

use std::collections::BTreeSet;

use super::*;

#[test]
fn requeue_delivers_again_what_was_delivered() {
    let Some(server) = Server::start() else {
        return;
    };
    for (queue, report) in [
        ("ERROR", ["AGG.ERROR n text KEY ", ""]),
        ("REALITY", ["AGG.REALITY n ", " model 1"]),
    ] {
        let report = |key: &str| server.ask::<()>(&format!("{}{key}{}", report[0], report[1]));
        report("delivered");
        take(&server, &format!("AGG.POP n {queue}"));
        report("leased");
        let leased = only(&server, &format!("AGG.FETCH n {queue} LEASE 600000"));
        report("returned");
        let returned = only(&server, &format!("AGG.FETCH n {queue} LEASE 600000"));
        let nack = format!("AGG.NACK n {queue} {}", returned.id);
        assert_eq!(server.ask::<i64>(&nack), 1);
        report("waiting");
        let peek = format!("AGG.PEEK n {queue}");
        let waiting = take(&server, &peek)[2].clone();
        assert_eq!(waiting.json()["key"], "waiting");

        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 3);
        assert_eq!(info(&server, "n", queue, "leased"), 0);
        for old in [&leased, &returned] {
            let ack = format!("AGG.ACK n {queue} {}", old.id);
            assert_eq!(server.ask::<i64>(&ack), 0);
        }
        let found = take(&server, &format!("AGG.FETCH n {queue}"));
        assert_eq!(
            found[0],
            QueuedRecord {
                deliveries: 1,
                ..waiting
            }
        );
        let keys: BTreeSet<String> = found.iter().map(|e| e.json()["key"].to_string()).collect();
        assert_eq!((found.len(), keys.len()), (4, 4));
        assert!(
            found[1..]
                .iter()
                .all(|e| e.deliveries == 1 && e.id > found[0].id)
        );
        // Nothing is requeued twice before it is delivered.
        server.ask::<()>(&format!("AGG.REQUEUE n {queue}"));
        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 0);
    }
}

#[test]
fn requeue_takes_matching_names() {
    let Some(server) = Server::start() else {
        return;
    };
    for key in ["disk1", "disk2", "nic1"] {
        server.ask::<()>(&format!("AGG.ERROR n text KEY {key}"));
        server.ask::<()>(&format!("AGG.REALITY n {key} model 1"));
    }
    server.ask::<()>("AGG.POP n ERROR REALITY");
    for queue in ["error", "REALITY"] {
        for (glob, requeued) in [("none*", 0), ("disk?", 2), ("*", 1), ("*", 0)] {
            let line = format!("AGG.REQUEUE n {queue} match {glob}");
            assert_eq!(server.ask::<i64>(&line), requeued, "{line}");
        }
        let keys: Vec<String> = records(&server.ask(&format!("AGG.POP n {queue}")))
            .iter()
            .map(|record| record["key"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(keys, ["disk1", "disk2", "nic1"]);
    }
}

#[test]
fn requeue_delivers_the_end_of_a_leased_object_again() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask::<()>("AGG.REALITY n k model 1");
    server.ask::<()>("AGG.FORGET n REALITY k");
    let old = only(&server, "AGG.FETCH n REALITY");
    assert_eq!(server.ask::<i64>("AGG.REQUEUE n REALITY"), 1);
    let line = format!("AGG.ACK n REALITY {}", old.id);
    assert_eq!(server.ask::<i64>(&line), 0);
    let new = only(&server, "AGG.POP n REALITY");
    assert_eq!(new.json()["gone"], true);
    assert_eq!(server.ask::<i64>("AGG.REQUEUE n REALITY"), 0);
}
