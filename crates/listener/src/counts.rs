//! Counts of received reports by protocol, for the status page and its metrics.

use std::collections::BTreeMap;

use aggregator_protocol::masking;
use parking_lot::Mutex;

use crate::batch::Outcome;
use crate::collector::Invalid;

/// Counts that all tasks share.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, ProtocolCounts>>);

/// The counts of a protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ProtocolCounts {
    /// The reports of what was received, without invalid input: of samples, log records, errors and objects. A log record
    /// that is also an error is two. It is the sum of `counted`, `late`, `rejected`, `dropped` and those without a reply.
    pub received: u64,
    /// Those that the server has counted.
    pub counted: u64,
    /// Those that came after their windows had closed.
    pub late: u64,
    /// Those that the server has rejected.
    pub rejected: u64,
    /// The last reason.
    pub rejection: Option<String>,
    /// Those that were dropped because the buffer was full.
    pub dropped: u64,
    /// Datagrams that the kernel has dropped because the queue of the socket was full.
    pub kernel_dropped: u64,
    /// Samples of series beyond the limit of instances, which are reported as `name@other`.
    pub other: u64,
    /// Log records with a time that the server would reject: they have the time of their arrival.
    pub wrong_times: u64,
    /// Values that are no samples, such as strings of InfluxDB.
    pub skipped: u64,
    /// Totals of histograms that were forgotten because there were too many: what was added before their next total is not
    /// known.
    pub evicted: u64,
    /// Input that the protocol cannot use, by reason.
    pub invalid: BTreeMap<&'static str, Invalid>,
}

impl Counts {
    fn change(&self, protocol: &'static str, change: impl FnOnce(&mut ProtocolCounts)) {
        change(self.0.lock().entry(protocol).or_default());
    }

    /// Makes a protocol known, so that it is shown before it has received anything.
    pub fn register(&self, protocol: &'static str) {
        self.change(protocol, |_| {});
    }

    /// Adds reports that were received.
    pub fn received(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.received += count);
    }

    /// Adds what the server has answered.
    pub fn answered(&self, protocol: &'static str, outcome: &Outcome) {
        self.change(protocol, |counts| {
            counts.counted += outcome.counted;
            counts.late += outcome.late;
            counts.rejected += outcome.rejected_inputs();
            if let Some(reason) = outcome.reason() {
                counts.rejection = Some(masking::text(reason).into_owned());
            }
        });
    }

    /// Adds reports that did not fit into the buffer.
    pub fn dropped(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.dropped += count);
    }

    /// Adds datagrams that the kernel has dropped.
    pub fn kernel_dropped(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.kernel_dropped += count);
    }

    /// Adds samples of series beyond the limit of instances.
    pub fn other(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.other += count);
    }

    /// Adds log records whose times are wrong.
    pub fn wrong_times(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.wrong_times += count);
    }

    /// Adds values that are no samples.
    pub fn skipped(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.skipped += count);
    }

    /// Sets the number of totals that were forgotten.
    pub fn set_evicted(&self, protocol: &'static str, count: u64) {
        self.change(protocol, |counts| counts.evicted = count);
    }

    /// Adds input that a protocol cannot use.
    pub fn invalid(&self, protocol: &'static str, reason: &'static str, added: Invalid) {
        self.change(protocol, |counts| {
            let invalid = counts.invalid.entry(reason).or_default();
            invalid.count += added.count;
            invalid.example = added.example;
        });
    }

    /// Returns the counts of all protocols.
    pub fn all(&self) -> BTreeMap<&'static str, ProtocolCounts> {
        self.0.lock().clone()
    }
}
