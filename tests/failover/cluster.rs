//! Three primaries and three replicas: unplanned and planned failovers under load. Whatever WAIT confirmed survives; a
//! planned failover loses nothing.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::calls::{Find, open};
use crate::load::Load;
use crate::programs::{Program, main_program, say};
use crate::support::*;
use crate::tally::{Fate, check};
use testkit::cluster::MEMBER;
use testkit::*;

/// See the file's header.
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Starts three primaries, each with this many replicas.
    pub fn start(program: &Program, replicas: usize) -> Cluster {
        let servers = (0..3 * (replicas + 1)).map(|_| program.start(&MEMBER, BRISK));
        let cluster = Cluster {
            servers: servers.collect(),
        };
        let mut words = vec!["--cluster-replicas".to_owned(), replicas.to_string()];
        let addresses = cluster
            .servers
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port));
        words.splice(0..0, addresses);
        cluster.cli("create", &words);
        until("the cluster is up", || cluster.is_up().then_some(()));
        until("the replicas are in touch", || {
            let linked = cluster.servers.iter().filter(|s| is_linked(s)).count();
            (linked == 3 * replicas).then_some(())
        });
        cluster
    }

    /// Runs `redis-cli --cluster`.
    pub fn cli(&self, command: &str, words: &[String]) {
        let output = Command::new("redis-cli")
            .args(["--cluster", command])
            .args(words)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let tail = &said[said.len().saturating_sub(2000)..];
        assert!(output.status.success(), "{command}: {tail}");
    }

    /// Waits until every server sees all slots served and knows the replicas.
    fn is_up(&self) -> bool {
        self.servers.iter().all(|server| {
            let nodes: String = server.ask("CLUSTER NODES");
            if nodes.matches("slave").count() != self.servers.len() - 3 {
                return false;
            }
            let info: String = server.ask("CLUSTER INFO");
            ["cluster_state:ok", "cluster_slots_ok:16384"]
                .iter()
                .all(|line| info.lines().any(|l| l == *line))
        })
    }

    /// Any server that replies; it redirects to the one that serves the node.
    pub fn find(&self) -> Find {
        let ports: Vec<u16> = self.servers.iter().map(|server| server.port).collect();
        let turn = AtomicUsize::new(0);
        Arc::new(move |_: &str| {
            let start = turn.fetch_add(1, Relaxed);
            let ports = ports.iter().cycle().skip(start).take(ports.len());
            let mut ports = ports.copied();
            ports.find(|port| open(*port).is_some())
        })
    }

    /// Returns the servers that are primaries now.
    pub fn primaries(&self) -> Vec<usize> {
        let is_primary = |i: &usize| info(&self.servers[*i], "role") == "master";
        (0..self.servers.len()).filter(is_primary).collect()
    }

    /// Waits until the replica of a server follows and returns it.
    fn replica_of(&self, primary: usize) -> usize {
        let port = self.servers[primary].port.to_string();
        until("the primary has a replica", || {
            (0..self.servers.len()).find(|i| {
                let server = &self.servers[*i];
                is_linked(server) && info(server, "master_port") == port
            })
        })
    }

    /// Promotes a replica by CLUSTER FAILOVER, which is abandoned while not all know who is whose replica.
    fn promote(&self, heir: usize) {
        let mut asked: Option<Instant> = None;
        until("the replica takes over", || {
            if info(&self.servers[heir], "role") == "master" {
                return Some(());
            }
            if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                asked = Some(Instant::now());
                let words = [&b"CLUSTER"[..], b"FAILOVER"];
                let _ = send::<()>(&mut self.servers[heir].connection(), &words);
            }
            None
        });
    }

    /// Asserts that all replicas have the state of their primaries.
    pub fn assert_equal(&self, when: &str) {
        for primary in self.primaries() {
            let replica = self.replica_of(primary);
            let of = [&self.servers[replica]];
            assert_equal(when, &self.servers[primary], &of);
        }
    }
}

/// Node names in the slots of the first, second and third primary.
const NODES: [&str; 3] = ["b", "c", "a"];

fn go_on(load: &Load) {
    let done = load.done();
    until("the load continues", || {
        (load.done() > done + 300).then_some(())
    });
}

#[test]
fn cluster_with_killed_primaries_keeps_what_wait_confirmed() {
    let Some(program) = main_program() else {
        return;
    };
    let mut cluster = Cluster::start(&program, 1);
    let find = cluster.find();
    let load = Load::start(find.clone(), &NODES, 2, 1);
    let kills = amount(1, 12);
    for kill in 0..kills {
        go_on(&load);
        let primaries = cluster.primaries();
        let victim = primaries[kill % primaries.len()];
        let heir = cluster.replica_of(victim);
        go_on(&load);
        cluster.servers[victim].stop();
        until("the replica takes over", || {
            (info(&cluster.servers[heir], "role") == "master").then_some(())
        });
        let_pass(500);
        cluster.servers[victim].restart();
        until("who was killed is a replica", || {
            is_linked(&cluster.servers[victim]).then_some(())
        });
    }
    go_on(&load);
    let (books, seen) = load.finish();
    let when = "primaries of a cluster killed";
    let sums = check(when, &find, &books, &seen, Fate::Lossy, &|when| {
        when.confirmed
    });
    cluster.assert_equal(when);
    say(&format!("{when}: {kills} kills, {sums:?}"));
}

#[test]
fn planned_failover_in_a_cluster_loses_nothing() {
    let Some(program) = main_program() else {
        return;
    };
    let cluster = Cluster::start(&program, 1);
    let find = cluster.find();
    let load = Load::start(find.clone(), &NODES, 2, 0);
    let failovers = amount(3, 20);
    for failover in 0..failovers {
        go_on(&load);
        let primaries = cluster.primaries();
        let heir = cluster.replica_of(primaries[failover % primaries.len()]);
        cluster.promote(heir);
        until("three primaries are left", || {
            (cluster.primaries().len() == 3).then_some(())
        });
    }
    go_on(&load);
    let (books, seen) = load.finish();
    let when = "planned failovers in a cluster";
    let sums = check(when, &find, &books, &seen, Fate::Exact, &|_| true);
    cluster.assert_equal(when);
    say(&format!("{when}: {failovers} failovers, {sums:?}"));
}
