//! Frames whose histograms take many times their bytes: the memory that they may take does not depend on their number.

use aggregator_core::codec::put_u64;
use aggregator_core::{Counters, Node, Settings};
use aggregator_fuzz::codec;
use aggregator_fuzz::server::{BASE, frames};

/// The histograms of a metric: four open windows of each length.
const OPEN: u64 = 4;
const LENGTHS_S: [u64; 2] = [300, 3600];

/// Appends a metric with eight histograms of 14 bytes, each of which takes 2,560.
fn put_metric(frame: &mut Vec<u8>, i: usize) {
    let name = format!("{i:x}");
    frame.push(name.len() as u8);
    frame.extend(name.bytes());
    // ABS with histograms, no tags, no time; the last value; no rate, nothing pending.
    frame.extend([64, 0, 1, 0, 0, 0, 0]);
    for length_s in LENGTHS_S {
        frame.extend([0, OPEN as u8]);
        for k in 0..OPEN {
            put_u64(frame, k * length_s);
            frame.extend([1, 0, 0, 0, 0]);
        }
        frame.push(0);
    }
    frame.push(2 * OPEN as u8);
    for (window, length_s) in (0..).zip(LENGTHS_S) {
        for k in 0..OPEN {
            frame.push(window);
            put_u64(frame, k * length_s);
            // Scale 5, 320 buckets from 0 on: 2^33 samples, 318 empty ones, a sample.
            frame.extend([41, 0, 0, 0xc0, 2, 0]);
            for token in [2 << 33, 2 * 318 + 1, 2] {
                put_u64(frame, token);
            }
        }
    }
}

#[test]
fn frames_of_histograms_take_limited_memory() {
    let meta = frames(&Node::new(&Settings::default(), 1)).swap_remove(0);
    // Seven fit: an eighth would begin after 128 KiB of histograms. 315 are 64 KiB.
    for metrics in [1, 2, 7, 8, 50, 315] {
        let mut frame = vec![0x11];
        (0..metrics).for_each(|i| put_metric(&mut frame, i));
        let mut end = vec![0x1f, metrics.min(255) as u8];
        end.extend([0; 7]);
        let pieces = [meta.clone(), frame, end];
        // As a load, and as payloads of AGG.APPLY; both panic beyond their bound.
        for mode in 0..2 {
            codec::run(&codec::seed(mode, &pieces));
        }
        let [meta, frame, _] = &pieces;
        let counters = &mut Counters::default();
        let (mut node, _) = Node::create(meta, 1, 5, BASE as u64, counters).unwrap();
        let applied = node.apply(frame, 5, BASE as u64, counters);
        assert_eq!(applied.is_ok(), metrics <= 7, "{metrics}: {applied:?}");
    }
}
