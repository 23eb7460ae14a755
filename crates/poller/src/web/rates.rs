//! Rates of records and bytes, computed from samples of the counters over the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::status::Status;

/// The time between two samples.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// The number of samples: rates are averages over the last ten seconds.
const MAX_SAMPLES: usize = 6;

/// Records and bytes.
type Counts = (u64, u64);

/// The counters at one moment.
struct Sample {
    at: Instant,
    sinks: BTreeMap<String, Counts>,
    servers: BTreeMap<String, Counts>,
}

impl Sample {
    fn take(status: &Status, at: Instant) -> Sample {
        let sinks = status.sinks().into_iter().map(|sink| {
            let records = sink.stored.load(Ordering::Relaxed);
            let bytes = sink.stored_bytes.load(Ordering::Relaxed);
            (sink.name.clone(), (records, bytes))
        });
        Sample {
            at,
            sinks: sinks.collect(),
            servers: status.fetched().into_iter().collect(),
        }
    }
}

/// The last samples.
#[derive(Default)]
pub struct RateSampler(Mutex<VecDeque<Sample>>);

/// Records and bytes per second, by name. Sinks and servers without two samples are missing.
#[derive(Default)]
pub struct Rates {
    /// Records and bytes stored, by sink.
    pub sinks: BTreeMap<String, (f64, f64)>,
    /// Records and bytes fetched, by server.
    pub servers: BTreeMap<String, (f64, f64)>,
}

impl RateSampler {
    /// Takes a sample.
    pub fn sample(&self, status: &Status, now: Instant) {
        let sample = Sample::take(status, now);
        let mut samples = self.0.lock();
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Returns the rates since the oldest sample.
    pub fn rates(&self, status: &Status, now: Instant) -> Rates {
        let samples = self.0.lock();
        let Some(before) = samples.front() else {
            return Rates::default();
        };
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        if seconds < 0.1 {
            return Rates::default();
        }
        let sample = Sample::take(status, now);
        let rates = |before: &BTreeMap<String, Counts>, now: BTreeMap<String, Counts>| {
            let rate = |(name, now): (String, Counts)| {
                let before = before.get(&name)?;
                // A sink that was restarted under its name counts from 0.
                let of = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
                Some((name, (of(now.0, before.0), of(now.1, before.1))))
            };
            now.into_iter().filter_map(rate).collect()
        };
        Rates {
            sinks: rates(&before.sinks, sample.sinks),
            servers: rates(&before.servers, sample.servers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_the_average_of_the_last_seconds() {
        let (status, sampler) = (Status::new(), RateSampler::default());
        let server = status.server("s", "s");
        let start = Instant::now();
        assert!(sampler.rates(&status, start).servers.is_empty());
        for step in 0..10 {
            // 50 per second at first, then nothing.
            server.lock().records = 100 * step.min(4);
            sampler.sample(&status, start + INTERVAL * step as u32);
        }
        let end = start + INTERVAL * 9;
        assert_eq!(sampler.rates(&status, end).servers["s"], (0.0, 0.0));
        server.lock().records += 500;
        assert_eq!(sampler.rates(&status, end).servers["s"], (50.0, 0.0));
    }
}
