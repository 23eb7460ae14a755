//! A replica that loses its primary and reconnects, in every way of catching up: from the backlog, by a full copy,
//! diskless; and one that loses the connection in the middle of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use redis::Value;

use crate::programs::{Program, all, main_program};
use crate::support::*;
use testkit::random_workload::{BUSY, Lifetimes, OTHERS, RandomWorkload};
use testkit::*;

/// How a replica loads a full copy.
const LOADS: [&str; 3] = ["disabled", "on-empty-db", "swapdb"];

/// A database that the random workload does not use.
const ASIDE: u32 = 9;

/// Starts a primary that sends diskless copies, and a replica that loads them so.
fn start(program: &Program, settings: &str, load: &str) -> (Server, Server) {
    let arguments = [
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
        "--repl-backlog-size",
        "1mb",
    ];
    let primary = program.start(&arguments, settings);
    let port = primary.port.to_string();
    let mut arguments = arguments.to_vec();
    arguments.extend([
        "--repl-diskless-load",
        load,
        "--replicaof",
        "127.0.0.1",
        &port,
    ]);
    let replica = program.start(&arguments, OTHERS[1]);
    until("the replica is in touch", || {
        is_linked(&replica).then_some(())
    });
    (primary, replica)
}

fn run_some(workload: &mut RandomWorkload, n: usize) {
    for i in 0..n {
        workload.act();
        if i % 8 == 0 {
            let_pass(5);
        }
    }
}

/// Waits until the primary has counted another resynchronisation of this kind.
fn resynchronises(primary: &Server, replica: &Server, kind: &str, how: impl FnOnce()) {
    let count = |server: &Server| info(server, kind).parse::<u64>().unwrap();
    let before = count(primary);
    how();
    until(&format!("{kind} grows"), || {
        (count(primary) > before).then_some(())
    });
    until("the replica is in touch", || {
        is_linked(replica).then_some(())
    });
}

#[test]
fn partial_resync_gives_the_same_state() {
    let Some(program) = main_program() else {
        return;
    };
    for seed in seeds(1, 20) {
        let (primary, replica) = start(&program, BUSY, "disabled");
        let mut workload = RandomWorkload::new(&primary, seed, Lifetimes::Finite);
        for round in 0..amount(3, 6) {
            run_some(&mut workload, 100);
            resynchronises(&primary, &replica, "sync_partial_ok", || {
                let _: i64 = replica.ask("CLIENT KILL TYPE master");
                run_some(&mut workload, 30);
            });
            let when = format!("seed {seed}, round {round}, from the backlog");
            assert_equal(&when, &primary, &[&replica]);
        }
    }
}

#[test]
fn full_resync_gives_the_same_state() {
    let programs = if is_heavy() {
        all()
    } else {
        main_program().into_iter().collect()
    };
    for program in programs {
        for load in LOADS {
            for seed in seeds(1, 5) {
                whole_copies(&program, load, seed);
            }
        }
    }
}

fn whole_copies(program: &Program, load: &str, seed: u64) {
    let (primary, replica) = start(program, BRISK, load);
    fill_much(&mut primary.connection_to(ASIDE), "much");
    let mut workload = RandomWorkload::new(&primary, seed, Lifetimes::Finite);
    for round in 0..amount(2, 4) {
        run_some(&mut workload, 100);
        resynchronises(&primary, &replica, "sync_full", || {
            // Another history, so that only a full copy helps.
            let () = replica.ask("REPLICAOF NO ONE");
            let mut c = replica.connection();
            fill(&mut c, "elsewhere");
            let _: i64 = ask(&mut c, "AGG.LOG only.here gone");
            let () = primary.ask("DEBUG CHANGE-REPL-ID");
            let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
            run_some(&mut workload, 60);
        });
        let when = format!("{}, {load}, seed {seed}, round {round}", program.name());
        assert_equal(&when, &primary, &[&replica]);
        assert!(!replica.ask::<bool>("EXISTS only.here"), "{when}");
    }
}

/// Readers that continuously read everything from a replica; at least one read has to succeed.
fn read_while<T>(replica: &Server, f: impl FnOnce() -> T) -> T {
    let goes_on = Arc::new(AtomicBool::new(true));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut connections = [0, ASIDE].map(|db| replica.connection_to(db));
            let goes_on = goes_on.clone();
            std::thread::spawn(move || {
                let mut answered = 0u64;
                while goes_on.load(Relaxed) {
                    for (i, line) in [
                        "AGG.PEEK a MIN HOUR LOG ERROR REALITY",
                        "AGG.SCAN much0 METRIC 0 WITHVALUES COUNT 100",
                        "INFO agg",
                        "AGG.INFO much0",
                    ]
                    .iter()
                    .enumerate()
                    {
                        match send::<Value>(&mut connections[i % 2], &words(line)) {
                            Ok(_) => answered += 1,
                            // While it loads it replies so.
                            Err(error) => assert!(!error.is_io_error(), "{line}: {error}"),
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                answered
            })
        })
        .collect();
    let result = f();
    goes_on.store(false, Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    result
}

#[test]
fn full_resync_under_reads_gives_the_same_state() {
    let Some(program) = main_program() else {
        return;
    };
    let (primary, replica) = start(&program, BRISK, "swapdb");
    (0..amount(2, 8))
        .for_each(|i| fill_much(&mut primary.connection_to(ASIDE), &format!("much{i}")));
    let mut workload = RandomWorkload::new(&primary, 11, Lifetimes::Finite);
    read_while(&replica, || {
        for _ in 0..amount(3, 20) {
            run_some(&mut workload, 50);
            resynchronises(&primary, &replica, "sync_full", || {
                let () = primary.ask("DEBUG CHANGE-REPL-ID");
                let () = replica.ask("REPLICAOF NO ONE");
                let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
            });
        }
    });
    assert_equal("read while it took copies", &primary, &[&replica]);
}

#[test]
fn replica_serves_its_old_data_while_it_loads_a_copy_of_the_same_history() {
    let Some(program) = main_program() else {
        return;
    };
    let (primary, replica) = start(&program, BRISK, "swapdb");
    for i in 0..200 {
        let _: i64 = primary.ask(&format!("AGG.LOG n{i} {}", "x".repeat(2000)));
        let _: i64 = primary.ask(&format!("AGG.STAT n{i} m {i}"));
    }
    let () = replica.ask("CONFIG SET loading-process-events-interval-bytes 1024");
    let mut workload = RandomWorkload::new(&primary, 17, Lifetimes::Finite);
    run_some(&mut workload, 100);
    for round in 0..amount(2, 10) {
        assert_equal(&format!("round {round}"), &primary, &[&replica]);
        // More than the backlog is written while the replica is down; each key takes it some time to load.
        let () = replica.ask("CONFIG SET key-load-delay 5000");
        let mut pipe = redis::pipe();
        pipe.cmd("MULTI")
            .cmd("CLIENT")
            .arg("KILL")
            .arg("TYPE")
            .arg("replica");
        pipe.cmd("SET")
            .arg("large")
            .arg(vec![b'x'; 4 << 20])
            .cmd("EXEC");
        let _: Value = pipe.query(&mut primary.connection()).unwrap();
        until("it loads beside what it serves", || {
            (info(&replica, "async_loading") == "1").then_some(())
        });
        let mut answers = 0;
        while info(&replica, "async_loading") == "1" {
            let _: Value = replica.ask("AGG.PEEK n7 LOG");
            let _: Value = replica.ask("AGG.GET n7 METRIC m");
            let _: Value = replica.ask("INFO agg");
            answers += 1;
            if answers == 5 && round % 2 == 1 {
                // The copy breaks off: the replica keeps what it served until the next one.
                let _: i64 = primary.ask("CLIENT KILL TYPE replica");
            }
            if answers % 10 == 0 {
                run_some(&mut workload, 5);
            }
        }
        assert!(answers >= 5, "{answers}");
        let () = replica.ask("CONFIG SET key-load-delay 0");
        until("the replica is in touch", || {
            is_linked(&replica).then_some(())
        });
    }
    assert_equal("after all copies", &primary, &[&replica]);
    let () = replica.ask("REPLICAOF NO ONE");
    let id: i64 = replica.ask("AGG.LOG n1 more");
    let waits = queued_records(&replica.ask("AGG.PEEK n1 LOG"));
    assert_eq!(waits.last().map(|record| record.id), Some(id));
}

#[test]
fn interrupted_full_resync_is_retried() {
    let Some(program) = main_program() else {
        return;
    };
    for load in LOADS {
        let (primary, replica) = start(&program, BUSY, load);
        // Each key takes some time, so that the copy takes long.
        let () = primary.ask("CONFIG SET rdb-key-save-delay 20000");
        for i in 0..100 {
            let _: i64 = primary.ask(&format!("AGG.LOG n{i} hello"));
            let _: i64 = primary.ask(&format!("AGG.STAT n{i} m {i}"));
        }
        let mut workload = RandomWorkload::new(&primary, 13, Lifetimes::Finite);
        for round in 0..amount(2, 10) {
            let () = primary.ask("DEBUG CHANGE-REPL-ID");
            let () = replica.ask("REPLICAOF NO ONE");
            let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
            until("a copy is under way", || {
                (info(&primary, "rdb_bgsave_in_progress") == "1").then_some(())
            });
            let_pass(100 + 300 * round as u64 % 1500);
            let _: i64 = primary.ask("CLIENT KILL TYPE replica");
            run_some(&mut workload, 20);
        }
        let () = primary.ask("CONFIG SET rdb-key-save-delay 0");
        let when = format!("after copies that broke off, {load}");
        assert_equal(&when, &primary, &[&replica]);
        // It is complete enough to be promoted.
        let () = replica.ask("REPLICAOF NO ONE");
        let id: i64 = replica.ask("AGG.LOG n1 more");
        let waits = queued_records(&replica.ask("AGG.PEEK n1 LOG"));
        assert_eq!(waits.last().map(|record| record.id), Some(id));
    }
}
