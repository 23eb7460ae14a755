//! A replica has the state that its primary decided, with an equal digest, whatever its own settings are. It decides
//! nothing itself until it is promoted.

mod equality;
mod failover;
mod reads;

use redis::Value;
use testkit::random_workload::{BUSY, Lifetimes, OTHERS, RandomWorkload};
use testkit::*;

/// A primary and its replica.
struct Pair {
    primary: Server,
    replica: Server,
}

impl Pair {
    fn start(settings: &str, of_replica: &str) -> Option<Pair> {
        let primary = Server::with_module(&["--repl-diskless-sync-delay", "0"], settings)?;
        let replica = replica_of(&primary, of_replica)?;
        Some(Pair { primary, replica })
    }

    /// Waits until the replica has received everything that the primary sent.
    fn in_step(&self) {
        in_step(&self.primary, &self.replica);
    }
}

fn replica_of(primary: &Server, settings: &str) -> Option<Server> {
    let port = primary.port.to_string();
    let arguments = [
        "--repl-diskless-sync-delay",
        "0",
        "--replicaof",
        "127.0.0.1",
        &port,
    ];
    let replica = Server::with_module(&arguments, settings)?;
    until("the replica is in touch", || {
        (replication(&replica, "master_link_status") == "up").then_some(())
    });
    Some(replica)
}

/// Returns a field of INFO replication.
fn replication(server: &Server, field: &str) -> String {
    server.info_field("replication", field)
}

fn in_step(primary: &Server, replica: &Server) {
    until("the replica has caught up", || {
        let sent = replication(primary, "master_repl_offset");
        let is_up = replication(replica, "master_link_status") == "up";
        (is_up && replication(replica, "slave_repl_offset") == sent).then_some(())
    });
}

/// Returns the digest of all data of a server, with times of expiry.
fn digest(server: &Server) -> String {
    server.ask("DEBUG DIGEST")
}

/// Asserts that both have the same state at a moment in which the primary does not change.
fn assert_equal(primary: &Server, replica: &Server, when: &str) {
    let (here, there) = until("the primary stands still", || {
        let before = digest(primary);
        in_step(primary, replica);
        let there = digest(replica);
        (digest(primary) == before).then_some((before, there))
    });
    if here != there {
        panic!("{when}: {}", difference(primary, replica));
    }
}

/// Describes which nodes differ.
fn difference(primary: &Server, replica: &Server) -> String {
    let mut found = String::new();
    for db in 0..16 {
        let (mut here, mut there) = (primary.connection_to(db), replica.connection_to(db));
        for (name, other) in [("primary", &mut here), ("replica", &mut there)] {
            let mut keys: Vec<String> = ask(other, "KEYS *");
            keys.sort();
            for key in keys {
                let digest: Vec<String> = ask(other, &format!("DEBUG DIGEST-VALUE {key}"));
                found += &format!("\n{name} {db} {key} {digest:?}");
            }
        }
    }
    found
}

fn closes(server: &Server, node: &str, metric: &str) {
    until(&format!("{node} closes the window of {metric}"), || {
        let records = server.peek(node, "MIN");
        records.iter().any(|r| r["metric"] == metric).then_some(())
    });
}

/// Waits until windows that are open now have ended.
fn let_windows_end() {
    let start = now_ms();
    until("the windows are over", || {
        (now_ms() > start + 2200).then_some(())
    });
}
