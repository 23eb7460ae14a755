//! A real receiver of OTLP over HTTP (oteltap, which scripts/servers.sh fetches) on a free loopback port. It prints what it
//! receives as JSON, and does not read compressed bodies. It ends with its value, by its process id.

use std::fs::File;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{fetched_servers, free_port, missing, until};

/// A running receiver.
pub struct Oteltap {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Oteltap {
    /// Starts one; `None` if the program is missing.
    pub fn start() -> Option<Oteltap> {
        let program = fetched_servers().join("oteltap");
        if !program.exists() {
            return missing("oteltap, which scripts/servers.sh fetches,");
        }
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let out = File::create(dir.path().join("out")).unwrap();
        let child = Command::new(std::fs::canonicalize(program).unwrap())
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let tap = Oteltap { child, port, dir };
        until("oteltap listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(tap)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the metrics and log records so far.
    pub fn received(&self) -> Vec<Value> {
        let path: PathBuf = self.dir.path().join("out");
        let text = std::fs::read_to_string(path).unwrap();
        // The last line may be incomplete, and the first one is a message.
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

impl Drop for Oteltap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
