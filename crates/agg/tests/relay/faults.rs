//! Faults of the leaf, of its pollers, and of records.

use std::time::Duration;

use crate::support::place::{end, left, names, until_empty, until_retried, windows};
use crate::support::proxy::Proxy;
use crate::support::{Server, err, of_queue, until};

use super::support::{Records, assert_once, drain, log, queued, relay, to_hub, until_relayed};

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
    let mut all = Records::new();
    for round in 0..3 {
        let mut killed = places[0].start();
        let ended = places[1].start();
        // Replies are late or lost, so that both pollers hold leases of the same queue.
        proxy.delay_replies(Duration::from_millis(50 + 300 * round));
        all.extend(log(&leaf, &["n1", "n2"], 1500));
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
    let all = log(&leaf, &["n1"], 1000);
    // The hub has records of its own with these ids.
    let taken: Vec<i64> = [10, 500, 501, 999]
        .iter()
        .map(|at| all.keys().nth(*at).unwrap().2)
        .collect();
    let dump: Vec<u8> = leaf.send(&[b"DUMP", b"n1"]);
    let () = hub.send(&[b"RESTORE", b"n1", b"0", &dump]);
    let others: Vec<String> = all
        .keys()
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
    let mut all = log(&leaf, &["n1"], 1000);
    let () = leaf.ask("SAVE");
    let place = relay(&leaf, &hub.url(), "");
    let running = place.start();
    until_empty(&leaf, &["n1"], "LOG");
    all.extend(log(&leaf, &["n1"], 500));
    until_empty(&leaf, &["n1"], "LOG");
    // It loses what it acknowledged since the backup.
    leaf.stop();
    leaf.restart();
    all.extend(log(&leaf, &["n1"], 500));
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
    let mut all = Records::new();
    let mut steady = [first.start(), last.start()];
    for _ in 0..3 {
        let mut killed = second.start();
        all.extend(log(&leaf, &["n1", "n2"], 1500));
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
    log(&leaf, &["n1"], 500);
    until_empty(&leaf, &["n1"], "LOG");
    let () = old.ask("REPLICAOF 127.0.0.1 1");
    let all = log(&leaf, &["n2"], 500);
    until_retried(&mut errors, "the server is a replica");
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    assert!(text.contains(&to_hub(&old.url(), "")));
    place.write(&text.replace(&old.url(), &new.url()));
    running.signal("HUP");
    until_empty(&leaf, &["n2"], "LOG");
    assert_eq!(queued(&new, "n2"), all);
    end(running);
}

/// A hub remembers the gaps for which another relay still has a record, and not each id: the ids of a backlog are times
/// that do not follow each other.
#[test]
fn backlog_of_more_records_than_the_hub_remembers_gaps_is_relayed() {
    let (Some(leaf), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let now = crate::support::now_ms() * 1000;
    for half in 0..4 {
        let mut words = vec!["AGG.IMPORT".to_owned(), "n1".into(), "LOG".into()];
        words.extend(["FLOOR".to_owned(), "1".into()]);
        for i in 0..5_000 {
            let id = now - 30_000_000 + (half * 5_000 + i) * 1000;
            let record = format!(r#"{{"node":"n1","queue":"LOG","id":{id},"message":"x"}}"#);
            words.extend([id.to_string(), record]);
        }
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(leaf.send::<i64>(&words), 5_000);
    }
    let place = relay(&leaf, &hub.url(), "");
    let running = place.start();
    until_empty(&leaf, &["n1"], "LOG");
    assert_eq!(left(&hub, &["n1"], "LOG"), 20_000);
    let refused: u64 = hub.info_field("everything", "agg_import_refused");
    assert_eq!(refused, 0);
    end(running);
}

#[test]
fn memory_is_bounded_at_each_of_three_tiers_while_the_last_poller_is_away() {
    let (Some(leaf), Some(middle), Some(top)) = (
        Server::with_settings("max-memory 16mb"),
        Server::with_settings("max-memory 16mb queue-import 512kb"),
        Server::with_settings("max-memory 1mb"),
    ) else {
        return;
    };
    let first = relay(&leaf, &middle.url(), "batch-lines = 200");
    let second = relay(&middle, &top.url(), "batch-lines = 200");
    let mut relays = [first.start(), second.start()];
    let all = log(&leaf, &["n1"], 6_000);
    let mut errors = [relays[0].errors(), relays[1].errors()];
    until_retried(&mut errors[0], "AGGFULL AGG.IMPORT: agg.queue-import");
    until_retried(&mut errors[1], "AGGFULL AGG.IMPORT: agg.max-memory");
    let kept = [&leaf, &middle, &top].map(|server| left(server, &["n1"], "LOG"));
    assert!(
        kept[0] > 1_000 && kept[1] > 1_000 && kept[2] > 500,
        "{kept:?}"
    );
    for (server, limit) in [(&leaf, 16 << 20), (&middle, 16 << 20), (&top, 1 << 20)] {
        let held: u64 = server.info_field("everything", "agg_held");
        assert!(held <= limit, "{held}");
    }
    assert!(of_queue(&middle, "n1", "LOG", "bytes") <= 512 << 10);
    for relay in &relays {
        assert!(relay.peak_memory() < 64 << 20, "{}", relay.peak_memory());
    }
    // The last poller comes back.
    let last = drain(&top);
    let drained = last.start();
    assert_once(&last, &all);
    until_relayed(&leaf, &["n1"]);
    until_relayed(&middle, &["n1"]);
    assert!(first.lines("dead").is_empty() && second.lines("dead").is_empty());
    relays.into_iter().for_each(end);
    end(drained);
}

/// Such records look like repetitions: the hub counts them.
#[test]
fn records_of_a_leaf_with_lost_data_and_a_late_clock_are_counted() {
    let (Some(leaf), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    // What the leaf relayed before, when its clock was an hour ahead.
    let id = crate::support::now_ms() * 1000 + 3_600_000_000;
    let record = crate::support::imported("n1", "LOG", id);
    let line = format!("AGG.IMPORT n1 LOG FLOOR 1{record}");
    assert_eq!(hub.send::<i64>(&crate::support::words(&line)), 1);
    log(&leaf, &["n1"], 500);
    let place = relay(&leaf, &hub.url(), "");
    let running = place.start();
    until_empty(&leaf, &["n1"], "LOG");
    assert_eq!(left(&hub, &["n1"], "LOG"), 1);
    let counted = ["agg_imported", "agg_import_duplicates"];
    let counted = counted.map(|field| hub.info_field::<u64>("everything", field));
    assert_eq!(counted, [1, 500]);
    end(running);
}

#[test]
fn files_are_not_loaded_into_a_hub() {
    let Some(hub) = Server::start() else { return };
    let place = relay(&hub, "redis://127.0.0.1:1", "");
    std::fs::write(place.path("records"), "").unwrap();
    let mut load = place.command("load");
    let output = load.arg(place.path("records")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let said = err(&output);
    assert!(
        said.contains("sink hub: a hub ignores old records as known ones"),
        "{said}"
    );
}

#[test]
fn server_is_not_its_own_hub() {
    let Some(leaf) = Server::start() else { return };
    let place = relay(&leaf, &leaf.url(), "");
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    let said = err(&output) + &crate::support::out(&output);
    assert!(
        said.contains("is a source: a server cannot be its own hub"),
        "{said}"
    );
}
