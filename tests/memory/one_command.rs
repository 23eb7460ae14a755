//! What one command evicts from other nodes when memory is full: at most one mebibyte, and nothing if it is rejected.

use redis::Value;

use crate::support::*;
use testkit::*;

/// Nodes whose log entries fill the server.
const OTHERS: usize = 4;

/// Starts a server that is full of log entries of other nodes. The timer has seen which queues are large.
fn full_server(settings: &str) -> Option<Server> {
    let server = server(&format!("{CALM} max-memory 16mb {settings}"))?;
    let mut connection = server.connection();
    let message = "x".repeat(900);
    for i in 0..3000 {
        let line = |node| split(&format!("AGG.LOG other{node} {i}{message}"));
        let lines: Vec<Words> = (0..4 * OTHERS).map(|n| line(n % OTHERS)).collect();
        burst(&mut connection, &lines);
        if agg(&server, "agg_dropped_max_memory") > 0 {
            break;
        }
    }
    assert!(agg(&server, "agg_dropped_max_memory") > 0);
    // When a round of the timer ends, INFO shows the age of the oldest error: the round has seen this one, and all
    // queues as they are now.
    let _: Value = ask(&mut connection, "AGG.ERROR other0 marker");
    until("a round of the timer is over", || {
        (agg(&server, "agg_error_oldest") > 0).then_some(())
    });
    let _: Value = ask(&mut connection, "AGG.POP other0 ERROR");
    Some(server)
}

/// Returns bytes and number of records of the queues, and how many records were dropped for lack of memory.
fn queued(server: &Server) -> (i64, i64, i64) {
    let info: String = server.ask("INFO agg");
    let of =
        |what| ["min", "hour", "log"].map(|q| info_field::<i64>(&info, &format!("agg_{q}_{what}")));
    (
        of("bytes").iter().sum(),
        of("length").iter().sum(),
        info_field::<i64>(&info, "agg_dropped_max_memory"),
    )
}

fn mstat(options: &str, names: impl Iterator<Item = String>) -> Words {
    let mut words = split(&format!("AGG.MSTAT evil{options} VALUES"));
    for name in names {
        words.extend([name.into_bytes(), b"1".to_vec()]);
    }
    words
}

/// Runs a command and returns its reply and how many bytes the other nodes lost.
fn lost(server: &Server, command: &Words) -> (Result<Value, String>, i64) {
    let before = queued(server).0;
    let answer = burst(&mut server.connection(), std::slice::from_ref(command)).remove(0);
    (answer, before - queued(server).0)
}

#[test]
fn one_command_evicts_at_most_one_mebibyte() {
    let _beside = beside();
    let Some(server) = full_server("max-series 100000") else {
        return;
    };
    let mut evicted = 0;
    for round in 0..6 {
        // About as many as one command may evict for, and fewer.
        for n in [1, 40, 300, 700, 1000, 1500, 3000] {
            let names = (0..n).map(|i| format!("m{round}.{n}.{i}"));
            let (answer, lost) = lost(&server, &mstat("", names));
            assert!(
                lost <= MB,
                "{n} new metrics evicted {lost} bytes: {answer:?}"
            );
            evicted += lost;
        }
    }
    assert!(evicted > 0, "some found room");
}

#[test]
fn rejected_command_evicts_nothing() {
    let _beside = beside();
    let Some(server) = full_server("max-series 4000 max-realities 1 max-errors 100000") else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT evil counter 1 DIFF");
    let _: i64 = server.ask("AGG.REALITY evil one m 1");
    let (_, before, dropped) = queued(&server);
    let json = format!("\"{}\"", "o".repeat(60_000));
    let new = |n: usize, first: &str| {
        let names = (0..n).map(|i| format!("m{i}"));
        std::iter::once(first.to_owned())
            .chain(names)
            .collect::<Vec<_>>()
    };
    for command in [
        // More than one command may evict for.
        mstat(" ATOMIC", new(3900, "m").into_iter()),
        // A sample of the other type, and one metric too many.
        mstat(" ATOMIC", new(200, "counter").into_iter()),
        mstat(" ATOMIC", new(4000, "m").into_iter()),
        split("AGG.STAT evil counter 1"),
        split(&format!("AGG.REALITY evil two m {json}")),
        split(&format!("AGG.REALITY evil one m {json}x")),
        split("AGG.FORGET evil METRIC unknown"),
    ] {
        let rejected = |answer: &Result<Value, String>| match answer {
            Err(_) | Ok(Value::Int(0)) => true,
            Ok(_) => false,
        };
        let (answer, lost) = lost(&server, &command);
        assert!(rejected(&answer), "{answer:?}");
        assert_eq!(lost, 0, "{answer:?}");
    }
    assert_eq!(queued(&server), (queued(&server).0, before, dropped));
}

#[test]
fn repeated_known_and_surplus_names_evict_nothing() {
    let _beside = beside();
    let Some(server) = full_server("max-series 20") else {
        return;
    };
    let known = mstat(" TAGS rack:a1", (0..10).map(|i| format!("known{i}")));
    burst(&mut server.connection(), &[known]).remove(0).unwrap();
    let (_, before, dropped) = queued(&server);
    for command in [
        mstat("", (0..9000).map(|_| "known1".to_owned())),
        mstat("", (0..9000).map(|i| format!("known{}", i % 10))),
        mstat(
            " TAGS rack:a1",
            (0..9000).map(|i| format!("known{}", i % 10)),
        ),
    ] {
        let (answer, lost) = lost(&server, &command);
        assert_eq!(list(&answer.unwrap())[0], Value::Int(9000));
        assert_eq!(lost, 0);
    }
    // One name 9,000 times is one new metric; of 9,000 names ten are within max-series.
    let (_, first) = lost(&server, &mstat("", (0..9000).map(|_| "new".to_owned())));
    let (_, second) = lost(&server, &mstat("", (0..9000).map(|i| format!("new{i}"))));
    assert!(first <= 70_000 && second <= 200_000, "{first} {second}");
    let (_, after, _) = queued(&server);
    assert!(before - after < 300, "{} records are gone", before - after);
    let at_first = queued(&server);
    let (answer, lost) = lost(&server, &mstat("", (0..9000).map(|i| format!("other{i}"))));
    assert_eq!(list(&list(&answer.unwrap())[2]).len(), 9000);
    assert_eq!((lost, queued(&server)), (0, at_first));
    assert!(at_first.2 >= dropped);
}

#[test]
fn records_that_share_a_long_tag_list_are_dropped_only_by_their_queue() {
    let _beside = beside();
    let windows = "min-window 1 hour-window 3600 flush-delay-ms 0";
    let settings = format!("{windows} max-memory 64mb queue-min 4mb");
    let Some(server) = server(&settings) else {
        return;
    };
    let tags = "t".repeat(60_000);
    // Windows of the past, which later samples close.
    let start = now_ms() / 1000 * 1000 - 30_000;
    for window in 0..4 {
        let at = start + window * 1000;
        let many = mstat(
            &format!(" TAGS {tags} AT {at}"),
            (0..400).map(|i| format!("m{i}")),
        );
        let answer = burst(&mut server.connection(), &[many]).remove(0).unwrap();
        assert_eq!(list(&answer)[0], Value::Int(400));
    }
    let info: String = server.ask("INFO agg");
    let [length, full, memory, history] = [
        "agg_min_length",
        "agg_dropped_queue_full",
        "agg_dropped_max_memory",
        "agg_dropped_history",
    ]
    .map(|name| info_field::<i64>(&info, name));
    assert!(length > 50 && full > 1000, "{info}");
    assert_eq!((memory, history), (0, 0), "{info}");
}
