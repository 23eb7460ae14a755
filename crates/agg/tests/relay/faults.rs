//! Faults of the leaf, of its pollers, and of records.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::place::{end, log, names, until_empty, until_retried, windows};
use crate::support::proxy::Proxy;
use crate::support::{Server, until};

use super::support::{assert_once, drain, queued, relay, to_hub, until_relayed};

#[test]
fn records_of_all_queues_arrive_once_and_unchanged() {
    let (Some(leaf), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    windows(&leaf, "n1", &names(20));
    for text in ["plain", "\u{1f600} \"'\\", "a\r\n\tb\u{1}"] {
        leaf.send::<i64>(&[b"AGG.LOG", b"n1", text.as_bytes(), b"TAGS", b"a.b:1"]);
        leaf.send::<(String, i64)>(&[b"AGG.ERROR", b"n1", text.as_bytes(), b"CODE", b"c7"]);
    }
    leaf.send::<redis::Value>(&[b"AGG.REALITY", b"n1", b"k", b"Disk", b"{\"a\":[1.50,null]}"]);
    let queues = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"];
    let before = queues.map(|queue| leaf.peek("n1", queue));
    let expected = queued(&leaf, "n1");
    let first = relay(&leaf, &hub.url(), "");
    let running = first.start();
    until_relayed(&leaf, &["n1"]);
    assert_eq!(queues.map(|queue| hub.peek("n1", queue)), before);
    let last = drain(&hub);
    let drained = last.start();
    until_relayed(&hub, &["n1"]);
    assert_once(&last, &expected);
    assert!(first.lines("dead").is_empty());
    end(running);
    end(drained);
}

#[test]
fn pollers_that_relay_one_leaf_with_expired_leases_repeat_nothing() {
    let (Some(leaf), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let proxy = Proxy::start(hub.port);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let places = [0, 1].map(|_| relay(&leaf, &url, "batch-lines = 100"));
    let last = drain(&hub);
    let drained = last.start();
    let mut all = BTreeSet::new();
    for round in 0..3 {
        let mut killed = places[0].start();
        let ended = places[1].start();
        // Replies are late or lost, so that both pollers hold leases of the same queue.
        proxy.delay_replies(Duration::from_millis(50 + 300 * round));
        all.extend(log(&leaf, &["n1", "n2"], 1500, "x"));
        until("something is relayed", || {
            (hub.info_field::<u64>("everything", "agg_imported") > 0).then_some(())
        });
        killed.0.kill().unwrap();
        killed.wait();
        // Ended in the middle: it returns its leases by AGG.NACK.
        end(ended);
    }
    proxy.delay_replies(Duration::ZERO);
    let running = places.each_ref().map(|place| place.start());
    until_empty(&leaf, &["n1", "n2"], "LOG");
    assert_once(&last, &all);
    for (place, running) in places.iter().zip(running) {
        assert!(place.lines("dead").is_empty());
        end(running);
    }
    end(drained);
}

#[test]
fn record_that_the_hub_rejects_becomes_a_dead_letter_alone() {
    let (Some(leaf), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let all = log(&leaf, &["n1"], 1000, "x");
    // The hub has records of its own with these ids.
    let taken: Vec<i64> = [10, 500, 501, 999]
        .iter()
        .map(|at| all.iter().nth(*at).unwrap().2)
        .collect();
    let dump: Vec<u8> = leaf.send(&[b"DUMP", b"n1"]);
    let () = hub.send(&[b"RESTORE", b"n1", b"0", &dump]);
    let others: Vec<String> = all
        .iter()
        .filter(|id| !taken.contains(&id.2))
        .map(|id| id.2.to_string())
        .collect();
    let mut ack: Vec<&[u8]> = vec![b"AGG.ACK", b"n1", b"LOG"];
    ack.extend(others.iter().map(|id| id.as_bytes()));
    assert_eq!(hub.send::<usize>(&ack), 996);
    let place = relay(&leaf, &hub.url(), "");
    let running = place.start();
    until_empty(&leaf, &["n1"], "LOG");
    let dead = place.ids("dead");
    assert_eq!(dead.iter().map(|id| id.2).collect::<Vec<_>>(), taken);
    assert!(place.lines("dead")[0].contains("the node has a record of its own with the id"));
    end(running);
    // The hub delivers its own records under these ids.
    let last = drain(&hub);
    let drained = last.start();
    assert_once(&last, &all);
    end(drained);
}

#[test]
fn leaf_that_is_restored_from_an_older_backup_repeats_nothing() {
    let (Some(mut leaf), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let last = drain(&hub);
    let drained = last.start();
    let mut all = log(&leaf, &["n1"], 1000, "x");
    let () = leaf.ask("SAVE");
    let place = relay(&leaf, &hub.url(), "");
    let running = place.start();
    until_empty(&leaf, &["n1"], "LOG");
    all.extend(log(&leaf, &["n1"], 500, "x"));
    until_empty(&leaf, &["n1"], "LOG");
    // It loses what it acknowledged since the backup.
    leaf.stop();
    leaf.restart();
    all.extend(log(&leaf, &["n1"], 500, "x"));
    until_empty(&leaf, &["n1"], "LOG");
    assert_once(&last, &all);
    assert!(hub.info_field::<u64>("everything", "agg_import_duplicates") >= 1000);
    end(running);
    end(drained);
}

#[test]
fn records_pass_through_three_tiers() {
    let (Some(leaf), Some(middle), Some(top)) = (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let first = relay(&leaf, &middle.url(), "batch-lines = 100");
    let second = relay(&middle, &top.url(), "batch-lines = 70");
    let last = drain(&top);
    let mut all = BTreeSet::new();
    let mut steady = [first.start(), last.start()];
    for _ in 0..3 {
        let mut killed = second.start();
        all.extend(log(&leaf, &["n1", "n2"], 1500, "x"));
        until("something is written", || {
            (last.lines("out").len() * 2 > all.len()).then_some(())
        });
        killed.0.kill().unwrap();
        killed.wait();
    }
    let running = second.start();
    until_relayed(&leaf, &["n1", "n2"]);
    until_relayed(&middle, &["n1", "n2"]);
    assert_once(&last, &all);
    end(running);
    for one in &mut steady {
        assert_eq!(one.end_by("TERM").code(), Some(0));
    }
}

#[test]
fn reload_leads_a_relay_to_another_hub() {
    let (Some(leaf), Some(old), Some(new)) = (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let place = relay(&leaf, &old.url(), "");
    let mut running = place.start();
    let mut errors = running.errors();
    log(&leaf, &["n1"], 500, "x");
    until_empty(&leaf, &["n1"], "LOG");
    let () = old.ask("REPLICAOF 127.0.0.1 1");
    let all = log(&leaf, &["n2"], 500, "x");
    until_retried(&mut errors, "the server is a replica");
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    assert!(text.contains(&to_hub(&old.url(), "")));
    place.write(&text.replace(&old.url(), &new.url()));
    running.signal("HUP");
    until_empty(&leaf, &["n2"], "LOG");
    assert_eq!(queued(&new, "n2"), all);
    end(running);
}
