//! How much memory the records may take that a sink still has to write.
//!
//! What holds: every sink has a share of `max-in-flight`, and what is on its way to it is within that share, but for
//! the little by which one reply can be larger than thought. So a sink that is away keeps its own share filled and
//! leaves the others theirs. Who waits for room is served in the order of waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that are counted as one.
const UNIT: u64 = 1024;

/// The bytes of a share that are free.
#[derive(Clone)]
pub struct Share(Arc<Inner>);

struct Inner {
    free: Arc<Semaphore>,
    /// In units.
    size: u32,
    used: AtomicI64,
}

impl Share {
    /// A share, all of it free.
    pub fn new(bytes: u64) -> Share {
        let size = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Share(Arc::new(Inner {
            free: Arc::new(Semaphore::new(size as usize)),
            size,
            used: AtomicI64::new(0),
        }))
    }

    /// Takes so many bytes; none where they are not free.
    pub fn take(&self, bytes: u64) -> Option<Room> {
        let permit = self
            .0
            .free
            .clone()
            .try_acquire_many_owned(self.units(bytes));
        Some(self.room(permit.ok()?, bytes))
    }

    /// Waits until so many bytes are free, and takes them: were they given back first, the next who waits would have
    /// them, and with many who wait nobody would ever.
    pub async fn wait(&self, bytes: u64) -> Room {
        let permit = self.0.free.clone().acquire_many_owned(self.units(bytes));
        match permit.await {
            Ok(permit) => self.room(permit, bytes),
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// The bytes that are taken.
    pub fn used(&self) -> u64 {
        u64::try_from(self.0.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// All its bytes.
    pub fn size(&self) -> u64 {
        u64::from(self.0.size) * UNIT
    }

    /// More than there is would be waited for without an end.
    fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).map_or(self.0.size, |units| units.min(self.0.size))
    }

    fn room(&self, permit: OwnedSemaphorePermit, bytes: u64) -> Room {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Room {
            share: self.clone(),
            permit,
            bytes,
        }
    }
}

/// Bytes that were taken; free again with the end of this value.
pub struct Room {
    share: Share,
    permit: OwnedSemaphorePermit,
    bytes: i64,
}

impl Room {
    /// Now that it is known how many are needed. What is there is there: it may be more than was free.
    pub fn set(&mut self, bytes: u64) {
        let units = self.share.units(bytes) as usize;
        let held = self.permit.num_permits();
        if held > units {
            // It holds as many, so this is there.
            drop(self.permit.split(held - units));
        } else if units > held {
            let more = u32::try_from(units - held).unwrap_or(0);
            if let Ok(permit) = self.share.0.free.clone().try_acquire_many_owned(more) {
                self.permit.merge(permit);
            }
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.share
            .0
            .used
            .fetch_add(bytes - self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.share.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = UNIT;

    #[test]
    fn what_is_taken_is_free_again_at_the_end() {
        let share = Share::new(10 * K);
        let first = share.take(6 * K).unwrap();
        assert!(share.take(5 * K).is_none());
        let second = share.take(4 * K).unwrap();
        assert!(share.take(1).is_none());
        assert_eq!(share.used(), share.size());
        drop((first, second));
        assert!(share.take(10 * K).is_some());
        assert_eq!(share.used(), 0);
    }

    #[test]
    fn the_true_size_counts() {
        let share = Share::new(10 * K);
        let mut room = share.take(8 * K).unwrap();
        room.set(3 * K);
        assert!(share.take(7 * K).is_some());
        room.set(10 * K);
        assert!(share.take(1).is_none());
        // More than there is: what is there is there.
        room.set(12 * K);
        assert_eq!(share.used(), 12 * K);
        drop(room);
        assert!(share.take(10 * K).is_some());
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_there_is_room() {
        let share = Share::new(10 * K);
        let room = share.take(8 * K).unwrap();
        let other = share.clone();
        let waits = tokio::spawn(async move { other.wait(5 * K).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(room);
        let room = waits.await.unwrap();
        assert_eq!(share.used(), 5 * K);
        assert!(share.take(6 * K).is_none());
        drop(room);
        assert!(share.take(10 * K).is_some());
    }
}
