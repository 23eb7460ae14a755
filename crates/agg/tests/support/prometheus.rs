//! A real Prometheus (Debian's package `prometheus`) on a free loopback port, in a directory of its own. It ends with its
//! value, by its process id.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{free_port, missing, until};

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes nothing and has these samples, in the format OpenMetrics with times. Returns `None` if the
    /// program is missing.
    pub fn with_samples(samples: &str) -> Option<Prometheus> {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("samples"), format!("{samples}# EOF\n")).unwrap();
        let import = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([at("samples"), at("data")])
            .output();
        let Ok(import) = import else {
            return missing("promtool");
        };
        assert!(import.status.success(), "{}", super::err(&import));
        Prometheus::start(dir, "")
    }

    /// Starts one that scrapes these ports of this machine every second, each as a job. Returns `None` if the program is
    /// missing.
    pub fn scraping(jobs: &[(&str, u16)]) -> Option<Prometheus> {
        let mut config = String::from("global: {scrape_interval: 1s}\nscrape_configs:\n");
        for (job, port) in jobs {
            let targets = format!("[{{targets: [\"127.0.0.1:{port}\"]}}]");
            config += &format!("- {{job_name: {job}, static_configs: {targets}}}\n");
        }
        Prometheus::start(tempfile::tempdir().unwrap(), &config)
    }

    fn start(dir: tempfile::TempDir, config: &str) -> Option<Prometheus> {
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("prometheus.yml"), config).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            return missing("prometheus");
        };
        let mut prometheus = Prometheus {
            child,
            port,
            _dir: dir,
        };
        until("prometheus is ready", || {
            if let Some(status) = prometheus.child.try_wait().unwrap() {
                panic!("prometheus ended with {status}");
            }
            let url = format!("http://127.0.0.1:{port}/-/ready");
            ureq::get(url).call().ok()
        });
        Some(prometheus)
    }

    /// Returns the data of a reply of its HTTP API.
    pub fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let mut request = ureq::get(url).config().http_status_as_error(false).build();
        for (name, value) in parameters {
            request = request.query(*name, *value);
        }
        let text = request.call().unwrap().body_mut().read_to_string().unwrap();
        let reply: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(reply["status"], "success", "{path} {parameters:?}: {text}");
        reply["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
