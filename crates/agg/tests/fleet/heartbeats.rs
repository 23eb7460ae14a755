//! Pollers that register in a Redis server, by heartbeats.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Server, missing, out, until};

use super::support::{
    Poller, TAKEOVER_AFTER, add_by, duplicates, members_from, until_known, until_written,
};

const NAMES: [&str; 3] = ["p1", "p2", "p3"];

/// Adds records to both servers until `done`, a few in each round.
fn report(
    connections: &mut [redis::Connection; 2],
    ids: &mut BTreeSet<super::support::Id>,
    mut done: impl FnMut() -> bool,
) {
    loop {
        for (number, connection) in connections.iter_mut().enumerate() {
            ids.insert(add_by(connection, &format!("s{number}")));
        }
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts three pollers of these servers, and waits until they know each other.
fn three(registry: &Server, servers: &[&Server]) -> Vec<Poller> {
    let fleet = members_from(registry);
    let start = |name: &&str| Poller::start(name, &fleet, servers);
    let pollers: Vec<Poller> = NAMES.iter().map(start).collect();
    until_known(&pollers.iter().collect::<Vec<_>>(), 3);
    pollers
}

#[test]
fn dead_poller_is_forgotten_and_a_registry_that_is_down_changes_nothing() {
    let (Some(mut registry), Some(one), Some(two)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let mut pollers = three(&registry, &[&one, &two]);
    let owned = |poller: &Poller| poller.metric("agg_poller_owned_servers").unwrap();
    until("each server has one owner", || {
        (pollers.iter().map(owned).sum::<f64>() == 2.0).then_some(())
    });
    let mut connections = [one.connection(), two.connection()];
    let mut ids = BTreeSet::new();
    let owner = pollers
        .iter()
        .position(|poller| owned(poller) > 0.0)
        .unwrap();
    pollers[owner].kill();
    let rest: Vec<&Poller> = (0..3)
        .filter(|n| *n != owner)
        .map(|n| &pollers[n])
        .collect();
    let start = Instant::now();
    let first = ids.len();
    report(&mut connections, &mut ids, || {
        rest.iter().map(|poller| owned(poller)).sum::<f64>() == 2.0
    });
    eprintln!(
        "servers of a dead poller have another owner after {:?}",
        start.elapsed()
    );
    assert!(ids.len() > first && start.elapsed() < TAKEOVER_AFTER + Duration::from_secs(5));
    until_known(&rest, 2);
    registry.stop();
    let start = Instant::now();
    report(&mut connections, &mut ids, || {
        start.elapsed() > Duration::from_secs(4)
    });
    until_known(&rest, 2);
    until_written(&rest, &ids);
    assert!(rest[0].log().contains("keeping the last list of members"));
    // One that starts now knows nobody, and drains everything.
    pollers[owner].run();
    until("the poller is alone", || {
        (pollers[owner].metric("agg_poller_owned_servers") == Some(2.0)).then_some(())
    });
    registry.restart();
    until_known(&pollers.iter().collect::<Vec<_>>(), 3);
    until("each server has one owner", || {
        (pollers.iter().map(owned).sum::<f64>() == 2.0).then_some(())
    });
    let start = Instant::now();
    report(&mut connections, &mut ids, || {
        start.elapsed() > Duration::from_secs(1)
    });
    let refs: Vec<&Poller> = pollers.iter().collect();
    until_written(&refs, &ids);
    // The one that was killed may have written records that it did not acknowledge.
    eprintln!("{} of {} records twice", duplicates(&refs, &ids), ids.len());
}

#[test]
fn pollers_that_come_and_go_every_second_lose_nothing() {
    let (Some(registry), Some(one), Some(two)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let mut pollers = three(&registry, &[&one, &two]);
    let mut connections = [one.connection(), two.connection()];
    let mut ids = BTreeSet::new();
    for round in 0..9 {
        let leaver = &mut pollers[round % 3];
        leaver.end();
        let start = Instant::now();
        report(&mut connections, &mut ids, || {
            start.elapsed() > Duration::from_millis(500)
        });
        leaver.run();
        let start = Instant::now();
        report(&mut connections, &mut ids, || {
            start.elapsed() > Duration::from_millis(500)
        });
    }
    let refs: Vec<&Poller> = pollers.iter().collect();
    until_written(&refs, &ids);
    // Each left in good order, so no lease expired.
    assert_eq!(duplicates(&refs, &ids), 0);
}

#[test]
fn pollers_that_are_killed_every_second_write_at_most_what_was_leased_twice() {
    let (Some(registry), Some(one), Some(two)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let servers = [&one, &two];
    let mut pollers = three(&registry, &servers);
    let mut connections = servers.map(Server::connection);
    let mut ids = BTreeSet::new();
    let mut leased_at_most = 0;
    for round in 0..9 {
        let victim = &mut pollers[round % 3];
        // So that it is known what it has leased.
        victim.signal("STOP");
        let leased = |server: &&Server| server.info_field::<usize>("agg", "agg_log_leased");
        leased_at_most += servers.iter().map(leased).sum::<usize>();
        victim.kill();
        let start = Instant::now();
        report(&mut connections, &mut ids, || {
            start.elapsed() > Duration::from_millis(500)
        });
        victim.run();
        let start = Instant::now();
        report(&mut connections, &mut ids, || {
            start.elapsed() > Duration::from_millis(500)
        });
    }
    let refs: Vec<&Poller> = pollers.iter().collect();
    until_written(&refs, &ids);
    let twice = duplicates(&refs, &ids);
    eprintln!(
        "{twice} of {} records twice, at most {leased_at_most} were leased",
        ids.len()
    );
    assert!(twice <= leased_at_most, "{twice} > {leased_at_most}");
}

#[test]
fn second_poller_of_the_same_name_is_reported() {
    let (Some(registry), Some(server)) = (Server::start(), Server::start()) else {
        return;
    };
    let fleet = members_from(&registry);
    let one = Poller::start("p1", &fleet, &[&server]);
    let two = Poller::start("p1", &fleet, &[&server]);
    for poller in [&one, &two] {
        until("the twin is reported", || {
            let log = poller.log();
            log.contains("another poller has the name \"p1\"")
                .then_some(())
        });
    }
    let mut ids = BTreeSet::new();
    let mut connection = server.connection();
    for _ in 0..200 {
        ids.insert(add_by(&mut connection, "n1"));
    }
    until_written(&[&one, &two], &ids);
    assert_eq!(duplicates(&[&one, &two], &ids), 0);
}

#[test]
fn clocks_of_the_pollers_do_not_matter() {
    let (Some(registry), Some(one), Some(two)) =
        (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    if std::process::Command::new("faketime")
        .arg("--version")
        .output()
        .is_err()
    {
        return missing("faketime").unwrap_or_default();
    }
    let fleet = members_from(&registry);
    let new = |name: &&str| Poller::new(name, &fleet, &[&one, &two]);
    let mut pollers: Vec<Poller> = NAMES.iter().map(new).collect();
    for (poller, offset) in pollers.iter_mut().zip(["-60s", "+0s", "+3600s"]) {
        poller.run_at(offset);
    }
    let refs: Vec<&Poller> = pollers.iter().collect();
    until_known(&refs, 3);
    let owned = |poller: &&Poller| poller.metric("agg_poller_owned_servers").unwrap();
    until("each server has one owner", || {
        (refs.iter().map(owned).sum::<f64>() == 2.0).then_some(())
    });
    let mut connections = [one.connection(), two.connection()];
    let mut ids = BTreeSet::new();
    // The owner finds a new node some seconds later, perhaps not before another one takes over.
    report(&mut connections, &mut ids, || true);
    until_written(&refs, &ids);
    let takeovers = |poller: &&Poller| poller.metric("agg_poller_takeovers_total").unwrap();
    let before: f64 = refs.iter().map(takeovers).sum();
    let start = Instant::now();
    report(&mut connections, &mut ids, || {
        start.elapsed() > TAKEOVER_AFTER * 2
    });
    until_written(&refs, &ids);
    assert_eq!(duplicates(&refs, &ids), 0);
    let after: f64 = refs.iter().map(takeovers).sum();
    assert_eq!(after, before);
    for poller in &refs {
        assert_eq!(poller.metric("agg_poller_fleet_members"), Some(3.0));
    }
}

#[test]
fn check_reads_the_list_and_adds_nothing() {
    let (Some(registry), Some(server)) = (Server::start(), Server::start()) else {
        return;
    };
    let poller = Poller::new("p1", &members_from(&registry), &[&server]);
    let check = || {
        poller
            .place
            .command("check")
            .arg("--connect")
            .output()
            .unwrap()
    };
    let output = check();
    let line = format!(
        "ok     fleet {}: 0 pollers in agg:fleet:agg\n",
        registry.url()
    );
    assert!(out(&output).contains(&line), "{}", out(&output));
    assert_eq!(registry.ask::<i64>("DBSIZE"), 0);
    registry.ask::<()>("SET agg:fleet:agg text");
    let text = out(&check());
    assert!(
        text.contains(&format!("failed fleet {}: ", registry.url())),
        "{text}"
    );
}
