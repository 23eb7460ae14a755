//! Waiting for conditions, the clock, free ports, and parts that a machine may lack.

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time that a condition may take. Generous, because a loaded machine is slow; it only limits how long a failure
/// takes to show.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// Waits until `look` finds something and returns it.
///
/// # Panics
///
/// Panics after five minutes, naming `what` was waited for.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the clock in Unix milliseconds.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

/// Returns a port on which nobody listens, nor on the one 10,000 above it, which cluster nodes use between each other.
///
/// A process gets each port once, so tests that run beside each other never share one. All are below the range of
/// outgoing connections (32768 and up on Linux): a port stays free until its server starts, and while a server that
/// crashed starts again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different ports.
    let start = std::process::id() as u16;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let n = NEXT.fetch_add(1, Relaxed);
        let port = 11_000 + start.wrapping_mul(97).wrapping_add(n) % 10_000;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// Says that a part is missing and that its test is skipped.
///
/// # Panics
///
/// Panics in CI (`CI=true`), where no part may be missing.
pub fn missing<T>(what: &str) -> Option<T> {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} is missing"
    );
    // Not by print!, whose output the test runner captures.
    let _ = writeln!(std::io::stderr(), "skipped: {what} is missing");
    None
}
