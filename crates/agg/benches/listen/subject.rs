//! The program that is measured, and what the system says about it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{Running, Server, free_port, root};

/// Ticks of /proc's clock in a second, on every Linux.
const TICKS: f64 = 100.0;
/// The time without progress after which the rest is lost.
const PATIENCE: Duration = Duration::from_millis(700);

/// A program that receives.
pub struct Subject {
    /// The port at which it receives.
    pub port: u16,
    program: Running,
    protocol: &'static str,
    /// The port of the status page, and the server.
    reports_to: Option<(u16, Server)>,
    _dir: Option<tempfile::TempDir>,
}

/// Counts of what was received so far.
#[derive(Clone, Copy, Default)]
pub struct Received {
    /// Samples that the server has counted; 0 if there is no server.
    pub counted: u64,
    /// Samples that were dropped because the buffer was full.
    pub dropped: u64,
    /// Packets that the kernel has dropped.
    pub kernel_dropped: u64,
}

impl Subject {
    /// Starts a server, and `agg listen` with one protocol.
    pub fn listener(protocol: &'static str) -> Option<Subject> {
        let server = Server::with_settings("max-memory 8gb max-series 100000")?;
        let (port, status) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_agg"));
        command.env("AGG_REDIS", server.url()).arg("listen");
        command.args([&format!("--{protocol}"), &format!("127.0.0.1:{port}")]);
        command.args([
            "--node",
            "bench",
            "--listen",
            &format!("127.0.0.1:{status}"),
        ]);
        let program = Running::start(command.stderr(Stdio::null()));
        let subject = Subject {
            port,
            program,
            protocol,
            reports_to: Some((status, server)),
            _dir: None,
        };
        testkit::until("the listener is up", || {
            subject.metric("up", "").filter(|up| *up == 1)
        });
        Some(subject)
    }

    /// Starts the original statsd daemon, without a backend.
    pub fn daemon() -> Option<Subject> {
        let script = daemon_script()?;
        let (port, management) = (free_port(), free_port());
        let dir = tempfile::tempdir().ok()?;
        let config = dir.path().join("config.js");
        let text = format!(
            "{{address: '127.0.0.1', port: {port}, mgmt_address: '127.0.0.1', mgmt_port: {management}, backends: []}}"
        );
        std::fs::write(&config, text).ok()?;
        let mut command = Command::new("node");
        command.arg(script).arg(&config).stdout(Stdio::null());
        let subject = Subject {
            port,
            program: Running::start(&mut command),
            protocol: "statsd",
            reports_to: None,
            _dir: Some(dir),
        };
        testkit::until("the daemon listens", || socket(port));
        Some(subject)
    }

    /// CPU time of the program and of the server so far, seconds.
    pub fn cpu(&self) -> (f64, f64) {
        let server = self.reports_to.as_ref();
        let of_server = server.map_or(0.0, |(_, server)| cpu(server.pid()));
        (cpu(self.program.0.id()), of_server)
    }

    /// Returns what was received so far.
    pub fn received(&self) -> Received {
        let label = format!("{{protocol=\"{}\"}}", self.protocol);
        let metric = |name| self.metric(name, &label).unwrap_or(0);
        Received {
            counted: metric("counted_total"),
            dropped: metric("dropped_total"),
            kernel_dropped: socket(self.port).map_or(0, |socket| socket.1),
        }
    }

    /// Waits until `count` samples more than before have been counted, or nothing comes any more. Returns the time at
    /// which the last one was counted at the latest.
    pub fn settle(&self, before: Received, count: u64) -> Instant {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        loop {
            let queued = socket(self.port).map_or(0, |socket| socket.0);
            let counted = self.received().counted - before.counted;
            let is_done = match self.reports_to {
                Some(_) => counted >= count,
                None => queued == 0,
            };
            if is_done {
                return Instant::now();
            }
            if counted + queued != last {
                (last, since) = (counted + queued, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return since;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what the server has stored.
    pub fn reset(&self) {
        if let Some((_, server)) = &self.reports_to {
            let () = server.ask("FLUSHALL");
        }
    }

    fn metric(&self, name: &str, label: &str) -> Option<u64> {
        let (port, _) = self.reports_to.as_ref()?;
        let mut response = ureq::get(format!("http://127.0.0.1:{port}/metrics"))
            .call()
            .ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        let start = format!("agg_listener_{name}{label} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }
}

/// Returns the script of npm's statsd, which scripts/senders.sh installs.
fn daemon_script() -> Option<PathBuf> {
    let script = root().join("target/senders/node/node_modules/statsd/stats.js");
    script.exists().then_some(script)
}

/// Returns the bytes in the queue of a UDP socket, and the packets that the kernel has dropped (proc(5)).
fn socket(port: u16) -> Option<(u64, u64)> {
    let table = std::fs::read_to_string("/proc/net/udp").ok()?;
    let address = format!(":{port:04X}");
    let line = table.lines().find(|line| {
        line.split_whitespace()
            .nth(1)
            .is_some_and(|local| local.ends_with(&address))
    })?;
    let mut words = line.split_whitespace();
    let (_, queued) = words.nth(4)?.split_once(':')?;
    let dropped = words.last()?.parse().ok()?;
    Some((u64::from_str_radix(queued, 16).ok()?, dropped))
}

/// CPU time of a process so far, seconds.
fn cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields = rest.split_whitespace().skip(11).take(2);
    fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}
