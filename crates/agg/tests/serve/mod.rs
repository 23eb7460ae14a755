//! `agg serve` with real servers, scraped as Prometheus does and by a real Prometheus.

mod bounds;
mod range;
mod values;

use std::process::Child;
use std::time::Duration;

use crate::support::{Running, agg};

/// A running `agg serve` on a free port.
struct Serve {
    /// What it is asked at, as `127.0.0.1:40000`.
    address: String,
    _process: Running,
}

impl Serve {
    /// Starts it with these arguments.
    fn start(arguments: &str) -> Serve {
        let line = format!("serve --listen 127.0.0.1:0 {arguments}");
        let mut process = Running::start(&mut agg("redis://127.0.0.1:1", &line));
        let mut lines = process.errors();
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("live values on http://")?;
            Some(rest.strip_suffix("/metrics").unwrap().to_owned())
        });
        // Its further messages are read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Serve {
            address: address.expect("it listens"),
            _process: process,
        }
    }

    fn port(&self) -> u16 {
        self.address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Returns the status and the body of a reply.
    fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let request = ureq::get(url)
            .config()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        let mut response = request.build().call().unwrap();
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string();
        (response.status().as_u16(), text.unwrap())
    }

    /// Returns the page of metrics.
    fn scrape(&self) -> String {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        text
    }
}

/// Returns the value of a series on a page.
fn value(page: &str, key: &str) -> Option<f64> {
    let mut values = page.lines().filter_map(|line| {
        let (of, value) = line.rsplit_once(' ')?;
        (of == key).then(|| value.parse().unwrap())
    });
    let value = values.next();
    assert!(values.next().is_none(), "{key} occurs twice");
    value
}

/// Returns the number of series whose family begins so.
fn count(page: &str, start: &str) -> usize {
    page.lines().filter(|line| line.starts_with(start)).count()
}

/// Stops a program, as a machine that hangs does.
fn suspend(pid: u32) {
    signal(pid, "STOP");
}

/// Continues a program that was stopped.
fn resume(pid: u32) {
    signal(pid, "CONT");
}

fn signal(pid: u32, name: &str) {
    let child: Child = std::process::Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .spawn()
        .unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}
