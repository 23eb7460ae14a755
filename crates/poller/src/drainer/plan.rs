//! Planning: which queues are fetched from in the next round of a drainer.
//!
//! # Invariants
//!
//! - A queue with a backlog is fetched from alone, so that no other queue takes its part of a reply.
//! - The queues of a node that have no backlog and lead to the same sinks are fetched from together as soon as one of
//!   them is due: an idle node costs one command, not one for each queue.

use std::sync::Arc;
use std::time::Instant;

use crate::budget::Permit;
use crate::routing::{Destination, SinkHandle};

use super::{Drainer, NodeQueue, REPLY_BYTES};

/// The maximum number of fetches in one pipeline.
const MAX_PIPELINE: usize = 8;

/// A fetch that was or will be sent.
pub(super) struct PendingFetch {
    /// The indexes of the node queues, which are of one node and lead to the same sinks.
    pub(super) indexes: Vec<usize>,
    /// The budget for the reply, one permit for each sink.
    pub(super) permits: Vec<Permit>,
}

/// The fetches of one round.
#[derive(Default)]
pub(super) struct FetchPlan {
    pub(super) fetches: Vec<PendingFetch>,
    /// The sinks on whose budget the round is blocked.
    pub(super) blocked_on: Vec<Destination>,
}

impl Drainer {
    /// Plans the fetches that are due and for which the sinks have budget.
    pub(super) fn plan(&mut self) -> FetchPlan {
        let now = Instant::now();
        self.planned_at = now;
        let mut reserved = self.reserved.take();
        let had_reserved = reserved.is_some();
        let mut plan = FetchPlan::default();
        let count = self.node_queues.len();
        let order = (0..count).map(|step| (self.next_index + step) % count);
        let due: Vec<usize> = order
            .filter(|index| self.node_queues[*index].due <= now)
            .collect();
        let backlogged = due
            .iter()
            .filter(|index| self.node_queues[**index].has_backlog);
        // Each due queue once; the rest of the pipeline is shared by those with a backlog.
        let backlogged: Vec<usize> = backlogged.copied().collect();
        let turns = due
            .iter()
            .copied()
            .chain(backlogged.iter().cycle().copied().take(MAX_PIPELINE));
        let mut last = None;
        for index in turns {
            if plan.fetches.len() == MAX_PIPELINE {
                break;
            }
            let NodeQueue {
                destinations,
                has_backlog,
                ..
            } = &self.node_queues[index];
            if !has_backlog
                && plan
                    .fetches
                    .iter()
                    .any(|fetch| fetch.indexes.contains(&index))
            {
                continue;
            }
            match acquire_all(destinations, &mut reserved) {
                Ok(permits) => {
                    let indexes = together(&self.node_queues, index);
                    plan.fetches.push(PendingFetch { indexes, permits });
                    last = Some(index);
                }
                Err(blocked_on) => {
                    let same = |other: &Destination| Arc::ptr_eq(&other.sink, &blocked_on.sink);
                    if !plan.blocked_on.iter().any(same) {
                        plan.blocked_on.push(blocked_on.clone());
                    }
                }
            }
        }
        self.still_blocked = had_reserved && plan.fetches.is_empty();
        // Budget is waited for only if nothing could be sent.
        let fetches = &plan.fetches;
        plan.blocked_on.retain(|_| fetches.is_empty());
        if let Some(last) = last {
            self.next_index = last + 1;
        }
        plan
    }
}

/// Returns the queues that are fetched from together with this one, itself among them. The queues of a node are next to
/// each other.
fn together(queues: &[NodeQueue], index: usize) -> Vec<usize> {
    let first = &queues[index];
    if first.has_backlog {
        return vec![index];
    }
    let of_node = |other: &usize| queues[*other].node == first.node;
    let start = (0..index).rev().take_while(of_node).last();
    let node = (start.unwrap_or(index)..queues.len()).take_while(of_node);
    node.filter(|other| {
        let other = &queues[*other];
        !other.has_backlog && have_same_sinks(&first.destinations, &other.destinations)
    })
    .collect()
}

fn have_same_sinks(one: &[Destination], other: &[Destination]) -> bool {
    let mut pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.all(|(one, other)| Arc::ptr_eq(&one.sink, &other.sink))
}

/// Acquires the budget for one reply from each destination, using the reserved permit for its sink.
///
/// # Errors
///
/// Returns the first destination that has no budget.
fn acquire_all<'a>(
    destinations: &'a [Destination],
    reserved: &mut Option<(Arc<SinkHandle>, Permit)>,
) -> Result<Vec<Permit>, &'a Destination> {
    let acquire = |to: &'a Destination| {
        let ours = reserved.take_if(|(sink, _)| Arc::ptr_eq(sink, &to.sink));
        let permit = ours.map(|(_, permit)| permit);
        permit
            .or_else(|| to.sink.budget.try_acquire(REPLY_BYTES))
            .ok_or(to)
    };
    destinations.iter().map(acquire).collect()
}
