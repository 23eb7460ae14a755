//! Pollers that disagree about the members: nothing is lost, and nothing written twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::Server;

use super::support::{Poller, add_by, duplicates, members, until_written};

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
