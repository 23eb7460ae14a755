//! The jitter of a node delays its windows and changes nothing else: records have the same contents, and replicas and
//! saved nodes apply it without the node's name.

use crate::support::{World, digest, reload};
use aggregator_core::settings::jitter_ms;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MINUTE_MS: i64 = 60_000;

/// A world whose node has this name, with a jitter of at most a minute.
fn jittery(name: &'static str) -> World {
    let mut w = World::new();
    w.name = name;
    w.settings.flush_jitter_ms = MINUTE_MS;
    w
}

fn jitter(name: &str) -> i64 {
    jitter_ms(name.as_bytes(), MINUTE_MS)
}

/// Returns how long after the end of the first MIN window a sweep closes it, in steps of 10 ms.
fn swept_after_ms(w: &mut World) -> i64 {
    w.run("STAT m 1");
    w.pass(300_000);
    for after_ms in (0..200_000).step_by(10) {
        w.tick();
        if !w.peek("MIN").is_empty() {
            w.check_copies();
            return after_ms;
        }
        w.pass(10);
    }
    panic!("no window closed")
}

/// Returns whether a sample that arrives so long after the end of the first MIN window closes it. No sweep runs.
fn closes_on_arrival(mut w: World, after_ms: i64) -> bool {
    w.run("STAT m 1");
    w.pass(300_000 + after_ms);
    w.run("STAT m 2");
    w.check_copies();
    !w.peek("MIN").is_empty()
}

/// Checks the time at which a sweep closes a window.
fn assert_swept_after(w: &mut World, expected_ms: i64) {
    let (after_ms, name) = (swept_after_ms(w), w.name);
    let expected = expected_ms..expected_ms + 10;
    assert!(
        expected.contains(&after_ms),
        "{name}: {after_ms} {expected:?}"
    );
}

#[test]
fn windows_close_later_in_the_sweep_and_when_a_sample_arrives() {
    for name in ["n", "web-00001", "web-00002", "10.0.0.1"] {
        let expected_ms = 5_000 + jitter(name);
        assert_swept_after(&mut jittery(name), expected_ms);
        assert!(!closes_on_arrival(jittery(name), expected_ms - 1), "{name}");
        assert!(closes_on_arrival(jittery(name), expected_ms), "{name}");
    }
    assert_swept_after(&mut World::new(), 5_000);
    assert!(closes_on_arrival(World::new(), 5_000));
}

/// A saved node keeps its delay. Under another name, its next change gives it that of the name.
#[test]
fn renamed_and_loaded_nodes_take_the_delay_of_their_name() {
    let mut w = jittery("web-00001");
    w.run("STAT other 1");
    w.node = w.node.as_ref().map(reload);
    assert_swept_after(&mut w, 5_000 + jitter("web-00001"));
    let mut w = jittery("web-00001");
    w.run("STAT other 1");
    w.name = "web-00002";
    assert_swept_after(&mut w, 5_000 + jitter("web-00002"));
    // A promoted replica continues with it.
    let mut promoted = w.replica.take().unwrap();
    promoted.restart(0);
    assert_eq!(digest(&promoted), digest(w.node.as_ref().unwrap()));
}

#[test]
fn changed_setting_applies_to_open_windows() {
    let mut w = jittery("web-00001");
    w.run("STAT m 1");
    w.pass(306_000);
    w.tick();
    assert!(w.peek("MIN").is_empty());
    w.settings.flush_jitter_ms = 0;
    w.tick();
    assert_eq!(w.peek("MIN").len(), 1);
    w.check_copies();
}

/// Jitter that is in force costs no payload: the rules are announced once.
#[test]
fn jitter_is_announced_once() {
    let mut w = jittery("web-00001");
    for _ in 0..10 {
        w.run("STAT m 1");
    }
    assert_eq!((w.sent.0, w.verbatim), (1, 9));
    w.check_copies();
}

/// A sample: its command, and how long ago it was, less than the flush delay.
fn sample() -> impl Strategy<Value = (String, i64)> {
    let metric = prop::sample::select(vec!["a", "b"]);
    let tags = prop::sample::select(vec!["", "", " TAGS x:1", " TAGS x:2"]);
    let sample = prop_oneof![
        (metric.clone(), -50i64..1000, tags.clone())
            .prop_map(|(n, v, t)| format!("STAT g{n} {v}{t}")),
        (metric.clone(), 0i64..99, tags.clone())
            .prop_map(|(n, v, t)| format!("STAT i{n} {v} INC{t}")),
        (metric.clone(), 0i64..999, tags.clone())
            .prop_map(|(n, v, t)| format!("STAT c{n} {v} DIFF{t}")),
        (metric, 1i64..99).prop_map(|(n, v)| format!("HIST h{n} VALUES {v} 2 3 1")),
    ];
    (sample, 0i64..5_000)
}

/// Runs samples with times, each after a pause. Returns the records of all windows by queue, sorted, without their ids.
fn records(w: &mut World, steps: &[((String, i64), i64)]) -> BTreeMap<String, Vec<String>> {
    w.settings.rules.history = [0, 0];
    for ((line, ago), pause) in steps {
        w.pass(*pause);
        w.tick();
        let at = w.now_ms() - ago;
        let line = match line.split_once(" VALUES") {
            Some((head, values)) => format!("{head} AT {at} VALUES{values}"),
            None => format!("{line} AT {at}"),
        };
        w.run(&line);
        w.check_copies();
    }
    w.pass_ticking(200_000);
    w.pass(7_300_000);
    w.tick();
    w.check_copies();
    let mut all = BTreeMap::new();
    for queue in ["MIN", "HOUR"] {
        let contents = w.peek(queue).into_iter().map(|(_, _, mut record)| {
            record.as_object_mut().unwrap().remove("id").expect("an id");
            record.to_string()
        });
        let mut contents: Vec<String> = contents.collect();
        contents.sort();
        all.insert(queue.to_owned(), contents);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Samples no older than the flush delay count the same, whatever the jitter.
    #[test]
    fn records_have_the_same_contents(
        steps in prop::collection::vec((sample(), 0i64..120_000), 1..60),
        limit_ms in prop_oneof![Just(895_000i64), 0i64..300_000],
        name in prop::sample::select(vec!["n", "web-00001", "web-00002", "10.0.0.1"]),
    ) {
        let mut without = World::new();
        let mut with = jittery(name);
        with.settings.flush_jitter_ms = limit_ms;
        prop_assert_eq!(records(&mut with, &steps), records(&mut without, &steps));
    }
}
