//! Faults of the hub: away, without space, lost and replaced by its replica.

use crate::support::place::{end, left, until_empty, until_retried};
use crate::support::proxy::Proxy;
use crate::support::{SYNCED_AOF, Server, until};

use super::support::{assert_once, drain, log, queued, relay};

fn digests_agree(one: &Server, other: &Server) -> bool {
    one.digest("n1") == other.digest("n1")
}

fn until_follows(replica: &Server) {
    until("the replica follows", || {
        (replica.info_field::<String>("replication", "master_link_status") == "up").then_some(())
    });
}

#[test]
fn hub_that_is_away_is_waited_for() {
    let (Some(leaf), Some(mut hub)) = (Server::start(), Server::with_module(&SYNCED_AOF, ""))
    else {
        return;
    };
    let last = drain(&hub);
    let place = relay(&leaf, &hub.url(), "");
    hub.stop();
    let mut all = log(&leaf, &["n1"], 1000);
    let mut running = place.start();
    let mut errors = running.errors();
    until_retried(&mut errors, "connection refused");
    hub.restart();
    until_empty(&leaf, &["n1"], "LOG");
    hub.restart();
    all.extend(log(&leaf, &["n1"], 1000));
    until_empty(&leaf, &["n1"], "LOG");
    let drained = last.start();
    assert_once(&last, &all);
    assert!(place.lines("dead").is_empty());
    end(running);
    end(drained);
}

#[test]
fn hub_without_space_holds_back_its_leaf() {
    let Some(leaf) = Server::start() else { return };
    let Some(hub) = Server::with_settings("queue-import 64kb") else {
        return;
    };
    let place = relay(&leaf, &hub.url(), "batch-lines = 100");
    let mut running = place.start();
    let mut errors = running.errors();
    let all = log(&leaf, &["n1"], 2000);
    until_retried(&mut errors, "");
    until_retried(&mut errors, "AGGFULL");
    let kept = left(&leaf, &["n1"], "LOG");
    let accepted = left(&hub, &["n1"], "LOG");
    assert!(
        kept > 1000 && accepted < 1000,
        "{kept} at the leaf, {accepted} at the hub"
    );
    let bytes: i64 = crate::support::of_queue(&hub, "n1", "LOG", "bytes");
    assert!(bytes <= 64 << 10, "{bytes}");
    assert!(running.peak_memory() < 48 << 20);
    // Its poller comes back.
    let last = drain(&hub);
    let drained = last.start();
    assert_once(&last, &all);
    until_empty(&leaf, &["n1"], "LOG");
    assert!(place.lines("dead").is_empty());
    end(running);
    end(drained);
}

#[test]
fn hub_that_fails_over_has_what_its_replica_confirmed() {
    let (Some(leaf), Some(mut hub), Some(replica)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let place = relay(&leaf, &hub.url(), "wait-replicas = 1\nbatch-lines = 100");
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = log(&leaf, &["n1"], 500);
    until_retried(&mut errors, "0 of 1 replicas (wait-replicas)");
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", hub.port));
    until_empty(&leaf, &["n1"], "LOG");
    // The hub has records that its replica does not have yet, when it is lost.
    let () = replica.ask("REPLICAOF 127.0.0.1 1");
    all.extend(log(&leaf, &["n1"], 500));
    until_retried(&mut errors, "0 of 1 replicas (wait-replicas)");
    assert!(!digests_agree(&hub, &replica));
    hub.stop();
    let () = replica.ask("REPLICAOF NO ONE");
    let Some(other) = Server::start() else { return };
    let () = other.ask(&format!("REPLICAOF 127.0.0.1 {}", replica.port));
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    place.write(&text.replace(&hub.url(), &replica.url()));
    running.signal("HUP");
    until_empty(&leaf, &["n1"], "LOG");
    until("the replica has everything", || {
        digests_agree(&replica, &other).then_some(())
    });
    let last = drain(&replica);
    let drained = last.start();
    assert_once(&last, &all);
    end(running);
    end(drained);
}

/// The replica has records of which the leaf does not know that they are stored, when their hub is lost.
#[test]
fn hub_that_is_lost_before_its_reply_has_nothing_twice_at_its_replica() {
    let (Some(leaf), Some(mut hub), Some(replica), Some(other)) = (
        Server::start(),
        Server::start(),
        Server::start(),
        Server::start(),
    ) else {
        return;
    };
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", hub.port));
    until_follows(&replica);
    // A name that leads to the primary.
    let name = Proxy::start(hub.port);
    let url = format!("redis://127.0.0.1:{}", name.port);
    let place = relay(&leaf, &url, "wait-replicas = 1\nbatch-lines = 100");
    let running = place.start();
    let mut all = log(&leaf, &["n1"], 500);
    until_empty(&leaf, &["n1"], "LOG");
    name.lose_replies(true);
    all.extend(log(&leaf, &["n1"], 1000));
    until("the replica has some of them", || {
        (left(&replica, &["n1"], "LOG") > 500).then_some(())
    });
    assert_eq!(left(&leaf, &["n1"], "LOG"), 1000);
    hub.stop();
    let () = replica.ask("REPLICAOF NO ONE");
    let () = other.ask(&format!("REPLICAOF 127.0.0.1 {}", replica.port));
    name.lose_replies(false);
    name.point(replica.port);
    until_empty(&leaf, &["n1"], "LOG");
    assert!(replica.info_field::<u64>("everything", "agg_import_duplicates") > 0);
    let last = drain(&replica);
    let drained = last.start();
    assert_once(&last, &all);
    assert!(place.lines("dead").is_empty());
    end(running);
    end(drained);
}

#[test]
fn replicas_are_waited_for_also_on_a_new_connection() {
    let (Some(leaf), Some(hub), Some(replica)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", hub.port));
    until_follows(&replica);
    let place = relay(&leaf, &hub.url(), "wait-replicas = 1");
    let all = log(&leaf, &["n1"], 500);
    // The replica is connected and does not read: each attempt ends the connection, and the next one finds everything
    // known at the hub.
    let pid = replica.pid().to_string();
    let signal = |signal: &str| {
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args(["-s", signal, &pid]).status().unwrap().success());
    };
    signal("STOP");
    let mut running = place.start();
    let mut errors = running.errors();
    until_retried(&mut errors, "0 of 1 replicas (wait-replicas)");
    std::thread::sleep(std::time::Duration::from_secs(5));
    let kept = left(&leaf, &["n1"], "LOG");
    signal("CONT");
    assert_eq!(kept, 500);
    assert_eq!(left(&hub, &["n1"], "LOG"), 500);
    until_empty(&leaf, &["n1"], "LOG");
    assert_eq!(queued(&replica, "n1"), all);
    end(running);
}

#[test]
fn user_of_a_leaf_needs_the_permissions_of_the_page_alone() {
    let (Some(leaf), Some(hub), Some(replica)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", hub.port));
    until_follows(&replica);
    let keys = "user = \"leaf1\"\npassword-file = \"{dir}/password\"\nwait-replicas = 1";
    let place = relay(&leaf, &hub.url(), keys);
    std::fs::write(place.path("password"), "s3cret\n").unwrap();
    let check = || {
        let output = place.command("check").arg("--connect").output().unwrap();
        (output.status.code(), crate::support::out(&output))
    };
    let base = "on >s3cret resetchannels %W~leaf1-* -@all";
    for (more, denied) in [
        (
            "+wait +publish &agg-relay",
            Some("rejects AGG.IMPORT: NOPERM"),
        ),
        ("+agg.import +wait", Some("rejects PUBLISH: NOPERM")),
        (
            "+agg.import +publish &agg-relay",
            Some("rejects WAIT: NOPERM"),
        ),
        ("+agg.import +wait +publish &agg-relay", None),
    ] {
        let () = hub.ask(&format!("ACL SETUSER leaf1 reset {base} {more}"));
        let (code, said) = check();
        assert_eq!(code, Some(i32::from(denied.is_some())), "{said}");
        assert!(said.contains(denied.unwrap_or("")), "{said}");
    }
    // A node of another leaf is held back, and becomes no dead letter.
    let mut running = place.start();
    let mut errors = running.errors();
    let all = log(&leaf, &["leaf1-a"], 500);
    until_empty(&leaf, &["leaf1-a"], "LOG");
    assert_eq!(queued(&hub, "leaf1-a"), all);
    log(&leaf, &["leaf2-a"], 500);
    until_retried(&mut errors, "+agg.import and the keys of the nodes");
    assert_eq!(left(&leaf, &["leaf2-a"], "LOG"), 500);
    assert!(place.lines("dead").is_empty());
    end(running);
}
