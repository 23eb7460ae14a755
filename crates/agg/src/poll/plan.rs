//! What is to be done, for all servers: which queue of which node goes to which sinks.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use aggregator_protocol::{Queue, RecordFormat};

use super::batch::Delivery;
use super::config::Route;
use super::room::Share;
use super::tags::Edits;

/// A sink, as those who send to it see it.
pub struct Outlet {
    /// How it wants its records.
    pub format: RecordFormat,
    /// The memory for it.
    pub share: Share,
    /// The way to it.
    pub inbox: Sender<Delivery>,
}

/// Where a queue goes.
#[derive(Clone)]
pub struct To {
    /// The sink.
    pub outlet: Arc<Outlet>,
    /// What is done to the tags on the way: the first route that leads there says it.
    pub edits: Option<Arc<Edits>>,
}

/// What is in force.
pub struct Plan {
    /// What goes where.
    pub routes: Vec<Route>,
    /// The sinks, by the numbers of the routes.
    pub outlets: Vec<Arc<Outlet>>,
    /// The longest pause between two looks at a queue.
    pub poll_interval: Duration,
    /// How long others do not get what was fetched.
    pub lease: Duration,
    /// How long the sinks may go on when the end is asked for.
    pub grace: Duration,
}

impl Plan {
    /// The sinks for a queue of a node, each once.
    pub fn to(&self, node: &[u8], queue: Queue) -> Vec<To> {
        let mut taken: Vec<usize> = Vec::new();
        let mut to = Vec::new();
        for route in self.routes.iter().filter(|route| route.takes(node, queue)) {
            for sink in &route.sinks {
                if !taken.contains(sink) {
                    taken.push(*sink);
                    to.push(To {
                        outlet: self.outlets[*sink].clone(),
                        edits: route.edits.clone(),
                    });
                }
            }
        }
        to
    }
}
