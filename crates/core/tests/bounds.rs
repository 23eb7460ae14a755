//! Limits of the work of one command or tick, and that the rest is done later or can be requested.

use crate::support::World;
use aggregator_core::{Command, Request, Settings};

fn words(head: &str, more: impl Iterator<Item = String>) -> Vec<String> {
    head.split(' ').map(str::to_owned).chain(more).collect()
}

fn run(w: &mut World, words: &[String]) -> Result<crate::support::Value, String> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    w.try_args(&words).map_err(|error| error.to_string())
}

/// The records of the windows that close are longer than the names and tags in them.
#[test]
fn atomic_samples_that_close_long_records_are_accepted_or_rejected_together() {
    let mut accepted = 0;
    for tags in [1_560, 1_590, 1_620, 1_650, 1_680] {
        let mut w = World::new();
        let now_ms = w.now.wall_us / 1000;
        let samples = |head: String| {
            let names = (0..10_000).flat_map(|i| [format!("m{i:04}"), "1".into()]);
            words(&head, names)
        };
        let (first, tags) = (now_ms - 10_800_000, "x".repeat(tags));
        run(
            &mut w,
            &samples(format!("MSTAT TAGS a:{tags} AT {first} VALUES")),
        )
        .unwrap();
        let second = now_ms - 3_600_000;
        match run(&mut w, &samples(format!("MSTAT AT {second} ATOMIC VALUES"))) {
            Ok(reply) => {
                assert_eq!(reply.list()[0].int(), 10_000);
                accepted += 1;
            }
            Err(error) => assert!(error.contains("no sample was accepted"), "{error}"),
        }
    }
    assert!((1..5).contains(&accepted), "{accepted}");
}

#[test]
fn one_command_takes_ten_thousand_samples_and_a_replica_any_number() {
    let mut w = World::new();
    let samples = |n: usize| {
        words(
            "MSTAT VALUES",
            (0..n).flat_map(|_| ["m".into(), "1".into()]),
        )
    };
    assert_eq!(
        run(&mut w, &samples(10_000)).unwrap().list()[0].int(),
        10_000
    );
    let error = run(&mut w, &samples(10_001)).unwrap_err();
    assert_eq!(
        error,
        "ERR AGG.MSTAT: VALUES has 10001 samples: the maximum is 10000"
    );
    // What another version has accepted is not checked again by a replica or an AOF.
    let many = samples(10_001);
    let mut args: Vec<&[u8]> = vec![b"AGG.MSTAT", b"n"];
    args.extend(many[1..].iter().map(|word| word.as_bytes()));
    assert!(Request::parse(Command::Mstat, &args, &Settings::unlimited(), w.now).is_ok());
}

#[test]
fn one_command_takes_ten_thousand_ids() {
    let mut w = World::new();
    w.run("LOG x");
    for verb in ["ACK LOG", "NACK LOG", "EXTEND LOG 1000"] {
        let name = verb.split(' ').next().unwrap();
        let ids = |n: u64| words(verb, (1..=n).map(|id| id.to_string()));
        assert_eq!(run(&mut w, &ids(10_000)).unwrap().int(), 0);
        let error = run(&mut w, &ids(10_001)).unwrap_err();
        let expected = format!("ERR AGG.{name}: 10001 ids given: the maximum is 10000");
        assert_eq!(error, expected);
    }
}

#[test]
fn expired_lease_has_ended_before_a_tick() {
    let mut w = World::new();
    for _ in 0..3 {
        w.run("LOG x");
    }
    let ids: Vec<u64> = w.fetch("LOG").iter().map(|entry| entry.0).collect();
    w.run(&format!("EXTEND LOG 90000 {}", ids[2]));
    w.pass(30_000);
    let all = format!("{} {} {}", ids[0], ids[1], ids[2]);
    assert_eq!(w.run(&format!("EXTEND LOG 90000 {all}")).int(), 1);
    assert_eq!(w.run(&format!("NACK LOG {all}")).int(), 1);
    assert_eq!(w.run(&format!("NACK LOG {all}")).int(), 0);
    let again: Vec<(u64, u64)> = w.fetch("LOG").iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(again, ids.iter().map(|id| (*id, 2)).collect::<Vec<_>>());
    w.check_copies();
}

#[test]
fn one_error_evicts_a_few_beyond_a_lowered_limit_and_ticks_the_rest() {
    let mut w = World::new();
    for i in 0..500 {
        w.run(&format!("ERROR m KEY {i}"));
    }
    w.settings.max_errors = 10;
    w.run("ERROR m KEY new");
    assert_eq!(w.run("INFO").at("errors").int(), 500 + 1 - 64);
    w.check_copies();
    for _ in 0..7 {
        w.tick();
    }
    let info = w.run("INFO");
    assert_eq!(info.at("errors").int(), 10);
    assert_eq!(info.at("queues").at("ERROR").at("dropped").int(), 491);
    assert!(w.run("GET ERROR new") != crate::support::Value::Null);
    w.check_copies();
}

#[test]
fn one_gone_object_drops_a_few_beyond_a_lowered_limit_and_ticks_the_rest() {
    let mut w = World::new();
    for i in 0..500 {
        w.run(&format!("REALITY o{i} m 1"));
    }
    for i in 1..500 {
        w.run(&format!("FORGET REALITY o{i}"));
    }
    w.settings.max_realities = 10;
    w.run("FORGET REALITY o0");
    let waiting = |w: &mut World| w.run("INFO").at("queues").at("REALITY").at("length").int();
    assert_eq!(waiting(&mut w), 500 - 65);
    w.check_copies();
    for _ in 0..7 {
        w.tick();
    }
    assert_eq!(waiting(&mut w), 10);
    let dropped = w.run("INFO").at("queues").at("REALITY").at("dropped").int();
    assert_eq!(dropped, 490);
    w.check_copies();
}

#[test]
fn range_returns_the_oldest_windows_and_continues_after_the_last() {
    let mut w = World::new();
    (w.settings.min_window_s, w.settings.rules.flush_delay_ms) = (1, 0);
    w.settings.rules.history = [100_000, 0];
    let start = crate::support::BASE - 20_000_000;
    for i in 0..12_001 {
        w.run(&format!("STAT m {i} AT {}", start + i * 1000));
    }
    let (mut pages, mut found, mut from) = (Vec::new(), Vec::new(), 0);
    loop {
        let reply = w.run(&format!("RANGE m MIN FROM {from}"));
        let Some(last) = reply.list().last() else {
            break;
        };
        from = last.at("end").int();
        pages.push(reply.list().len());
        found.extend(reply.list().iter().map(|window| window.at("start").int()));
    }
    assert_eq!(pages, [5000, 5000, 2001]);
    assert!(found.into_iter().eq((0..12_001).map(|i| start + i * 1000)));
}

#[test]
fn range_finds_the_oldest_windows_after_a_clock_was_set_back() {
    let mut w = World::new();
    (w.settings.min_window_s, w.settings.rules.flush_delay_ms) = (1, 0);
    w.settings.rules.history = [100_000, 0];
    // The windows of a time far ahead are first in the history.
    let ahead = crate::support::BASE + 86_400_000;
    w.set_wall(ahead + 20_000_000);
    for i in 0..11_000 {
        w.run(&format!("STAT m 1 AT {}", ahead + i * 1000));
    }
    w.set_wall(crate::support::BASE + 20_000_000);
    for i in 0..100 {
        w.run(&format!("STAT m 1 AT {}", crate::support::BASE + i * 1000));
    }
    let reply = w.run("RANGE m MIN");
    assert_eq!(reply.list().len(), 5000);
    let starts: Vec<i64> = reply.list().iter().map(|b| b.at("start").int()).collect();
    let expected = (0..100)
        .map(|i| crate::support::BASE + i * 1000)
        .chain((0..4900).map(|i| ahead + i * 1000));
    assert_eq!(starts, expected.collect::<Vec<_>>());
}

#[test]
fn requeue_of_too_many_queues_none() {
    let mut w = World::new();
    w.settings.max_realities = 30_000;
    for i in 0..20_001 {
        w.run(&format!("REALITY {i} m 1"));
    }
    while !w.pop("REALITY").is_empty() {}
    let error = w.error("REQUEUE REALITY");
    assert_eq!(
        error,
        "ERR AGG.REQUEUE: more than 20000 objects match: queue fewer at a time with MATCH"
    );
    assert_eq!(w.peek("REALITY").len(), 0);
    assert_eq!(w.run("REQUEUE REALITY MATCH 1*").int(), 11_111);
    w.check_copies();
}

#[test]
fn samples_of_one_command_share_a_tag_list() {
    let mut w = World::new();
    for tags in ["a:1", "b:2", "a:1"] {
        w.run(&format!("MSTAT TAGS {tags} VALUES m1 1 m2 2 m1 3 m3 4"));
        for m in ["m1", "m2", "m3"] {
            let get = w.run(&format!("GET METRIC {m}"));
            let (name, value) = tags.split_once(':').unwrap();
            assert_eq!(get.at("tags").at(name).text(), value);
        }
        w.check_copies();
        // The next samples have a list of their own, in one payload and in the next.
        w.run("MSTAT VALUES m1 5");
        w.run("STAT m2 5 TAGS c:3");
        w.check_copies();
    }
    w.memory_pressure = true;
    let reply = w.run("MSTAT TAGS d:4 VALUES m1 1 m2 2 new 3");
    assert_eq!(reply.list()[0].int(), 2);
    assert_eq!(w.run("INFO").at("refused").at("max-memory").int(), 3);
    assert_eq!(w.run("GET METRIC m1").at("tags").at("a").text(), "1");
    w.check_copies();
    for m in ["m1", "m2", "m3"] {
        w.run(&format!("FORGET METRIC {m}"));
    }
    w.check_copies();
}
