//! What all endpoints share, also over reloads.

use std::sync::Arc;

use aggregator_protocol::NodeName;

use crate::counts::Counts;
use crate::reporter::Reporter;
use crate::status::Status;

/// See the [module](self).
pub(super) struct Shared {
    /// The node of a configuration that names none.
    pub host_name: NodeName,
    pub reporter: Reporter,
    pub counts: Arc<Counts>,
    pub status: Arc<Status>,
}
