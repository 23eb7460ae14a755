//! Pollers that disagree about the members: nothing is lost, and nothing written twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::{Server, until};

use super::support::{Poller, TAKEOVER_AFTER, add_by, duplicates, members, until_written};

const NAMES: [&str; 3] = ["p1", "p2", "p3"];

/// The lists that a poller may have: itself, with each subset of the others.
fn lists(me: usize) -> Vec<Vec<&'static str>> {
    let others: Vec<&str> = (0..3)
        .filter(|other| *other != me)
        .map(|other| NAMES[other])
        .collect();
    let subset = |bits: usize| {
        let chosen = (0..2).filter(|n| bits >> n & 1 == 1).map(|n| others[n]);
        std::iter::once(NAMES[me]).chain(chosen).collect()
    };
    (0..4).map(subset).collect()
}

#[test]
fn every_combination_of_lists_delivers_everything_once() {
    let (Some(one), Some(two), Some(three)) = (Server::start(), Server::start(), Server::start())
    else {
        return;
    };
    let servers = [&one, &two, &three];
    let start = |name: &&str| Poller::start(name, &members(&NAMES), &servers);
    let pollers: Vec<Poller> = NAMES.iter().map(start).collect();
    let refs: Vec<&Poller> = pollers.iter().collect();
    let mut connections = servers.map(|server| server.connection());
    let (mut ids, mut worst) = (BTreeSet::new(), Duration::ZERO);
    let lists: Vec<_> = (0..3).map(lists).collect();
    for combination in 0..64 {
        for (me, poller) in pollers.iter().enumerate() {
            poller.set(&members(&lists[me][combination >> (2 * me) & 3]));
        }
        let mut new = BTreeSet::new();
        for (number, connection) in connections.iter_mut().enumerate() {
            for node in 0..2 {
                for _ in 0..20 {
                    new.insert(add_by(connection, &format!("s{number}n{node}")));
                }
            }
        }
        let start = Instant::now();
        until_written(&refs, &new);
        worst = worst.max(start.elapsed());
        ids.extend(new);
    }
    eprintln!("the longest delay of a record: {worst:?}");
    assert_eq!(duplicates(&refs, &ids), 0);
}

#[test]
fn members_that_change_every_second_lose_nothing() {
    let (Some(one), Some(two)) = (Server::start(), Server::start()) else {
        return;
    };
    let servers = [&one, &two];
    let start = |name: &&str| Poller::start(name, &members(&NAMES), &servers);
    let pollers: Vec<Poller> = NAMES.iter().map(start).collect();
    let refs: Vec<&Poller> = pollers.iter().collect();
    let mut connections = servers.map(|server| server.connection());
    let mut ids = BTreeSet::new();
    for second in 0..15usize {
        for (me, poller) in pollers.iter().enumerate() {
            let lists = lists(me);
            poller.set(&members(&lists[(second * 7 + me * 3) % lists.len()]));
        }
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            for (number, connection) in connections.iter_mut().enumerate() {
                ids.insert(add_by(connection, &format!("s{number}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    until_written(&refs, &ids);
    eprintln!("{} records", ids.len());
    assert_eq!(duplicates(&refs, &ids), 0);
}

#[test]
fn pollers_that_name_a_server_differently_agree_on_its_owner() {
    let servers: Option<Vec<Server>> = (0..4).map(|_| Server::start()).collect();
    let Some(servers) = servers else {
        return;
    };
    let refs: Vec<&Server> = servers.iter().collect();
    let one = Poller::start("p1", &members(&NAMES[..2]), &refs);
    let mut two = Poller::new("p2", &members(&NAMES[..2]), &refs);
    two.rename("127.0.0.1", "localhost");
    two.run();
    // Each pair of a count that one owns and a count that the other watches is of the same servers.
    for (poller, other) in [(&one, &two), (&two, &one)] {
        until("each server has one owner", || {
            let owned = poller.metric("agg_poller_owned_servers")?;
            (other.metric("agg_poller_watched_servers") == Some(owned)).then_some(())
        });
    }
    let page = two.page("/status.json");
    assert!(page.contains("redis://localhost:"), "{page}");
}

#[test]
fn pollers_that_get_a_fleet_by_a_reload_agree_on_owners() {
    let servers: Option<Vec<Server>> = (0..8).map(|_| Server::start()).collect();
    let Some(servers) = servers else {
        return;
    };
    let refs: Vec<&Server> = servers.iter().collect();
    let pollers = ["p1", "p2"].map(|name| {
        let mut poller = Poller::new(name, &members(&NAMES[..2]), &refs);
        // They name the servers differently.
        if name == "p2" {
            poller.rename("127.0.0.1", "localhost");
        }
        let whole = poller.remove_fleet();
        poller.run();
        until("all servers are up", || {
            (poller.metric("agg_poller_servers_up") == Some(8.0)).then_some(())
        });
        (poller, whole)
    });
    for (poller, whole) in &pollers {
        poller.place.write(whole);
        poller.signal("HUP");
    }
    until("each server has one owner", || {
        let [one, two] = [duties(&pollers[0].0)?, duties(&pollers[1].0)?];
        let is_shared = |(port, duty): (&String, &String)| {
            let other = two.get(port).map(String::as_str);
            let both = [Some(duty.as_str()), other];
            both.contains(&Some("owned")) && both.contains(&Some("watched"))
        };
        (one.len() == 8 && one.iter().all(is_shared)).then_some(())
    });
}

/// Returns what a poller does about each server, by its port.
fn duties(poller: &Poller) -> Option<BTreeMap<String, String>> {
    let status: serde_json::Value = serde_json::from_str(&poller.page("/status.json")).ok()?;
    let servers = status["servers"].as_array()?.iter();
    let duty = |server: &serde_json::Value| {
        let port = server["id"].as_str()?.rsplit(':').next()?.to_owned();
        Some((port, server["duty"].as_str()?.to_owned()))
    };
    servers.map(duty).collect()
}

#[test]
fn old_record_that_no_route_takes_is_no_reason_to_take_over() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.LOG other hello");
    let new = |name: &&str| Poller::new(name, &members(&NAMES), &[&server]);
    let mut pollers: Vec<Poller> = NAMES.iter().map(new).collect();
    for poller in &mut pollers {
        poller.rename("sinks = ", "include = [\"n*\"]\nsinks = ");
        poller.run();
    }
    let refs: Vec<&Poller> = pollers.iter().collect();
    let mut ids = BTreeSet::new();
    ids.insert(add_by(&mut server.connection(), "n1"));
    until_written(&refs, &ids);
    let takeovers = || -> f64 {
        let of = |poller: &&Poller| poller.metric("agg_poller_takeovers_total").unwrap();
        refs.iter().map(of).sum()
    };
    let before = takeovers();
    std::thread::sleep(TAKEOVER_AFTER * 4);
    assert!(server.info_field::<u64>("agg", "agg_log_oldest") > 12_000);
    assert_eq!(takeovers(), before);
    until("only the owner drains", || {
        let of = |poller: &&Poller| poller.metric("agg_poller_watched_servers").unwrap();
        (refs.iter().map(of).sum::<f64>() == 2.0).then_some(())
    });
}
