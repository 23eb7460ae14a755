//! The way of a protocol's reports to the server: collected, then sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::collector::{Collector, CollectorSettings, RequestLimits, Unreported};
use crate::counts::Counts;
use crate::reporter::{Answer, Reporter, Unavailable, unix_ms};

/// Bytes of reports that are collected before they are sent without waiting for the end of the interval.
const SEND_THRESHOLD: usize = 256 << 10;

/// The bytes from which parsing takes so long, about a millisecond, that other tasks get another thread.
const LONG_INPUT: usize = 256 << 10;

/// The content of a request may have so many bytes, and so many times those of its body: OTLP has the name of a metric and
/// the attributes of a resource once for all their points.
const MIN_CONTENT: usize = 16 << 20;
const MAX_REPETITION: usize = 16;

/// Takes the reports of one protocol.
pub struct Intake {
    protocol: &'static str,
    collector: Mutex<Collector>,
    reporter: Reporter,
    counts: Arc<Counts>,
    /// The samples beyond the limit of instances that were counted.
    other: AtomicU64,
}

impl Intake {
    /// Creates an intake that sends by a reporter.
    pub fn new(
        protocol: &'static str,
        mut collector: Collector,
        reporter: Reporter,
        counts: Arc<Counts>,
    ) -> Intake {
        counts.register(protocol);
        collector.set_protocol(protocol);
        // Or the first flush would be a leap in time, after which all series are forgotten.
        collector.advance(now_ms());
        Intake {
            protocol,
            collector: Mutex::new(collector),
            reporter,
            counts,
            other: AtomicU64::new(0),
        }
    }

    /// Returns the name of the protocol.
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Returns the counts, which all protocols share.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Parses input that nobody waits for.
    pub fn feed(&self, parse: impl FnOnce(&mut Collector)) {
        let mut collector = self.collector.lock();
        parse(&mut collector);
        if collector.bytes() >= SEND_THRESHOLD {
            self.send(&mut collector);
        }
    }

    /// Parses an input of so many bytes that nobody waits for.
    pub fn feed_long(&self, bytes: usize, parse: impl FnOnce(&mut Collector)) {
        parse_in_place(bytes, || {
            self.feed(|collector| {
                // It may be that of a hostile target.
                collector.begin_request(self.limits(bytes));
                parse(collector);
                collector.end_request();
            });
        });
    }

    /// Parses a request of so many bytes, and waits until the server has answered its reports, as [`Reporter::report`] does.
    ///
    /// # Errors
    ///
    /// The server cannot take the request at present, and nothing of it is kept. What `parse` has returned is returned with
    /// it, and what of it was not reported.
    pub async fn request<T>(
        &self,
        bytes: usize,
        parse: impl FnOnce(&mut Collector) -> T,
        gone: impl Future<Output = ()>,
    ) -> (T, Unreported, Result<Answer, Unavailable>) {
        let parse = || {
            let mut collector = self.collector.lock();
            // Reports of other requests are not mixed with these.
            self.send(&mut collector);
            collector.begin_request(self.limits(bytes));
            let parsed = parse(&mut collector);
            (parsed, collector.end_request(), collector.take())
        };
        let (parsed, unreported, reports) = parse_in_place(bytes, parse);
        let answer = self.reporter.report(reports, gone).await;
        (parsed, unreported, answer)
    }

    fn limits(&self, bytes: usize) -> RequestLimits {
        RequestLimits {
            content: MIN_CONTENT + MAX_REPETITION * bytes,
            reports: self.reporter.limit() / 2,
        }
    }

    /// Returns `false` if the server cannot be reached.
    pub fn is_up(&self) -> bool {
        self.reporter.is_up()
    }

    /// Sends what was collected, and what is due by time.
    pub fn flush(&self) {
        let mut collector = self.collector.lock();
        collector.advance(now_ms());
        self.send(&mut collector);
        let invalid = collector.take_invalid();
        let other = collector.identity().overflowed();
        let (wrong_times, skipped) = (collector.take_wrong_times(), collector.take_skipped());
        drop(collector);
        self.counts.wrong_times(self.protocol, wrong_times);
        self.counts.skipped(self.protocol, skipped);
        for ((protocol, reason), invalid) in invalid {
            self.counts.invalid(protocol, reason, invalid);
        }
        let before = self.other.swap(other, Ordering::Relaxed);
        self.counts
            .other(self.protocol, other.saturating_sub(before));
    }

    /// Changes the settings of what is received from now.
    pub fn configure(&self, settings: CollectorSettings) {
        let mut collector = self.collector.lock();
        collector.configure(settings, |collector| self.send(collector));
    }

    /// Sends all that was collected, also sets whose interval has not ended.
    pub fn finish(&self) {
        self.collector.lock().flush_sets();
        self.flush();
    }

    fn send(&self, collector: &mut Collector) {
        let reports = collector.take();
        if !reports.is_empty() {
            self.counts.received(
                self.protocol,
                reports.iter().map(|report| report.inputs()).sum(),
            );
            self.reporter.submit(reports);
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(unix_ms()).unwrap_or(0)
}

/// Calls `parse`, which reads so many bytes. If they are many, the runtime moves other tasks to another thread first.
fn parse_in_place<T>(bytes: usize, parse: impl FnOnce() -> T) -> T {
    let has_others = || Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    match bytes >= LONG_INPUT && has_others() {
        true => block_in_place(parse),
        false => parse(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use aggregator_protocol::NodeName;

    use super::*;
    use crate::identity::IdentitySettings;
    use crate::sets::SetSettings;

    fn intake(max_instances: u32) -> Intake {
        let counts = Arc::new(Counts::default());
        let collector = Collector::new(CollectorSettings {
            node: NodeName(b"n".to_vec()),
            identity: IdentitySettings {
                max_instances,
                ..IdentitySettings::default()
            },
            sets: SetSettings::default(),
            errors_from: None,
            error_key: |message| message.to_owned(),
        });
        let reporter = Reporter::new(1 << 20, counts.clone());
        Intake::new("statsd", collector, reporter, counts)
    }

    #[test]
    fn series_of_the_first_moment_are_not_forgotten() {
        let intake = intake(10);
        let send = |first: u32| {
            for id in first..first + 10 {
                let line = format!("m:1|c|#id:{id}");
                intake.feed(|collector| crate::statsd::parse(line.as_bytes(), collector));
            }
            intake.flush();
        };
        send(0);
        send(10);
        assert_eq!(intake.counts().all()["statsd"].other, 10);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_while_a_long_input_is_parsed() {
        let intake = Arc::new(intake(1000));
        let task = tokio::spawn(async move {
            for is_request in [true, false] {
                let (sent, received) = mpsc::channel();
                tokio::spawn(async move { sent.send(()) });
                let parse = move |_: &mut Collector| {
                    received.recv_timeout(Duration::from_secs(60)).unwrap()
                };
                match is_request {
                    true => {
                        let gone = std::future::pending();
                        let (_, _, answer) = intake.request(LONG_INPUT, parse, gone).await;
                        answer.unwrap();
                    }
                    false => intake.feed_long(LONG_INPUT, parse),
                }
            }
        });
        task.await.unwrap();
    }
}
