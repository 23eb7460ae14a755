//! Sources against real servers: a range, a cluster and a pair behind Sentinels, each while its servers come, go and
//! take over from one another.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use agg_client::connect::{self, Access};
use agg_client::discovery::scan::Scan;
use agg_client::discovery::{Cluster, Found, Hosts, Range, Sentinel, Source};

use testkit::*;

/// A source that is watched, and what is known by it.
struct Watch {
    runtime: Runtime,
    news: UnboundedReceiver<Found>,
    known: BTreeMap<String, String>,
    changes: usize,
}

impl Watch {
    fn start(source: Source) -> Watch {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (tell, news) = unbounded_channel();
        runtime.spawn(source.watch(tell));
        Watch {
            runtime,
            news,
            known: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Waits for so long for one more piece of news; whether it came.
    fn next(&mut self, wait: Duration) -> bool {
        let next = async { tokio::time::timeout(wait, self.news.recv()).await };
        let Ok(found) = self.runtime.block_on(next) else {
            return false;
        };
        let found = found.expect("the source is watched");
        self.changes += 1;
        match found.server {
            Some(server) => self.known.insert(found.id, server.endpoint().to_owned()),
            None => self.known.remove(&found.id),
        };
        true
    }

    /// Waits until exactly these endpoints are known; fails after five minutes, because a failover takes long on a
    /// loaded machine.
    fn until(&mut self, what: &str, places: &[String]) {
        let start = std::time::Instant::now();
        while self.places() != places {
            let waited = start.elapsed() > Duration::from_secs(300);
            assert!(!waited, "{what}: {:?}, expected {places:?}", self.known);
            self.next(Duration::from_millis(100));
        }
    }

    fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.known.values().cloned().collect();
        places.sort();
        places
    }
}

fn access(password: &str) -> Access {
    let password = Some(password.to_owned()).filter(|password| !password.is_empty());
    Access {
        password,
        ..Access::default()
    }
}

fn server_of(url: &str, password: &str) -> connect::Server {
    connect::Server::parse(url, &access(password)).unwrap()
}

fn range(port: u16, password: &str) -> Range {
    Range {
        scan: Scan {
            hosts: Hosts::parse("127.0.0.0/29").unwrap(),
            port,
            access: access(password),
            encrypted: false,
            timeout: Scan::TIMEOUT,
            parallel: Scan::PARALLEL,
            rate: Scan::RATE,
        },
        interval: Duration::from_millis(100),
        forget_after: Duration::from_millis(1500),
    }
}

#[test]
fn a_server_of_a_range_comes_goes_and_comes_back() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut watch = Watch::start(Source::Range(range(server.port, "")));
    let place = [server.url()];
    watch.until("the server is found", &place);
    // A short absence is none.
    server.restart();
    assert!(!watch.next(Duration::from_millis(500)));
    server.stop();
    watch.until("the server is forgotten", &[]);
    server.restart();
    watch.until("the server is found again", &place);
    assert_eq!(watch.changes, 3);
}

#[test]
fn what_is_not_ours_is_found_when_it_becomes_so() {
    let Some(server) = Server::with_module(&["--requirepass", "s3cret"], "") else {
        return;
    };
    let [mut without, mut wrong, mut right] =
        ["", "other", "s3cret"].map(|p| Watch::start(Source::Range(range(server.port, p))));
    right.until("the server is found", &[server.url()]);
    assert!(!without.next(Duration::from_millis(300)));
    assert!(!wrong.next(Duration::from_millis(300)));
    let mut connection = server.connection_as("default", "s3cret");
    let () = ask(&mut connection, "CONFIG SET requirepass other");
    wrong.until("the server is found", &[server.url()]);
    // A replica gives out nothing.
    let other = Server::start().unwrap();
    let () = ask(
        &mut connection,
        &format!("REPLICAOF 127.0.0.1 {}", other.port),
    );
    wrong.until("the server is let go", &[]);
}

#[test]
fn a_cluster_is_followed_through_a_failover() {
    let Some(mut cluster) = testkit::cluster::Cluster::start() else {
        return;
    };
    let first = cluster.primaries(None);
    assert_eq!(first.len(), 3);
    let victim = first[0];
    // The only member that is named is the one that fails.
    let seeds = vec![server_of(&cluster.servers[victim].url(), "")];
    let mut watch = Watch::start(Source::Cluster(Cluster { seeds }));
    watch.until("the primaries are found", &cluster.urls(&first));
    let ids: Vec<String> = watch.known.keys().cloned().collect();
    cluster.servers[victim].stop();
    let heirs = until("a replica takes over", || {
        let primaries = cluster.primaries(Some(victim));
        (primaries.len() == 3).then_some(primaries)
    });
    watch.until("the heir is found", &cluster.urls(&heirs));
    assert!(watch.known.keys().eq(&ids), "{:?}", watch.known);
    assert_eq!(watch.changes, 4);
    // It comes back as a replica, which is no news.
    cluster.servers[victim].restart();
    until("who was killed is a replica", || {
        (cluster.primaries(None).len() == 3).then_some(())
    });
    assert!(!watch.next(Duration::from_secs(3)));
    // Hosts that are announced by name.
    for server in &cluster.servers {
        let () = server.ask("CONFIG SET cluster-announce-hostname localhost");
        let () = server.ask("CONFIG SET cluster-preferred-endpoint-type hostname");
    }
    let named = cluster.urls(&heirs);
    let named: Vec<String> = named
        .iter()
        .map(|place| place.replace("127.0.0.1", "localhost"))
        .collect();
    watch.until("the names are found", &named);
    assert!(watch.known.keys().eq(&ids), "{:?}", watch.known);
    // Nodes that announce no host are at the one that was queried.
    for server in &cluster.servers {
        let () = server.ask("CONFIG SET cluster-preferred-endpoint-type unknown-endpoint");
    }
    let seeds = vec![server_of(&cluster.servers[victim].url(), "")];
    let mut watch = Watch::start(Source::Cluster(Cluster { seeds }));
    watch.until("the primaries are found", &cluster.urls(&heirs));
}

#[test]
fn a_service_is_followed_through_a_failover() {
    let Some(mut watched) = testkit::sentinel::Monitored::start() else {
        return;
    };
    let sentinels = watched.sentinels.iter();
    let source = Sentinel {
        sentinels: sentinels.map(|s| server_of(&s.url(), "s3ntinel")).collect(),
        service: "grid".into(),
        pattern: connect::Server::at("", 0, &access("s3rver"), false).unwrap(),
    };
    let mut watch = Watch::start(Source::Sentinel(source));
    watch.until("the primary is found", &[watched.pair[0].url()]);
    let id = watch.known.keys().next().unwrap().clone();
    let addresses = watched
        .sentinels
        .iter()
        .map(|s| format!("127.0.0.1:{}", s.port));
    let first = addresses.min().unwrap();
    assert_eq!(id, format!("sentinel:grid@{first}"));
    // One Sentinel may be down, too.
    watched.sentinels[0].stop();
    watched.pair[0].stop();
    watch.until("the other is found", &[watched.pair[1].url()]);
    assert!(watch.known.contains_key(&id));
    watched.pair[0].restart();
    assert!(!watch.next(Duration::from_secs(3)));
    assert_eq!(watch.changes, 2);
}
