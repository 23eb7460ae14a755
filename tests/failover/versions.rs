//! A primary and replicas with other settings and of other versions: after random commands of all kinds, with timers
//! firing, all have the same state, as has a server that loads the AOF of any of them.

use std::time::Duration;

use crate::programs::{Program, all, main_program, say};
use crate::replay::assert_aof_gives_the_same;
use crate::support::*;
use testkit::random_workload::{BUSY, Lifetimes, OTHERS, RandomWorkload};
use testkit::*;

/// A primary with replicas; each writes an AOF without RDB parts.
fn start(primary: &Program, replicas: &[Program]) -> (Server, Vec<Server>) {
    let mut arguments = AOF.to_vec();
    arguments.extend(["--appendfsync", "no", "--repl-diskless-sync-delay", "0"]);
    let first = primary.start(&arguments, BUSY);
    let port = first.port.to_string();
    arguments.extend(["--replicaof", "127.0.0.1", &port]);
    let followers: Vec<Server> = replicas
        .iter()
        .zip(OTHERS)
        .map(|(program, settings)| program.start(&arguments, settings))
        .collect();
    for (replica, program) in followers.iter().zip(replicas) {
        until(&format!("{} is in touch", program.name()), || {
            is_linked(replica).then_some(())
        });
    }
    (first, followers)
}

fn agree(primary: &Program, replicas: &[Program], seed: u64) {
    let names: Vec<String> = replicas.iter().map(Program::name).collect();
    let who = format!("seed {seed}, {} to {}", primary.name(), names.join(", "));
    let (first, followers) = start(primary, replicas);
    let followers: Vec<&Server> = followers.iter().collect();
    let mut workloads =
        [1, 2].map(|n| RandomWorkload::new(&first, seed.wrapping_mul(n), Lifetimes::Finite));
    let restores = replicas.iter().all(|r| r.can_restore(primary));
    workloads
        .iter_mut()
        .for_each(|workload| workload.restores = restores);
    for round in 0..amount(3, 8) {
        for i in 0..300 {
            workloads[i % 2].act();
            // The timer runs between the commands.
            if workloads[0].random.below(4) == 0 {
                std::thread::sleep(Duration::from_millis(7));
            }
        }
        assert_equal(&format!("{who}, round {round}"), &first, &followers);
    }
    // Most commands were carried out, so the comparison is meaningful.
    let [done, rejected] = [|m: &RandomWorkload| m.done, |m: &RandomWorkload| m.rejected]
        .map(|of| of(&workloads[0]) + of(&workloads[1]));
    assert!(done > rejected, "{done} done, {rejected} rejected");
    let mut readers = std::iter::once(primary).chain(replicas).cycle().skip(1);
    for server in std::iter::once(&first).chain(followers.iter().copied()) {
        let reader = readers.next().unwrap();
        let when = format!("{who}: the AOF read by {}", reader.name());
        assert_aof_gives_the_same(&when, server, &[reader]);
    }
}

#[test]
fn every_server_version_runs_every_kind_of_command() {
    for program in all() {
        let server = program.start(&[], BRISK);
        let mut c = server.connection();
        for i in 0..300 {
            for line in [
                format!("AGG.STAT n m{i} 1 TAGS a:{i}"),
                format!("AGG.LOG n hello{i}"),
                format!("AGG.ERROR n e{i}"),
                format!("AGG.REALITY n o{i} m [{i}]"),
            ] {
                let reply = send::<redis::Value>(&mut c, &words(&line));
                assert!(reply.is_ok(), "{}: {line}: {reply:?}", program.name());
            }
        }
        let info = server.ask("AGG.INFO n");
        let held = ["metrics", "errors", "realities"].map(|field| int(&info, field));
        assert_eq!(held, [300; 3], "{}", program.name());
    }
}

#[test]
fn replicas_of_other_versions_with_other_settings_have_the_same_state() {
    let programs = all();
    let mut pairs = Vec::new();
    for primary in &programs {
        let fitting = programs
            .iter()
            .filter(|p| *p != primary && p.can_follow(primary));
        let fitting: Vec<Program> = fitting.cloned().collect();
        for two in fitting.chunks(2) {
            pairs.push((primary.clone(), two.to_vec()));
        }
    }
    if pairs.is_empty() && !programs.is_empty() {
        say("skipped: servers of other versions are missing; the main one is tried alone");
    }
    // From the last on, so that a quick run tries the newest and the oldest.
    for seed in seeds(1, 5) {
        let chosen: Vec<_> = match is_heavy() {
            true => pairs.iter().collect(),
            false => pairs.first().into_iter().chain(pairs.last()).collect(),
        };
        for (primary, replicas) in chosen {
            agree(primary, replicas, seed);
        }
    }
}

#[test]
fn replicas_of_the_same_version_with_other_settings_have_the_same_state() {
    let Some(program) = main_program() else {
        return;
    };
    for seed in seeds(1, 20) {
        agree(&program, &[program.clone(), program.clone()], seed);
    }
}
