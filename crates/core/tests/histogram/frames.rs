//! Frames of saved nodes whose histograms take many times their bytes.

use super::samples::{Random, value};
use crate::support::{World, digest, frames, reload};
use aggregator_core::codec::put_u64;
use aggregator_core::histogram::{Histogram, MAX_HEAP_BYTES, MAX_SCALE};
use aggregator_core::id::MAX_ID;
use aggregator_core::node::{SnapshotLoader, max_histogram_bytes};
use aggregator_core::{Counters, DecodeError, Node};

const TOO_LARGE: DecodeError = DecodeError("the histograms of a frame are too large");

/// The bytes of histograms after which no metric may begin in a frame.
const MOST: usize = 128 << 10;

/// The histograms of a metric.
const OPEN: usize = 8;

/// Appends the shortest form of a histogram that takes the most memory.
fn put_largest(out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([41, 0, 0]);
    put_u64(out, 320);
    out.push(0);
    // A count of 2^33, 318 empty buckets, a count of 1.
    for token in [2 << 33, 2 * 318 + 1, 2] {
        put_u64(out, token);
    }
    let histogram = Histogram::decode(&out[start..]).unwrap();
    assert_eq!(histogram.scale(), Some(MAX_SCALE));
    assert_eq!(histogram.heap_bytes(), MAX_HEAP_BYTES);
}

/// Appends a metric with as many open windows as it may have, each with the largest histogram.
fn put_metric(out: &mut Vec<u8>, i: usize) {
    let name = format!("{i}");
    out.push(name.len() as u8);
    out.extend(name.bytes());
    // Type ABS with histograms, no tags, no time; the last value; no rate, nothing pending.
    out.extend([64, 0, 1, 0, 0, 0, 0]);
    for length_s in [300, 3600] {
        out.extend([0, (OPEN / 2) as u8]);
        for k in 0..OPEN as u64 / 2 {
            put_u64(out, k * length_s);
            out.extend([1, 0, 0, 0, 0]);
        }
        out.push(0);
    }
    out.push(OPEN as u8);
    for (window, length_s) in [(0, 300), (1, 3600)] {
        for k in 0..OPEN as u64 / 2 {
            out.push(window);
            put_u64(out, k * length_s);
            put_largest(out);
        }
    }
}

fn first_frame() -> Vec<u8> {
    let mut w = World::new();
    w.run("LOG x");
    frames(w.node.as_ref().unwrap()).swap_remove(0)
}

/// Loads a frame of metrics in both ways, which agree.
fn load(frame: &[u8]) -> Result<(), DecodeError> {
    let meta = first_frame();
    let mut loader = SnapshotLoader::new(1, 5, MAX_ID);
    assert_eq!(loader.frame(&meta), Ok(false));
    let loaded = loader.frame(frame).map(|is_last| assert!(!is_last));
    let mut counters = Counters::default();
    let (mut node, _) = Node::create(&meta, 1, 5, MAX_ID, &mut counters).unwrap();
    let before = digest(&node);
    let applied = node.apply(frame, 5, MAX_ID, &mut counters).map(|_| ());
    assert_eq!(applied, loaded);
    assert_eq!(digest(&node) == before, loaded.is_err());
    loaded
}

#[test]
fn metric_begins_only_below_the_limit_of_histograms() {
    let of_metric = OPEN * MAX_HEAP_BYTES;
    let most = MOST.div_ceil(of_metric);
    let mut frame = vec![0x11];
    (0..most).for_each(|i| put_metric(&mut frame, i));
    assert_eq!(load(&frame), Ok(()));
    let bytes = (most * of_metric) as u64;
    assert!(bytes <= max_histogram_bytes(&frame));
    // Each metric in a frame of its own.
    let mut one = vec![0x11];
    put_metric(&mut one, 0);
    assert!(of_metric as u64 <= max_histogram_bytes(&one));
    // Of the next one nothing is read: it would be cut off.
    frame.push(1);
    assert_eq!(load(&frame), Err(TOO_LARGE));
    (most..315).for_each(|i| put_metric(&mut frame, i));
    assert_eq!(load(&frame), Err(TOO_LARGE));
    // However long the frame is, its histograms are bounded.
    let bound = (MOST + of_metric) as u64;
    assert_eq!(max_histogram_bytes(&frame), bound);
    frame.resize(10 << 20, 0);
    assert_eq!(max_histogram_bytes(&frame), bound);
    assert_eq!(max_histogram_bytes(&first_frame()), 0);
    assert_eq!(max_histogram_bytes(&[]), 0);
}

/// A node of metrics with dense and sparse histograms, some of whose counts need 8 bytes.
fn node_of(seed: u64, metrics: usize) -> World {
    let r = &mut Random(seed);
    let mut w = World::new();
    w.settings.rules.flush_delay_ms = 900_000;
    let base = w.now_ms();
    w.pass(900_000);
    let distributions = [
        "12 decades",
        "log-normal",
        "any double",
        "mixed signs",
        "constant",
    ];
    for i in 0..metrics {
        let distribution = distributions[r.below(distributions.len())];
        // Windows of MIN that are open at the same time.
        let windows = 1 + r.below(4);
        for window in 0..windows {
            let (sparse, at) = (r.below(4) > 0, base + window as i64 * 300_000);
            let samples = if sparse { 2 } else { r.below(200) };
            for j in 0..samples {
                let times = match r.below(3) {
                    0 => 1 << 32,
                    1 => r.below(70_000) + 1,
                    _ => 1,
                };
                let one = match sparse {
                    // As far apart as fits at the highest scale.
                    true => (f64::from(j as u32 * 319) / 32.0).exp2() * 1.01,
                    false => value(distribution, r),
                };
                let line = format!("STAT m{i} {one:e} HIST TIMES {times} AT {at}");
                w.run(&line);
            }
        }
    }
    w
}

#[test]
fn every_written_frame_of_histograms_is_read() {
    let (mut largest, mut short) = (0, 0);
    for seed in 0..12 {
        let metrics = [1, 10, 100, 400][seed as usize % 4];
        let w = node_of(seed, metrics);
        let node = w.node.as_ref().unwrap();
        let saved = frames(node);
        let of_metrics = saved.iter().filter(|frame| frame[0] == 0x11);
        let lengths: Vec<usize> = of_metrics.map(Vec::len).collect();
        largest = largest.max(lengths.len());
        // All but the last of a node may end before 64 KiB because of the histograms.
        let ended = lengths.iter().rev().skip(1);
        short += ended.filter(|len| **len < 64 << 10).count();
        let loaded = reload(node);
        assert_eq!(digest(&loaded), digest(node), "seed {seed}");
        // What was loaded takes as much memory, and so ends its frames at the same metrics.
        assert_eq!(frames(&loaded), saved, "seed {seed}");
        // The frames are payloads of AGG.APPLY as well.
        let mut counters = Counters::default();
        let (mut node, _) = Node::create(&saved[0], 1, 5, MAX_ID, &mut counters).unwrap();
        for frame in &saved[1..] {
            node.apply(frame, 5, MAX_ID, &mut counters).unwrap();
        }
        assert_eq!(digest(&node), digest(&loaded), "seed {seed}");
    }
    println!("up to {largest} frames of metrics, of which {short} ended early");
    assert!(largest > 10 && short > 20, "{largest} {short}");
}
