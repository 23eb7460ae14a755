//! A real Prometheus (Debian's package `prometheus`) on a free loopback port, in a directory of its own. It ends with its
//! value, by its process id.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::small_disk::SmallDisk;
use super::{free_port, missing, until};

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
    flags: Vec<String>,
    disk: Option<SmallDisk>,
}

const RECEIVES: &str = "--web.enable-remote-write-receiver";
/// The size of the disk that becomes full, bytes: more than the data and the log of a test.
const DISK: u64 = 16 << 20;

/// The labels of a series, sorted by name.
pub type Labels = BTreeMap<String, String>;

impl Prometheus {
    /// Starts an empty one that receives remote write, with more flags. Samples may be older than the newest of their series
    /// by `window`, such as "1d"; "0s": not at all. Returns `None` if the program is missing.
    pub fn receiving(window: &str, flags: &[&str]) -> Option<Prometheus> {
        let flags = [&[RECEIVES], flags].concat();
        Prometheus::start(&receiver(window), &flags, false)
    }

    /// As [`Prometheus::receiving`], on a small disk of its own; `None` without root permissions too.
    pub fn receiving_on_small_disk(window: &str) -> Option<Prometheus> {
        Prometheus::start(&receiver(window), &[RECEIVES], true)
    }

    /// Starts one that scrapes these ports of this machine every second, each as a job. Returns `None` if the program is
    /// missing.
    pub fn scraping(jobs: &[(&str, u16)]) -> Option<Prometheus> {
        let pages: Vec<_> = jobs
            .iter()
            .map(|(job, port)| (*job, *port, "/metrics"))
            .collect();
        Prometheus::scraping_pages(&pages)
    }

    /// As [`Prometheus::scraping`], with the path of the page of each job.
    pub fn scraping_pages(jobs: &[(&str, u16, &str)]) -> Option<Prometheus> {
        let mut config = String::from("global: {scrape_interval: 1s}\nscrape_configs:\n");
        for (job, port, path) in jobs {
            let targets = format!("[{{targets: [\"127.0.0.1:{port}\"]}}]");
            // As docs/agg-serve.md says: the labels of live values are their own.
            config += &format!(
                "- {{job_name: {job}, metrics_path: {path}, honor_labels: true, static_configs: {targets}}}\n"
            );
        }
        Prometheus::start(&config, &[], false)
    }

    fn start(config: &str, flags: &[&str], is_disk_small: bool) -> Option<Prometheus> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut command = command(dir.path(), port, &flags);
        let mut disk = None;
        if is_disk_small {
            let data = dir.path().join("data");
            std::fs::create_dir(&data).unwrap();
            let small = SmallDisk::new(&data, DISK)?;
            command = small.wrap(command);
            disk = Some(small);
        }
        let Ok(child) = silent(&mut command).spawn() else {
            return missing("prometheus");
        };
        if let Some(disk) = &mut disk {
            disk.attach(child.id());
        }
        let mut prometheus = Prometheus {
            child,
            port,
            dir,
            flags,
            disk,
        };
        prometheus.wait_until_ready();
        Some(prometheus)
    }

    fn wait_until_ready(&mut self) {
        until("prometheus is ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("prometheus ended with {status}");
            }
            let url = format!("http://127.0.0.1:{}/-/ready", self.port);
            ureq::get(url).call().ok()
        });
    }

    /// Kills it, as a crash does.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Restarts it with its data, which a small disk does not keep.
    pub fn restart(&mut self) {
        assert!(self.disk.is_none());
        self.stop();
        let mut command = command(self.dir.path(), self.port, &self.flags);
        self.child = silent(&mut command).spawn().unwrap();
        self.wait_until_ready();
    }

    /// Restarts it so that it receives remote write, or does not.
    pub fn receive(&mut self, does: bool) {
        self.flags.retain(|flag| flag != RECEIVES);
        self.flags.extend(does.then(|| RECEIVES.to_owned()));
        self.restart();
    }

    /// Returns the small disk that it was started on.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    pub fn write_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/write", self.port)
    }

    /// Returns all samples of the series that a selector finds, each with its time in Unix milliseconds.
    pub fn samples(&self, selector: &str) -> BTreeMap<Labels, Vec<(i64, f64)>> {
        let data = self.get("query", &[("query", &format!("{selector}[90d]"))]);
        let series = data["result"].as_array().unwrap().iter();
        let of_series = series.map(|one| {
            let labels = serde_json::from_value(one["metric"].clone()).unwrap();
            let samples = one["values"].as_array().unwrap().iter().map(|sample| {
                let milliseconds = (sample[0].as_f64().unwrap() * 1000.0).round() as i64;
                (milliseconds, sample[1].as_str().unwrap().parse().unwrap())
            });
            (labels, samples.collect())
        });
        of_series.collect()
    }

    /// Returns the value of a query that selects one series, once there is one.
    pub fn value(&self, query: &str) -> f64 {
        until(query, || {
            let data = self.get("query", &[("query", query)]);
            let found = data["result"].as_array().unwrap().clone();
            assert!(found.len() < 2, "{query}: {found:?}");
            let value = found.first()?["value"][1].as_str()?.parse();
            Some(value.unwrap())
        })
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
        self.stop();
    }
}

/// Returns the configuration of a receiver.
fn receiver(window: &str) -> String {
    format!("storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n")
}

fn command(dir: &std::path::Path, port: u16, flags: &[String]) -> Command {
    let at = |name: &str| dir.join(name).display().to_string();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", at("prometheus.yml")))
        .arg(format!("--storage.tsdb.path={}", at("data")))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(flags);
    command
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}
