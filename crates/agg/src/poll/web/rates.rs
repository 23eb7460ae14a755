//! How fast records come and go: the counters as they were within the last seconds, beside what they are now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::poll::status::{Status, lock};

/// Between two looks at the counters.
pub const EVERY: Duration = Duration::from_secs(2);
/// Looks that are kept: a rate is that of the last ten seconds.
const KEPT: usize = 6;

/// Records and bytes.
type Counted = (u64, u64);

/// The counters at a time.
struct Look {
    at: Instant,
    sinks: BTreeMap<String, Counted>,
    servers: BTreeMap<String, Counted>,
}

impl Look {
    fn at(status: &Status, at: Instant) -> Look {
        let sinks = status.sinks().into_iter().map(|sink| {
            let records = sink.stored.load(Ordering::Relaxed);
            let bytes = sink.stored_bytes.load(Ordering::Relaxed);
            (sink.name.clone(), (records, bytes))
        });
        Look {
            at,
            sinks: sinks.collect(),
            servers: status.fetched().into_iter().collect(),
        }
    }
}

/// The last looks.
#[derive(Default)]
pub struct Rates(Mutex<VecDeque<Look>>);

/// Records and bytes a second, by name; nothing of what was not there for two looks.
#[derive(Default)]
pub struct Speeds {
    /// Of sinks: what they stored.
    pub sinks: BTreeMap<String, (f64, f64)>,
    /// Of servers: what was fetched.
    pub servers: BTreeMap<String, (f64, f64)>,
}

impl Rates {
    /// Looks at the counters.
    pub fn look(&self, status: &Status, now: Instant) {
        let look = Look::at(status, now);
        let mut looks = lock(&self.0);
        if looks.len() == KEPT {
            looks.pop_front();
        }
        looks.push_back(look);
    }

    /// The speeds since the oldest look that is kept.
    pub fn speeds(&self, status: &Status, now: Instant) -> Speeds {
        let looks = lock(&self.0);
        let Some(before) = looks.front() else {
            return Speeds::default();
        };
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        if seconds < 0.1 {
            return Speeds::default();
        }
        let look = Look::at(status, now);
        let speeds = |before: &BTreeMap<String, Counted>, now: BTreeMap<String, Counted>| {
            let speed = |(name, now): (String, Counted)| {
                let before = before.get(&name)?;
                // One that began anew under its name has counted down.
                let of = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
                Some((name, (of(now.0, before.0), of(now.1, before.1))))
            };
            now.into_iter().filter_map(speed).collect()
        };
        Speeds {
            sinks: speeds(&before.sinks, look.sinks),
            servers: speeds(&before.servers, look.servers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::status::lock;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let (status, rates) = (Status::new(), Rates::default());
        let server = status.server("s", "s");
        let start = Instant::now();
        assert!(rates.speeds(&status, start).servers.is_empty());
        for step in 0..10 {
            // 50 a second at first, then nothing.
            lock(&server).records = 100 * step.min(4);
            rates.look(&status, start + EVERY * step as u32);
        }
        let end = start + EVERY * 9;
        assert_eq!(rates.speeds(&status, end).servers["s"], (0.0, 0.0));
        lock(&server).records += 500;
        assert_eq!(rates.speeds(&status, end).servers["s"], (50.0, 0.0));
    }
}
