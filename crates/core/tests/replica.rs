//! Random commands of all kinds while time passes: a replica with other clocks and settings has the same value, and so
//! has a node that is saved and loaded. After every step the limits hold and nothing queued is unaccounted for.

use crate::support::{Value, World, digest, reload};
use proptest::prelude::*;

fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c@x", "d", "e", "f"]);
    let tags = prop::sample::select(vec!["", " TAGS a:1", " TAGS a=1", " TAGS b=2", " TAGS x"]);
    // Some of them are repetitions, and some sources are evicted.
    let seq = prop_oneof![
        Just(String::new()),
        (
            prop::sample::select(vec!["p", "q", "r", "s", "a-source-with-a-long-name"]),
            0u8..40
        )
            .prop_map(|(source, n)| format!(" SEQ {source} {n}")),
    ];
    let queue = prop::sample::select(vec!["MIN", "HOUR", "LOG", "ERROR", "REALITY"]);
    prop_oneof![
        6 => (name.clone(), -50i64..1000, options(["", " ADD", " TIMES 99"]), tags.clone(), seq.clone())
            .prop_map(|(n, v, o, t, s)| format!("STAT g{n} {v}{o}{t}{s}")),
        3 => (name.clone(), 0i64..1000, options(["", " TIMES 2", " TIMES 300"]), tags.clone(), seq.clone())
            .prop_map(|(n, v, o, t, s)| format!("STAT i{n} {v}.5 INC{o}{t}{s}")),
        6 => (name.clone(), 0u32..1000, options([""; 3]), tags.clone())
            .prop_map(|(n, v, o, t)| format!("STAT c{n} {v} DIFF{o}{t}")),
        3 => (0u32..9, 0u32..9, tags.clone(), seq.clone())
            .prop_map(|(a, b, t, s)| format!("MSTAT{t}{s} VALUES ga {a} gb {b} bad x cx 1")),
        // A blank after another is an empty cell.
        3 => (0u32..9, 0u32..9, tags.clone(), seq.clone()).prop_map(|(a, b, t, s)| format!(
            "MSTAT{t}{s} COLUMNS METRIC VALUE TYPE TAGS HIST VALUES \
             ga {a} ADD a:1 0 gb {b}  b=2 0 cd {a} DIFF  1 if {b} INC x 0 ga {b} INC  0"
        )),
        3 => (name.clone(), -9i64..99, 1u64..20, tags.clone(), seq.clone()).prop_map(|(n, v, k, t, s)| format!("HIST g{n} MAX 90{t}{s} VALUES {v} {k} 1e{v} 1 3 2")),
        3 => (0u8..10, tags.clone(), seq.clone()).prop_map(|(l, t, s)| format!("LOG hello-{l} LEVEL {l}{t}{s}")),
        5 => (name.clone(), 0u8..10, seq).prop_map(|(n, l, s)| format!("ERROR {n} LEVEL {l} FUNC f{s}")),
        5 => (name.clone(), 0u8..3, tags).prop_map(|(n, v, t)| format!("REALITY {n} M {{\"v\":{v}}}{t}")),
        1 => name.clone().prop_map(|n| format!("REALITY {n} M 1 TTL 20")),
        2 => (name, 0usize..4).prop_map(|(n, f)| match f {
            0 => format!("FORGET METRIC g{n}"),
            1 => format!("FORGET REALITY {n}"),
            2 => format!("FORGET METRIC i{n}"),
            _ => format!("FORGET METRIC c{n}"),
        }),
        1 => prop::sample::select(vec!["REQUEUE ERROR", "REQUEUE REALITY", "REQUEUE ERROR MATCH a*"])
            .prop_map(str::to_owned),
        2 => (queue.clone(), 1u8..5).prop_map(|(q, n)| format!("POP {q} COUNT {n}")),
        1 => (0i64..900).prop_map(|s| format!("delay {s}")),
        1 => (0i64..900).prop_map(|s| format!("jitter {s}")),
        1 => prop::sample::select(vec!["name n", "name web-00001"]).prop_map(str::to_owned),
        1 => (1u32..4).prop_map(|n| format!("sources {n}")),
        4 => (queue.clone(), 1u8..5).prop_map(|(q, n)| format!("FETCH {q} COUNT {n} LEASE 5000")),
        3 => queue.prop_map(|q| format!("ACK {q} fetched")),
        5 => (0i64..400_000).prop_map(|ms| format!("pass {ms}")),
        2 => (0i64..3_000).prop_map(|ms| format!("pass {ms}")),
        1 => prop::sample::select(vec!["tight", "roomy", "roomy"]).prop_map(str::to_owned),
    ]
}

/// Options of a sample: one of these, and HIST or not.
fn options(these: [&'static str; 3]) -> impl Strategy<Value = String> {
    let hist = prop_oneof![3 => Just(""), 1 => Just(" HIST")];
    (prop::sample::select(these.to_vec()), hist)
        .prop_map(|(option, hist)| format!("{option}{hist}"))
}

/// Records by queue: added, removed, dropped. Queued = delivered + dropped + waiting is checked for LOG, whose records
/// are added one by one.
#[derive(Default)]
struct Ledger {
    logged: u64,
    delivered: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn replica_has_the_same_value(
        lines in prop::collection::vec(line(), 1..150),
        flush_delay_ms in prop_oneof![Just(5_000i64), 0i64..900_000],
        series_ttl_s in prop_oneof![Just(900u64), 1u64..900],
    ) {
        let mut w = World::new();
        w.settings.max_series = 9;
        w.settings.max_errors = 4;
        w.settings.max_realities = 3;
        w.settings.max_sources = 3;
        w.settings.rules.queue_bytes = [700, 500, 200];
        w.settings.rules.history = [3, 2];
        w.settings.series_ttl_s = series_ttl_s;
        w.settings.rules.flush_delay_ms = flush_delay_ms;
        w.settings.error_ttl_s = 1200;
        w.settings.error_interval_ms = 30_000;
        let mut fetched: Vec<(String, i64)> = Vec::new();
        let mut ledger = Ledger::default();
        for line in &lines {
            if let "tight" | "roomy" = line.as_str() {
                w.memory_pressure = line == "tight";
            } else if let Some(s) = line.strip_prefix("delay ") {
                w.settings.rules.flush_delay_ms = s.parse::<i64>().unwrap() * 1_000;
            } else if let Some(s) = line.strip_prefix("jitter ") {
                w.settings.flush_jitter_ms = s.parse::<i64>().unwrap() * 1_000;
            } else if let Some(name) = line.strip_prefix("name ") {
                w.name = if name == "n" { "n" } else { "web-00001" };
            } else if let Some(n) = line.strip_prefix("sources ") {
                w.settings.max_sources = n.parse().unwrap();
            } else if let Some(ms) = line.strip_prefix("pass ") {
                let ms: i64 = ms.parse().unwrap();
                w.pass(ms / 2);
                w.pass_ticking(ms / 2 / 100 * 100 / 10);
                w.pass(ms / 3);
                w.tick();
            } else if let Some(queue) = line.strip_prefix("ACK ").and_then(|l| l.strip_suffix(" fetched")) {
                let (mine, others): (Vec<_>, Vec<_>) = fetched.drain(..).partition(|(q, _)| q == queue);
                fetched = others;
                let ids: Vec<String> = mine.iter().map(|(_, id)| id.to_string()).collect();
                if !ids.is_empty() {
                    let n = w.run(&format!("ACK {queue} {}", ids.join(" "))).int();
                    if queue == "LOG" {
                        ledger.delivered += n as u64;
                    }
                }
            } else if let Ok(reply) = w.try_run(line) {
                if line.starts_with("LOG") {
                    ledger.logged += u64::from(reply != Value::Null);
                } else if line.starts_with("POP LOG") {
                    ledger.delivered += reply.list().len() as u64;
                } else if line.starts_with("FETCH") {
                    let entries = reply.list().iter().map(Value::list);
                    fetched.extend(entries.map(|e| (e[0].text(), e[1].int())));
                }
            }
            w.check_copies();
            check_limits(&mut w, &ledger)?;
        }
        // A promoted replica continues as the primary would.
        if let Some(node) = &w.node {
            let mut promoted = reload(node);
            promoted.restart(0);
            prop_assert_eq!(digest(&promoted), digest(node));
        }
    }
}

fn check_limits(w: &mut World, ledger: &Ledger) -> Result<(), TestCaseError> {
    if w.node.is_none() {
        return Ok(());
    }
    let info = w.run("INFO");
    let queue = |q: &str, field: &str| info.at("queues").at(q).at(field).int() as u64;
    prop_assert!(info.at("metrics").int() <= 9 && info.at("forgotten").int() <= 9);
    prop_assert!(info.at("errors").int() <= 4);
    prop_assert!(info.at("realities").int() <= 3);
    prop_assert!(info.at("sources").int() <= 3);
    prop_assert!(queue("ERROR", "length") <= 4 && queue("REALITY", "length") <= 6);
    for (q, most) in [("MIN", 700), ("HOUR", 500), ("LOG", 200)] {
        prop_assert!(
            queue(q, "bytes") <= most,
            "{} holds {} bytes",
            q,
            queue(q, "bytes")
        );
        prop_assert!(queue(q, "leased") <= queue(q, "length"));
    }
    prop_assert_eq!(
        ledger.logged,
        ledger.delivered + queue("LOG", "dropped") + queue("LOG", "length")
    );
    Ok(())
}
