//! The routing table: which queue of which node goes to which sinks. The same table holds for all servers.

use std::sync::Arc;
use std::time::Duration;

use aggregator_protocol::{Queue, RecordFormat};
use tokio::sync::mpsc::UnboundedSender;

use super::batch::Delivery;
use super::budget::Budget;
use super::config::Route;
use super::tags::Edits;

/// The sending side of a sink.
pub struct SinkHandle {
    /// The format in which the sink takes records.
    pub format: RecordFormat,
    /// True if the sink needs the floors of the records.
    pub needs_floor: bool,
    /// The memory for records in flight to the sink.
    pub budget: Budget,
    /// Deliveries to the sink.
    pub inbox: UnboundedSender<Delivery>,
}

/// A sink that a queue is routed to.
#[derive(Clone)]
pub struct Destination {
    /// The sink.
    pub sink: Arc<SinkHandle>,
    /// The changes to the tags of its records, taken from the first route that leads to the sink.
    pub edits: Option<Arc<Edits>>,
}

/// The routes, sinks and timing in force.
pub struct RoutingTable {
    /// The routes.
    pub routes: Vec<Route>,
    /// The sinks; a route refers to a sink by its index here.
    pub sinks: Vec<Arc<SinkHandle>>,
    /// The longest pause between two fetches from a queue.
    pub poll_interval: Duration,
    /// The duration of the lease of fetched records.
    pub lease: Duration,
    /// The time for which the sinks may continue to write after shutdown was requested.
    pub grace: Duration,
}

impl RoutingTable {
    /// Returns the sinks that a queue of a node is routed to, each once.
    pub fn destinations(&self, node: &[u8], queue: Queue) -> Vec<Destination> {
        let mut seen: Vec<usize> = Vec::new();
        let mut destinations = Vec::new();
        for route in self
            .routes
            .iter()
            .filter(|route| route.matches(node, queue))
        {
            for sink in &route.sinks {
                if !seen.contains(sink) {
                    seen.push(*sink);
                    destinations.push(Destination {
                        sink: self.sinks[*sink].clone(),
                        edits: route.edits.clone(),
                    });
                }
            }
        }
        destinations
    }
}
