//! `agg serve`, and `[serve]` of `agg poll`, with real servers, scraped as Prometheus does and by a real Prometheus.

mod bounds;
mod poller;
mod range;
mod slow;
mod sources;
mod values;

use std::process::{Child, Command};
use std::time::Duration;

use crate::support::place::Place;
use crate::support::{Running, agg};

/// A running `agg serve`, or `agg poll` with a status page, on a free port.
struct Serve {
    /// What it is asked at, as `127.0.0.1:40000`.
    address: String,
    /// The path of the live values.
    page: &'static str,
    process: Running,
}

impl Serve {
    /// Starts `agg serve` with these arguments.
    fn start(arguments: &str) -> Serve {
        let line = format!("serve --listen 127.0.0.1:0 {arguments}");
        Serve::of(
            &mut agg("redis://127.0.0.1:1", &line),
            "live values on http://",
            "/metrics",
        )
    }

    /// Starts `agg poll` with the configuration of a place.
    fn poll(place: &Place) -> Serve {
        let said = "status page listening on http://";
        Serve::of(&mut place.command("poll"), said, "/live")
    }

    /// Starts a program that says its address after these words.
    fn of(command: &mut Command, said: &str, page: &'static str) -> Serve {
        let mut process = Running::start(command);
        let mut lines = process.errors();
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once(said)?;
            Some(rest.split('/').next()?.to_owned())
        });
        // Its further messages are read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Serve {
            address: address.expect("it listens"),
            page,
            process,
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

    /// Returns the page of live values.
    fn scrape(&self) -> String {
        let (status, text) = self.get(self.page);
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
