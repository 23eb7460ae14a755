//! Failovers of servers: a shard of a cluster and a service of Sentinels keep their owner, and what is written twice is
//! what was leased when the primary changed, since leases are in its memory only.

use std::collections::{BTreeMap, BTreeSet};

use testkit::cluster::Cluster;
use testkit::sentinel::Monitored;

use crate::support::{Server, info_field, send, until};

use super::support::{Id, Poller, duplicates, members, until_written, written};

const NAMES: [&str; 3] = ["p1", "p2", "p3"];
/// In the slots of three different primaries.
const NODES: [&str; 3] = ["a", "b", "c"];

/// Starts a poller that takes over so late that it never has to.
fn start(name: &str, source: &str) -> Poller {
    let mut poller = Poller::of(name, &members(&NAMES), source);
    poller.rename("takeover-after = \"3s\"", "takeover-after = \"10m\"");
    poller.run();
    poller
}

/// Adds a record at the server that takes it. The others reject it: replicas, and primaries of other slots.
fn add(urls: &[String], node: &str) -> Id {
    let add_at = |url: &String| {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut connection = client.get_connection().ok()?;
        send(
            &mut connection,
            &[b"AGG.LOG", node.as_bytes(), b"hello".as_slice()],
        )
        .ok()
    };
    let id: i64 = until("a primary takes a record", || urls.iter().find_map(add_at));
    (node.to_owned(), "LOG".to_owned(), id)
}

/// Adds a record to each node.
fn round(urls: &[String], nodes: &[&str], ids: &mut BTreeSet<Id>) {
    ids.extend(nodes.iter().map(|node| add(urls, node)));
}

/// Returns the poller that wrote all records of each node.
fn writers(pollers: &[Poller]) -> BTreeMap<String, usize> {
    let mut by = BTreeMap::new();
    for (index, poller) in pollers.iter().enumerate() {
        for (node, ..) in poller.ids() {
            let first = *by.entry(node.clone()).or_insert(index);
            assert_eq!(first, index, "{node} has two writers");
        }
    }
    by
}

fn takeovers(pollers: &[Poller]) -> f64 {
    let of = |poller: &Poller| poller.metric("agg_poller_takeovers_total").unwrap();
    pollers.iter().map(of).sum()
}

/// Returns a section of INFO of a server at this URL, unless it closes the connection: a server that becomes a replica
/// does.
fn info(url: &str, section: &str) -> Option<String> {
    let mut connection = redis::Client::open(url).unwrap().get_connection().ok()?;
    send(&mut connection, &[b"INFO", section.as_bytes()]).ok()
}

/// Waits until all is acknowledged and the replica has everything, so that a crash loses nothing.
fn until_replicated(primary: &str, replica: &str) {
    until("all is acknowledged", || {
        let length: u64 = info_field(&info(primary, "agg")?, "agg_log_length");
        (length == 0).then_some(())
    });
    until("the replica has everything", || {
        let [primary, replica] = [info(primary, "replication")?, info(replica, "replication")?];
        let offset = |info: &str| -> u64 { info_field(info, "master_repl_offset") };
        let is_linked = replica.contains("master_link_status:up");
        (is_linked && offset(&primary) == offset(&replica)).then_some(())
    });
}

/// Returns the records that were written more than once.
fn twice(pollers: &[&Poller]) -> BTreeSet<Id> {
    let written = written(pollers).into_iter();
    let twice = written.filter(|(_, count)| *count > 1);
    twice.map(|(id, _)| id).collect()
}

#[test]
fn shards_of_a_cluster_keep_their_owners() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    // Each knows the cluster by another member.
    let seed = |n: usize| format!("cluster = [\"{}\"]", cluster.servers[n].url());
    let pollers: Vec<Poller> = (0..3).map(|n| start(NAMES[n], &seed(n))).collect();
    let refs: Vec<&Poller> = pollers.iter().collect();
    let urls: Vec<String> = cluster.servers.iter().map(Server::url).collect();
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        round(&urls, &NODES, &mut ids);
    }
    until_written(&refs, &ids);
    let owners = writers(&pollers);
    assert_eq!(owners.len(), 3);

    // Orderly failovers of all shards, while records come in.
    let mut meanwhile = BTreeSet::new();
    let replica_of = |cluster: &Cluster, primary: usize| {
        let port = format!("master_port:{}\r\n", cluster.servers[primary].port);
        let is_replica =
            |url: &String| info(url, "replication").is_some_and(|info| info.contains(&port));
        until("the primary has a replica", || {
            urls.iter().position(is_replica)
        })
    };
    for primary in cluster.primaries(None) {
        let replica = replica_of(&cluster, primary);
        round(&urls, &NODES, &mut meanwhile);
        cluster.servers[replica].ask::<()>("CLUSTER FAILOVER");
        until("the replica takes over", || {
            round(&urls, &NODES, &mut meanwhile);
            cluster.primaries(None).contains(&replica).then_some(())
        });
    }
    until_written(&refs, &meanwhile);
    let count = meanwhile.len();
    ids.extend(meanwhile.iter().cloned());

    // A crash.
    let victim = cluster.primaries(None)[0];
    let replica = replica_of(&cluster, victim);
    until_replicated(&urls[victim], &urls[replica]);
    cluster.servers[victim].stop();
    until("the replica takes over", || {
        (cluster.primaries(Some(victim)).len() == 3).then_some(())
    });
    for _ in 0..20 {
        round(&urls, &NODES, &mut ids);
    }
    until_written(&refs, &ids);

    assert_eq!(writers(&pollers), owners);
    assert_eq!(takeovers(&pollers), 0.0);
    eprintln!(
        "{} of {count} records twice that came in during failovers",
        duplicates(&refs, &ids)
    );
    assert!(twice(&refs).is_subset(&meanwhile));
}

#[test]
fn service_of_sentinels_keeps_its_owner() {
    let Some(mut watched) = Monitored::start() else {
        return;
    };
    let secrets = tempfile::tempdir().unwrap();
    let secret = |name: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    let (password, of_sentinels) = (secret("s3rver"), secret("s3ntinel"));
    let mut sentinels: Vec<String> = watched.sentinels.iter().map(Server::url).collect();
    let mut pollers = Vec::new();
    for name in NAMES {
        // Each lists them in another order.
        sentinels.rotate_left(1);
        let source = format!(
            "sentinel = {sentinels:?}\nservice = \"grid\"\npassword-file = {password:?}\n\
             sentinel-password-file = {of_sentinels:?}"
        );
        pollers.push(start(name, &source));
    }
    let refs: Vec<&Poller> = pollers.iter().collect();
    let url = |server: &Server| format!("redis://default:s3rver@127.0.0.1:{}", server.port);
    let urls: Vec<String> = watched.pair.iter().map(url).collect();
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        round(&urls, &["n"], &mut ids);
    }
    until_written(&refs, &ids);
    let owner = writers(&pollers);
    until_replicated(&urls[0], &urls[1]);
    watched.pair[0].stop();
    for _ in 0..20 {
        round(&urls, &["n"], &mut ids);
    }
    until_written(&refs, &ids);

    // The server that crashed becomes a replica, and then the primary, as at first.
    watched.pair[0].restart();
    until_replicated(&urls[1], &urls[0]);
    watched.pair[1].stop();
    for _ in 0..20 {
        round(&urls, &["n"], &mut ids);
    }
    until_written(&refs, &ids);

    assert_eq!(writers(&pollers), owner);
    assert_eq!(takeovers(&pollers), 0.0);
    assert_eq!(duplicates(&refs, &ids), 0);
}
