//! The reports that were not sent yet, the oldest first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::ticket::Ticket;
use crate::batch::BatchedReport;

/// A report that waits.
pub struct Entry {
    pub report: BatchedReport,
    pub received: Instant,
    /// The request that it is part of, if somebody waits for its outcome.
    pub ticket: Option<Arc<Ticket>>,
}

/// See the [module](self).
pub struct Buffer {
    entries: VecDeque<Entry>,
    /// The bytes of the entries.
    waiting: usize,
    /// The bytes of those that were taken and have no reply, and their input reports.
    taken: usize,
    taken_inputs: u64,
    /// Those that were taken are being sent.
    is_sending: bool,
    limit: usize,
    is_closed: bool,
    is_up: watch::Sender<bool>,
}

impl Buffer {
    pub fn new(limit: usize) -> Buffer {
        Buffer {
            entries: VecDeque::new(),
            waiting: 0,
            taken: 0,
            taken_inputs: 0,
            is_sending: false,
            limit,
            is_closed: false,
            is_up: watch::Sender::new(true),
        }
    }

    /// Changes the limit in bytes. What the buffer holds beyond it is dropped when the next report is added.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether so many bytes fit in without dropping anything.
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.limit.saturating_sub(self.bytes())
    }

    /// Adds an entry. Returns those that have to be dropped for it, the oldest first; or the entry itself, if it does not
    /// fit in without any other that waits.
    pub fn push(&mut self, entry: Entry) -> Vec<Entry> {
        if entry.report.bytes() > self.limit.saturating_sub(self.taken) {
            return vec![entry];
        }
        self.waiting += entry.report.bytes();
        self.entries.push_back(entry);
        let mut dropped = Vec::new();
        while self.bytes() > self.limit {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.waiting -= oldest.report.bytes();
            dropped.push(oldest);
        }
        dropped
    }

    /// Takes the oldest entries out, at least one if there is one. Those cannot be dropped any more, so most of the
    /// buffer is left to newer ones.
    pub fn take(&mut self, count: usize, bytes: usize) -> Vec<Entry> {
        let bytes = bytes.min(self.limit / 4);
        let mut taken = Vec::new();
        while taken.len() < count && (self.taken < bytes || taken.is_empty()) {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.waiting -= entry.report.bytes();
            self.taken += entry.report.bytes();
            self.taken_inputs += entry.report.inputs();
            taken.push(entry);
        }
        taken
    }

    /// Notes that a report that was taken has a reply, or is not to be sent any more.
    pub fn answered(&mut self, report: &BatchedReport) {
        self.taken = self.taken.saturating_sub(report.bytes());
        self.taken_inputs = self.taken_inputs.saturating_sub(report.inputs());
    }

    /// Notes that nothing that was taken is left. The parts of a report that was split have other bytes.
    pub fn sent(&mut self) {
        self.taken = 0;
        self.taken_inputs = 0;
    }

    /// Notes whether those that were taken are being sent.
    pub fn set_sending(&mut self, is_sending: bool) {
        self.is_sending = is_sending;
    }

    /// Withdraws a request from those that were taken, unless they are being sent. Returns whether it is withdrawn.
    pub fn cancel(&mut self, ticket: &Ticket) -> bool {
        if !self.is_sending {
            ticket.cancel();
        }
        !self.is_sending
    }

    /// Removes the entries of a request. Returns their number, and that of their input reports.
    pub fn remove(&mut self, ticket: &Arc<Ticket>) -> (usize, u64) {
        let (mut removed, mut inputs, mut bytes) = (0, 0, 0);
        self.entries.retain(|entry| {
            let is_of = |of: &Arc<Ticket>| Arc::ptr_eq(of, ticket);
            let is_kept = !entry.ticket.as_ref().is_some_and(is_of);
            if !is_kept {
                removed += 1;
                inputs += entry.report.inputs();
                bytes += entry.report.bytes();
            }
            is_kept
        });
        self.waiting -= bytes;
        (removed, inputs)
    }

    /// The bytes of all reports without a reply.
    pub fn bytes(&self) -> usize {
        self.waiting + self.taken
    }

    /// The number of input reports without a reply.
    pub fn inputs(&self) -> u64 {
        let waiting = self.entries.iter().map(|entry| entry.report.inputs());
        self.taken_inputs + waiting.sum::<u64>()
    }

    pub fn close(&mut self) {
        self.is_closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    pub fn set_up(&mut self, is_up: bool) {
        self.is_up
            .send_if_modified(|old| std::mem::replace(old, is_up) != is_up);
    }

    /// Completes when the server is down.
    pub fn went_down(&self) -> impl Future<Output = ()> + use<> {
        let mut is_up = self.is_up.subscribe();
        async move {
            // The sender lives as long as the buffer.
            let _ = is_up.wait_for(|is_up| !is_up).await;
        }
    }
}
