//! Reports with sequence numbers: which are repetitions, what consumes a number, and which sources are evicted.

use crate::support::{BASE, Value, World, digest, reload};

/// Returns the sources of a node in the order of use, with their numbers.
fn sources(w: &World) -> Vec<(String, u64)> {
    let mut sources: Vec<(u8, String, u64)> = digest(w.node.as_ref().unwrap())
        .into_iter()
        .filter(|element| element[0] == 0x16)
        .map(|element| {
            // The place, the name with its length, the number: each below 128 here.
            let (place, len) = (element[1], usize::from(element[2]));
            let name = String::from_utf8(element[3..3 + len].to_vec()).unwrap();
            (place, name, element[3 + len].into())
        })
        .collect();
    sources.sort_unstable();
    sources.into_iter().map(|(_, name, n)| (name, n)).collect()
}

fn names(w: &World) -> String {
    let names: Vec<String> = sources(w).into_iter().map(|(name, _)| name).collect();
    names.join(" ")
}

fn count(w: &mut World, field: &str) -> i64 {
    w.run("INFO").at(field).int()
}

/// Asserts that a command replies nil and changes nothing.
fn assert_repetition(w: &mut World, line: &str) {
    let before = (digest(w.node.as_ref().unwrap()), w.sent, w.verbatim);
    assert_eq!(w.run(line), Value::Null, "{line}");
    let after = (digest(w.node.as_ref().unwrap()), w.sent, w.verbatim);
    assert_eq!(after, before, "{line}");
}

#[test]
fn repetition_of_any_report_replies_nil_and_changes_nothing() {
    let mut w = World::new();
    w.run("STAT m 1 SEQ a 1");
    w.run("MSTAT SEQ a 2 VALUES m 2 k 3");
    w.run("LOG hello SEQ a 3");
    w.run("ERROR failed KEY e SEQ a 4");
    w.run("STAT m 1 SEQ b 0");
    w.run("HIST m SEQ b 1 VALUES 1 2");
    w.pass(10_000);
    for line in [
        "STAT m 1 SEQ a 1",
        "MSTAT SEQ a 2 VALUES m 2 k 3",
        "LOG hello SEQ a 3",
        "ERROR failed KEY e SEQ a 4",
        "STAT m 1 SEQ b 0",
        "HIST m SEQ b 1 VALUES 1 2",
        // What the report says does not matter.
        "STAT new 1 DIFF SEQ a 4",
        "MSTAT ATOMIC SEQ a 0 VALUES new 1",
    ] {
        assert_repetition(&mut w, line);
    }
    assert_eq!(sources(&w), [("a".into(), 4), ("b".into(), 1)]);
    assert_eq!(w.run("STAT m 1 SEQ a 9").int(), 1);
    assert_eq!(sources(&w), [("b".into(), 1), ("a".into(), 9)]);
    w.check_copies();
}

#[test]
fn invalid_argument_consumes_no_number_and_is_found_before_a_repetition() {
    let mut w = World::new();
    w.run("STAT m 1 SEQ a 5");
    for line in [
        "STAT m x SEQ a 6",
        "STAT m x SEQ a 5",
        "MSTAT ATOMIC SEQ a 6 VALUES m x",
        "LOG hello LEVEL 11 SEQ a 6",
        "ERROR failed AT 5 SEQ a 6",
    ] {
        w.error(line);
        assert_eq!(sources(&w), [("a".into(), 5)], "{line}");
    }
    assert_eq!(w.run("STAT m 1 SEQ a 6").int(), 1);
}

#[test]
fn sequence_number_has_a_source_of_1_to_256_bytes_and_a_number_of_63_bits() {
    let mut w = World::new();
    let name = "s".repeat(256);
    assert_eq!(w.run(&format!("STAT m 1 SEQ {name} 0")).int(), 1);
    let largest = i64::MAX;
    assert_eq!(w.run(&format!("STAT m 1 SEQ {name} {largest}")).int(), 1);
    assert_repetition(&mut w, &format!("STAT m 1 SEQ {name} {largest}"));
    w.check_copies();
    let errors = [
        ("STAT m 1 SEQ".to_owned(), "SEQ requires a value; usage: "),
        (
            "STAT m 1 SEQ a".to_owned(),
            "SEQ number requires a value; usage: ",
        ),
        ("STAT m 1 SEQ  1".to_owned(), "SEQ source must not be empty"),
        (
            format!("STAT m 1 SEQ {name}s 1"),
            "has 257 bytes: the maximum is 256",
        ),
        (
            "STAT m 1 SEQ a -1".to_owned(),
            "invalid SEQ number '-1': expected an integer from 0 to 9223372036854775807",
        ),
        (
            "STAT m 1 SEQ a 9223372036854775808".to_owned(),
            "expected an integer from 0 to 9223372036854775807",
        ),
        ("STAT m 1 SEQ a 1 SEQ a 2".to_owned(), "SEQ is given twice"),
        ("REALITY o M 1 SEQ a 1".to_owned(), "unknown option 'SEQ'"),
    ];
    for (line, text) in errors {
        let error = w.error(&line);
        assert!(error.contains(text), "{line}: {error}");
    }
}

#[test]
fn rejected_command_consumes_no_number() {
    let mut w = World::new();
    w.settings.max_series = 1;
    w.run("STAT m 1 SEQ a 1");
    let before = digest(w.node.as_ref().unwrap());
    for line in [
        "STAT m 1 DIFF SEQ a 2",
        "STAT new 1 SEQ a 2",
        "STAT new 1 SEQ b 2",
        "MSTAT ATOMIC SEQ a 2 VALUES m 1 new 1",
    ] {
        w.error(line);
        assert_eq!(digest(w.node.as_ref().unwrap()), before, "{line}");
    }
    w.settings.max_series = 2;
    assert_eq!(w.run("STAT new 1 SEQ a 2").int(), 1);
    w.check_copies();
}

#[test]
fn late_or_partly_rejected_report_consumes_its_number_on_the_replica_too() {
    let mut w = World::new();
    w.run("STAT m 1");
    w.pass(7_200_000);
    w.pass_ticking(300);
    w.run("STAT m 1");
    let late = format!("STAT m 1 AT {BASE} SEQ a 7");
    let sent = w.sent.0;
    assert_eq!(w.run(&late).int(), 0);
    assert_eq!(w.sent.0, sent + 1);
    w.check_copies();
    assert_repetition(&mut w, &late);
    // Nothing but the number is kept of it.
    let rejected = w.run("MSTAT SEQ a 8 VALUES m x");
    assert_eq!(rejected.list()[0].int(), 0);
    w.check_copies();
    assert_eq!(sources(&w), [("a".into(), 8)]);
    assert_repetition(&mut w, "MSTAT SEQ a 8 VALUES m 1");
}

#[test]
fn command_without_a_counted_sample_creates_the_node_that_keeps_its_number() {
    let mut w = World::new();
    w.run("MSTAT SEQ a 1 VALUES m x");
    assert_eq!(sources(&w), [("a".into(), 1)]);
    assert_repetition(&mut w, "MSTAT SEQ a 1 VALUES m 1");
    w.check_copies();
}

#[test]
fn command_propagated_verbatim_carries_its_number() {
    let mut w = World::new();
    w.run("LOG first");
    let sent = w.sent;
    w.run("STAT m 1 SEQ a 1");
    w.run("MSTAT SEQ a 2 VALUES m 1 k 1");
    w.run("LOG hello SEQ b 1");
    assert_eq!((w.sent, w.verbatim), (sent, 3));
    w.check_copies();
}

#[test]
fn least_recently_used_source_is_evicted_and_counted() {
    let mut w = World::new();
    w.settings.max_sources = 3;
    for (i, source) in ["a", "b", "c", "a", "d"].into_iter().enumerate() {
        w.run(&format!("STAT m 1 SEQ {source} {i}"));
        w.check_copies();
    }
    assert_eq!(names(&w), "c a d");
    assert_repetition(&mut w, "STAT m 1 SEQ c 2");
    assert_eq!(names(&w), "c a d", "a repetition does not change the order");
    w.run("STAT m 1 SEQ e 1");
    assert_eq!(names(&w), "a d e");
    assert_eq!(
        [count(&mut w, "sources"), count(&mut w, "sources-dropped")],
        [3, 2]
    );
    assert_eq!(w.counters.sources_dropped, 2);
    // Nothing is known of the numbers of an evicted source.
    assert_eq!(w.run("STAT m 1 SEQ b 1").int(), 1);
    w.check_copies();
}

#[test]
fn loaded_node_evicts_the_same_sources() {
    let mut w = World::new();
    w.settings.max_sources = 20;
    for i in 0..100 {
        w.run(&format!("STAT m 1 SEQ s{} {i}", i * 7 % 20));
        w.run(&format!("LOG x SEQ s{} {}", i * 3 % 20, i + 100));
    }
    for i in 0..30_usize {
        w.run(&format!("STAT m 1 SEQ t{i} 1"));
        // The replica takes over, after a restart.
        let promoted = reload(w.replica.as_ref().unwrap());
        w.node = Some(promoted);
        w.check_copies();
        let kept: Vec<String> = (0..=i)
            .skip(i.saturating_sub(19))
            .map(|i| format!("t{i}"))
            .collect();
        assert!(names(&w).ends_with(&kept.join(" ")), "{}", names(&w));
    }
}

#[test]
fn one_report_evicts_a_few_sources_beyond_a_lowered_limit_and_ticks_the_rest() {
    let mut w = World::new();
    for i in 0..500 {
        w.run(&format!("STAT m 1 SEQ s{i} 1"));
    }
    w.settings.max_sources = 10;
    w.run("STAT m 1 SEQ new 1");
    assert_eq!(count(&mut w, "sources"), 500 + 1 - 64);
    w.check_copies();
    for _ in 0..7 {
        w.tick();
    }
    assert_eq!(
        [count(&mut w, "sources"), count(&mut w, "sources-dropped")],
        [10, 491]
    );
    assert!(names(&w).ends_with("s498 s499 new"));
    w.check_copies();
}

#[test]
fn new_source_takes_the_place_of_the_oldest_under_memory_pressure() {
    let mut w = World::new();
    w.run("STAT m 1");
    w.memory_pressure = true;
    let error = w.error("STAT m 1 SEQ a 1");
    assert!(error.starts_with("AGGFULL AGG.STAT: "), "{error}");
    assert_eq!(count(&mut w, "sources"), 0);
    w.memory_pressure = false;
    let long = "l".repeat(100);
    for source in ["a", "b", "c", &long] {
        w.run(&format!("STAT m 1 SEQ {source} 1"));
    }
    w.memory_pressure = true;
    assert_eq!(w.run("STAT m 1 SEQ d 1").int(), 1);
    assert_eq!(names(&w), format!("b c {long} d"));
    // A long name takes the place of several short ones.
    assert_eq!(
        w.run(&format!("STAT m 1 SEQ {} 1", "n".repeat(100))).int(),
        1
    );
    assert_eq!(names(&w), format!("d {}", "n".repeat(100)));
    // What has a known source needs no memory.
    assert_eq!(w.run("MSTAT SEQ d 2 VALUES m 1").list()[0].int(), 1);
    assert_repetition(&mut w, "STAT m 1 SEQ d 2");
    // AGGFULL consumes no number and evicts no source.
    let before = digest(w.node.as_ref().unwrap());
    for line in [
        "LOG hello SEQ d 3",
        "LOG hello SEQ e 1",
        "STAT new 1 SEQ e 1",
        "ERROR e SEQ d 3",
    ] {
        assert!(w.error(line).starts_with("AGGFULL"), "{line}");
        assert_eq!(digest(w.node.as_ref().unwrap()), before, "{line}");
    }
    assert_repetition(&mut w, "LOG hello SEQ d 2");
    w.check_copies();
}

/// A program that reports has to take another source at each start, or to continue its numbers.
#[test]
fn program_that_counts_from_1_again_under_the_same_source_is_ignored() {
    let mut w = World::new();
    for n in 1..=3 {
        assert_eq!(
            w.run(&format!("ERROR e KEY k SEQ shop-1 {n}")).list()[1].int(),
            n
        );
    }
    for n in 1..=3 {
        assert_repetition(&mut w, &format!("ERROR e KEY k SEQ shop-1 {n}"));
    }
    assert_eq!(w.run("ERROR e KEY k SEQ shop-1 4").list()[1].int(), 4);
    assert_eq!(w.run("ERROR e KEY k SEQ shop-2 1").list()[1].int(), 5);
}

/// Random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A program that reports under a source of its own, several reports at a time. It sends those again that were not
/// answered when its connection was lost.
struct Program {
    source: String,
    /// The number of the next report.
    next: u64,
    /// Reports that were not answered, with their numbers.
    pending: Vec<String>,
}

/// What was reported, each report once.
#[derive(Default)]
struct Reported {
    errors: i64,
    logs: Vec<String>,
    samples: u64,
    sum: u64,
}

impl Program {
    /// Prepares a report, which is counted here once however often it is sent.
    fn prepare(&mut self, random: &mut Random, reported: &mut Reported) {
        let (source, n) = (&self.source, self.next);
        self.next += 1 + random.below(3);
        self.pending.push(match random.below(4) {
            0 => {
                reported.errors += 1;
                format!("ERROR failed KEY e SEQ {source} {n}")
            }
            1 => {
                let message = format!("{source}-{n}");
                let line = format!("LOG {message} SEQ {source} {n}");
                reported.logs.push(message);
                line
            }
            kind => {
                let (a, b) = (random.below(100), random.below(100));
                reported.samples += kind - 1;
                reported.sum += a + if kind == 3 { b } else { 0 };
                match kind {
                    2 => format!("STAT m {a} SEQ {source} {n}"),
                    _ => format!("MSTAT SEQ {source} {n} VALUES m {a} m {b}"),
                }
            }
        });
    }
}

#[test]
fn totals_are_exact_after_ten_thousand_lost_connections() {
    let mut w = World::new();
    w.settings.rules.queue_bytes = [1 << 40; 3];
    w.run("STAT m 0");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut reported = Reported {
        samples: 1,
        ..Reported::default()
    };
    let mut programs: Vec<Program> = (0..8)
        .map(|i| Program {
            source: format!("program-{i}"),
            next: 0,
            pending: Vec::new(),
        })
        .collect();
    let (mut lost, mut repeated, mut full) = (0, 0, 0);
    while lost < 10_000 || programs.iter().any(|program| !program.pending.is_empty()) {
        let at = random.below(8) as usize;
        let program = &mut programs[at];
        if lost < 10_000 {
            for _ in 0..=random.below(4) {
                program.prepare(&mut random, &mut reported);
            }
        }
        // The connection is lost after some requests have run, and after some of these were answered.
        let len = program.pending.len() as u64;
        let is_lost = lost < 10_000 && random.below(2) == 0;
        let ran = if is_lost { random.below(len + 1) } else { len };
        let answered = if is_lost { random.below(ran + 1) } else { ran };
        lost += u64::from(is_lost);
        w.memory_pressure = random.below(20) == 0;
        let mut done = 0;
        for line in &program.pending[..ran as usize] {
            match w.try_run(line) {
                Ok(reply) => repeated += u64::from(reply == Value::Null),
                // It was not accepted, and is sent again under the same number.
                Err(_) => {
                    full += 1;
                    break;
                }
            }
            done += 1;
        }
        program.pending.drain(..done.min(answered as usize));
        w.memory_pressure = false;
        w.pass(random.below(50) as i64);
        if random.below(1_000) == 0 {
            // The replica takes over.
            w.node = Some(reload(w.replica.as_ref().unwrap()));
            w.check_copies();
        }
        if random.below(4_000) == 0 {
            // The program is started again, when all of its reports were accepted.
            if program.pending.is_empty() {
                program.source.push('x');
                program.next = 0;
            }
        }
    }
    println!("{lost} lost, {repeated} repetitions, {full} rejected for lack of memory");
    assert!(repeated > 5_000 && full > 100);
    w.check_copies();
    assert_eq!(
        w.run("GET ERROR e").at("occurrences").int(),
        reported.errors
    );
    let mut logged = Vec::new();
    loop {
        let entries = w.pop("LOG");
        if entries.is_empty() {
            break;
        }
        let message = |record: &serde_json::Value| record["message"].as_str().unwrap().to_owned();
        logged.extend(entries.iter().map(|(_, _, record)| message(record)));
    }
    logged.sort_unstable();
    reported.logs.sort_unstable();
    assert!(logged == reported.logs);
    w.pass(7_200_000);
    w.pass_ticking(300);
    let windows = w.pop("MIN");
    let sum = |field: &str| -> u64 {
        windows
            .iter()
            .map(|w| w.2[field].as_f64().unwrap() as u64)
            .sum()
    };
    assert_eq!([sum("count"), sum("sum")], [reported.samples, reported.sum]);
}
