//! A real InfluxDB 1.x (Debian's package `influxdb`) on free loopback ports, in a directory of its own. It ends with
//! its value, by its process id.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{free_port, missing, until};

/// A running database server.
pub struct InfluxDb {
    child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl InfluxDb {
    /// Starts an empty one; `None` if the program is missing.
    pub fn start() -> Option<InfluxDb> {
        InfluxDb::with_data_settings("")
    }

    /// Starts an empty one with more settings in the section `data`; `None` if the program is missing.
    pub fn with_data_settings(data: &str) -> Option<InfluxDb> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        write_settings(dir.path(), port, data);
        let Some(child) = spawn(dir.path()) else {
            return missing("influxd");
        };
        let mut influx = InfluxDb { child, port, dir };
        influx.wait_for_answer();
        Some(influx)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it, as a crash does.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Restarts it with its data.
    pub fn restart(&mut self) {
        self.child = spawn(self.dir.path()).unwrap();
        self.wait_for_answer();
    }

    /// Restarts it with its data and other settings in the section `data`.
    pub fn restart_with_data_settings(&mut self, data: &str) {
        self.stop();
        write_settings(self.dir.path(), self.port, data);
        self.restart();
    }

    fn wait_for_answer(&mut self) {
        until("influxd answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("influxd ended with {status}");
            }
            agent().get(format!("{}/ping", self.url())).call().ok()
        });
    }

    /// Runs a statement and returns its rows.
    pub fn query(&self, statement: &str) -> Vec<Vec<serde_json::Value>> {
        let series = self.series(statement);
        series
            .iter()
            .flat_map(|series| series["values"].as_array().unwrap().clone())
            .map(|row| row.as_array().unwrap().clone())
            .collect()
    }

    /// Runs a statement and returns its series, with times in milliseconds.
    pub fn series(&self, statement: &str) -> Vec<serde_json::Value> {
        let response = agent().post(format!("{}/query", self.url())).send_form([
            ("db", "grid"),
            ("epoch", "ms"),
            ("q", statement),
        ]);
        let text = response.unwrap().body_mut().read_to_string().unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let result = &json["results"][0];
        assert!(result["error"].is_null(), "{statement}: {text}");
        result["series"].as_array().cloned().unwrap_or_default()
    }

    /// Writes lines verbatim.
    pub fn write(&self, lines: &str) {
        let url = format!("{}/write?db=grid", self.url());
        agent().post(url).send(lines).unwrap();
    }
}

impl Drop for InfluxDb {
    fn drop(&mut self) {
        self.stop();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .proxy(None);
    config.build().into()
}

fn spawn(dir: &std::path::Path) -> Option<Child> {
    Command::new("influxd")
        .args(["run", "-config"])
        .arg(dir.join("influxdb.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

fn write_settings(path: &std::path::Path, port: u16, data: &str) {
    let (dir, backup) = (path.display(), free_port());
    let settings = format!(
        r#"
reporting-disabled = true
bind-address = "127.0.0.1:{backup}"
[meta]
dir = "{dir}/meta"
[data]
dir = "{dir}/data"
wal-dir = "{dir}/wal"
{data}
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[monitor]
store-enabled = false
"#
    );
    std::fs::write(path.join("influxdb.conf"), settings).unwrap();
}
