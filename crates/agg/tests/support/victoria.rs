//! A real VictoriaMetrics (Debian's package `victoria-metrics`) on a free loopback port, in a directory of its own. It
//! ends with its value, by its process id.

use std::process::{Child, Command, Stdio};

use super::{free_port, missing, until};

/// A running database server.
pub struct Victoria {
    child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Victoria {
    /// Starts an empty one; `None` if the program is missing.
    pub fn start() -> Option<Victoria> {
        Victoria::with(&[])
    }

    /// Starts an empty one with more flags.
    pub fn with(flags: &[&str]) -> Option<Victoria> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let Ok(child) = spawn(dir.path(), port, flags) else {
            return missing("victoria-metrics");
        };
        let mut victoria = Victoria { child, port, dir };
        victoria.wait_for_answer();
        Some(victoria)
    }

    fn wait_for_answer(&mut self) {
        until("victoria-metrics answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("victoria-metrics ended with {status}");
            }
            ureq::get(format!("{}/health", self.url())).call().ok()
        });
    }

    /// Ends it as a service manager does: it has no log of its writes, and a crash loses those of the last seconds.
    pub fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap();
    }

    /// Starts it again with its data and these flags.
    pub fn start_again(&mut self, flags: &[&str]) {
        self.child = spawn(self.dir.path(), self.port, flags).unwrap();
        self.wait_for_answer();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets queries find what was written just now.
    pub fn flush(&self) {
        let flush = format!("{}/internal/force_flush", self.url());
        ureq::get(flush).call().unwrap();
    }

    /// Returns the values that a query has at a time, in Unix milliseconds. What was written just now is found, too.
    pub fn query(&self, text: &str, at: i64) -> Vec<f64> {
        self.flush();
        let response = ureq::get(format!("{}/api/v1/query", self.url()))
            .query("query", text)
            .query("nocache", "1")
            .query("time", format!("{}.{:03}", at / 1000, at % 1000))
            .call();
        let text = response.unwrap().body_mut().read_to_string().unwrap();
        let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
        let series = reply["data"]["result"].as_array().unwrap().iter();
        series
            .map(|one| one["value"][1].as_str().unwrap().parse().unwrap())
            .collect()
    }

    /// Returns the series that match, each with its labels, values and times.
    pub fn export(&self, matching: &str) -> Vec<serde_json::Value> {
        let response = ureq::get(format!("{}/api/v1/export", self.url()))
            .query("match[]", matching)
            .call();
        let text = response.unwrap().body_mut().read_to_string().unwrap();
        let series = text.lines().map(serde_json::from_str);
        series.collect::<Result<_, _>>().unwrap()
    }
}

impl Drop for Victoria {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &std::path::Path, port: u16, flags: &[&str]) -> std::io::Result<Child> {
    Command::new("victoria-metrics")
        .arg(format!("-storageDataPath={}", dir.display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
