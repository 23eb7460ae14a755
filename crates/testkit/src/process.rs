//! Programs that tests start, signal and wait for, and the lines that they write.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::wait::{LONG, until};

/// Returns what a program wrote to its standard output.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what a program wrote to its standard error.
pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running program; killed with its value.
pub struct Running(pub Child);

impl Running {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    /// Sends a signal by name and waits for the end of the program. An idle program ends within milliseconds; the limit
    /// of a minute leaves room for a loaded machine.
    pub fn end_by(&mut self, signal: &str) -> ExitStatus {
        until("the program handles the signal", || {
            self.handles(signal).then_some(())
        });
        self.signal(signal);
        let start = Instant::now();
        let status = self.wait();
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "took {:?}",
            start.elapsed()
        );
        status
    }

    /// Ends it as [`Running::end_by`] does and asserts that the signal ended what it was waiting for, rather than a
    /// timeout of its own: those it reports on its standard error, which has to be piped and not yet read.
    pub fn end_promptly_by(&mut self, signal: &str) -> ExitStatus {
        let status = self.end_by(signal);
        let mut said = String::new();
        let mut stderr = self.0.stderr.take().expect("the standard error is piped");
        stderr.read_to_string(&mut said).unwrap();
        assert!(!said.contains("no answer within"), "{said}");
        status
    }

    /// Returns whether the program handles a signal by now, or has ended: a signal kills a program that has only just
    /// started.
    fn handles(&mut self, signal: &str) -> bool {
        let number = match signal {
            "HUP" => 1,
            "INT" => 2,
            "TERM" => 15,
            _ => panic!("{signal}"),
        };
        let caught = of_status(self.0.id(), "SigCgt:");
        let caught = caught.map(|mask| u64::from_str_radix(&mask, 16).unwrap());
        caught.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
            || self.0.try_wait().unwrap().is_some()
    }

    /// Sends a signal by name.
    pub fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Returns whether the program is stopped, as by the signal STOP.
    pub fn is_stopped(&self) -> bool {
        of_status(self.0.id(), "State:").is_some_and(|state| state.starts_with('T'))
    }

    /// Returns the maximum resident memory of the program so far, bytes; 0 if it has ended.
    pub fn peak_memory(&self) -> u64 {
        bytes_of_status(self.0.id(), "VmHWM:").unwrap_or(0)
    }

    /// Watches the memory of the program besides the pages of its files, which are most of a debug build.
    pub fn watch_heap(&self) -> HeapPeak {
        let (pid, peak) = (self.0.id(), HeapPeak::default());
        let kept = peak.clone();
        std::thread::spawn(move || {
            while let Some(bytes) = bytes_of_status(pid, "RssAnon:") {
                kept.0.fetch_max(bytes, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        peak
    }

    /// Waits for the end of the program.
    pub fn wait(&mut self) -> ExitStatus {
        until("the program ends", || self.0.try_wait().unwrap())
    }

    /// Returns the lines of its standard output as they come.
    pub fn lines(&mut self) -> Lines {
        Lines::of(self.0.stdout.take().unwrap())
    }

    /// Returns the lines of its standard error as they come.
    pub fn errors(&mut self) -> Lines {
        Lines::of(self.0.stderr.take().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a field of the status of a process in /proc; `None` if it has ended.
fn of_status(pid: u32, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = (status.lines()).find_map(|line| line.strip_prefix(field));
    value.map(|value| value.trim().to_owned())
}

fn bytes_of_status(pid: u32, field: &str) -> Option<u64> {
    let value = of_status(pid, field)?;
    let kib: u64 = value.trim_end_matches(" kB").parse().unwrap();
    Some(kib << 10)
}

/// The maximum of the memory that a program has had since it is watched.
#[derive(Clone, Default)]
pub struct HeapPeak(Arc<AtomicU64>);

impl HeapPeak {
    /// Returns the maximum so far, bytes.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The lines that a program writes. A line that does not come fails the test, which would otherwise wait for ever.
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        // Without a buffer, so that a program whose lines nobody reads blocks as on a pipe.
        let (line, lines) = sync_channel(0);
        std::thread::spawn(move || {
            // Ends with the program, or when nobody reads any more.
            BufReader::new(stream)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|text| line.send(text))
        });
        Lines(lines)
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.0.recv_timeout(LONG) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("timed out waiting for a line of the program"),
        }
    }
}
