//! The owner of a server dies, gets stuck, comes back, or hands the server over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Server, missing, until};

use super::support::{
    Poller, TAKEOVER_AFTER, add, add_by, duplicates, members, until_written, writer,
};

const NODE: &str = "n1";

/// Three pollers with the same list, of which the first in the result owns the server.
fn owner_first(server: &Server) -> (Vec<Poller>, BTreeSet<super::support::Id>) {
    let names = ["p1", "p2", "p3"];
    let start = |name: &&str| Poller::start(name, &members(&names), &[server]);
    let mut pollers: Vec<Poller> = names.iter().map(start).collect();
    let first = add(server, NODE);
    let refs: Vec<&Poller> = pollers.iter().collect();
    let (owner, _) = writer(&refs, &first);
    pollers.swap(0, owner);
    (pollers, BTreeSet::from([first]))
}

/// Adds a record, and returns who writes it, and how long that took.
fn next(
    server: &Server,
    pollers: &[Poller],
    ids: &mut BTreeSet<super::support::Id>,
) -> (usize, Duration) {
    let id = add(server, NODE);
    ids.insert(id.clone());
    let refs: Vec<&Poller> = pollers.iter().collect();
    writer(&refs, &id)
}

#[test]
fn dead_owner_is_replaced_and_gets_its_server_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let (mut pollers, mut ids) = owner_first(&server);
    for _ in 0..20 {
        assert_eq!(
            next(&server, &pollers, &mut ids).0,
            0,
            "only the owner drains"
        );
    }
    // Else a record that is written and not acknowledged would be written again.
    until("all is acknowledged", || {
        (server.info_field::<u64>("agg", "agg_log_length") == 0).then_some(())
    });
    pollers[0].kill();
    let (successor, took) = next(&server, &pollers, &mut ids);
    // A check comes up to a quarter later; the rest is for a loaded machine.
    assert!(
        (TAKEOVER_AFTER..TAKEOVER_AFTER + Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    eprintln!("takeover after {took:?}, takeover-after is {TAKEOVER_AFTER:?}");
    assert_eq!(
        pollers[successor].metric("agg_poller_taken_over_servers"),
        Some(1.0)
    );
    // The next records do not wait for so long, though the successor tries now and then whether the owner is back.
    let end = Instant::now() + 4 * TAKEOVER_AFTER;
    let mut worst = Duration::ZERO;
    while Instant::now() < end {
        let (by, took) = next(&server, &pollers, &mut ids);
        assert_eq!(by, successor);
        worst = worst.max(took);
    }
    eprintln!("the longest delay of a record after it: {worst:?}");
    assert!(
        worst < TAKEOVER_AFTER + Duration::from_millis(500),
        "{worst:?}"
    );
    pollers[0].run();
    until("the owner drains alone again", || {
        next(&server, &pollers, &mut ids);
        (pollers[successor].metric("agg_poller_taken_over_servers") == Some(0.0)).then_some(())
    });
    let refs: Vec<&Poller> = pollers.iter().collect();
    until_written(&refs, &ids);
    assert_eq!(duplicates(&refs, &ids), 0);
    assert!(pollers[successor].metric("agg_poller_takeovers_total") >= Some(1.0));
}

#[test]
fn owner_is_replaced_in_time_though_clocks_differ_by_a_minute() {
    let Some(server) = Server::start() else {
        return;
    };
    if std::process::Command::new("faketime")
        .arg("--version")
        .output()
        .is_err()
    {
        return missing("faketime").unwrap_or_default();
    }
    let names = ["p1", "p2", "p3"];
    let mut pollers: Vec<Poller> = names
        .iter()
        .map(|name| Poller::new(name, &members(&names), &[&server]))
        .collect();
    for (poller, offset) in pollers.iter_mut().zip(["-60s", "+0s", "+60s"]) {
        poller.run_at(offset);
    }
    let owner = until("one owns the server", || {
        let owns = |poller: &Poller| poller.metric("agg_poller_owned_servers") == Some(1.0);
        pollers.iter().position(owns)
    });
    let mut ids = BTreeSet::new();
    // The owner finds a new node some seconds later, perhaps not before another one takes over.
    until("the owner drains alone", || {
        let (by, _) = next(&server, &pollers, &mut ids);
        let is_left = |poller: &Poller| poller.metric("agg_poller_taken_over_servers") == Some(0.0);
        (by == owner && pollers.iter().all(is_left)).then_some(())
    });
    until("all is acknowledged", || {
        (server.info_field::<u64>("agg", "agg_log_length") == 0).then_some(())
    });
    pollers[owner].kill();
    let (successor, took) = next(&server, &pollers, &mut ids);
    assert_ne!(successor, owner);
    // Sooner, if the last try whether the owner is back was not seen to succeed.
    assert!(took < TAKEOVER_AFTER + Duration::from_secs(5), "{took:?}");
    let refs: Vec<&Poller> = pollers.iter().collect();
    until_written(&refs, &ids);
    assert_eq!(duplicates(&refs, &ids), 0);
}

/// Returns the servers that the messages of a poller count, and the number of these messages.
fn counted(poller: &Poller, before: &str, after: &str) -> (u64, usize) {
    let log = poller.log();
    let lines = log.lines().filter(|line| line.contains(after));
    let servers: Vec<u64> = lines
        .map(|line| {
            let (_, rest) = line.split_once(before).unwrap();
            match rest.split_once(" servers (") {
                Some((number, _)) => number.parse().unwrap(),
                None => 1,
            }
        })
        .collect();
    (servers.iter().sum(), servers.len())
}

#[test]
fn takeovers_of_many_servers_are_few_messages() {
    let servers: Option<Vec<Server>> = (0..12).map(|_| Server::start()).collect();
    let Some(servers) = servers else {
        return;
    };
    let servers: Vec<&Server> = servers.iter().collect();
    let start = |name: &str| Poller::start(name, &members(&["p1", "p2"]), &servers);
    let mut pollers = ["p1", "p2"].map(start);
    let owned = |poller: &Poller| poller.metric("agg_poller_owned_servers").unwrap_or(0.0);
    until("each server has an owner", || {
        (pollers.iter().map(owned).sum::<f64>() == 12.0).then_some(())
    });
    if owned(&pollers[0]) < owned(&pollers[1]) {
        pollers.swap(0, 1);
    }
    let lost = owned(&pollers[0]) as u64;
    pollers[0].kill();
    let start = Instant::now();
    for (n, server) in servers.iter().enumerate() {
        add(server, &format!("n{n}"));
    }
    let count = |before: &'static str, after: &'static str, start: Instant| {
        let messages = until("all servers are named", || {
            let (servers, messages) = counted(&pollers[1], before, after);
            assert!(servers <= lost, "{servers} > {lost}");
            (servers == lost).then_some(messages)
        });
        // At most one each ten seconds.
        let limit = 1 + start.elapsed().as_secs() / 10;
        eprintln!("{messages} messages for {lost} servers");
        assert!(messages as u64 <= limit, "{messages} > {limit}");
    };
    count("no poller drains ", "; taking ", start);
    // Nothing else is to be drained: the servers are left to their owner.
    count("agg: ", " left to the poller", start);
}

#[test]
fn stuck_owner_is_replaced_and_at_most_its_leased_records_are_written_twice() {
    let Some(server) = Server::start() else {
        return;
    };
    let (pollers, mut ids) = owner_first(&server);
    let refs: Vec<&Poller> = pollers.iter().collect();
    let mut connection = server.connection();
    let mut leased_at_most = 0;
    for _ in 0..3 {
        for _ in 0..300 {
            ids.insert(add_by(&mut connection, NODE));
        }
        // In the middle of it, so that it has records leased.
        pollers[0].signal("STOP");
        leased_at_most += server.info_field::<usize>("agg", "agg_log_leased");
        for _ in 0..300 {
            ids.insert(add_by(&mut connection, NODE));
        }
        until_written(&refs[1..], &BTreeSet::from([ids.last().unwrap().clone()]));
        until("the queue is empty", || {
            (server.info_field::<u64>("agg", "agg_log_length") == 0).then_some(())
        });
        pollers[0].signal("CONT");
        std::thread::sleep(Duration::from_secs(1));
    }
    until_written(&refs, &ids);
    let twice = duplicates(&refs, &ids);
    eprintln!(
        "{twice} of {} records twice, at most {leased_at_most} were leased",
        ids.len()
    );
    assert!(twice <= leased_at_most, "{twice} > {leased_at_most}");
}

#[test]
fn orderly_move_writes_no_record_twice() {
    let Some(server) = Server::start() else {
        return;
    };
    let (pollers, mut ids) = owner_first(&server);
    let refs: Vec<&Poller> = pollers.iter().collect();
    let mut connection = server.connection();
    // The server moves between the owner and the others each time that the list changes.
    let all: Vec<&str> = refs.iter().map(|poller| &*poller.name).collect();
    for round in 0..12 {
        for poller in &pollers {
            // Each is in its own list. The owner is among so many that it does not own the server in this one.
            let others: Vec<String> = (0..900).map(|n| format!("x{n}")).collect();
            let names = match round % 2 {
                0 if poller.name == all[0] => {
                    let others = others.iter().map(String::as_str);
                    others.chain([all[0]]).collect()
                }
                0 => vec![all[1], all[2]],
                _ => all.clone(),
            };
            poller.set(&members(&names));
        }
        for _ in 0..200 {
            ids.insert(add_by(&mut connection, NODE));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    until_written(&refs, &ids);
    assert_eq!(duplicates(&refs, &ids), 0);
    let wrote: Vec<usize> = refs.iter().map(|poller| poller.ids().len()).collect();
    eprintln!("records written by each: {wrote:?}");
    assert!(
        wrote.iter().filter(|count| **count > 200).count() >= 2,
        "{wrote:?}"
    );
}

#[test]
fn idle_watcher_sends_few_commands() {
    let Some(server) = Server::start() else {
        return;
    };
    let (pollers, _) = owner_first(&server);
    for poller in &pollers[1..] {
        assert_eq!(poller.metric("agg_poller_watched_servers"), Some(1.0));
        assert_eq!(poller.metric("agg_poller_fleet_members"), Some(3.0));
    }
    // The two that watch remain.
    pollers[0].signal("STOP");
    let commands = || server.info_field::<u64>("stats", "total_commands_processed");
    let before = (commands(), Instant::now());
    std::thread::sleep(Duration::from_secs(6));
    let (count, seconds) = (commands() - before.0 - 1, before.1.elapsed().as_secs_f64());
    // Four in each takeover-after from each, which is a second here and a minute by default.
    let limit = 2.0 * (4.0 * seconds / TAKEOVER_AFTER.as_secs_f64() + 1.0);
    eprintln!("{count} commands in {seconds:.1} s");
    assert!((count as f64) <= limit, "{count} > {limit}");
    pollers[0].signal("CONT");
}
