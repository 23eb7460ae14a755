//! How much memory the records may take that a sink still has to write.
//!
//! What holds: every sink has a share of `max-in-flight`, and what is on its way to it is within that share, but for
//! the little by which one reply can be larger than thought. So a sink that is away keeps its own share filled and
//! leaves the others theirs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes of a share that are free.
#[derive(Clone)]
pub struct Share(Arc<Mutex<i64>>);

impl Share {
    /// A share, all of it free.
    pub fn new(bytes: u64) -> Share {
        Share(Arc::new(Mutex::new(
            i64::try_from(bytes).unwrap_or(i64::MAX),
        )))
    }

    /// Takes so many bytes; none where they are not free.
    pub fn take(&self, bytes: u64) -> Option<Room> {
        let wanted = i64::try_from(bytes).ok()?;
        let mut free = self.lock();
        if *free < wanted {
            return None;
        }
        *free -= wanted;
        Some(Room {
            share: self.clone(),
            bytes: wanted,
        })
    }

    // A number is whole whatever happened to the thread that held it.
    fn lock(&self) -> MutexGuard<'_, i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that were taken; free again with the end of this value.
pub struct Room {
    share: Share,
    bytes: i64,
}

impl Room {
    /// Now that it is known how many are needed. What is there is there: it may be more than was free.
    pub fn set(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut free = self.share.lock();
        *free = free.saturating_add(self.bytes).saturating_sub(bytes);
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut free = self.share.lock();
        *free = free.saturating_add(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_free_again_at_the_end() {
        let share = Share::new(10);
        let first = share.take(6).unwrap();
        assert!(share.take(5).is_none());
        let second = share.take(4).unwrap();
        assert!(share.take(1).is_none());
        drop((first, second));
        assert!(share.take(10).is_some());
    }

    #[test]
    fn the_true_size_counts() {
        let share = Share::new(10);
        let mut room = share.take(8).unwrap();
        room.set(3);
        assert!(share.take(7).is_some());
        room.set(12);
        assert!(share.take(1).is_none());
        drop(room);
        assert!(share.take(10).is_some());
    }
}
