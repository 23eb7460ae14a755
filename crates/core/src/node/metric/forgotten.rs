//! The windows up to which forgotten metrics were delivered. A metric that reports again continues there, so that no
//! window of it is delivered twice: in line protocol, one point would be made of two records.
//!
//! A metric is known here by a hash of its name with 128 bits, so an entry has one small size. Two names of one hash,
//! which never happen by chance, would share their entry, within their node.

use crate::codec::bytes::{Reader, put_u64};
use crate::error::DecodeError;
use crate::model::{PerWindow, Window};
use crate::node::table::{Named, Table};
use crate::time::{MAX_MS, second};
use std::collections::BTreeSet;
use xxhash_rust::xxh3::xxh3_128;

/// Windows in the past, as of data that is imported again, are remembered for a day.
const DAY_MS: i64 = 86_400_000;

/// A metric that was forgotten.
pub(crate) struct Forgotten {
    key: [u8; 16],
    /// As [`crate::node::metric::storage::Metric::watermark_s`].
    pub watermark_s: PerWindow<u32>,
    /// The time at which it was forgotten, and that at which the entry expires, by the primary's clock, Unix seconds.
    since_s: u32,
    until_s: u32,
}

impl Named for Forgotten {
    fn name(&self) -> &[u8] {
        &self.key
    }
}

impl Forgotten {
    /// Returns `true` if the entry is valid: its time has begun and not passed. An entry too far ahead is of a clock
    /// that was wrong.
    pub fn is_valid(&self, now_ms: i64, max_future_ms: i64) -> bool {
        let ms = |s: u32| i64::from(s) * 1000;
        now_ms < ms(self.until_s) && ms(self.since_s) <= now_ms.saturating_add(max_future_ms)
    }

    /// Writes the form of digests and saved nodes.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.extend(self.key);
        for s in self
            .watermark_s
            .0
            .into_iter()
            .chain([self.since_s, self.until_s])
        {
            put_u64(out, s.into());
        }
    }

    /// Reads what `save` wrote.
    pub fn load(r: &mut Reader<'_>) -> Result<Forgotten, DecodeError> {
        let mut key = [0; 16];
        for byte in &mut key {
            *byte = r.u8()?;
        }
        Ok(Forgotten {
            key,
            watermark_s: PerWindow([r.u32()?, r.u32()?]),
            since_s: r.u32()?,
            until_s: r.u32()?,
        })
    }
}

/// The forgotten metrics of a node.
pub(crate) struct ForgottenMetrics {
    pub table: Table<Forgotten>,
    /// (since, slot): the order in which they are dropped where there are too many. Derived from the table.
    order: BTreeSet<(u32, u32)>,
    /// The slots that the sweep has not reached yet.
    pub sweep_cursor: u32,
}

impl ForgottenMetrics {
    /// Creates an empty set. `seed` as for [`Table::new`].
    pub fn new(seed: u64) -> ForgottenMetrics {
        ForgottenMetrics {
            table: Table::new(seed),
            order: BTreeSet::new(),
            sweep_cursor: 0,
        }
    }

    /// Returns the slot of the entry of a name.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        // Most nodes forget nothing, and need no hash for each new metric.
        match self.table.len() {
            0 => None,
            _ => self.table.find(&key(name)),
        }
    }

    /// Remembers a metric until its HOUR window has passed by the flush delay.
    pub fn remember(
        &mut self,
        name: &[u8],
        watermark_s: PerWindow<u32>,
        now_ms: i64,
        delay_ms: i64,
    ) {
        if watermark_s == PerWindow([0; 2]) {
            return;
        }
        if let Some(slot) = self.find(name) {
            self.remove(slot);
        }
        let passed_ms = i64::from(watermark_s[Window::Hour]) * 1000 + delay_ms.clamp(0, MAX_MS);
        let until_ms = match passed_ms > now_ms {
            true => passed_ms,
            false => now_ms.saturating_add(DAY_MS),
        };
        self.add(Forgotten {
            key: key(name),
            watermark_s,
            since_s: second(now_ms),
            until_s: second(until_ms.saturating_add(999)),
        });
    }

    /// Adds an entry whose key does not exist.
    pub fn add(&mut self, forgotten: Forgotten) {
        let since_s = forgotten.since_s;
        let slot = self.table.insert(forgotten);
        self.order.insert((since_s, slot));
    }

    /// Drops an entry.
    pub fn remove(&mut self, slot: u32) {
        let Some(removed) = self.table.remove(slot) else {
            return;
        };
        self.order.remove(&(removed.item.since_s, slot));
        if let (Some(from), Some(moved)) = (removed.moved_from, self.table.get(slot)) {
            self.order.remove(&(moved.since_s, from));
            self.order.insert((moved.since_s, slot));
        }
    }

    /// Returns the slots of the `n` metrics that were forgotten first, growing.
    pub fn oldest(&self, n: usize) -> Vec<u32> {
        let mut slots: Vec<u32> = self.order.iter().take(n).map(|(_, slot)| *slot).collect();
        slots.sort_unstable();
        slots
    }
}

fn key(name: &[u8]) -> [u8; 16] {
    // Without the seed of the process: the hash goes into files and to replicas.
    xxh3_128(name).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_hour_is_remembered_until_it_has_passed_and_a_past_one_for_a_day() {
        let mut all = ForgottenMetrics::new(1);
        all.remember(b"now", PerWindow([3_300, 3_600]), 3_000_000, 5_000);
        all.remember(b"past", PerWindow([3_300, 3_600]), 9_000_000, 5_000);
        all.remember(b"never", PerWindow([0, 0]), 9_000_000, 5_000);
        let holds = |name: &[u8], now| {
            let one = all.find(name).and_then(|slot| all.table.get(slot));
            one.is_some_and(|one| one.is_valid(now, 60_000))
        };
        assert!(holds(b"now", 3_000_000) && holds(b"now", 3_604_999));
        assert!(!holds(b"now", 3_605_000));
        assert!(holds(b"past", 9_000_000 + 86_399_999));
        assert!(!holds(b"past", 9_000_000 + 86_400_000));
        assert!(holds(b"past", 8_940_000) && !holds(b"past", 8_939_999));
        assert!(all.find(b"never").is_none());
    }

    #[test]
    fn first_forgotten_metrics_are_dropped_first() {
        let mut all = ForgottenMetrics::new(1);
        for (i, since) in [5, 3, 9, 1, 7].into_iter().enumerate() {
            all.remember(&[i as u8], PerWindow([900, 3_600]), since * 1_000, 0);
        }
        assert_eq!(all.oldest(2), [1, 3]);
        for slot in all.oldest(3).into_iter().rev() {
            all.remove(slot);
        }
        assert_eq!(all.table.len(), 2);
        assert!([2, 4].into_iter().all(|i| all.find(&[i]).is_some()));
        assert_eq!(all.order.len(), 2);
        let slots: Vec<u32> = all.order.iter().map(|(_, slot)| *slot).collect();
        assert_eq!(slots, [4, 2].map(|i| all.find(&[i]).unwrap()));
    }
}
