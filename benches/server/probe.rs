//! Another client's SETs while something else goes on: one after the other, each with the time that it took.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$5\r\nprobe\r\n$16\r\n0123456789abcdef\r\n";
const OK: &[u8] = b"+OK\r\n";

/// A client that sends SETs.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<Vec<u32>>>,
}

/// How long SETs took.
pub struct Latencies {
    sorted: Vec<u32>,
}

impl Probe {
    /// One that begins now.
    pub fn start(port: u16) -> Outcome<Probe> {
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

    /// Ends it.
    pub fn finish(self) -> Outcome<Latencies> {
        self.stop.store(true, Relaxed);
        let mut sorted = self.thread.join().map_err(|_| "the probe panicked")??;
        sorted.sort_unstable();
        Ok(Latencies { sorted })
    }
}

impl Latencies {
    /// How many SETs there were.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// What this part of them took at most, milliseconds.
    pub fn at(&self, part: f64) -> f64 {
        let n = self.sorted.len();
        let i = ((n as f64 * part).ceil() as usize).clamp(1, n.max(1)) - 1;
        self.sorted
            .get(i)
            .map_or(f64::NAN, |ns| f64::from(*ns) / 1e6)
    }

    /// How many took longer than a millisecond.
    pub fn above_1_ms(&self) -> usize {
        self.count() - self.sorted.partition_point(|ns| *ns <= 1_000_000)
    }

    /// In words.
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
