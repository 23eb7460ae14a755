//! Two pollers in a storm: they are killed repeatedly, their sink is down, slow, or closes the connection after it
//! stored a request, the network is cut, and the server fails over to its replica. Afterwards the sink has every record
//! under one id, all queues are empty, and the pollers stayed within their memory.
//!
//! With AGG_HEAVY=1: a million records, kills every few seconds for some minutes, and a sink that is down for one
//! minute.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::place::Place;
use crate::support::store::{Mood, Store};
use crate::support::{Running, Server, of_queue, past_hour, until};
use testkit::proxy::Proxy;

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
/// Log entries and metrics in one round of a node.
const LINES: usize = 250;
const METRICS: usize = 250;
/// The memory of records in flight, and what a poller uses besides.
const IN_FLIGHT_MB: u64 = 16;
const BESIDE_MB: u64 = 48;

/// The duration and the load.
struct Storm {
    records: usize,
    /// The pause between two rounds of writing, so that it continues through the whole storm.
    pace: Duration,
    /// The pause between two kills.
    calm: Duration,
    /// The time for which the sink is down.
    away: Duration,
}

#[test]
fn storm_of_kills_and_outages_loses_nothing() {
    let heavy = std::env::var_os("AGG_HEAVY").is_some();
    let storm = if heavy {
        Storm {
            records: 1_000_000,
            pace: Duration::from_millis(150),
            calm: Duration::from_secs(5),
            away: Duration::from_secs(60),
        }
    } else {
        Storm {
            records: 60_000,
            pace: Duration::from_millis(300),
            calm: Duration::from_secs(2),
            away: Duration::from_secs(3),
        }
    };
    // Nothing may be dropped for lack of memory.
    let module = "max-memory 2gb queue-log 1gb queue-min 1gb";
    let quiet = ["--save", "", "--repl-diskless-sync-delay", "0"];
    let (Some(primary), Some(replica)) = (
        Server::with_module(&quiet, module),
        Server::with_module(&quiet, module),
    ) else {
        return;
    };
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    until("the replica follows", || {
        let info: String = replica.ask("INFO replication");
        info.contains("master_link_status:up").then_some(())
    });
    let (proxy, store) = (Proxy::start(primary.port), Store::start());
    let place = Place::new(&format!(
        "lease = \"5s\"\npoll-interval = \"100ms\"\nmax-in-flight = \"{IN_FLIGHT_MB}mb\"\n[[source]]\n\
         urls = [\"redis://127.0.0.1:{}\"]\n[[route]]\nqueues = [\"LOG\", \"MIN\"]\nsinks = [\"store\"]\n\
         [sink.store]\ntype = \"http\"\nurl = \"{}\"\ntimeout = \"10s\"\ngzip = false\n",
        proxy.port, store.url
    ));

    let target = Arc::new(AtomicU16::new(primary.port));
    let done = Arc::new(AtomicBool::new(false));
    let (goal, pace, written) = (
        storm.records,
        storm.pace,
        Arc::new(Mutex::new(Written::default())),
    );
    let writer = {
        let (target, written) = (target.clone(), written.clone());
        std::thread::spawn(move || write(&target, goal, pace, &written))
    };
    let killer = {
        let (done, calm) = (done.clone(), storm.calm);
        let command = move || place.start();
        std::thread::spawn(move || keep_killing(command, calm, &done))
    };

    let mut primary = primary;
    let rest = storm.calm;
    std::thread::sleep(rest);
    store.set(Mood::Away);
    std::thread::sleep(storm.away);
    store.set(Mood::Cut);
    std::thread::sleep(rest);
    store.set(Mood::Slow(Duration::from_secs(2)));
    std::thread::sleep(rest * 2);
    store.set(Mood::Well);
    proxy.cut();
    std::thread::sleep(rest);
    proxy.repair();
    std::thread::sleep(rest);
    // The old primary is killed and the replica promoted.
    primary.stop();
    let () = replica.ask("REPLICAOF NO ONE");
    target.store(replica.port, Ordering::SeqCst);
    proxy.point(replica.port);

    writer.join().unwrap();
    let start = Instant::now();
    let left = || -> i64 {
        let length = |(node, queue)| of_queue(&replica, node, queue, "length");
        let pairs = NODES
            .iter()
            .flat_map(|node| ["LOG", "MIN"].map(|queue| (*node, queue)));
        pairs.map(length).sum()
    };
    let mut stored = store.len();
    let mut since = Instant::now();
    while left() > 0 {
        std::thread::sleep(Duration::from_millis(200));
        if store.len() != stored {
            (stored, since) = (store.len(), Instant::now());
        }
        assert!(
            since.elapsed() < Duration::from_secs(300),
            "{} are left",
            left()
        );
    }
    done.store(true, Ordering::SeqCst);
    let (kills, peak) = killer.join().unwrap();

    let (records, written) = (store.records(), written.lock().unwrap());
    assert_eq!(
        store.torn(),
        Vec::<String>::new(),
        "one id with two contents"
    );
    let mut ids: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for ((node, queue, _), kept) in &records {
        *ids.entry((node, queue, &kept.what)).or_default() += 1;
    }
    // A window whose closing the failover lost is closed again as another record: such records are not required.
    let wrong = written
        .sure
        .iter()
        .filter(|(node, queue, what)| ids.get(&(node.as_str(), *queue, what.as_str())) != Some(&1));
    let wrong: Vec<_> = wrong.take(5).collect();
    assert!(
        wrong.is_empty(),
        "not delivered, or under two ids: {wrong:?} ..."
    );
    assert!(peak <= IN_FLIGHT_MB + BESIDE_MB, "a poller had {peak} MB");
    let again: u64 = records.values().map(|kept| kept.times - 1).sum();
    eprintln!(
        "{} records ({} confirmed by the replica), {kills} kills, {again} written again, {} s for the rest, \
         a poller had {peak} MB at most",
        records.len(),
        written.sure.len(),
        start.elapsed().as_secs()
    );
}

/// The records that were written.
#[derive(Default)]
struct Written {
    /// Records that the replica confirmed, by node, queue and identity.
    sure: Vec<(String, &'static str, String)>,
}

/// Writes log entries and closes windows, one round after each pause, until this many records are confirmed.
fn write(target: &AtomicU16, goal: usize, pace: Duration, written: &Mutex<Written>) {
    // Far enough back for all rounds, because times in the future are rejected.
    let hour = past_hour() - 1000 * 3_600_000;
    let mut round = 0;
    // Whether all samples of the previous round were confirmed. Those of an interrupted round may be missing for some
    // nodes, and a window without samples gives no record.
    let mut previous_is_sure = false;
    let mut connection = None;
    while written.lock().unwrap().sure.len() < goal {
        std::thread::sleep(pace);
        let port = target.load(Ordering::SeqCst);
        let mut batch = Vec::new();
        let mut pipe = redis::pipe();
        for node in NODES {
            for line in 0..LINES {
                let text = format!("line {line} of round {round}");
                pipe.cmd("AGG.LOG").arg(node).arg(&text).ignore();
                batch.push((node.to_owned(), "LOG", text));
            }
            // Each round closes the windows of the previous one.
            let at = hour + round * 300_000;
            let command = pipe
                .cmd("AGG.MSTAT")
                .arg(node)
                .arg("AT")
                .arg(at)
                .arg("VALUES");
            for metric in 0..METRICS {
                command.arg(format!("m{metric}")).arg(round);
                if previous_is_sure {
                    let what = format!("m{metric} {}", at - 300_000);
                    batch.push((node.to_owned(), "MIN", what));
                }
            }
            command.ignore();
        }
        round += 1;
        previous_is_sure = false;
        // The outcome of an interrupted round is unknown: its records may be present or not.
        let open = connection
            .take()
            .filter(|(of, _)| *of == port)
            .map(|(_, open)| open);
        let open = open.or_else(|| connect(port));
        let Some(mut open) = open else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if pipe.query::<()>(&mut open).is_err() {
            continue;
        }
        // After the failover no replica can confirm, and nothing can be lost.
        let alone = target.load(Ordering::SeqCst) == port && is_alone(&mut open);
        let sure = alone || {
            let replicas = redis::cmd("WAIT").arg(1).arg(5000).query::<i64>(&mut open);
            replicas.is_ok_and(|replicas| replicas > 0)
        };
        if sure {
            previous_is_sure = true;
            written.lock().unwrap().sure.append(&mut batch);
        }
        connection = Some((port, open));
    }
}

fn connect(port: u16) -> Option<redis::Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    client.get_connection().ok()
}

/// Returns whether this is the promoted replica.
fn is_alone(connection: &mut redis::Connection) -> bool {
    let role: redis::RedisResult<Vec<redis::Value>> = redis::cmd("ROLE").query(connection);
    role.is_ok_and(|role| role.get(2) == Some(&redis::Value::Array(vec![])))
}

/// Keeps two pollers running, kills one after the other, and finally shuts them down. Returns the number of kills and
/// the maximum resident memory of one, in MB.
fn keep_killing(start: impl Fn() -> Running, calm: Duration, done: &AtomicBool) -> (usize, u64) {
    let mut pollers = [start(), start()];
    let (mut kills, mut peak) = (0, 0);
    let mut last = Instant::now();
    while !done.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
        for poller in &mut pollers {
            assert!(poller.0.try_wait().unwrap().is_none(), "a poller ended");
            peak = peak.max(poller.peak_memory() >> 20);
        }
        if last.elapsed() >= calm {
            let poller = &mut pollers[kills % 2];
            poller.0.kill().unwrap();
            poller.0.wait().unwrap();
            *poller = start();
            kills += 1;
            last = Instant::now();
        }
    }
    for poller in &mut pollers {
        assert_eq!(poller.end_by("TERM").code(), Some(0));
    }
    (kills, peak)
}
