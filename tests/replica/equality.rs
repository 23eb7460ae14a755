//! A replica has the same value as its primary after random commands and large loads.

use std::time::Duration;

use super::*;

/// `AGG_SEED` selects other random commands.
fn random_commands_leave_both_equal(seed: u64) {
    let other = std::env::var("AGG_SEED").ok();
    let seed = other.map_or(seed, |other| other.parse().unwrap());
    let Some(pair) = Pair::start(BUSY, OTHERS[0]) else {
        return;
    };
    let mut workload = RandomWorkload::new(&pair.primary, seed, Lifetimes::Finite);
    for round in 0..8 {
        for i in 0..400 {
            workload.act();
            // The timer runs between the commands.
            if i % 2 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if round == 4 {
            // The replication link breaks and is restored.
            let _: i64 = pair.primary.ask("CLIENT KILL TYPE replica");
        }
        let when = format!("seed {seed}, after round {round}");
        assert_equal(&pair.primary, &pair.replica, &when);
    }
    // Most commands were carried out, so the comparison is meaningful.
    assert!(workload.done > 2000, "{}", workload.done);
    // A replica that joins now gets everything in one full copy.
    let Some(other) = replica_of(&pair.primary, OTHERS[0]) else {
        return;
    };
    assert_equal(&pair.primary, &other, "at last, on a new replica");
}

#[test]
fn replica_with_other_settings_has_the_same_value() {
    random_commands_leave_both_equal(0x9e37_79b9_7f4a_7c15);
}

#[test]
fn replica_with_other_settings_has_the_same_value_after_other_commands() {
    random_commands_leave_both_equal(0x0123_4567_89ab_cdef);
}

#[test]
fn replica_of_a_replica_has_the_same_value() {
    let Some(pair) = Pair::start(BUSY, OTHERS[0]) else {
        return;
    };
    let Some(last) = replica_of(&pair.replica, "min-window 7 hour-window 7") else {
        return;
    };
    let mut workload = RandomWorkload::new(&pair.primary, 77, Lifetimes::Finite);
    (0..1000).for_each(|_| workload.act());
    assert_equal(&pair.primary, &pair.replica, "the replica");
    in_step(&pair.replica, &last);
    assert_equal(&pair.primary, &last, "its replica");
}

#[test]
fn busy_primary_covers_everything_that_is_compared() {
    let Some(server) = Server::with_settings(BUSY) else {
        return;
    };
    // On a busy machine, nodes that expire never have enough errors to reach a limit.
    let mut workloads = [(1, Lifetimes::Finite), (2, Lifetimes::Infinite)]
        .map(|(seed, lifetimes)| RandomWorkload::new(&server, seed, lifetimes));
    until("all kinds of events have happened", || {
        for workload in &mut workloads {
            (0..50).for_each(|_| workload.act());
        }
        let info: String = server.ask("INFO agg");
        let is_none = |field: &str| info.contains(&format!("{field}:0\r\n"));
        let fields = [
            "agg_dropped_queue_full",
            "agg_dropped_max_errors",
            "agg_refused_max_series",
            "agg_refused_max_realities",
            "agg_late",
            "agg_late_min",
            "agg_late_hour",
            "agg_truncated",
            "agg_sources_dropped",
            "agg_imported",
            "agg_import_duplicates",
            "agg_import_refused",
        ];
        fields
            .iter()
            .all(|f| info.contains(f) && !is_none(f))
            .then_some(())
    });
}

#[test]
fn replica_keeps_everything_of_a_large_load() {
    let Some(primary) = Server::with_module(&["--repl-diskless-sync-delay", "0"], HELD_OPEN) else {
        return;
    };
    fill_short(&mut primary.connection(), "n");
    fill_imported(&mut primary.connection(), "n");
    fill_much(&mut primary.connection(), "n");
    fill_short(&mut primary.connection_to(3), "n");
    let Some(replica) = replica_of(&primary, OTHERS[0]) else {
        return;
    };
    assert_equal(&primary, &replica, "after the first load");
    fill_much(&mut primary.connection(), "other");
    assert_equal(&primary, &replica, "after much more than its limit");
}

#[test]
fn first_node_of_a_replica_measures_the_same_as_on_the_primary() {
    let Some(Pair { primary, replica }) = Pair::start("", "") else {
        return;
    };
    let _: i64 = primary.ask("AGG.STAT n m 1");
    in_step(&primary, &replica);
    let usage = |server: &Server| server.ask::<i64>("MEMORY USAGE n");
    let (here, there) = (usage(&primary), usage(&replica));
    assert!((here - there).abs() < 1024, "{here}, the replica {there}");
}

/// The first row is late, as its window was delivered, so the second decides the type of the metric. A replica and a
/// server that loads the AOF replay the command as it is.
#[test]
fn late_row_of_a_forgotten_metric_means_the_same_on_a_replica_and_in_the_aof() {
    let Some(mut primary) = Server::with_module(&SYNCED_AOF, "min-window 1200 hour-window 2400")
    else {
        return;
    };
    let Some(replica) = replica_of(&primary, OTHERS[0]) else {
        return;
    };
    // The first MIN window of an HOUR window that has not ended.
    let t = now_ms() / 2_400_000 * 2_400_000;
    let nodes: Vec<String> = (0..20).map(|i| format!("n{i}")).collect();
    for node in &nodes {
        let _: i64 = primary.ask(&format!("AGG.STAT {node} m 1 INC AT {t}"));
        let _: i64 = primary.ask(&format!("AGG.FORGET {node} METRIC m"));
        // Both within a millisecond, so that the second is replicated as it is.
        let first = format!("AGG.STAT {node} other 1");
        let second =
            format!("AGG.MSTAT {node} AT {t} COLUMNS METRIC VALUE TYPE VALUES m 1 INC m 5 DIFF");
        let mut both = redis::pipe();
        both.add_command(command(&first)).ignore();
        both.add_command(command(&second));
        let (reply,): (Value,) = both.query(&mut primary.connection()).unwrap();
        let counts = list(&reply)[..2].to_vec();
        assert_eq!(counts, [Value::Int(1), Value::Int(1)]);
        assert_eq!(list(&reply)[2], Value::Array(Vec::new()));
    }
    let types = |server: &Server| -> Vec<String> {
        let get = |node| server.ask::<Value>(&format!("AGG.GET {node} METRIC m"));
        nodes.iter().map(|node| text(&get(node), "type")).collect()
    };
    assert_eq!(types(&primary), vec!["DIFF"; 20]);
    assert_equal(&primary, &replica, "on the replica");
    let before = digest(&primary);
    let aof = std::fs::read_dir(primary.dir().join("appendonlydir")).unwrap();
    let aof = aof.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let aof: Vec<u8> = aof.collect();
    assert!(aof.windows(7).any(|word| word == b"COLUMNS"));
    primary.stop();
    primary.restart();
    assert_eq!(digest(&primary), before, "in the AOF");
    assert_eq!(types(&primary), vec!["DIFF"; 20]);
}

fn command(line: &str) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    command.arg(words(line));
    command
}
