//! Settings, ports, and the state of replication and of whole servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use redis::Value;

use testkit::*;

/// Windows of a second that close soon, errors that are queued again soon.
pub const BRISK: &str =
    "min-window 1 hour-window 2 flush-delay-ms 200 error-interval-ms 100 min-interval-ms 5";

/// Arguments of a server whose AOF has no RDB parts.
pub const AOF: [&str; 4] = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no"];

/// Lets time pass under load.
pub fn let_pass(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Returns a field of INFO.
pub fn info(server: &Server, field: &str) -> String {
    server.info_field("everything", field)
}

/// Returns whether it follows a primary. A server that is being reconfigured (Sentinel then closes its clients) does
/// not yet.
pub fn is_linked(replica: &Server) -> bool {
    let info = crate::calls::open(replica.port)
        .and_then(|mut c| send::<String>(&mut c, &[b"INFO", b"replication"]).ok());
    info.is_some_and(|info| info.contains("role:slave") && info.contains("master_link_status:up"))
}

/// Returns whether the replica has received everything that the primary sent.
pub fn is_in_step(primary: &Server, replica: &Server) -> bool {
    let sent = info(primary, "master_repl_offset");
    is_linked(replica) && info(replica, "slave_repl_offset") == sent
}

pub fn in_step(primary: &Server, replica: &Server) {
    until("the replica has caught up", || {
        is_in_step(primary, replica).then_some(())
    });
}

/// Digest and time of expiry of each key of each database.
pub type State = BTreeMap<(u32, String), (String, i64)>;

/// Returns the state of a server.
pub fn state(server: &Server) -> State {
    let keyspace: String = server.ask("INFO keyspace");
    let dbs = keyspace
        .lines()
        .filter_map(|line| line.strip_prefix("db")?.split(':').next()?.parse().ok());
    let mut state = State::new();
    for db in dbs {
        let mut c = server.connection_to(db);
        // A replica in a cluster would redirect to its primary.
        let _ = send::<()>(&mut c, &[b"READONLY"]);
        let keys: Vec<Vec<u8>> = ask(&mut c, "KEYS *");
        for key in keys {
            let digest: Vec<String> = send(&mut c, &[b"DEBUG", b"DIGEST-VALUE", &key]).unwrap();
            let expires: i64 = send(&mut c, &[b"PEXPIRETIME", &key]).unwrap();
            let name = String::from_utf8_lossy(&key).into_owned();
            // The key was removed meanwhile.
            if expires != -2 {
                state.insert((db, name), (digest.concat(), expires));
            }
        }
    }
    state
}

/// Returns the states of a primary and its replicas at a moment at which the primary does not change, its replicas have
/// received everything and no key is about to expire. States that differ are returned once they have stayed so for a
/// while.
pub fn still_states(primary: &Server, replicas: &[&Server]) -> (State, Vec<State>) {
    let mut before = (State::new(), Vec::new());
    let mut times = 0;
    until("the primary stands still", || {
        let here = state(primary);
        if here.values().any(|(_, expires)| *expires != -1) {
            return None;
        }
        replicas.iter().for_each(|r| in_step(primary, r));
        let states = replicas.iter().map(|r| state(r)).collect::<Vec<_>>();
        if state(primary) != here || !replicas.iter().all(|r| is_in_step(primary, r)) {
            return None;
        }
        if states.iter().all(|there| *there == here) {
            return Some((here, states));
        }
        let now = (here, states);
        times = if now == before { times + 1 } else { 0 };
        before = now;
        let_pass(100);
        (times >= 5).then(|| before.clone())
    })
}

/// Asserts that both states are equal, or shows the difference.
pub fn assert_same(when: &str, here: &State, there: &State) {
    if here != there {
        let lacks = |a: &State, b: &State| {
            let of = a.iter().filter(|(k, v)| b.get(*k) != Some(v));
            of.map(|(k, v)| format!("\n  {k:?} {v:?}"))
                .collect::<String>()
        };
        panic!(
            "{when}:\nhere{}\nthere{}",
            lacks(here, there),
            lacks(there, here)
        );
    }
}

/// Asserts that a primary and its replicas have the same state.
pub fn assert_equal(when: &str, primary: &Server, replicas: &[&Server]) {
    let (here, states) = still_states(primary, replicas);
    for (i, there) in states.iter().enumerate() {
        assert_same(&format!("{when}, replica {i}"), &here, there);
    }
}

/// Copies a directory of files.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Waits until no AOF is being rewritten.
pub fn aof_is_quiet(server: &Server) {
    until("the AOF is rewritten", || {
        let is = |field| info(server, field) == "0";
        (is("aof_rewrite_in_progress") && is("aof_rewrite_scheduled")).then_some(())
    });
    assert_eq!(info(server, "aof_last_bgrewrite_status"), "ok");
}

/// Returns the seeds of a test: only AGG_SEED if it is set, otherwise this many.
pub fn seeds(quick: usize, heavy: usize) -> Vec<u64> {
    match std::env::var("AGG_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=amount(quick, heavy) as u64)
            .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect(),
    }
}

/// Returns the integer of a reply.
pub fn number(value: &Value) -> i64 {
    match value {
        Value::Int(n) => *n,
        other => panic!("no integer: {other:?}"),
    }
}
