//! What a look into one node finds: its noisiest metrics and errors, and the latest of what waits. Pure.
//!
//! A node may hold a million metrics, so each look reads a bounded part and the next one goes on behind it; those that
//! were the noisiest so far are asked for in every look. How much was looked at is told with it.

use std::collections::HashMap;
use std::time::Instant;

use super::model::speed;
use super::show::{in_unit, per_second};

/// Most of a kind that are remembered.
const MOST: usize = 20_000;
/// Most of a kind that are shown.
pub const SHOWN: usize = 100;

/// What was found in a node.
#[derive(Clone, Debug, Default)]
pub struct Close {
    pub metrics: Noise,
    pub errors: Noise,
    /// The latest lines of its log that wait, the newest first.
    pub logs: Vec<String>,
    /// The objects that changed last and wait, the newest first.
    pub realities: Vec<String>,
    /// Where no change of an object waits: some of the objects that are held.
    pub held: Vec<String>,
    /// What could not be looked at, and why.
    pub note: Option<String>,
}

/// The noisiest of a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Noise {
    /// The noisiest first.
    pub list: Vec<Noisy>,
    /// How many have been looked at so far, in this round.
    pub looked: usize,
    /// Whether every one was looked at, if not at once.
    pub whole: bool,
    /// What all make together, a second, where all are looked at each time.
    pub total: Option<f64>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Noisy {
    /// Its name or message, for a person.
    pub name: String,
    /// Samples or occurrences so far.
    pub count: u64,
    /// A second, once it was looked at twice.
    pub rate: Option<f64>,
    /// What else there is to tell of it.
    pub detail: String,
    /// Of a counter: its total, and when it changed last.
    total: Option<(f64, Instant)>,
}

impl Noisy {
    /// One that is no counter.
    #[cfg(test)]
    pub fn of(name: &str, count: u64, rate: Option<f64>, detail: &str) -> Noisy {
        let (name, detail) = (name.to_owned(), detail.to_owned());
        Noisy {
            name,
            count,
            rate,
            detail,
            total: None,
        }
    }
}

/// What is read of one.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is known by.
    pub key: Vec<u8>,
    pub name: String,
    pub count: u64,
    pub detail: String,
    /// Of a counter: its total, and the unit of its rate. The total itself tells a reader nothing.
    pub counter: Option<(f64, String)>,
}

/// Goes through those of a kind, a part at a time.
pub struct Walk {
    /// Where the next look goes on.
    pub cursor: Vec<u8>,
    seen: HashMap<Vec<u8>, Seen>,
    round: usize,
    last_round: Option<usize>,
    /// The last look came from the beginning to the end.
    at_once: bool,
    fresh: bool,
}

struct Seen {
    noisy: Noisy,
    at: Instant,
}

impl Default for Walk {
    fn default() -> Self {
        Walk {
            cursor: b"0".to_vec(),
            seen: HashMap::new(),
            round: 0,
            last_round: None,
            at_once: false,
            fresh: false,
        }
    }
}

impl Walk {
    /// Begins a look.
    pub fn begin(&mut self) {
        self.fresh = self.cursor == b"0";
        if self.fresh {
            self.round = 0;
        }
        self.at_once = false;
    }

    /// Takes a page; tells whether it was the last of the round.
    pub fn page(&mut self, next: Vec<u8>, items: Vec<Item>, at: Instant) -> bool {
        self.round += items.len();
        for item in items {
            self.take(item, at);
        }
        self.cursor = next;
        let last = self.cursor == b"0";
        if last {
            self.last_round = Some(self.round);
            self.at_once = self.fresh;
            if self.at_once {
                // What was not seen in it is no more.
                self.seen.retain(|_, seen| seen.at == at);
            }
        }
        last
    }

    /// Takes what was read of one.
    pub fn take(&mut self, item: Item, at: Instant) {
        let before = self.seen.get(&item.key);
        let rate = before.and_then(|seen| {
            let seconds = at.saturating_duration_since(seen.at).as_secs_f64();
            match speed(item.count, seen.noisy.count, seconds) {
                // Told twice by the same look.
                None if seconds == 0.0 => seen.noisy.rate,
                rate => rate,
            }
        });
        let mut noisy = Noisy {
            name: item.name,
            count: item.count,
            rate,
            detail: item.detail,
            total: None,
        };
        if let Some((total, unit)) = &item.counter {
            count_up(
                &mut noisy,
                before.map(|seen| &seen.noisy),
                (*total, unit),
                at,
            );
        }
        self.seen.insert(item.key, Seen { noisy, at });
        if self.seen.len() > MOST {
            let quiet: Vec<Vec<u8>> = self.sorted().skip(MOST / 2).cloned().collect();
            for key in quiet {
                self.seen.remove(&key);
            }
        }
    }

    /// Forgets one that is no more.
    pub fn forget(&mut self, key: &[u8]) {
        self.seen.remove(key);
    }

    /// The noisiest that this look did not come by.
    pub fn missed(&self, most: usize, at: Instant) -> Vec<Vec<u8>> {
        let noisy = self.sorted().take(most);
        noisy
            .filter(|key| self.seen[*key].at != at)
            .cloned()
            .collect()
    }

    fn sorted(&self) -> impl Iterator<Item = &Vec<u8>> {
        let mut all: Vec<_> = self.seen.iter().collect();
        all.sort_by(|(a_key, a), (b_key, b)| {
            let rate = |seen: &Seen| seen.noisy.rate.unwrap_or(0.0);
            rate(b)
                .total_cmp(&rate(a))
                .then_with(|| b.noisy.count.cmp(&a.noisy.count))
                .then_with(|| a_key.cmp(b_key))
        });
        all.into_iter().map(|(key, _)| key)
    }

    /// What is known now.
    pub fn noise(&self) -> Noise {
        let list = self.sorted().take(SHOWN);
        let rates = self.seen.values().map(|seen| seen.noisy.rate);
        Noise {
            list: list.map(|key| self.seen[key].noisy.clone()).collect(),
            looked: self.last_round.unwrap_or(0).max(self.round),
            whole: self.last_round.is_some(),
            total: match self.at_once {
                // Those that are new count from the next look on.
                true => rates.flatten().reduce(|a, b| a + b),
                false => None,
            },
        }
    }
}

/// Tells of a counter how fast it grows: over the time between the looks at which it had other samples.
fn count_up(noisy: &mut Noisy, before: Option<&Noisy>, (total, unit): (f64, &str), at: Instant) {
    let Some((before, (old, since))) = before.and_then(|b| Some((b, b.total?))) else {
        noisy.total = Some((total, at));
        noisy.detail.push_str(" -");
        return;
    };
    if before.count == noisy.count {
        noisy.total = Some((old, since));
        noisy.detail.clone_from(&before.detail);
        return;
    }
    noisy.total = Some((total, at));
    let seconds = at.saturating_duration_since(since).as_secs_f64();
    let rate = match total >= old && seconds > 0.0 {
        true => in_unit((total - old) / seconds, unit),
        // It began anew.
        false => "-".into(),
    };
    noisy.detail = format!("{} {}", noisy.detail, per_second(rate));
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
            counter: None,
        }
    }

    #[test]
    fn counter_tells_how_fast_it_grows() {
        let (mut walk, start) = (Walk::default(), Instant::now());
        let mut look = |seconds, count, total: f64| {
            let mut item = item("net.rx", count);
            item.detail = "DIFF".into();
            item.counter = Some((total, "bytes".into()));
            walk.take(item, start + Duration::from_secs(seconds));
            walk.noise().list[0].detail.clone()
        };
        assert_eq!(look(0, 1, 5_000_000.0), "DIFF -");
        assert_eq!(look(2, 2, 5_004_096.0), "DIFF 2kb/s");
        // Nothing was reported since: the rate stays, and the time of the next begins where that one's ended.
        assert_eq!(look(4, 2, 5_004_096.0), "DIFF 2kb/s");
        assert_eq!(look(6, 3, 5_012_288.0), "DIFF 2kb/s");
        assert_eq!(look(8, 4, 10.0), "DIFF -");
        assert_eq!(look(10, 5, 2058.0), "DIFF 1kb/s");
    }

    fn names(noise: &Noise) -> Vec<&str> {
        noise.list.iter().map(|noisy| &*noisy.name).collect()
    }

    #[test]
    fn the_noisiest_come_first() {
        let (mut walk, at) = (Walk::default(), Instant::now());
        walk.begin();
        assert!(walk.page(b"0".into(), vec![item("old", 900), item("new", 3)], at));
        assert_eq!(names(&walk.noise()), ["old", "new"]);
        assert_eq!(walk.noise().total, None);
        walk.begin();
        let later = at + Duration::from_secs(2);
        walk.page(b"0".into(), vec![item("new", 23), item("old", 902)], later);
        let noise = walk.noise();
        assert_eq!(names(&noise), ["new", "old"]);
        assert_eq!((noise.list[0].rate, noise.total), (Some(10.0), Some(11.0)));
        assert!(noise.whole && noise.looked == 2);
        // One that is told twice is not slower for it, and one that is no more goes.
        walk.begin();
        let last = later + Duration::from_secs(1);
        walk.page(b"0".into(), vec![item("new", 24), item("new", 24)], last);
        assert_eq!(names(&walk.noise()), ["new"]);
        assert_eq!(walk.noise().list[0].rate, Some(1.0));
    }

    #[test]
    fn a_part_at_a_time() {
        let (mut walk, at) = (Walk::default(), Instant::now());
        walk.begin();
        assert!(!walk.page(b"7".into(), vec![item("a", 5)], at));
        assert!(!walk.noise().whole);
        let later = at + Duration::from_secs(1);
        walk.begin();
        assert!(walk.page(b"0".into(), vec![item("b", 4)], later));
        assert_eq!(walk.missed(10, later), [b"a".to_vec()]);
        walk.take(item("a", 6), later);
        let noise = walk.noise();
        assert!(noise.whole && noise.looked == 2 && noise.total.is_none());
        assert_eq!(noise.list[0].rate, Some(1.0));
        walk.forget(b"a");
        assert_eq!(names(&walk.noise()), ["b"]);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut walk, at) = (Walk::default(), Instant::now());
        walk.begin();
        let many = (0..MOST as u64 + 1)
            .map(|n| item(&n.to_string(), n))
            .collect();
        walk.page(b"9".into(), many, at);
        assert_eq!(walk.seen.len(), MOST / 2);
        assert_eq!(walk.noise().list[0].count, MOST as u64);
        assert_eq!(walk.noise().list.len(), SHOWN);
    }
}
