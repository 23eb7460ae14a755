//! The server's allocator, with exact counts of what the module holds.
//!
//! Every block is asked for its usable size when it comes and goes, so the count is what the server's `used_memory`
//! shows. Only the main thread allocates much; it counts with plain loads and stores, which are five times cheaper than
//! a locked addition. The server's background threads free values; they count in a second counter.
//!
//! Nothing may allocate before the server's functions are known (`RedisModule_Init`): there is no other allocator to
//! fall back to whose blocks could later be told apart.

use redis_module::raw;
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

/// See the file's header.
pub struct ServerAllocator;

#[global_allocator]
static ALLOCATOR: ServerAllocator = ServerAllocator;

/// Bytes allocated less bytes freed by the main thread. Written by it alone.
static BY_MAIN: AtomicI64 = AtomicI64::new(0);
/// The same of all other threads.
static BY_OTHERS: AtomicI64 = AtomicI64::new(0);
/// `pthread_self` of the main thread; 0 until it is known, when there is no other yet.
static MAIN_THREAD: AtomicUsize = AtomicUsize::new(0);

/// What the server's allocator guarantees for any size. Redis builds its own jemalloc with a quantum of 8 bytes: a block of
/// 24, 40 or 56 bytes is aligned to 8 alone (seen on Redis 7.4, which a load of 16 aligned bytes then ended).
const SURE: usize = 8;

/// What it guarantees where the size is a multiple of it, and the most that anything here asks for.
const ALIGNMENT: usize = 16;

/// The size to ask for, so that the block is aligned as the layout wants. `None`: it cannot be.
#[inline]
fn aligned(bytes: usize, layout: Layout) -> Option<usize> {
    match layout.align() {
        align if align <= SURE => Some(bytes),
        align if align <= ALIGNMENT => bytes.checked_next_multiple_of(ALIGNMENT),
        _ => None,
    }
}

/// Remembers that this is the server's main thread.
pub fn on_main_thread() {
    MAIN_THREAD.store(this_thread(), Relaxed);
}

/// Whether this is the server's main thread.
#[inline]
pub fn is_main_thread() -> bool {
    let main = MAIN_THREAD.load(Relaxed);
    main == 0 || main == this_thread()
}

/// Bytes that the module holds now, as `used_memory` counts them.
pub fn used_bytes() -> u64 {
    u64::try_from(BY_MAIN.load(Relaxed) + BY_OTHERS.load(Relaxed)).unwrap_or(0)
}

/// A running count of the main thread: its differences are what was allocated in between.
#[inline]
pub fn main_bytes() -> i64 {
    BY_MAIN.load(Relaxed)
}

#[inline]
fn this_thread() -> usize {
    // SAFETY: it has no preconditions and cannot fail.
    unsafe { libc::pthread_self() as usize }
}

#[inline]
fn count(bytes: i64) {
    if is_main_thread() {
        BY_MAIN.store(BY_MAIN.load(Relaxed) + bytes, Relaxed);
    } else {
        BY_OTHERS.fetch_add(bytes, Relaxed);
    }
}

/// The usable size of a block of the server's allocator.
///
/// # Safety
/// `block` came from it and is not freed.
#[inline]
unsafe fn size(block: *mut c_void) -> i64 {
    // SAFETY: the caller's promise; the functions were set by RedisModule_Init before anything could allocate.
    unsafe { raw::RedisModule_MallocSize.map_or(0, |f| f(block) as i64) }
}

/// Allocates; the server ends the process where there is no memory.
///
/// # Safety
/// None beyond those of an allocator.
#[inline]
unsafe fn take(bytes: usize, zeroed: bool) -> *mut u8 {
    // SAFETY: a request of any size is allowed; the block is live when its size is asked.
    unsafe {
        let block = match (zeroed, raw::RedisModule_Alloc, raw::RedisModule_Calloc) {
            (false, Some(alloc), _) => alloc(bytes),
            (true, _, Some(calloc)) => calloc(1, bytes),
            _ => std::ptr::null_mut(),
        };
        if !block.is_null() {
            count(size(block));
        }
        block.cast()
    }
}

// SAFETY: blocks come from the server's allocator, which aligns to 8 bytes, and to 16 those whose size is a multiple of
// it; for more (which nothing here asks for) there is no block, which callers must expect. Blocks are never smaller than
// was asked for, and pointers are passed on unchanged.
unsafe impl GlobalAlloc for ServerAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(bytes) = aligned(layout.size(), layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: as in the contract of this function.
        unsafe { take(bytes, false) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(bytes) = aligned(layout.size(), layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: as in the contract of this function.
        unsafe { take(bytes, true) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        let block = block.cast::<c_void>();
        // SAFETY: the caller gives back a block that came from `alloc` above.
        unsafe {
            count(-size(block));
            if let Some(free) = raw::RedisModule_Free {
                free(block);
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Some(bytes) = aligned(bytes, layout) else {
            return std::ptr::null_mut();
        };
        let block = block.cast::<c_void>();
        // SAFETY: the caller gives a block that came from `alloc` above, and does not use it afterwards.
        unsafe {
            let before = size(block);
            let block = match raw::RedisModule_Realloc {
                Some(realloc) => realloc(block, bytes),
                None => std::ptr::null_mut(),
            };
            if !block.is_null() {
                count(size(block) - before);
            }
            block.cast()
        }
    }
}
