//! The machine on which the benchmark runs.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::host::{root, server_program};

/// The machine, the server and the date.
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    pub server: String,
    pub commit: String,
    pub date: String,
}

impl Machine {
    /// Describes this machine.
    pub fn here() -> Result<Machine> {
        let version = output(server_program()?, &["--version"]).unwrap_or_default();
        Ok(Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gb: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
                .map_or(0.0, |kib| kib / (1 << 20) as f64),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .into(),
            server: server(&version),
            commit: output("git", &["describe", "--always", "--dirty", "--exclude=*"])
                .unwrap_or_else(|| "unknown".into()),
            date: output("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
        })
    }

    /// Returns the description in one line.
    pub fn describe(&self) -> String {
        format!(
            "{}, {} cores, {:.0} GB, Linux {}, {}, commit {}, {}",
            self.cpu, self.cores, self.memory_gb, self.kernel, self.server, self.commit, self.date
        )
    }
}

/// Shortens `Redis server v=7.0.15 sha=...`.
fn server(version: &str) -> String {
    let name = version.split(' ').next().unwrap_or("server");
    let number = version
        .split(' ')
        .find_map(|word| word.strip_prefix("v="))
        .unwrap_or("?");
    format!("{name} {number}")
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
