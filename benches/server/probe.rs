//! The probe: a client that sends SETs one after the other and measures their latency while something else runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Result;

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$5\r\nprobe\r\n$16\r\n0123456789abcdef\r\n";
const OK: &[u8] = b"+OK\r\n";

/// A running probe.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Vec<u32>>>,
}

/// The latencies of SETs.
pub struct Latencies {
    sorted: Vec<u32>,
}

impl Probe {
    /// Starts a probe.
    pub fn start(port: u16) -> Result<Probe> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            let mut reply = [0; OK.len()];
            while !stopped.load(Relaxed) {
                let start = Instant::now();
                stream.write_all(SET)?;
                stream.read_exact(&mut reply)?;
                let ns = start.elapsed().as_nanos();
                took.push(u32::try_from(ns).unwrap_or(u32::MAX));
            }
            Ok(took)
        });
        Ok(Probe { stop, thread })
    }

    /// Stops the probe.
    pub fn finish(self) -> Result<Latencies> {
        self.stop.store(true, Relaxed);
        let mut sorted = self.thread.join().map_err(|_| "the probe panicked")??;
        sorted.sort_unstable();
        Ok(Latencies { sorted })
    }
}

impl Latencies {
    /// Returns the number of SETs.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Returns a quantile in milliseconds.
    pub fn at(&self, part: f64) -> f64 {
        let n = self.sorted.len();
        let i = ((n as f64 * part).ceil() as usize).clamp(1, n.max(1)) - 1;
        self.sorted
            .get(i)
            .map_or(f64::NAN, |ns| f64::from(*ns) / 1e6)
    }

    /// Returns how many took longer than a millisecond.
    pub fn above_1_ms(&self) -> usize {
        self.count() - self.sorted.partition_point(|ns| *ns <= 1_000_000)
    }

    /// Describes the latencies in a sentence.
    pub fn describe(&self) -> String {
        format!(
            "{} SETs: median {:.3} ms, p99.99 {:.2} ms, longest {:.2} ms, {} above 1 ms",
            self.count(),
            self.at(0.5),
            self.at(0.9999),
            self.at(1.0),
            self.above_1_ms()
        )
    }
}
