//! The deliveries and leases of one queue.
//!
//! They are known to the primary only: no effect, saved file or digest contains them, and a restart or a copy begins
//! without. Records above the frontier were never delivered. Of those below, the ones whose lease expired without an
//! ACK are `returned`, and come first, as they are older; so are those that were imported below the frontier.

use std::collections::{BTreeMap, BTreeSet};

/// The deliveries and leases of one queue.
#[derive(Default)]
pub(crate) struct Leases {
    delivered: BTreeMap<u64, DeliveryState>,
    /// (end, id) of every running lease.
    ends: BTreeSet<(u64, u64)>,
    returned: BTreeSet<u64>,
    frontier: u64,
}

struct DeliveryState {
    deliveries: u64,
    /// Running time in milliseconds; 0: not leased.
    until: u64,
}

impl Leases {
    /// Returns the number of leased records.
    pub fn leased(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Returns how often the record was delivered.
    pub fn deliveries(&self, id: u64) -> u64 {
        self.delivered.get(&id).map_or(0, |h| h.deliveries)
    }

    /// Returns the oldest record whose lease expired.
    pub fn first_returned(&self) -> Option<u64> {
        self.returned.first().copied()
    }

    /// Returns the largest id that was delivered.
    pub fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Leases a record until `until` (running time, milliseconds, not 0). Returns how often it has been delivered.
    pub fn lease(&mut self, id: u64, until: u64) -> u64 {
        self.returned.remove(&id);
        self.frontier = self.frontier.max(id);
        self.ends.insert((until, id));
        let delivered = self.delivered.entry(id).or_insert(DeliveryState {
            deliveries: 0,
            until: 0,
        });
        delivered.deliveries = delivered.deliveries.saturating_add(1);
        delivered.until = until;
        delivered.deliveries
    }

    /// Returns `true` if the record is leased at this running time. An expired lease does not count, whether or not
    /// [`Leases::expire`] has reached it.
    pub fn is_leased(&self, id: u64, mono_ms: u64) -> bool {
        self.delivered.get(&id).is_some_and(|h| h.until > mono_ms)
    }

    /// Moves the end of a lease; false if there is none.
    pub fn extend(&mut self, id: u64, until: u64) -> bool {
        match self.delivered.get_mut(&id) {
            Some(delivered) if delivered.until != 0 => {
                self.ends.remove(&(delivered.until, id));
                self.ends.insert((until, id));
                delivered.until = until;
                true
            }
            _ => false,
        }
    }

    /// Ends a lease at once; false if there is none.
    pub fn release(&mut self, id: u64) -> bool {
        match self.delivered.get_mut(&id) {
            Some(delivered) if delivered.until != 0 => {
                self.ends.remove(&(delivered.until, id));
                delivered.until = 0;
                self.returned.insert(id);
                true
            }
            _ => false,
        }
    }

    /// Ends up to `max` expired leases. Returns how many.
    pub fn expire(&mut self, mono_ms: u64, max: usize) -> usize {
        for ended in 0..max {
            match self.ends.first() {
                Some(&(until, id)) if until <= mono_ms => self.release(id),
                _ => return ended,
            };
        }
        max
    }

    /// Notes that a record of any id was added. Above the frontier it is found there.
    pub fn add(&mut self, id: u64) {
        if id <= self.frontier {
            self.returned.insert(id);
        }
    }

    /// Notes that the record is removed.
    pub fn remove(&mut self, id: u64) {
        if let Some(delivered) = self.delivered.remove(&id) {
            self.ends.remove(&(delivered.until, id));
        }
        self.returned.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_lease_is_returned_and_counts_its_deliveries() {
        let mut leases = Leases::default();
        assert_eq!(leases.lease(7, 100), 1);
        assert_eq!((leases.leased(), leases.frontier()), (1, 7));
        assert_eq!(leases.expire(99, 10), 0);
        assert_eq!(leases.expire(100, 10), 1);
        assert_eq!((leases.leased(), leases.first_returned()), (0, Some(7)));
        assert_eq!(leases.lease(7, 200), 2);
        assert!(leases.extend(7, 300));
        assert_eq!(leases.expire(299, 10), 0);
        assert!(leases.release(7) && !leases.release(7) && !leases.extend(7, 400));
        leases.remove(7);
        assert_eq!(
            (
                leases.deliveries(7),
                leases.first_returned(),
                leases.leased()
            ),
            (0, None, 0)
        );
    }
}
