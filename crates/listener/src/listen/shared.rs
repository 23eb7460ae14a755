//! The parts that all endpoints share. Reloads keep them.

use std::sync::Arc;

use aggregator_protocol::NodeName;
use parking_lot::Mutex;

use crate::counts::Counts;
use crate::endpoint::prometheus::Totals;
use crate::otlp;
use crate::reporter::{Reporter, unix_ms};
use crate::status::Status;

/// See the [module](self).
pub(super) struct Shared {
    /// The node of a configuration that names none.
    pub host_name: NodeName,
    pub reporter: Reporter,
    pub counts: Arc<Counts>,
    pub status: Arc<Status>,
    /// The cumulative histograms of OTLP.
    pub cumulative: Arc<Mutex<otlp::State>>,
    /// The histograms of targets of Prometheus.
    pub totals: Arc<Totals>,
}

impl Shared {
    pub fn new(host_name: NodeName, reporter: Reporter, counts: Arc<Counts>) -> Shared {
        let cumulative = otlp::State::new(otlp::Limits::default(), unix_ms());
        Shared {
            host_name,
            status: Arc::new(Status::new(counts.clone(), reporter.clone())),
            reporter,
            counts,
            cumulative: Arc::new(Mutex::new(cumulative)),
            totals: Arc::default(),
        }
    }
}
