//! The state at one time, as the page shows it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::counts::ProtocolCounts;

/// The state at one time.
#[derive(Serialize)]
pub(crate) struct View {
    /// The server answers.
    pub is_up: bool,
    /// The bytes of reports without a reply.
    pub buffered_bytes: usize,
    /// Seconds since the start.
    pub uptime_s: u64,
    pub protocols: BTreeMap<&'static str, ProtocolCounts>,
    /// The targets of Prometheus, with the errors of their last scrapes.
    pub targets: BTreeMap<String, Option<String>>,
}
