//! The windows of a node's metrics over time: when to look at which open ones, and the closed ones that are kept for
//! AGG.RANGE.
//!
//! Every open window is known to the node's [`Deadlines`], by its start while its end is ahead, by a time to look again
//! once it can only wait for quiet.

use super::bucket::{Bucket, Closed, Form};
use crate::codec::bytes::Reader;
use crate::time::second;
use std::collections::{BTreeMap, BTreeSet};

/// When to look at which windows of one length. Derived from the open windows; not part of the value.
#[derive(Default)]
pub(crate) struct Deadlines {
    /// Open windows by start (Unix seconds), as far as their end was ahead when they were opened: few distinct ones,
    /// however many metrics there are.
    starts: BTreeMap<u32, u32>,
    /// (running time, slot): windows past their end whose metric was not quiet when last looked at.
    linger: BTreeSet<(u64, u32)>,
    /// The same by slot and start.
    lingering: BTreeMap<(u32, u32), u64>,
    /// The pass over all metrics that looks for windows past their end: the next slot to look at.
    pub scan: Option<u32>,
}

impl Deadlines {
    /// A window was opened in `slot` whose end is ahead.
    pub fn opened(&mut self, bucket: &Bucket, slot: u32) {
        debug_assert!(!bucket.lingers(), "slot {slot}");
        *self.starts.entry(bucket.start_s()).or_insert(0) += 1;
    }

    /// The window is not open any more.
    pub fn closed(&mut self, bucket: &Bucket, slot: u32) {
        if bucket.lingers() {
            if let Some(until) = self.lingering.remove(&(slot, bucket.start_s())) {
                self.linger.remove(&(until, slot));
            }
        } else if let Some(count) = self.starts.get_mut(&bucket.start_s()) {
            *count -= 1;
            if *count == 0 {
                self.starts.remove(&bucket.start_s());
            }
        }
    }

    /// The window's metric has moved.
    pub fn moved(&mut self, bucket: &Bucket, from: u32, slot: u32) {
        if let Some(until) = self.lingering.remove(&(from, bucket.start_s())) {
            self.linger.remove(&(until, from));
            self.lingering.insert((slot, bucket.start_s()), until);
            self.linger.insert((until, slot));
        }
    }

    /// Looks at the window, which was opened before or is new, again at `until`. It is past its end.
    pub fn linger(&mut self, bucket: &mut Bucket, is_new: bool, slot: u32, until: u64) {
        if !is_new {
            self.closed(bucket, slot);
        }
        bucket.set_lingering();
        self.lingering.insert((slot, bucket.start_s()), until);
        self.linger.insert((until, slot));
    }

    /// Whether it is time to look at this window again.
    pub fn is_lingering(&self, bucket: &Bucket, slot: u32, mono_ms: u64) -> bool {
        self.lingering
            .get(&(slot, bucket.start_s()))
            .is_some_and(|until| *until <= mono_ms)
    }

    /// Whether windows that begin at `start` (Unix milliseconds) or before are waiting to be found by a pass.
    pub fn waits_before(&self, start: i64) -> bool {
        self.starts
            .first_key_value()
            .is_some_and(|(&first, _)| i64::from(first) * 1000 <= start)
    }

    /// The slot of the next window to look at again; it is to be closed, or to linger on.
    pub fn take_linger(&mut self, mono_ms: u64) -> Option<u32> {
        if self.linger.first()?.0 > mono_ms {
            return None;
        }
        self.linger.pop_first().map(|(_, slot)| slot)
    }
}

/// Bytes of a history that need no allocation: the first window's, nearly always. When the windows of all metrics close
/// for the first time, new memory is most of what that costs.
const SHORT: usize = 23;

/// The first allocation, and by how much it grows: doubling on and on would double the memory of all metrics at once.
const FIRST: usize = 64;
const GROWTH: usize = 128;

/// The most bytes of a history, so that 32 bits count them, whatever is loaded.
const MOST_BYTES: usize = u32::MAX as usize - 128;

/// The bytes of a history, with room behind.
#[derive(Clone)]
enum Room {
    Short([u8; SHORT]),
    Long(Box<[u8]>),
}

impl Default for Room {
    fn default() -> Room {
        Room::Short([0; SHORT])
    }
}

impl Room {
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Room::Short(bytes) => bytes,
            Room::Long(bytes) => bytes,
        }
    }

    /// As many more bytes behind the first `len`.
    fn reserve(&mut self, len: usize, more: usize) -> &mut [u8] {
        let all = self.bytes_mut();
        if all.len() < len + more {
            let most = match len + more {
                ..=FIRST => FIRST,
                most => most.next_multiple_of(GROWTH),
            };
            *self = Room::Long(match std::mem::take(self) {
                Room::Long(bytes) => {
                    let mut bytes = bytes.into_vec();
                    bytes.reserve_exact(most - bytes.len());
                    bytes.resize(most, 0);
                    bytes.into_boxed_slice()
                }
                Room::Short(bytes) => {
                    let mut larger = vec![0; most].into_boxed_slice();
                    larger[..SHORT].copy_from_slice(&bytes);
                    larger
                }
            });
        }
        self.bytes_mut().get_mut(len..).unwrap_or_default()
    }
}

/// Closed windows of one metric and length, the oldest first, in compact form.
#[derive(Default, Clone)]
pub(crate) struct History {
    room: Room,
    /// Bytes of it in use.
    used: u32,
    count: u32,
    /// What the first is told relative to, and the start of the last, Unix seconds.
    before_s: u32,
    last_s: u32,
}

impl History {
    /// Adds a window and keeps at most `most`.
    pub fn push(&mut self, start_s: u32, form: Form<'_>, most: u32) {
        while self.count > 0 && (self.count >= most || self.bytes().len() > MOST_BYTES) {
            self.drop_first();
        }
        if most == 0 {
            return;
        }
        if self.count == 0 {
            (self.before_s, self.last_s) = (0, 0);
        }
        let (used, last_s) = (self.used as usize, self.last_s);
        form.write(start_s, last_s, |more| {
            self.used += more as u32;
            self.room.reserve(used, more)
        });
        self.last_s = start_s;
        self.count += 1;
    }

    fn bytes(&self) -> &[u8] {
        let all = match &self.room {
            Room::Short(bytes) => bytes,
            Room::Long(bytes) => &bytes[..],
        };
        all.get(..self.used as usize).unwrap_or_default()
    }

    /// The windows, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Closed> {
        let mut reader = Reader::new(self.bytes());
        let mut before_s = self.before_s;
        (0..self.count).map_while(move |_| {
            let closed = Closed::read(before_s, &mut reader).ok()?;
            before_s = second(closed.start);
            Some(closed)
        })
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    fn drop_first(&mut self) {
        let mut reader = Reader::new(self.bytes());
        if let Ok(closed) = Closed::read(self.before_s, &mut reader) {
            let start_s = second(closed.start);
            let left = reader.left();
            let first = self.used as usize - left;
            let all = self.room.bytes_mut();
            all.copy_within(first..first + left, 0);
            (self.before_s, self.used) = (start_s, left as u32);
        }
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_keeps_the_newest() {
        let mut history = History::default();
        let push = |history: &mut History, start: i64, most| {
            let closed = Closed {
                start: start * 1000,
                count: 1,
                sum: 0.1,
                avg: 0.1,
                min: 0.1,
                max: 0.1,
                last: 0.1,
            };
            let mut form = Vec::new();
            let mark = closed.put(0, &mut form);
            history.push(start as u32, Form::of(&form, mark), most);
        };
        (0..10).for_each(|start| push(&mut history, start, 3));
        assert!(history.iter().map(|c| c.start / 1000).eq(7..10));
        (10..90).for_each(|start| push(&mut history, start, 60));
        assert!(history.iter().map(|c| c.start / 1000).eq(30..90));
        push(&mut history, 90, 0);
        assert_eq!(history.len(), 0);
    }
}
