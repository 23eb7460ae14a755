//! The closed windows of one metric and length, kept for AGG.RANGE in compact form.
//!
//! No operation moves more than [`LONG`] bytes or reads more windows than it is to drop, however long the history is: a
//! short one is in one piece, a longer one in chunks of whole windows.

use crate::codec::bytes::Reader;
use crate::model::{ClosedWindow, CompactForm};
use crate::settings::MAX_HISTORY;
use crate::time::second;
use std::collections::VecDeque;

/// Bytes of a history that need no allocation: nearly always those of the first window. When the windows of all metrics
/// close for the first time, new memory is most of the cost.
const SHORT: usize = 23;

/// The first allocation, and the growth: doubling again and again would double the memory of all metrics at once.
const FIRST: usize = 64;
const GROWTH: usize = 128;

/// The longest history in one piece: moving it takes half a microsecond. A day of short windows is shorter. In chunks
/// it took 11 % more memory, as a part of the first is dropped.
const LONG: usize = 16 << 10;

/// The size of a chunk.
const CHUNK: usize = 4 << 10;

/// The limit of the windows of a metric that are dropped at once where the limit was lowered. A change of this number
/// makes replicas of another version keep a different number of windows for a while.
pub(crate) const AT_ONCE: u32 = 16;

/// The bytes of a history, with free space at the end.
#[derive(Clone)]
enum Bytes {
    Short([u8; SHORT]),
    Long(Box<[u8]>),
    Chunks(Box<Chunks>),
}

/// The bytes of a long history: no window is in two chunks.
#[derive(Clone)]
struct Chunks {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that were dropped.
    dropped: usize,
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::Short([0; SHORT])
    }
}

/// Returns the size of an allocation for `len` bytes.
fn capacity(len: usize) -> usize {
    match len {
        ..=FIRST => FIRST,
        len => len.next_multiple_of(GROWTH),
    }
}

impl Bytes {
    /// Returns `more` bytes after the first `len`.
    fn reserve(&mut self, len: usize, more: usize) -> &mut [u8] {
        let size = match self {
            Bytes::Short(_) => SHORT,
            Bytes::Long(bytes) => bytes.len(),
            Bytes::Chunks(_) => usize::MAX,
        };
        if size < len + more {
            self.grow(len, more);
        }
        match self {
            Bytes::Short(bytes) => bytes.get_mut(len..).unwrap_or_default(),
            Bytes::Long(bytes) => bytes.get_mut(len..).unwrap_or_default(),
            Bytes::Chunks(chunks) => chunks.reserve(more),
        }
    }

    #[cold]
    fn grow(&mut self, len: usize, more: usize) {
        let max = capacity(len + more);
        *self = match std::mem::take(self) {
            Bytes::Long(bytes) if max > LONG => {
                let mut first = bytes.into_vec();
                first.truncate(len);
                Bytes::Chunks(Box::new(Chunks {
                    chunks: VecDeque::from([first]),
                    dropped: 0,
                }))
            }
            Bytes::Long(bytes) => {
                let mut bytes = bytes.into_vec();
                bytes.reserve_exact(max - bytes.len());
                bytes.resize(max, 0);
                Bytes::Long(bytes.into_boxed_slice())
            }
            Bytes::Short(bytes) => {
                let mut larger = vec![0; max].into_boxed_slice();
                larger[..SHORT].copy_from_slice(&bytes);
                Bytes::Long(larger)
            }
            chunks => chunks,
        };
    }

    /// Returns the bytes in use, of which there are `used` unless they are in chunks.
    fn parts(&self, used: usize) -> impl Iterator<Item = &[u8]> {
        let (one, chunks) = match self {
            Bytes::Short(bytes) => (bytes.get(..used), None),
            Bytes::Long(bytes) => (bytes.get(..used), None),
            Bytes::Chunks(chunks) => (None, Some(chunks.parts())),
        };
        one.into_iter().chain(chunks.into_iter().flatten())
    }

    /// Drops the first `bytes`, whole windows, of the `used` ones. Returns how many are left, unless they are in
    /// chunks.
    fn drop_first(&mut self, bytes: usize, used: usize) -> usize {
        let left = used.saturating_sub(bytes);
        match self {
            Bytes::Short(all) => all.copy_within(bytes..used, 0),
            Bytes::Long(all) => {
                all.copy_within(bytes..used, 0);
                // Much shorter than it was: the limit was lowered.
                if capacity(left) < all.len() / 2 {
                    let kept = all.get(..capacity(left)).unwrap_or_default();
                    *self = Bytes::Long(kept.into());
                }
            }
            Bytes::Chunks(chunks) => {
                chunks.drop_first(bytes);
                if let Some(last) = chunks.take_small() {
                    let mut bytes = last;
                    let left = bytes.len();
                    bytes.resize(capacity(left), 0);
                    *self = Bytes::Long(bytes.into_boxed_slice());
                    return left;
                }
            }
        }
        left
    }
}

impl Chunks {
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let dropped = |i| if i == 0 { self.dropped } else { 0 };
        let chunks = self.chunks.iter().enumerate();
        chunks.map(move |(i, chunk)| chunk.get(dropped(i)..).unwrap_or_default())
    }

    fn reserve(&mut self, more: usize) -> &mut [u8] {
        let is_full = |chunk: &Vec<u8>| chunk.len() + more > CHUNK && !chunk.is_empty();
        if self.chunks.back().is_none_or(is_full) {
            self.chunks.push_back(Vec::new());
        }
        let Some(chunk) = self.chunks.back_mut() else {
            return &mut [];
        };
        let len = chunk.len();
        if chunk.capacity() < len + more {
            chunk.reserve_exact(capacity(len + more) - len);
        }
        chunk.resize(len + more, 0);
        chunk.get_mut(len..).unwrap_or_default()
    }

    fn drop_first(&mut self, bytes: usize) {
        self.dropped += bytes;
        while let Some(first) = self.chunks.front()
            && self.dropped >= first.len()
        {
            self.dropped -= first.len();
            self.chunks.pop_front();
        }
    }

    /// Returns what is left, if it is no more than a chunk.
    fn take_small(&mut self) -> Option<Vec<u8>> {
        let is_small = |chunk: &Vec<u8>| chunk.len() - self.dropped <= CHUNK;
        if self.chunks.len() > 1 || !self.chunks.front().is_some_and(is_small) {
            return None;
        }
        let chunk = self.chunks.pop_front()?;
        Some(chunk.get(self.dropped..).unwrap_or_default().to_vec())
    }
}

/// The closed windows of one metric and length, the oldest first, in compact form.
#[derive(Default, Clone)]
pub(crate) struct History {
    bytes: Bytes,
    /// The bytes in use, unless they are in chunks.
    used: u32,
    count: u32,
    /// The start relative to which the first is written, and the start of the last, Unix seconds.
    before_s: u32,
    last_s: u32,
}

impl History {
    /// Adds a window and keeps at most `max`; where the limit was lowered, drops [`AT_ONCE`] windows of those beyond
    /// it.
    pub fn push(&mut self, start_s: u32, form: CompactForm<'_>, max: u32) {
        let max = max.min(MAX_HISTORY);
        if max == 0 {
            *self = History::default();
            return;
        }
        self.trim(max - 1, AT_ONCE);
        if self.count == 0 {
            (self.before_s, self.last_s) = (0, 0);
        }
        let (used, last_s) = (self.used as usize, self.last_s);
        form.write(start_s, last_s, |more| {
            self.used += more as u32;
            self.bytes.reserve(used, more)
        });
        self.last_s = start_s;
        self.count += 1;
    }

    /// Returns the windows, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = ClosedWindow> {
        let mut windows = self.windows();
        (0..self.count).map_while(move |_| windows.next().map(|(closed, _)| closed))
    }

    /// Returns each window with its number of bytes.
    fn windows(&self) -> impl Iterator<Item = (ClosedWindow, usize)> {
        let mut parts = self.bytes.parts(self.used as usize);
        let mut reader = Reader::new(&[]);
        let mut before_s = self.before_s;
        std::iter::from_fn(move || {
            if reader.is_empty() {
                reader = Reader::new(parts.next()?);
            }
            let left = reader.left();
            let closed = ClosedWindow::read(before_s, &mut reader).ok()?;
            before_s = second(closed.start);
            Some((closed, left - reader.left()))
        })
    }

    /// Returns the number of windows.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Drops the oldest windows beyond `max`, but not more than `at_once`.
    pub fn trim(&mut self, max: u32, at_once: u32) {
        let dropped = self.count.saturating_sub(max).min(at_once);
        if dropped == 0 {
            return;
        }
        let (mut bytes, mut before_s) = (0, self.before_s);
        for (closed, len) in self.windows().take(dropped as usize) {
            bytes += len;
            before_s = second(closed.start);
        }
        self.used = self.bytes.drop_first(bytes, self.used as usize) as u32;
        self.before_s = before_s;
        self.count -= dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn closed(start_s: u32) -> ClosedWindow {
        ClosedWindow {
            start: i64::from(start_s) * 1000,
            count: u64::from(start_s) % 300 + 1,
            sum: 0.1,
            avg: 0.1,
            min: 0.1,
            max: f64::from(start_s) / 3.0,
            last: 0.1,
            percentiles: None,
        }
    }

    fn push(history: &mut History, start_s: u32, max: u32) {
        let mut form = Vec::new();
        let mark = closed(start_s).put(0, &mut form);
        history.push(start_s, CompactForm::of(&form, mark), max);
    }

    #[test]
    fn history_keeps_the_newest() {
        let mut history = History::default();
        let kept = |history: &History| history.iter().map(|c| second(c.start)).collect::<Vec<_>>();
        (0..10).for_each(|start| push(&mut history, start, 3));
        assert_eq!(kept(&history), [7, 8, 9]);
        (10..90).for_each(|start| push(&mut history, start, 60));
        assert!(kept(&history).into_iter().eq(30..90));
        push(&mut history, 90, 0);
        assert_eq!(history.len(), 0);
    }

    #[test]
    fn push_drops_few_windows_beyond_a_lowered_limit() {
        let mut history = History::default();
        (0..2_000).for_each(|start| push(&mut history, start, 2_000));
        push(&mut history, 2_000, 12);
        assert_eq!(history.len(), 2_001 - AT_ONCE);
        (0..200).for_each(|i| push(&mut history, 2_001 + i, 12));
        assert_eq!(history.len(), 12);
    }

    #[test]
    fn memory_of_dropped_windows_is_freed() {
        let allocated = |history: &History| match &history.bytes {
            Bytes::Short(_) => 0,
            Bytes::Long(bytes) => bytes.len(),
            Bytes::Chunks(chunks) => chunks.chunks.iter().map(Vec::capacity).sum(),
        };
        for (long, short) in [(2_000, 12), (100, 3), (9_000, 1_000)] {
            let mut history = History::default();
            (0..long).for_each(|start| push(&mut history, start, long));
            while history.len() > short {
                history.trim(short, AT_ONCE);
            }
            let used: usize = history.windows().map(|(_, len)| len).sum();
            // In chunks the first and the last are used in part.
            let spare = if short < 100 {
                used + 2 * GROWTH
            } else {
                LONG + CHUNK
            };
            let max = used + spare;
            assert!(
                allocated(&history) <= max,
                "{} for {used}",
                allocated(&history)
            );
        }
    }

    #[test]
    fn operation_on_a_long_history_moves_little() {
        let mut history = History::default();
        (0..MAX_HISTORY).for_each(|start| push(&mut history, start, MAX_HISTORY));
        let Bytes::Chunks(chunks) = &history.bytes else {
            panic!("a long history lies in one piece");
        };
        assert!(chunks.chunks.iter().all(|chunk| chunk.capacity() <= LONG));
    }

    proptest! {
        #[test]
        fn history_behaves_as_a_list(steps in prop::collection::vec((0u32..4, 1u32..900, 1u32..2_000), 0..40)) {
            let mut history = History::default();
            let mut model: VecDeque<ClosedWindow> = VecDeque::new();
            let mut next = 0;
            for (op, n, max) in steps {
                if op == 0 {
                    history.trim(max, n);
                    let dropped = model.len().saturating_sub(max as usize).min(n as usize);
                    model.drain(..dropped);
                } else {
                    for _ in 0..n {
                        push(&mut history, next, max);
                        let beyond = model.len().saturating_sub(max as usize - 1);
                        model.drain(..beyond.min(AT_ONCE as usize));
                        model.push_back(closed(next));
                        next += 1;
                    }
                }
                prop_assert_eq!(history.len() as usize, model.len());
                prop_assert!(history.iter().eq(model.iter().cloned()));
            }
        }
    }
}
