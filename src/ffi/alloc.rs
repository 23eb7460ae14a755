//! The global allocator: the server's own, with an exact count of the bytes that the module uses.
//!
//! The usable size of every block is counted when the block is allocated and when it is freed, so the count equals what
//! the server adds to its `used_memory`. Only the main thread allocates much. It counts with plain loads and stores,
//! which are five times cheaper than an atomic addition. The server's background threads only free values; they count
//! in a second counter.
//!
//! # Invariants
//! Nothing allocates before [`raw::load`] has set the server's functions. There is no second allocator to fall back to:
//! its blocks could not be distinguished from the server's when they are freed.

use super::raw;
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

/// The server's allocator.
pub struct ServerAllocator;

#[global_allocator]
static ALLOCATOR: ServerAllocator = ServerAllocator;

/// Bytes allocated less bytes freed by the main thread, which alone writes it.
static MAIN_THREAD_BYTES: AtomicI64 = AtomicI64::new(0);
/// Bytes allocated less bytes freed by all other threads.
static OTHER_THREADS_BYTES: AtomicI64 = AtomicI64::new(0);
/// `pthread_self` of the main thread. 0 until it is known; until then no other thread runs code of the module.
static MAIN_THREAD: AtomicUsize = AtomicUsize::new(0);

/// The alignment that the server's allocator guarantees for any size. Redis builds its jemalloc with a quantum of 8
/// bytes: a block of 24, 40 or 56 bytes is aligned to 8 only (on Redis 7.4 an aligned load of 16 bytes from such a
/// block crashed the server).
const MIN_ALIGNMENT: usize = 8;

/// The alignment that it guarantees for sizes that are a multiple of it. Nothing in the module asks for more.
const MAX_ALIGNMENT: usize = 16;

/// Returns the size to allocate so that the block has the alignment of the layout; `None` if no size gives it.
#[inline]
fn aligned_size(bytes: usize, layout: Layout) -> Option<usize> {
    match layout.align() {
        align if align <= MIN_ALIGNMENT => Some(bytes),
        align if align <= MAX_ALIGNMENT => bytes.checked_next_multiple_of(MAX_ALIGNMENT),
        _ => None,
    }
}

/// Records the calling thread as the server's main thread.
pub fn set_main_thread() {
    MAIN_THREAD.store(this_thread(), Relaxed);
}

/// Returns whether the calling thread is the server's main thread.
#[inline]
pub fn is_main_thread() -> bool {
    let main = MAIN_THREAD.load(Relaxed);
    main == 0 || main == this_thread()
}

/// Returns the bytes that the module has allocated, as `used_memory` counts them.
#[inline]
pub fn used_bytes() -> u64 {
    u64::try_from(MAIN_THREAD_BYTES.load(Relaxed) + OTHER_THREADS_BYTES.load(Relaxed)).unwrap_or(0)
}

/// Returns the main thread's count of bytes. The difference of two values is what it allocated in between.
#[inline]
pub fn main_thread_bytes() -> i64 {
    MAIN_THREAD_BYTES.load(Relaxed)
}

#[inline]
fn this_thread() -> usize {
    // SAFETY: the function has no preconditions and cannot fail.
    unsafe { libc::pthread_self() as usize }
}

#[inline]
fn count(bytes: i64) {
    if is_main_thread() {
        MAIN_THREAD_BYTES.store(MAIN_THREAD_BYTES.load(Relaxed) + bytes, Relaxed);
    } else {
        OTHER_THREADS_BYTES.fetch_add(bytes, Relaxed);
    }
}

/// Returns the usable size of a block.
///
/// # Safety
/// `block` came from the server's allocator and is not freed.
#[inline]
unsafe fn usable_size(block: *mut c_void) -> i64 {
    // SAFETY: the caller's promise; the functions were set by `raw::load` before anything could allocate.
    unsafe { raw::RedisModule_MallocSize.map_or(0, |f| f(block) as i64) }
}

/// Allocates a block and counts it. The server ends the process when the system has no memory.
#[inline]
fn allocate(bytes: usize, zeroed: bool) -> *mut u8 {
    // SAFETY: a request of any size is allowed, and the block is live when its size is asked for.
    unsafe {
        let block = match (zeroed, raw::RedisModule_Alloc, raw::RedisModule_Calloc) {
            (false, Some(alloc), _) => alloc(bytes),
            (true, _, Some(calloc)) => calloc(1, bytes),
            _ => std::ptr::null_mut(),
        };
        if !block.is_null() {
            count(usable_size(block));
        }
        block.cast()
    }
}

// SAFETY: blocks come from the server's allocator, which aligns to 8 bytes, and to 16 bytes if the size is a multiple
// of 16. For a larger alignment, which nothing in the module asks for, null is returned, which callers must expect.
// Blocks are never smaller than requested, and pointers are passed on unchanged.
unsafe impl GlobalAlloc for ServerAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(bytes) = aligned_size(layout.size(), layout) else {
            return std::ptr::null_mut();
        };
        allocate(bytes, false)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(bytes) = aligned_size(layout.size(), layout) else {
            return std::ptr::null_mut();
        };
        allocate(bytes, true)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        let block = block.cast::<c_void>();
        // SAFETY: the caller gives back a block that came from `alloc` above.
        unsafe {
            count(-usable_size(block));
            if let Some(free) = raw::RedisModule_Free {
                free(block);
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Some(bytes) = aligned_size(bytes, layout) else {
            return std::ptr::null_mut();
        };
        let block = block.cast::<c_void>();
        // SAFETY: the caller gives a block that came from `alloc` above, and does not use it afterwards.
        unsafe {
            let before = usable_size(block);
            let block = match raw::RedisModule_Realloc {
                Some(realloc) => realloc(block, bytes),
                None => std::ptr::null_mut(),
            };
            if !block.is_null() {
                count(usable_size(block) - before);
            }
            block.cast()
        }
    }
}
