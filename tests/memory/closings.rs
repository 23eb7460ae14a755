//! Windows that close while memory is full of data that cannot be evicted: their records stay below the memory limit,
//! too.

use std::time::Duration;

use redis::Value;

use crate::attackers::check_rejection;
use crate::support::*;
use testkit::*;

/// Windows that close soon after their end.
const SOON: &str = "min-window 1 hour-window 2 flush-delay-ms 100 max-memory 8mb";

/// Sends commands that may be rejected and returns how many were accepted.
fn fill_up(connection: &mut redis::Connection, commands: &[Words]) -> usize {
    let answers = burst(connection, commands);
    let rejected = answers.iter().filter_map(|answer| answer.as_ref().err());
    rejected.for_each(|error| check_rejection(error));
    answers.iter().filter(|answer| answer.is_ok()).count()
}

/// Adds objects until memory is full.
fn fill_with_objects(connection: &mut redis::Connection) {
    let json = format!("\"{}\"", "o".repeat(2000));
    for i in 0.. {
        let object = |j| split(&format!("AGG.REALITY objects {i}.{j} m {json}"));
        let commands: Vec<Words> = (0..50).map(object).collect();
        if fill_up(connection, &commands) == 0 {
            return;
        }
    }
}

/// Asserts over some rounds of samples and closings that memory used stays below the limit.
fn rounds(server: &Server, samples: &[Words]) {
    let mut connection = server.connection();
    let mut worst = 0;
    for _ in 0..3 {
        fill_up(&mut connection, samples);
        for _ in 0..50 {
            let look = Look::at(&mut connection);
            worst = worst.max(look.held - look.max);
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    let info: String = server.ask("INFO agg");
    assert!(
        worst <= 0,
        "{worst} bytes more than the memory limit were used\n{info}"
    );
}

#[test]
fn first_records_of_thousands_of_nodes_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(SOON) else { return };
    let mut connection = server.connection();
    let sample = |i| split(&format!("AGG.STAT node{i} m 1"));
    let samples: Vec<Words> = (0..4000).map(sample).collect();
    let taken = fill_up(&mut connection, &samples);
    assert!((500..4000).contains(&taken), "{taken} nodes");
    rounds(&server, &samples[..taken]);
}

#[test]
fn records_with_tag_lists_of_60_kb_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(SOON) else { return };
    let mut connection = server.connection();
    let tags = "t".repeat(60_000);
    let sample = |i| split(&format!("AGG.STAT node{i} m 1 TAGS {tags}{i}"));
    let samples: Vec<Words> = (0..20).map(sample).collect();
    assert_eq!(fill_up(&mut connection, &samples), 20);
    fill_with_objects(&mut connection);
    rounds(&server, &samples);
}

#[test]
fn records_that_share_a_tag_list_of_60_kb_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(SOON) else { return };
    let mut connection = server.connection();
    let tags = "t".repeat(60_000);
    let mut many = split(&format!("AGG.MSTAT n TAGS {tags} VALUES"));
    (0..500).for_each(|i| many.extend(split(&format!("m{i} 1"))));
    let taken: Value = send(&mut connection, &words_of(&many)).unwrap();
    assert_eq!(list(&taken)[0], Value::Int(500));
    fill_with_objects(&mut connection);
    rounds(&server, &[many]);
}

fn words_of(words: &Words) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

#[test]
fn windows_that_are_not_due_evict_nothing() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 8mb")) else {
        return;
    };
    let mut connection = server.connection();
    // Far more than one eviction frees, if their windows were due.
    let metrics = (0..2000).map(|i| split(&format!("AGG.STAT metrics m{i} 1")));
    fill_up(&mut connection, &metrics.collect::<Vec<_>>());
    const DROPPED: &str = "agg_dropped_max_memory";
    let message = "x".repeat(900);
    let lines = vec![split(&format!("AGG.LOG logs {message}")); 10];
    for i in 0.. {
        assert!(i < 5000, "memory is never full");
        burst(&mut connection, &lines);
        if agg(&server, DROPPED) > 0 {
            break;
        }
    }
    let before = agg(&server, DROPPED);
    // Rounds of the timer, with and without a check of lifetimes.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(agg(&server, DROPPED), before);
}
