//! The formats of saved nodes and effects, to the byte, and those of older versions. (The files of 0.1.0 are in the
//! module's tests/stable.)

use crate::support::{BASE, Value, World, digest, frames, hex, reload};
use aggregator_core::histogram::Percentiles;
use aggregator_core::id::MAX_ID;
use aggregator_core::node::{Node, SnapshotLoader};
use aggregator_core::{Command, Counters, Request, Settings};

/// A node with three open windows of a metric, and a forgotten one.
fn world() -> World {
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = 900_000;
    w.pass(600_000);
    for at in [0, 300_000, 600_000] {
        w.run(&format!("STAT m 1.5 TAGS a:b AT {}", BASE + at));
    }
    w.run(&format!("STAT forgotten 2 AT {}", BASE));
    w.run("FORGET METRIC forgotten");
    w
}

/// Returns a payload as another version wrote it.
fn of_version(version: u8, payload: &[u8]) -> Vec<u8> {
    without_rules(&[&[version], &payload[1..]].concat())
}

/// Returns a payload or a frame without the percentiles, `hist-records` and slots in its rules, which version 2 did not
/// have.
fn without_rules(bytes: &[u8]) -> Vec<u8> {
    const THEY: &[u8] = &[4, 50, 90, 95, 99, 0, 10];
    let at = bytes.windows(THEY.len()).position(|part| part == THEY);
    let (before, after) = bytes.split_at(at.unwrap_or(bytes.len()));
    [before, after.strip_prefix(THEY).unwrap_or_default()].concat()
}

/// Replaces some bytes wherever they are.
fn replaced(bytes: &[u8], these: &[u8], by: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some((first, others)) = rest.split_first() {
        match rest.strip_prefix(these) {
            Some(after) => {
                out.extend(by);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

/// Returns the bytes of a text of [`hex`].
fn bytes(hex: &str) -> Vec<u8> {
    let byte = |digits| u8::from_str_radix(digits, 16).unwrap();
    let at = |i| byte(&hex[i..i + 2]);
    (0..hex.len()).step_by(2).map(at).collect()
}

#[test]
fn node_of_format_3_is_these_bytes() {
    let mut w = world();
    w.run("STAT m 2.5 SEQ older 300");
    w.run("STAT m 2.5 SEQ newer 1");
    w.pop("MIN");
    w.pop("HOUR");
    let node = w.node.as_ref().unwrap();
    let saved: Vec<String> = frames(node).iter().map(|frame| hex(frame)).collect();
    assert_eq!(saved, GOLDEN);
    assert_eq!(digest(&reload(node)), digest(node));
}

/// The first frame, the metrics, the forgotten metrics, the sources, the last frame.
const GOLDEN: [&str; 5] = [
    "1003ac02901c0c18808080208080801080808008c0ee6dc0a907e80780f4ee0604325a5f63000a81c49896cec4820380a5ca81fa6200",
    "11016d0003613a6280a5ca81fa620102400400000003f0f7cfaa06010001023ff822023ff83ff83ff803613a629cfacfaa06\
     010001023ff822023ff83ff83ff803613a62c8fccfaa0603000102401a22023ff84004400403613a62000001f0f7cfaa0605\
     c0cf240102402322023ff84004400403613a6200",
    "15997df6fab345aa0ca3eb386a9f0405f29cfacfaa068094d0aa06c8fccfaa06849bd0aa06",
    "16056f6c646572ac02056e6577657201",
    "1f0100000000000102",
];

/// Version 2 had no histograms and percentiles; no sources, and no number of them in the last frame.
#[test]
fn node_of_format_2_is_read() {
    let mut w = world();
    w.pop("MIN");
    w.pop("HOUR");
    let mut loader = SnapshotLoader::new(5, 77, MAX_ID);
    for (i, frame) in FORMAT_2.iter().enumerate() {
        assert_eq!(
            loader.frame(&bytes(frame)).unwrap(),
            i + 1 == FORMAT_2.len()
        );
    }
    let loaded = loader.finish().unwrap();
    assert_eq!(digest(&loaded), digest(w.node.as_ref().unwrap()));
}

/// A histogram of raw values and one of buckets, percentiles and a histogram in a record, percentiles in the history.
#[test]
fn metric_with_histograms_is_these_bytes() {
    let mut w = World::new();
    w.settings.rules.hist_records = true;
    w.settings.rules.percentiles = Percentiles::parse(b"50 99.9").unwrap();
    w.pass(600_000);
    for i in 0..20 {
        w.run(&format!("STAT m {i} HIST AT {}", BASE + i));
    }
    w.run(&format!("STAT m 7 AT {}", BASE + 300_000));
    let saved: Vec<String> = frames(w.node.as_ref().unwrap())
        .iter()
        .map(|f| hex(f))
        .collect();
    assert_eq!(saved[1..3], HISTOGRAMS);
    w.check_copies();
}

const HISTOGRAMS: [&str; 2] = [
    "11016dc000c0d5a581fa62000700009cfacfaa06019cfacfaa0601000102401c2202401c401c401c000149e0ef9fd50c140902fc0240\
     33023200c08faedc0388402205f641e0512e4032d23d4f354a800001f0f7cfaa0615e0a71201098a0320024033401c000002009cfacf\
     aa060102401c01f0f7cfaa06290100890101023f022502190215020f020d020b020b020902070207020702050207020302050205020302",
    "120080c49896cec4820355016d000049e0ef9fd50c140902fc024033023200c08faedc0388402205f641e0512e4032d23d4f354a8029\
     0100890101023f022502190215020f020d020b020b020902070207020702050207020302050205020302",
];

/// The first frame, the metrics, the forgotten metrics, the last frame.
const FORMAT_2: [&str; 4] = [
    "1002ac02901c0c18808080208080801080808008c0ee6dc0a907e80780f4ee0681c49896cec4820380a5ca81fa6200",
    "11016d0003613a6280a5ca81fa6201023ff800000003f0f7cfaa06010001023ff822023ff83ff83ff803613a629cfacfaa06\
     010001023ff822023ff83ff83ff803613a62c8fccfaa06010001023ff822023ff83ff83ff803613a62000001f0f7cfaa0603\
     c0cf240102401222023ff83ff83ff803613a6200",
    "15997df6fab345aa0ca3eb386a9f0405f29cfacfaa068094d0aa06c8fccfaa06849bd0aa06",
    "1f01000000000001",
];

#[test]
fn effects_of_version_3_are_these_bytes() {
    let mut w = world();
    assert_eq!(hex(&w.payload), FORGET);
    w.run(&format!("STAT other 2 AT {}", BASE));
    w.settings.max_series = 1;
    w.run("FORGET METRIC other");
    assert_eq!(hex(&w.payload), DROP);
    w.settings.max_sources = 1;
    w.run(&format!("STAT m 2 AT {BASE} SEQ older 300"));
    w.run(&format!("STAT m 2 AT {BASE} SEQ newer 1"));
    assert_eq!(hex(&w.payload), SEQUENCE);
    w.check_copies();
}

const FORGET: &str = "0380a5ca81fa6280c49896cec4820308010101";
const DROP: &str = "0380a5ca81fa6282c49896cec482030801010110010001";
const SEQUENCE: &str = "0380a5ca81fa6284c49896cec482030100016d0280868181fa62130112056e6577657201";

/// A sample of each kind, with and without occurrences.
#[test]
fn effects_of_samples_are_these_bytes() {
    let mut w = World::new();
    let samples = [
        "a 5 ABS",
        "a -1.5 ADD",
        "i 3 INC",
        "i 1 INC TIMES 300",
        "d 9 DIFF",
    ];
    let changes = samples.map(|sample| {
        w.pass(1);
        w.run(&format!("STAT {sample} AT {BASE}"));
        // From the code of the change on, two bytes before the name.
        let name = [1, sample.as_bytes()[0]];
        let at = w.payload.windows(2).rposition(|bytes| bytes == name);
        hex(&w.payload[at.unwrap() - 2..])
    });
    assert_eq!(changes, SAMPLES);
}

const SAMPLES: [&str; 5] = [
    "010001610580868181fa62",
    "0123016102bff880868181fa62",
    "012001690380868181fa62",
    "01a0016901ac0280868181fa62",
    "010101640980868181fa62",
];

/// Aggregated samples: few, which are values, and many, which are buckets, with tags and a time of their own.
#[test]
fn effects_of_aggregated_samples_are_these_bytes() {
    let mut w = World::new();
    let values: String = (1..=20).map(|i| format!(" {i} {i}")).collect();
    let reports = [
        "h SUM 9.25 MIN -1 VALUES 2.5 2 3 1".to_owned(),
        format!("h TAGS a:b VALUES{values}"),
    ];
    let changes = reports.map(|report| {
        w.pass(1);
        w.run(&report.replacen("h", &format!("HIST h AT {BASE}"), 1));
        let at = w.payload.windows(2).rposition(|bytes| bytes == [1, b'h']);
        hex(&w.payload[at.unwrap() - 2..])
    });
    assert_eq!(changes, AGGREGATES);
    w.check_copies();
}

const AGGREGATES: [&str; 2] = [
    "154001680380868181fa622b02ba0ebff04008032240044004024008",
    "154401681480868181fa6203613a622902ec2c3ff040342900008c0101023f0425061908150a0f0c0d0e0b100b12091407160718071a\
     051c071e03200522052403260528",
];

/// What version 2 could say means the same.
#[test]
fn effects_of_version_2_are_applied() {
    let mut w = world();
    w.run(&format!("STAT other 2 AT {}", BASE));
    let payload = of_version(2, &bytes(DROP));
    let mut both = [w.node.as_ref(), w.replica.as_ref()].map(|node| reload(node.unwrap()));
    for node in &mut both {
        node.apply(&payload, 0, MAX_ID, &mut Counters::default())
            .unwrap();
        assert_eq!(node.contents().forgotten, 1);
    }
    assert_eq!(digest(&both[0]), digest(&both[1]));
}

/// Version 1 had neither forgotten metrics nor sources, and no number of them in the last frame.
#[test]
fn node_of_format_1_is_read() {
    let mut w = World::new();
    for i in 0..3 {
        w.run(&format!(
            "STAT m{i} {i}.5 DIFF TAGS a:b AT {}",
            BASE + i * 10
        ));
        w.run(&format!(
            "STAT m{i} 1{i} DIFF AT {}",
            BASE + i * 1_000 + 600
        ));
    }
    w.run("LOG hello");
    let node = w.node.as_ref().unwrap();
    let mut saved = frames(node);
    assert_eq!(saved[0][..2], [0x10, 3]);
    saved[0] = without_rules(&saved[0]);
    saved[0][1] = 1;
    for _ in 0..2 {
        assert_eq!(saved.last_mut().unwrap().pop(), Some(0));
    }
    // It had neither slots nor totals: the last 0 before the open windows.
    saved[1] = replaced(&saved[1], &[0, 0, 0, 0, 1], &[0, 0, 0, 1]);
    let mut loader = SnapshotLoader::new(5, 77, MAX_ID);
    let ended: Vec<bool> = saved.iter().map(|f| loader.frame(f).unwrap()).collect();
    assert_eq!(ended.last(), Some(&true));
    assert_eq!(digest(&loader.finish().unwrap()), digest(node));
}

/// A replica applies payloads of 0.1.0 as 0.1.0 did: two windows of a length are open, and nothing of a forgotten
/// metric is kept.
#[test]
fn effects_of_version_1_mean_what_they_meant() {
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = 900_000;
    w.pass(600_000);
    let mut counters = Counters::default();
    let mut replica: Option<Node> = None;
    let mut apply = |payload: &[u8], replica: &mut Option<Node>| {
        let payload = of_version(1, payload);
        match replica {
            Some(node) => drop(node.apply(&payload, 0, MAX_ID, &mut counters).unwrap()),
            None => {
                let made = Node::create(&payload, 7, 0, MAX_ID, &mut counters).unwrap();
                *replica = Some(made.0);
            }
        }
    };
    for at in [0, 300_000, 600_000] {
        // Each within a millisecond of its own, so that it is propagated by a payload.
        w.pass(1);
        w.run(&format!("STAT m 1 AT {}", BASE + at));
        apply(&w.payload, &mut replica);
    }
    let closed = |replica: &Option<Node>| replica.as_ref().unwrap().contents().length[0];
    assert_eq!(closed(&replica), 1);
    w.pass(1);
    w.run("FORGET METRIC m");
    apply(&w.payload, &mut replica);
    assert_eq!(closed(&replica), 3);
    assert_eq!(replica.as_ref().unwrap().contents().forgotten, 0);
    // 0.1.0 counted a sample of a window that was delivered.
    let mut other = World::new();
    other.settings.rules.flush_delay_ms = 900_000;
    other.pass(700_000);
    other.run(&format!("STAT m 1 AT {BASE}"));
    apply(&other.payload, &mut replica);
    assert_eq!(replica.as_ref().unwrap().contents().metrics, 1);
}

/// Returns what 0.1.0 wrote for the tag `rack=a1`, which it did not split, from what is written for `rack:a1`.
fn with_equals(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(7).position(|w| w == b"rack:a1") {
        bytes[at + 4] = b'=';
    }
    bytes
}

/// 0.1.0 split words at the first colon only. What it saved and sent is converted, everywhere that tags are stored.
#[test]
fn tags_of_version_1_are_converted() {
    let mut w = World::new();
    let (mut counters, mut replica) = (Counters::default(), None);
    for line in [
        "STAT m 1 TAGS rack:a1",
        "STAT m 2 TAGS b",
        "STAT m 3 TAGS rack:a1",
        "MSTAT TAGS rack:a1 VALUES a 1 b 1 c 1",
        "LOG l TAGS rack:a1",
        "ERROR e TAGS rack:a1",
        "REALITY o M 1 TAGS rack:a1",
    ] {
        // Each within a millisecond of its own, so that it is propagated by a payload; the third closes a window.
        w.pass(if line.contains("m 3") { 310_000 } else { 1 });
        w.run(line);
        let payload = with_equals(&of_version(1, &w.payload));
        match &mut replica {
            None => {
                replica = Some(
                    Node::create(&payload, 7, 0, MAX_ID, &mut counters)
                        .unwrap()
                        .0,
                )
            }
            Some(node) => drop(node.apply(&payload, 0, MAX_ID, &mut counters).unwrap()),
        }
        let rejected = Node::create(&with_equals(&w.payload), 7, 0, MAX_ID, &mut counters);
        assert!(rejected.is_err() || !line.contains("rack:a1"));
    }
    let node = w.node.as_ref().unwrap();
    assert_eq!(node.contents().length, [1, 0, 1, 1, 1]);
    assert_eq!(digest(&replica.unwrap()), digest(node));

    let saved: Vec<Vec<u8>> = frames(node).iter().map(|f| with_equals(f)).collect();
    let load = |saved: &[Vec<u8>]| {
        let mut loader = SnapshotLoader::new(5, 77, MAX_ID);
        saved.iter().try_for_each(|f| loader.frame(f).map(drop))?;
        loader.finish()
    };
    let rejected = load(&saved).err().unwrap().to_string();
    assert_eq!(rejected, "a list of tags is not in canonical form");
    let mut saved_v1 = saved;
    saved_v1[0] = without_rules(&saved_v1[0]);
    saved_v1[0][1] = 1;
    assert_eq!(saved_v1.last_mut().unwrap().pop(), Some(0));
    assert_eq!(digest(&load(&saved_v1).unwrap()), digest(node));
}

/// A command that 0.1.0 propagated verbatim had level 5 by default, and `=` was a part of a tag's name.
#[test]
fn command_of_version_1_means_what_it_meant() {
    let mut w = World::new();
    w.run("LOG first");
    let mut counters = Counters::default();
    let payload = of_version(1, &w.payload);
    let (mut node, _) = Node::create(&payload, 7, 0, MAX_ID, &mut counters).unwrap();
    assert!(node.is_version_1());
    let settings = Settings {
        is_version_1: node.is_version_1(),
        ..Settings::unlimited()
    };
    for (command, line) in [
        (Command::Log, "AGG.LOG n second TAGS rack=a1_=v"),
        (Command::Error, "AGG.ERROR n failed KEY k"),
    ] {
        let args: Vec<Vec<u8>> = line
            .split(' ')
            .map(|word| word.replace('_', " ").into())
            .collect();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let request = Request::parse(command, &args, &settings, w.now).unwrap();
        request.replay(&mut node, 0, &mut counters);
    }
    w.node = Some(node);
    let Value::Array(entries) = w.run("PEEK LOG") else {
        unreachable!()
    };
    let Value::Array(second) = &entries[1] else {
        unreachable!()
    };
    let fields = r#""level":5,"severity":"WARNING","tags":{"rack":"a1"}"#;
    assert!(second[3].text().contains(fields), "{second:?}");
    let Value::Map(error) = w.run("GET ERROR k") else {
        unreachable!()
    };
    let level = error.iter().find(|(name, _)| name.text() == "level");
    assert_eq!(level.unwrap().1.int(), 5);
}

#[test]
fn payload_of_a_newer_version_is_rejected() {
    let w = world();
    let mut frame = frames(w.node.as_ref().unwrap()).remove(0);
    frame[1] += 1;
    let newer = "written by a newer version of the module";
    let mut loader = SnapshotLoader::new(5, 77, MAX_ID);
    assert_eq!(loader.frame(&frame).unwrap_err().to_string(), newer);
    let payload = of_version(4, &w.payload);
    let rejected = Node::create(&payload, 7, 0, MAX_ID, &mut Counters::default());
    assert_eq!(rejected.err().unwrap().to_string(), newer);
}

#[test]
fn effect_of_a_lowered_history_is_these_bytes() {
    let mut w = World::new();
    w.pass(86_400_000);
    for i in 0..4 {
        w.run(&format!("STAT m 1 AT {}", BASE + i * 300_000));
    }
    w.settings.rules.history[0] = 1;
    w.sweep_slice(7, true);
    // At most 16 MIN windows, one run of slots: the first slot, one.
    let payload = hex(&w.payload);
    assert!(payload.ends_with("110010010001"), "{payload}");
    w.check_copies();
}
