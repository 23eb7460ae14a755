//! The memory budget of a sink: how many bytes of records may be in flight to it.
//!
//! # Invariants
//!
//! Every sink has its own part of `max-in-flight`, and the records in flight to the sink fit in it, except for the
//! small amount by which a reply can exceed its estimate. So a sink that is down fills its own budget and leaves the
//! others theirs. Waiters are served in the order in which they began to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of bytes that one unit of the semaphore stands for.
const UNIT: u64 = 1024;

/// The budget of one sink. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    /// In units.
    capacity: u32,
    used: AtomicI64,
}

impl Budget {
    /// Creates a budget of which nothing is used.
    pub fn new(bytes: u64) -> Budget {
        let capacity = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Budget(Arc::new(Inner {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            used: AtomicI64::new(0),
        }))
    }

    /// Acquires `bytes` if they are free.
    pub fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        let permit = self
            .0
            .free
            .clone()
            .try_acquire_many_owned(self.units(bytes));
        Some(self.permit(permit.ok()?, bytes))
    }

    /// Waits until `bytes` are free and acquires them.
    ///
    /// Returns the permit instead of announcing that the bytes are free: with many waiters, the next in line would take
    /// them before the one that was woken, which would then wait for ever.
    pub async fn acquire(&self, bytes: u64) -> Permit {
        let permit = self.0.free.clone().acquire_many_owned(self.units(bytes));
        match permit.await {
            Ok(permit) => self.permit(permit, bytes),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns the number of bytes in use.
    pub fn used(&self) -> u64 {
        u64::try_from(self.0.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Returns the number of bytes that may be in use.
    pub fn capacity(&self) -> u64 {
        u64::from(self.0.capacity) * UNIT
    }

    /// Converts bytes to units, at most the capacity: a request for more would wait for ever.
    fn units(&self, bytes: u64) -> u32 {
        let capacity = self.0.capacity;
        u32::try_from(bytes.div_ceil(UNIT)).map_or(capacity, |units| units.min(capacity))
    }

    fn permit(&self, permit: OwnedSemaphorePermit, bytes: u64) -> Permit {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Permit {
            budget: self.clone(),
            permit: Some(permit),
            bytes,
        }
    }
}

/// Bytes acquired from a budget. Dropping the permit releases them.
pub struct Permit {
    budget: Budget,
    /// `None`: no units.
    permit: Option<OwnedSemaphorePermit>,
    bytes: i64,
}

impl Permit {
    /// Splits off a permit for records that exist already, so its size may exceed what is left of this one and what is
    /// free.
    pub fn split(&mut self, bytes: u64) -> Permit {
        let units = self.budget.units(bytes) as usize;
        let part = self.permit.as_mut().and_then(|permit| {
            let units = units.min(permit.num_permits());
            permit.split(units)
        });
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let from_this = bytes.min(self.bytes);
        self.bytes -= from_this;
        let mut split = Permit {
            budget: self.budget.clone(),
            permit: part,
            bytes: from_this,
        };
        split.extend(units, bytes);
        split
    }

    /// Takes what lacks of these units if it is free, and counts these bytes.
    fn extend(&mut self, units: usize, bytes: i64) {
        let acquired = (self.permit.as_ref()).map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(units.saturating_sub(acquired)).unwrap_or(0);
        if more > 0
            && let Ok(permit) = self.budget.0.free.clone().try_acquire_many_owned(more)
        {
            match &mut self.permit {
                Some(own) => own.merge(permit),
                none => *none = Some(permit),
            }
        }
        let used = &self.budget.0.used;
        used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = UNIT;

    #[test]
    fn dropped_permit_releases_its_bytes() {
        let budget = Budget::new(10 * K);
        let first = budget.try_acquire(6 * K).unwrap();
        assert!(budget.try_acquire(5 * K).is_none());
        let second = budget.try_acquire(4 * K).unwrap();
        assert!(budget.try_acquire(1).is_none());
        assert_eq!(budget.used(), budget.capacity());
        drop((first, second));
        assert!(budget.try_acquire(10 * K).is_some());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn split_permits_count_their_actual_sizes() {
        let budget = Budget::new(10 * K);
        let mut reply = budget.try_acquire(8 * K).unwrap();
        let one = reply.split(3 * K);
        let two = reply.split(2 * K);
        assert_eq!(budget.used(), 8 * K);
        assert!(budget.try_acquire(3 * K).is_none());
        // What the reply did not need.
        drop(reply);
        assert_eq!(budget.used(), 5 * K);
        assert!(budget.try_acquire(6 * K).is_none());
        drop(one);
        assert!(budget.try_acquire(8 * K).is_some());
        drop(two);
        assert!(budget.try_acquire(10 * K).is_some());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn split_permit_may_exceed_its_reply() {
        let budget = Budget::new(10 * K);
        let mut reply = budget.try_acquire(8 * K).unwrap();
        let one = reply.split(3 * K);
        assert!(budget.try_acquire(3 * K).is_none());
        let two = reply.split(7 * K);
        assert!(budget.try_acquire(1).is_none());
        // More than the capacity, and nothing is left.
        let three = reply.split(12 * K);
        assert_eq!(budget.used(), 22 * K);
        drop((reply, one, two, three));
        assert_eq!(budget.used(), 0);
        assert!(budget.try_acquire(10 * K).is_some());
    }

    #[tokio::test]
    async fn waiter_is_woken_when_bytes_are_released() {
        let budget = Budget::new(10 * K);
        let permit = budget.try_acquire(8 * K).unwrap();
        let other = budget.clone();
        let waiter = tokio::spawn(async move { other.acquire(5 * K).await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(permit);
        let permit = waiter.await.unwrap();
        assert_eq!(budget.used(), 5 * K);
        assert!(budget.try_acquire(6 * K).is_none());
        drop(permit);
        assert!(budget.try_acquire(10 * K).is_some());
    }
}
