//! Slots move to other primaries under load, with open windows and pending records: nothing is lost or duplicated, and
//! windows keep closing at the new owner.

use redis::Value;

use crate::calls::{Find, Link};
use crate::cluster::Cluster;
use crate::load::Load;
use crate::programs::{Program, main_program, other, say};
use crate::support::*;
use crate::tally::{Fate, check};
use testkit::*;

/// A hash tag whose slot is among the first of the first primary, which `redis-cli --cluster reshard` moves first.
fn low_tag(server: &Server) -> (String, u32) {
    (0..)
        .map(|i| {
            let tag = format!("t{i}");
            let slot: u32 = server.ask(&format!("CLUSTER KEYSLOT {tag}"));
            (tag, slot)
        })
        .find(|(_, slot)| *slot < 80)
        .unwrap()
}

/// Returns the server of the slot.
fn owner(cluster: &Cluster, node: &str) -> usize {
    until("a server has the node", || {
        let mut primaries = cluster.primaries().into_iter();
        primaries.find(|i| {
            let mut c = cluster.servers[*i].connection();
            matches!(send(&mut c, &[b"EXISTS", node.as_bytes()]), Ok(1))
        })
    })
}

fn id_of(server: &Server) -> String {
    server.ask("CLUSTER MYID")
}

/// Starts three primaries with replicas, puts load on nodes that share a slot, and moves that slot several times by
/// `moves` (from, to).
fn move_slots(
    when: &str,
    program: &Program,
    replicas: usize,
    times: usize,
    moves: impl Fn(&Cluster, u32, usize, usize),
) {
    let cluster = Cluster::start(program, replicas);
    let find = cluster.find();
    let (tag, slot) = low_tag(&cluster.servers[0]);
    let name = |n: &str| format!("{{{tag}}}{n}");
    // One node at rest, which must be the same everywhere, and some that take time to move.
    let still = name("still");
    let first = owner_by_slot(&cluster, &find, &still);
    for line in [
        format!("AGG.STAT {still} m 1 TAGS a:b"),
        format!("AGG.STAT {still} d 1 DIFF"),
        format!("AGG.REALITY {still} waiting m [1]"),
        format!("AGG.LOG {still} waiting"),
    ] {
        let _: i64 = cluster.servers[first].ask(&line);
    }
    for n in 0..amount(10, 20) {
        let large = name(&format!("large{n}"));
        fill_much(&mut cluster.servers[first].connection(), &large);
    }
    let nodes = [name("a"), name("b")];
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let load = Load::start(find.clone(), &nodes, 2, 0);
    let digest = calm_digest(&cluster.servers[first], &still);
    for _ in 0..times {
        let done = load.done();
        until("the load continues", || {
            (load.done() > done + 200).then_some(())
        });
        let from = owner(&cluster, &still);
        let primaries = cluster.primaries();
        let place = primaries.iter().position(|i| *i == from).unwrap();
        let to = primaries[(place + 1) % primaries.len()];
        moves(&cluster, slot, from, to);
        assert_eq!(owner(&cluster, &still), to);
        assert_eq!(cluster.servers[to].digest(&still), digest, "{when}");
    }
    let done = load.done();
    until("the load continues", || {
        (load.done() > done + 200).then_some(())
    });
    let (books, seen) = load.finish();
    let sums = check(when, &find, &books, &seen, Fate::Exact, &|_| true);
    if replicas > 0 {
        cluster.assert_equal(when);
    }
    say(&format!(
        "{when}: {times} moves, {replicas} replicas each, {sums:?}"
    ));
}

/// Returns the server that accepts writes of a node that does not exist yet.
fn owner_by_slot(cluster: &Cluster, find: &Find, node: &str) -> usize {
    let mut link = Link::new(find);
    link.call(node, &["AGG.LOG", node, "first"], &|| true)
        .unwrap();
    owner(cluster, node)
}

/// Returns the digest of a node whose windows have all closed and to which nobody reports.
fn calm_digest(server: &Server, node: &str) -> String {
    let mut before = (String::new(), 0);
    until("the node rests", || {
        let now = server.digest(node);
        before = (now.clone(), if now == before.0 { before.1 + 1 } else { 0 });
        let_pass(100);
        // Longer than the longest window.
        (before.1 > 35).then_some(now)
    })
}

#[test]
fn reshard_loses_nothing_and_duplicates_nothing() {
    let Some(program) = main_program() else {
        return;
    };
    move_slots(
        "slots moved by redis-cli",
        &program,
        1,
        amount(2, 12),
        |cluster, _, from, to| {
            let [from, to] = [from, to].map(|i| &cluster.servers[i]);
            let words = [
                format!("127.0.0.1:{}", from.port),
                "--cluster-from".into(),
                id_of(from),
                "--cluster-to".into(),
                id_of(to),
                "--cluster-slots".into(),
                "80".into(),
            ];
            until("the servers agree on the slots", || {
                let all: Vec<String> = cluster.servers.iter().map(owners_seen).collect();
                all.iter().all(|s| *s == all[0]).then_some(())
            });
            cluster.cli("reshard", &words);
        },
    );
}

/// Returns which server has which slots, as seen by this one.
fn owners_seen(server: &Server) -> String {
    let nodes: String = server.ask("CLUSTER NODES");
    let mut lines: Vec<String> = nodes
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {}", words[0], words[8..].join(" "))
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn atomic_slot_migration_loses_nothing_and_duplicates_nothing() {
    let program = match main_program() {
        None => return,
        Some(main) if main.is_valkey && main.version.0 >= 9 => Some(main),
        Some(_) => other("valkey-9.1"),
    };
    let Some(program) = program else {
        return;
    };
    move_slots(
        "slots moved atomically",
        &program,
        1,
        amount(2, 12),
        |cluster, slot, from, to| {
            let [from, to] = [from, to].map(|i| &cluster.servers[i]);
            let to = id_of(to);
            // A node of the cluster rejects what it does not know yet.
            until("the migration begins", || {
                let migrate = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {to}");
                match send::<String>(&mut from.connection(), &words(&migrate)) {
                    Ok(_) => Some(()),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(!text.contains("module"), "{migrate}: {text}");
                        None
                    }
                }
            });
            until("the slot has moved", || {
                let jobs: Value = from.ask("CLUSTER GETSLOTMIGRATIONS");
                // The newest comes first.
                let state = text(&list(&jobs)[0], "state");
                assert!(state != "failed" && state != "canceled", "{jobs:?}");
                (state == "success").then_some(())
            });
        },
    );
}
