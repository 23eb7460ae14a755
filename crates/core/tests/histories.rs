//! Closed windows that are kept for AGG.RANGE: limits that are lowered, and what saved nodes claim.

use crate::support::{BASE, World, frames, reload};
use aggregator_core::codec::put_u64;
use aggregator_core::id::MAX_ID;
use aggregator_core::node::SnapshotLoader;
use aggregator_core::settings::MAX_HISTORY;

const METRICS: usize = 10;

/// Metrics whose history of MIN windows is as long as said.
fn world(windows: u32) -> World {
    let mut w = World::new();
    w.settings.rules.history = [windows, 0];
    w.pass(i64::from(windows) * 300_000 + 7_200_000);
    let names: Vec<String> = (0..METRICS).map(|i| format!("m{i} 1")).collect();
    for i in 0..=i64::from(windows) {
        let at = BASE + i * 300_000;
        w.run(&format!("MSTAT AT {at} VALUES {}", names.join(" ")));
    }
    w.pass_ticking(5_200);
    w.check_copies();
    w
}

fn kept(w: &mut World) -> usize {
    (0..METRICS)
        .map(|i| w.run(&format!("RANGE m{i} MIN")).list().len())
        .sum()
}

#[test]
fn lowered_limit_is_applied_in_small_slices() {
    let mut w = world(200);
    assert_eq!(kept(&mut w), METRICS * 200);
    w.settings.rules.history = [12, 0];
    let (mut slices, mut before) = (0, METRICS * 200);
    loop {
        let more = w.sweep_slice(5, slices == 0);
        let now = kept(&mut w);
        assert!(before - now <= 5 * 16, "one slice drops {}", before - now);
        (slices, before) = (slices + 1, now);
        if !more {
            break;
        }
    }
    assert_eq!(before, METRICS * 12);
    assert!(slices >= METRICS * 188 / 80, "{slices}");
    w.check_copies();
}

#[test]
fn sample_drops_few_windows_beyond_a_lowered_limit() {
    let mut w = world(200);
    w.settings.rules.history = [12, 0];
    let at = BASE + 201 * 300_000;
    w.run(&format!("STAT m0 1 AT {at}"));
    w.run(&format!("STAT m0 1 AT {}", at + 300_000));
    let open = 1;
    assert_eq!(w.run("RANGE m0 MIN").list().len(), 200 - 16 + 1 + open);
    w.check_copies();
    w.settings.rules.history = [0, 0];
    w.run(&format!("STAT m0 1 AT {}", at + 600_000));
    assert_eq!(w.run("RANGE m0 MIN").list().len(), 1, "the open one");
    w.check_copies();
}

#[test]
fn lowered_limit_is_applied_after_a_restart_and_a_failover() {
    for promoted in [false, true] {
        let mut w = world(200);
        w.settings.rules.history = [12, 0];
        w.sweep_slice(10, true);
        let node = w.node.take().unwrap();
        let mut node = if promoted {
            w.replica.take().unwrap()
        } else {
            reload(&node)
        };
        node.restart(w.now.mono_ms);
        w.replica = Some(reload(&node));
        w.node = Some(node);
        w.tick();
        assert_eq!(kept(&mut w), METRICS * 12);
        w.check_copies();
    }
}

/// A frame with one metric, which has so many closed MIN windows.
fn metric_frame(windows: u32) -> Vec<u8> {
    // ABS, no tags, no time; the last value; no rate, nothing pending; the watermark, open windows.
    let mut frame = b"\x11\x01m".to_vec();
    frame.extend([0, 0, 1, 0, 0, 0, 0, 0, 0]);
    put_u64(&mut frame, windows.into());
    // The mean and all that follows from it; a second later; one sample; the sum is zero.
    (0..windows).for_each(|_| frame.extend([1 | 4 | 16 | 32, 2, 1, 0]));
    frame.extend([0, 0, 0]);
    frame
}

#[test]
fn saved_history_longer_than_the_maximum_is_rejected() {
    let mut w = World::new();
    w.run("LOG x");
    let meta = frames(w.node.as_ref().unwrap()).swap_remove(0);
    for (windows, is_taken) in [(MAX_HISTORY, true), (MAX_HISTORY + 1, false)] {
        let mut loader = SnapshotLoader::new(1, 5, MAX_ID);
        assert!(!loader.frame(&meta).unwrap());
        let taken = loader.frame(&metric_frame(windows));
        assert_eq!(taken.is_ok(), is_taken, "{taken:?}");
    }
}

#[test]
fn frame_that_continues_after_its_end_is_rejected() {
    let mut w = World::new();
    w.run("LOG x");
    let meta = frames(w.node.as_ref().unwrap()).swap_remove(0);
    let metrics = |n: u32| {
        let mut frame = vec![0x11];
        for i in 0..n {
            frame.push(4);
            frame.extend(format!("{i:04x}").bytes());
            frame.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        frame
    };
    // 18 bytes each: the last that fits begins before 64 KiB.
    let most = (64 << 10) / 18 + 1;
    for (n, is_taken) in [(most, true), (most + 1, false)] {
        let mut loader = SnapshotLoader::new(1, 5, MAX_ID);
        assert!(!loader.frame(&meta).unwrap());
        let taken = loader.frame(&metrics(n));
        assert_eq!(taken.is_ok(), is_taken, "{n} metrics: {taken:?}");
    }
    let entries = |n: u64| {
        let mut frame = vec![0x12, 2];
        for id in 1..=n {
            put_u64(&mut frame, id);
            frame.extend(b"\x06\x02ab\0\x05\0");
        }
        frame
    };
    for (n, is_taken) in [(6_000, true), (7_400, false)] {
        let mut loader = SnapshotLoader::new(1, 5, MAX_ID);
        assert!(!loader.frame(&meta).unwrap());
        let taken = loader.frame(&entries(n));
        assert_eq!(taken.is_ok(), is_taken, "{n} entries: {taken:?}");
    }
}

#[test]
fn every_written_frame_is_read() {
    let mut w = World::new();
    w.settings.max_item_size = 1 << 20;
    let long = "x".repeat(100_000);
    for i in 0..3 {
        w.run(&format!("STAT {i}{long} 1 TAGS {long}"));
        w.run(&format!("LOG {i}{long}"));
        w.run(&format!("ERROR {i}{long}"));
        w.run(&format!("REALITY {i}{long} M \"{long}\""));
    }
    for i in 0..3_000 {
        w.run(&format!("STAT m{i} 1"));
        w.run(&format!("LOG a-line-of-some-length-{i}"));
        w.run(&format!("ERROR e{i}"));
        w.run(&format!("REALITY o{i} M {i}"));
    }
    assert!(frames(w.node.as_ref().unwrap()).len() > 20);
    w.check_copies();
}
