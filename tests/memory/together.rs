//! Several attacks at once, while the limit is lowered and raised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::attackers::*;
use crate::reporter::{Reporter, SHORT};
use crate::support::*;
use testkit::*;

/// The memory that a known metric may come to use: its windows.
const OF_METRIC: i64 = 512;

#[test]
fn all_attacks_at_once_do_not_exceed_a_memory_limit_of_32_mb() {
    all_at_once("32mb", false);
}

#[test]
fn all_attacks_at_once_do_not_exceed_a_changing_memory_limit() {
    all_at_once("64mb", true);
}

fn all_at_once(max_memory: &str, changes: bool) {
    let _beside = beside();
    let Some(server) = server(&format!("{SHORT} max-memory {max_memory}")) else {
        return;
    };
    let watcher = Watcher::start(&server);
    prepare(&server);
    let reporter = Reporter::start(&server);
    let attackers: Vec<Attacker> = (0..)
        .zip(ALL)
        .map(|(i, (_, attack))| Attacker::start(&server, attack, seed() + 100 + i))
        .collect();
    let end = Instant::now() + attack_time() * 2;
    if changes {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut random = Random(seed());
        while Instant::now() < end && !is_over.load(Relaxed) {
            change_limit(&server, &watcher, &mut random);
        }
    } else {
        std::thread::sleep(end - Instant::now());
    }
    let mut all = String::new();
    for (attacker, (name, _)) in attackers.into_iter().zip(ALL) {
        let outcome = attacker.stop();
        all += &format!("{name} {} taken {} full; ", outcome.taken, outcome.full);
    }
    let (counted, lost) = reporter.stop(&server);
    watcher.stop("all attacks");
    println!("{all}{counted} samples of old metrics counted, {lost} of their windows dropped");
    check_drops(&server);
}

/// Changes the limit: after a lower one memory used may only grow by windows of known metrics.
fn change_limit(server: &Server, watcher: &Watcher, random: &mut Random) {
    let limit = *random.one(&[16, 24, 32, 48, 64]) * MB;
    let mut connection = server.connection();
    let before = watcher.bound.load(Relaxed);
    if limit > before {
        watcher.bound.store(limit, Relaxed);
    }
    let _: () = ask(
        &mut connection,
        &format!("CONFIG SET agg.max-memory {limit}"),
    );
    let look = Look::at(&mut connection);
    watcher
        .bound
        .store(limit.max(look.held + look.metrics * OF_METRIC), Relaxed);
    std::thread::sleep(Duration::from_millis(400));
    let look = Look::at(&mut connection);
    if look.held <= limit {
        watcher.bound.store(limit, Relaxed);
    }
}
