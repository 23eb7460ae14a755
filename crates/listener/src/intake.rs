//! The way of a protocol's reports to the server: collected, then sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::collector::{Collector, CollectorSettings};
use crate::counts::Counts;
use crate::reporter::{Answer, Reporter, Unavailable, unix_ms};

/// Bytes of reports that are collected before they are sent without waiting for the end of the interval.
const SEND_THRESHOLD: usize = 256 << 10;

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

    /// Parses a request, and waits until the server has answered its reports, as [`Reporter::report`] does.
    ///
    /// # Errors
    ///
    /// The server cannot take the request at present, and nothing of it is kept. What `parse` has returned is returned with
    /// it.
    pub async fn request<T>(
        &self,
        parse: impl FnOnce(&mut Collector) -> T,
        gone: impl Future<Output = ()>,
    ) -> (T, Result<Answer, Unavailable>) {
        let (parsed, reports) = {
            let mut collector = self.collector.lock();
            // Reports of other requests are not mixed with these.
            self.send(&mut collector);
            let parsed = parse(&mut collector);
            (parsed, collector.take())
        };
        let inputs = reports.iter().map(|report| report.inputs()).sum();
        let answer = self.reporter.report(reports, gone).await;
        // What is not kept will be received again.
        if answer.is_ok() {
            self.counts.received(self.protocol, inputs);
        }
        (parsed, answer)
    }

    /// Returns `false` if the server cannot be reached.
    pub fn is_up(&self) -> bool {
        self.reporter.is_up()
    }

    /// Sends what was collected, and what is due by time.
    pub fn flush(&self) {
        let mut collector = self.collector.lock();
        collector.advance(u64::try_from(unix_ms()).unwrap_or(0));
        self.send(&mut collector);
        let invalid = collector.take_invalid();
        let other = collector.identity().overflowed();
        drop(collector);
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
