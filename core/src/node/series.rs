//! The windows of one metric and one length: which are open, where a sample belongs, and the closed ones kept for
//! AGG.RANGE.
//!
//! At most two windows are open; `newest` is the later one. Every open window is known to the node's [`Deadlines`], by
//! its start while its end is ahead, by a time to look again once it can only wait for quiet.

use super::bucket::{Bucket, Closed};
use crate::codec::bytes::Reader;
use std::collections::{BTreeMap, BTreeSet};

/// See the file's header.
#[derive(Default)]
pub(crate) struct Series {
    /// The end of the newest window that has closed; 0: none has.
    pub closed_to: i64,
    pub newest: Option<Bucket>,
    pub older: Option<Box<Bucket>>,
}

/// Where a sample belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its window has closed, or came too late to be opened.
    Missed,
    Newest,
    Older,
    /// A window after all open ones.
    New,
    /// A window before the newest that is not open yet.
    Before,
}

impl Series {
    /// Where a sample of the window that begins at `start` belongs. `passed`: the clock has passed the window's end by
    /// the flush delay.
    #[inline]
    pub fn place(&self, start: i64, passed: bool) -> Place {
        if start < self.closed_to {
            return Place::Missed;
        }
        match (&self.newest, &self.older) {
            (None, _) => Place::New,
            (Some(newest), _) if start == newest.start => Place::Newest,
            (Some(newest), _) if start > newest.start => Place::New,
            (_, Some(older)) if start == older.start => Place::Older,
            // Of three windows the oldest closes; it would be this one, which is as good as missed.
            (_, Some(older)) if start < older.start => Place::Missed,
            _ if passed => Place::Missed,
            _ => Place::Before,
        }
    }

    /// The open windows, the older first.
    pub fn open(&self) -> impl Iterator<Item = &Bucket> {
        self.older.as_deref().into_iter().chain(&self.newest)
    }

    /// Whether its older window is past its end by the flush delay: it closes at once, as a later window is open.
    pub fn older_is_due(&self, length_ms: i64, passed_ms: i64) -> bool {
        self.older
            .as_ref()
            .is_some_and(|b| b.start + length_ms <= passed_ms)
    }

    /// Whether its newest window is past its end by the flush delay.
    pub fn newest_is_due(&self, length_ms: i64, passed_ms: i64) -> bool {
        self.newest
            .as_ref()
            .is_some_and(|b| b.start + length_ms <= passed_ms)
    }
}

/// When to look at which windows of one length. Derived from the open windows; not part of the value.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Open windows by start, as far as their end was ahead when they were opened: few distinct ones, however many
    /// metrics there are.
    starts: BTreeMap<i64, u32>,
    /// (running time, slot): windows past their end whose metric was not quiet when last looked at.
    linger: BTreeSet<(u64, u32)>,
    /// The pass over all metrics that looks for windows past their end: the next slot to look at.
    pub scan: Option<u32>,
}

impl Deadlines {
    /// A window was opened in `slot`, `linger` set where its end is already past.
    pub fn opened(&mut self, bucket: &Bucket, slot: u32) {
        if bucket.linger == 0 {
            *self.starts.entry(bucket.start).or_insert(0) += 1;
        } else {
            self.linger.insert((bucket.linger, slot));
        }
    }

    /// The window is not open any more.
    pub fn closed(&mut self, bucket: &Bucket, slot: u32) {
        if bucket.linger != 0 {
            self.linger.remove(&(bucket.linger, slot));
        } else if let Some(count) = self.starts.get_mut(&bucket.start) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&bucket.start);
            }
        }
    }

    /// The window's metric has moved.
    pub fn moved(&mut self, bucket: &Bucket, from: u32, slot: u32) {
        if bucket.linger != 0 {
            self.linger.remove(&(bucket.linger, from));
            self.linger.insert((bucket.linger, slot));
        }
    }

    /// Looks at the window again at `until`.
    pub fn linger(&mut self, bucket: &mut Bucket, slot: u32, until: u64) {
        self.closed(bucket, slot);
        bucket.linger = until.max(1);
        self.opened(bucket, slot);
    }

    /// Whether windows that begin at `start` or before are waiting to be found by a pass.
    pub fn waits_before(&self, start: i64) -> bool {
        self.starts
            .first_key_value()
            .is_some_and(|(&first, _)| first <= start)
    }

    /// The slot of the next window to look at again; it is to be closed, or to linger on.
    pub fn take_linger(&mut self, mono_ms: u64) -> Option<u32> {
        if self.linger.first()?.0 > mono_ms {
            return None;
        }
        self.linger.pop_first().map(|(_, slot)| slot)
    }
}

/// The most bytes of a closed window in compact form, and by how much a history grows at a time: when all metrics close
/// at once, doubling would double their memory at once.
const MOST_BYTES: usize = 64;
const GROWTH: usize = 128;

/// Closed windows of one metric and length, the oldest first, in compact form.
#[derive(Default, Clone)]
pub(crate) struct History {
    bytes: Vec<u8>,
    count: u32,
}

impl History {
    /// Adds a window and keeps at most `most`.
    pub fn push(&mut self, closed: &Closed, most: u32) {
        while self.count > 0 && self.count >= most {
            self.drop_first();
        }
        if most == 0 {
            return;
        }
        if self.bytes.capacity() - self.bytes.len() < MOST_BYTES {
            self.bytes.reserve_exact(GROWTH);
        }
        closed.put(&mut self.bytes);
        self.count += 1;
    }

    /// The windows, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Closed> {
        let mut reader = Reader::new(&self.bytes);
        (0..self.count).map_while(move |_| Closed::read(&mut reader).ok())
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    fn drop_first(&mut self) {
        let mut reader = Reader::new(&self.bytes);
        let before = reader.left();
        let _ = Closed::read(&mut reader);
        self.bytes.drain(..before - reader.left());
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(closed_to: i64, older: Option<i64>, newest: Option<i64>) -> Series {
        Series {
            closed_to,
            newest: newest.map(Bucket::new),
            older: older.map(|s| Box::new(Bucket::new(s))),
        }
    }

    #[test]
    fn a_sample_finds_its_window() {
        assert_eq!(series(0, None, None).place(600, true), Place::New);
        assert_eq!(series(900, None, None).place(600, false), Place::Missed);
        assert_eq!(series(0, None, Some(600)).place(600, true), Place::Newest);
        assert_eq!(series(0, None, Some(600)).place(900, false), Place::New);
        assert_eq!(series(0, None, Some(600)).place(300, false), Place::Before);
        assert_eq!(series(0, None, Some(600)).place(300, true), Place::Missed);
        assert_eq!(
            series(0, Some(300), Some(600)).place(300, true),
            Place::Older
        );
        assert_eq!(
            series(0, Some(300), Some(900)).place(600, false),
            Place::Before
        );
        assert_eq!(
            series(0, Some(300), Some(600)).place(0, false),
            Place::Missed
        );
    }

    #[test]
    fn history_keeps_the_newest() {
        let mut history = History::default();
        for start in 0..10 {
            let closed = Closed {
                start,
                count: 1,
                sum: 0.1,
                avg: 0.1,
                min: 0.1,
                max: 0.1,
                last: 0.1,
            };
            history.push(&closed, 3);
        }
        assert!(history.iter().map(|c| c.start).eq(7..10));
        history.push(
            &Closed {
                start: 0,
                count: 1,
                sum: 0.0,
                avg: 0.0,
                min: 0.0,
                max: 0.0,
                last: 0.0,
            },
            0,
        );
        assert_eq!(history.len(), 0);
    }
}
