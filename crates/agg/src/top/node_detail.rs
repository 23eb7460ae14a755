//! The details of one node: its most active metrics and errors, and its latest records. No I/O.
//!
//! A node may have a million metrics. Therefore each reading covers a limited part of them, and the next one continues
//! after it; the most active items so far are read every time. The ranking says how many items it covers.

use std::collections::HashMap;
use std::time::Instant;

use super::rates::speed;
use crate::format::{in_unit, per_second};

/// Maximum items of a kind that are remembered.
const MAX_ITEMS: usize = 20_000;
/// Maximum items of a ranking.
pub const MAX_RANKED: usize = 100;
/// The percentiles of metrics with a histogram that are shown, by the names of their fields.
pub const SHOWN_PERCENTILES: [&str; 2] = ["p50", "p99"];

/// The text of each of [`SHOWN_PERCENTILES`] that the server computes, of the newest open window.
pub type Percentiles = [Option<String>; SHOWN_PERCENTILES.len()];

/// The details of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeDetail {
    pub metrics: Ranking,
    pub errors: Ranking,
    /// The latest pending log entries, newest first.
    pub log: Vec<String>,
    /// The latest pending changes of objects, newest first.
    pub object_changes: Vec<String>,
    /// Some of the node's objects, read if no change is pending.
    pub objects: Vec<String>,
    /// The parts that could not be read, each with its reason.
    pub note: Option<String>,
}

/// The most active items of a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// Most active first.
    pub items: Vec<RankedItem>,
    /// The number of items read in this round.
    pub covered: usize,
    /// True if a round was completed, so that every item was read at least once.
    pub is_complete: bool,
    /// The sum of all rates per second; `None` unless every reading covers all items.
    pub total_rate: Option<f64>,
}

/// An item of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedItem {
    /// The name of a metric, or the message of an error.
    pub name: String,
    /// Samples or occurrences so far.
    pub count: u64,
    /// Samples or occurrences per second; `None` until the second reading.
    pub rate: Option<f64>,
    /// Type, value and level.
    pub detail: String,
    /// None without a histogram.
    pub percentiles: Option<Percentiles>,
    /// Of a DIFF or an INC metric: its total, and when that last changed.
    total: Option<(f64, Instant)>,
}

impl RankedItem {
    /// Returns an item without a total.
    #[cfg(test)]
    pub fn new(name: &str, count: u64, rate: Option<f64>, detail: &str) -> RankedItem {
        RankedItem {
            name: name.to_owned(),
            count,
            rate,
            detail: detail.to_owned(),
            percentiles: None,
            total: None,
        }
    }
}

/// A metric or an error, as read from the server.
#[derive(Clone, Debug)]
pub struct Item {
    /// The name of the metric or the key of the error.
    pub key: Vec<u8>,
    pub name: String,
    pub count: u64,
    pub detail: String,
    /// None without a histogram.
    pub percentiles: Option<Percentiles>,
    /// Of a DIFF or an INC metric: its total, and the unit of its rate. How fast the total grows is shown instead of it.
    pub total: Option<(f64, String)>,
}

/// Reads the items of a kind in parts, and ranks them.
pub struct Ranker {
    /// The cursor at which the next reading continues.
    pub cursor: Vec<u8>,
    known: HashMap<Vec<u8>, Known>,
    /// Items read in this round.
    round: usize,
    /// Items read in the last complete round.
    last_round: Option<usize>,
    /// True if this reading began a round.
    began_round: bool,
    /// True if this reading was a round of its own.
    was_whole_round: bool,
}

struct Known {
    item: RankedItem,
    read_at: Instant,
}

impl Default for Ranker {
    fn default() -> Self {
        Ranker {
            cursor: b"0".to_vec(),
            known: HashMap::new(),
            round: 0,
            last_round: None,
            began_round: false,
            was_whole_round: false,
        }
    }
}

impl Ranker {
    /// Begins a reading.
    pub fn begin(&mut self) {
        self.began_round = self.cursor == b"0";
        if self.began_round {
            self.round = 0;
        }
        self.was_whole_round = false;
    }

    /// Adds a page of items. Returns whether it was the last page of the round.
    pub fn add_page(&mut self, next: Vec<u8>, items: Vec<Item>, at: Instant) -> bool {
        self.round += items.len();
        for item in items {
            self.add(item, at);
        }
        self.cursor = next;
        let is_last = self.cursor == b"0";
        if is_last {
            self.last_round = Some(self.round);
            self.was_whole_round = self.began_round;
            if self.was_whole_round {
                // Items that were not part of it no longer exist.
                self.known.retain(|_, known| known.read_at == at);
            }
        }
        is_last
    }

    /// Adds an item.
    pub fn add(&mut self, item: Item, at: Instant) {
        let before = self.known.get(&item.key);
        let rate = before.and_then(|known| {
            let seconds = at.saturating_duration_since(known.read_at).as_secs_f64();
            match speed(item.count, known.item.count, seconds) {
                // The same reading returned it twice.
                None if seconds == 0.0 => known.item.rate,
                rate => rate,
            }
        });
        let mut ranked = RankedItem {
            name: item.name,
            count: item.count,
            rate,
            detail: item.detail,
            percentiles: item.percentiles,
            total: None,
        };
        if let Some((total, unit)) = &item.total {
            let before = before.map(|known| &known.item);
            add_growth(&mut ranked, before, (*total, unit), at);
        }
        let known = Known {
            item: ranked,
            read_at: at,
        };
        self.known.insert(item.key, known);
        if self.known.len() > MAX_ITEMS {
            let least_active: Vec<Vec<u8>> = self.ranked().skip(MAX_ITEMS / 2).cloned().collect();
            for key in least_active {
                self.known.remove(&key);
            }
        }
    }

    /// Removes an item that no longer exists.
    pub fn remove(&mut self, key: &[u8]) {
        self.known.remove(key);
    }

    /// Returns the keys of the most active items that the reading at this time did not cover, up to `limit`.
    pub fn uncovered(&self, limit: usize, at: Instant) -> Vec<Vec<u8>> {
        let most_active = self.ranked().take(limit);
        most_active
            .filter(|key| self.known[*key].read_at != at)
            .cloned()
            .collect()
    }

    fn ranked(&self) -> impl Iterator<Item = &Vec<u8>> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by(|(a_key, a), (b_key, b)| {
            let rate = |known: &Known| known.item.rate.unwrap_or(0.0);
            rate(b)
                .total_cmp(&rate(a))
                .then_with(|| b.item.count.cmp(&a.item.count))
                .then_with(|| a_key.cmp(b_key))
        });
        all.into_iter().map(|(key, _)| key)
    }

    /// Returns the ranking of all items read so far.
    pub fn ranking(&self) -> Ranking {
        let items = self.ranked().take(MAX_RANKED);
        let rates = self.known.values().map(|known| known.item.rate);
        Ranking {
            items: items.map(|key| self.known[key].item.clone()).collect(),
            covered: self.last_round.unwrap_or(0).max(self.round),
            is_complete: self.last_round.is_some(),
            total_rate: match self.was_whole_round {
                // New items count from their second reading on.
                true => rates.flatten().reduce(|a, b| a + b),
                false => None,
            },
        }
    }
}

/// Appends to the detail of a DIFF or an INC metric how fast its total grows: over the time between the readings at which it had
/// new samples.
fn add_growth(
    item: &mut RankedItem,
    before: Option<&RankedItem>,
    (total, unit): (f64, &str),
    at: Instant,
) {
    let Some((before, (old, since))) = before.and_then(|item| Some((item, item.total?))) else {
        item.total = Some((total, at));
        item.detail.push_str(" -");
        return;
    };
    if before.count == item.count {
        item.total = Some((old, since));
        item.detail.clone_from(&before.detail);
        return;
    }
    item.total = Some((total, at));
    let seconds = at.saturating_duration_since(since).as_secs_f64();
    let rate = match total >= old && seconds > 0.0 {
        true => in_unit((total - old) / seconds, unit),
        // The counter restarted, and the server is too old to send the sum of its increases.
        false => "-".into(),
    };
    item.detail = format!("{} {}", item.detail, per_second(rate));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn item(name: &str, count: u64) -> Item {
        Item {
            key: name.into(),
            name: name.into(),
            count,
            detail: String::new(),
            percentiles: None,
            total: None,
        }
    }

    #[test]
    fn counter_shows_how_fast_it_grows() {
        let (mut ranker, start) = (Ranker::default(), Instant::now());
        let mut read = |seconds, count, total: f64| {
            let mut item = item("net.rx", count);
            item.detail = "DIFF".into();
            item.total = Some((total, "bytes".into()));
            ranker.add(item, start + Duration::from_secs(seconds));
            ranker.ranking().items[0].detail.clone()
        };
        assert_eq!(read(0, 1, 5_000_000.0), "DIFF -");
        assert_eq!(read(2, 2, 5_004_096.0), "DIFF 2kb/s");
        // Without a new sample the rate stays, and the time of the next rate begins where that of this one ended.
        assert_eq!(read(4, 2, 5_004_096.0), "DIFF 2kb/s");
        assert_eq!(read(6, 3, 5_012_288.0), "DIFF 2kb/s");
        assert_eq!(read(8, 4, 10.0), "DIFF -");
        assert_eq!(read(10, 5, 2058.0), "DIFF 1kb/s");
    }

    fn names(ranking: &Ranking) -> Vec<&str> {
        ranking.items.iter().map(|item| &*item.name).collect()
    }

    #[test]
    fn most_active_items_come_first() {
        let (mut ranker, at) = (Ranker::default(), Instant::now());
        ranker.begin();
        assert!(ranker.add_page(b"0".into(), vec![item("old", 900), item("new", 3)], at));
        assert_eq!(names(&ranker.ranking()), ["old", "new"]);
        assert_eq!(ranker.ranking().total_rate, None);
        ranker.begin();
        let later = at + Duration::from_secs(2);
        ranker.add_page(b"0".into(), vec![item("new", 23), item("old", 902)], later);
        let ranking = ranker.ranking();
        assert_eq!(names(&ranking), ["new", "old"]);
        let rates = (ranking.items[0].rate, ranking.total_rate);
        assert_eq!(rates, (Some(10.0), Some(11.0)));
        assert!(ranking.is_complete && ranking.covered == 2);
        // An item that is returned twice keeps its rate, and one that no longer exists is removed.
        ranker.begin();
        let last = later + Duration::from_secs(1);
        ranker.add_page(b"0".into(), vec![item("new", 24), item("new", 24)], last);
        assert_eq!(names(&ranker.ranking()), ["new"]);
        assert_eq!(ranker.ranking().items[0].rate, Some(1.0));
    }

    #[test]
    fn round_spans_several_readings() {
        let (mut ranker, at) = (Ranker::default(), Instant::now());
        ranker.begin();
        assert!(!ranker.add_page(b"7".into(), vec![item("a", 5)], at));
        assert!(!ranker.ranking().is_complete);
        let later = at + Duration::from_secs(1);
        ranker.begin();
        assert!(ranker.add_page(b"0".into(), vec![item("b", 4)], later));
        assert_eq!(ranker.uncovered(10, later), [b"a".to_vec()]);
        ranker.add(item("a", 6), later);
        let ranking = ranker.ranking();
        assert!(ranking.is_complete && ranking.covered == 2 && ranking.total_rate.is_none());
        assert_eq!(ranking.items[0].rate, Some(1.0));
        ranker.remove(b"a");
        assert_eq!(names(&ranker.ranking()), ["b"]);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut ranker, at) = (Ranker::default(), Instant::now());
        ranker.begin();
        let many = (0..MAX_ITEMS as u64 + 1)
            .map(|n| item(&n.to_string(), n))
            .collect();
        ranker.add_page(b"9".into(), many, at);
        assert_eq!(ranker.known.len(), MAX_ITEMS / 2);
        assert_eq!(ranker.ranking().items[0].count, MAX_ITEMS as u64);
        assert_eq!(ranker.ranking().items.len(), MAX_RANKED);
    }
}
