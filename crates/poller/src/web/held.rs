//! Bounds the memory of responses that clients have not received yet.
//!
//! # Invariants
//!
//! - The bytes of a response count from when it is made until the system has taken the last of them, or its connection
//!   is closed. Bytes that several responses share count once.
//! - A small response is never rejected, so health checks are answered whatever the other clients do. Nor is a response
//!   while no other is held, so one that is larger than the limit can be received.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

/// The limit of the bytes of all responses together.
const LIMIT: u64 = 64 << 20;
/// The number of series for which [`LIMIT`] suffices, the default. It grows with more.
const SERIES: u64 = 100_000;
/// The length up to which a response is never rejected.
const SMALL: usize = 4096;

/// The responses that clients have not received yet, and their limit.
pub struct Responses {
    limit: AtomicU64,
    held: AtomicU64,
    rejected: AtomicU64,
}

impl Default for Responses {
    fn default() -> Self {
        Responses {
            limit: AtomicU64::new(LIMIT),
            held: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }
}

impl Responses {
    /// Raises the limit if pages may have more series than by default.
    pub fn set_max_series(&self, series: usize) {
        let limit = (series as u64).saturating_mul(LIMIT) / SERIES;
        self.limit.store(limit.max(LIMIT), Ordering::Relaxed);
    }

    /// Returns the number of responses that were rejected at the limit.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Counts the bytes of a response until they are dropped. Returns none if they exceed the limit.
    pub fn hold(self: &Arc<Self>, bytes: Bytes) -> Option<Bytes> {
        let hold = Arc::new(self.reserve(bytes.len())?);
        Some(Held::bytes(bytes, hold))
    }

    fn reserve(self: &Arc<Self>, length: usize) -> Option<Hold> {
        let limit = self.limit.load(Ordering::Relaxed);
        let bytes = length as u64;
        let more = |held: u64| {
            let fits = length <= SMALL || held == 0 || held.saturating_add(bytes) <= limit;
            fits.then(|| held.saturating_add(bytes))
        };
        let order = Ordering::Relaxed;
        if self.held.fetch_update(order, order, more).is_err() {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let responses = self.clone();
        Some(Hold { responses, bytes })
    }
}

/// A part of the limit that is in use. Dropping it returns the part.
struct Hold {
    responses: Arc<Responses>,
    bytes: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.responses.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes with their part of the limit.
struct Held {
    bytes: Bytes,
    _hold: Arc<Hold>,
}

impl Held {
    /// Returns the bytes. All parts of them share the hold.
    fn bytes(bytes: Bytes, hold: Arc<Hold>) -> Bytes {
        Bytes::from_owner(Held { bytes, _hold: hold })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that are the body of several responses.
#[derive(Default)]
pub struct SharedBytes {
    bytes: Bytes,
    /// The hold of the responses that have not been received yet.
    hold: Mutex<Weak<Hold>>,
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> SharedBytes {
        SharedBytes {
            // Without the spare capacity, which would not be counted.
            bytes: bytes.into_boxed_slice().into(),
            hold: Mutex::default(),
        }
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl SharedBytes {
    /// Returns the bytes for a further response. Returns none if they exceed the limit.
    pub fn hold(&self, responses: &Arc<Responses>) -> Option<Bytes> {
        let mut known = self.hold.lock();
        let hold = match known.upgrade() {
            Some(hold) => hold,
            None => {
                let hold = Arc::new(responses.reserve(self.bytes.len())?);
                *known = Arc::downgrade(&hold);
                hold
            }
        };
        Some(Held::bytes(self.bytes.clone(), hold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: usize = 1 << 20;

    fn bytes(length: usize) -> Bytes {
        vec![b'x'; length].into()
    }

    #[test]
    fn bytes_count_until_the_last_part_of_them_is_dropped() {
        let responses = Arc::new(Responses::default());
        let mut all: Vec<Bytes> = (0..64)
            .map(|_| responses.hold(bytes(MEBIBYTE)).unwrap())
            .collect();
        assert!(responses.hold(bytes(SMALL + 1)).is_none());
        assert_eq!(responses.rejected(), 1);
        assert!(responses.hold(bytes(SMALL)).is_some());
        // As a connection that has written a part.
        let rest = all.pop().unwrap().split_off(MEBIBYTE - 1);
        assert!(responses.hold(bytes(MEBIBYTE)).is_none());
        drop(rest);
        assert_eq!(responses.hold(bytes(MEBIBYTE)).unwrap().len(), MEBIBYTE);
        drop(all);
        assert_eq!(responses.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn shared_bytes_count_once() {
        let responses = Arc::new(Responses::default());
        let page = SharedBytes::from(vec![b'x'; 40 * MEBIBYTE]);
        let all: Vec<Bytes> = (0..100).map(|_| page.hold(&responses).unwrap()).collect();
        assert_eq!(responses.held.load(Ordering::Relaxed), 40 << 20);
        let other = SharedBytes::from(vec![b'x'; 40 * MEBIBYTE]);
        assert!(other.hold(&responses).is_none());
        drop(all);
        assert!(other.hold(&responses).is_some());
        assert_eq!(responses.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn response_above_the_limit_is_held_alone() {
        let responses = Arc::new(Responses::default());
        let large = responses.hold(bytes(65 * MEBIBYTE)).unwrap();
        assert!(responses.hold(bytes(MEBIBYTE)).is_none());
        drop(large);
        assert!(responses.hold(bytes(MEBIBYTE)).is_some());
    }

    #[test]
    fn limit_grows_with_the_series() {
        let responses = Responses::default();
        for (series, expected) in [(0, 64), (100_000, 64), (200_000, 128), (2_000_000, 1280)] {
            responses.set_max_series(series);
            let limit = responses.limit.load(Ordering::Relaxed);
            assert_eq!(limit >> 20, expected, "{series}");
        }
    }
}
