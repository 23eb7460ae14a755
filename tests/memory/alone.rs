//! Each attack alone, with a memory limit that it reaches soon and nobody who drains.

use crate::attackers::*;
use crate::reporter::{Reporter, SHORT};
use crate::support::*;
use testkit::{seed, until};

/// What an attack has to reach. It continues until then, however slow the machine is: three seconds were too few for
/// 5,000 errors beside other tests, and the attack had not met the limit.
enum Goal {
    /// To have gone on for its time.
    Time,
    /// That something was rejected.
    Rejection,
    /// That records were dropped to free memory.
    Drop,
}

/// Runs attacks at a memory limit and returns how much was rejected and how many records were dropped.
fn attack(what: &str, max_memory: &str, attacks: &[Attack], goal: Goal) -> Option<(u64, i64)> {
    let _beside = beside();
    let server = server(&format!("{SHORT} max-memory {max_memory}"))?;
    let watcher = Watcher::start(&server);
    prepare(&server);
    let reporter = Reporter::start(&server);
    let attackers: Vec<Attacker> = (0..)
        .zip(attacks)
        .map(|(i, attack)| Attacker::start(&server, *attack, seed() + i))
        .collect();
    std::thread::sleep(attack_time());
    until(&format!("{what}: the attack reaches its goal"), || {
        let is_reached = match goal {
            Goal::Time => true,
            Goal::Rejection => attackers.iter().any(|attacker| attacker.rejected() > 0),
            Goal::Drop => agg(&server, "agg_dropped_max_memory") > 0,
        };
        is_reached.then_some(())
    });
    let outcomes: Vec<Outcome> = attackers.into_iter().map(Attacker::stop).collect();
    let (counted, lost) = reporter.stop(&server);
    watcher.stop(what);
    println!(
        "{what}: {outcomes:?}; {counted} samples of old metrics counted, {lost} of their windows dropped"
    );
    let dropped = check_drops(&server);
    Some((outcomes.iter().map(|outcome| outcome.full).sum(), dropped))
}

#[test]
fn random_metric_names_do_not_exceed_the_memory_limit() {
    let Some((rejected, _)) = attack("names", "8mb", &[names], Goal::Rejection) else {
        return;
    };
    assert!(rejected > 0, "the attack was too weak");
}

#[test]
fn changing_tag_lists_of_60_kb_do_not_exceed_the_memory_limit() {
    attack("tags", "8mb", &[tags], Goal::Time);
    attack("tag churn", "4mb", &[tag_churn, tags], Goal::Time);
}

#[test]
fn large_histograms_do_not_exceed_the_memory_limit() {
    let attacks: [Attack; 2] = [histograms, histograms];
    // Its metrics are known soon, and known metrics always count.
    let Some((_, dropped)) = attack("histograms", "1mb", &attacks, Goal::Drop) else {
        return;
    };
    assert!(dropped > 0, "the attack was too weak");
}

#[test]
fn messages_of_64_kb_evict_each_other() {
    let Some((rejected, dropped)) = attack("messages", "8mb", &[messages, messages], Goal::Drop)
    else {
        return;
    };
    assert_eq!(rejected, 0, "what made no room?");
    assert!(dropped > 0, "the attack was too weak");
}

#[test]
fn distinct_errors_do_not_exceed_the_memory_limit() {
    let Some((rejected, _)) = attack("errors", "8mb", &[errors, requeue], Goal::Rejection) else {
        return;
    };
    assert!(rejected > 0, "the attack was too weak");
}

#[test]
fn objects_that_grow_and_shrink_do_not_exceed_the_memory_limit() {
    let Some((rejected, _)) = attack("objects", "8mb", &[objects, requeue], Goal::Rejection) else {
        return;
    };
    assert!(rejected > 0, "the attack was too weak");
}

#[test]
fn thousands_of_nodes_do_not_exceed_the_memory_limit() {
    let Some((rejected, _)) = attack("nodes", "8mb", &[nodes, nodes], Goal::Rejection) else {
        return;
    };
    assert!(rejected > 0, "the attack was too weak");
}

#[test]
fn windows_that_all_close_at_once_evict_records_for_theirs() {
    let Some((_, dropped)) = attack("windows", "2mb", &[windows, forget], Goal::Drop) else {
        return;
    };
    assert!(dropped > 0, "the attack was too weak");
}

#[test]
fn leased_records_that_are_never_acknowledged_are_evicted_too() {
    attack(
        "leases",
        "8mb",
        &[messages, leases, windows, errors],
        Goal::Time,
    );
}
