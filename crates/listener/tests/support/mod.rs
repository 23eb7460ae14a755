//! A listener in the process of the tests, and what is asked of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agg_client::{Access, Shutdown};
use agg_listener::config::Config;
use agg_listener::listen::{RunError, run};
use aggregator_protocol::NodeName;
use redis::Value;
use serde_json::Value as Json;
use tokio::sync::Notify;

pub use testkit::*;

/// The node of all reports.
pub const NODE: &str = "n";

/// A running listener; it ends with its value.
pub struct Listener {
    pub dir: tempfile::TempDir,
    reload: Arc<Notify>,
    shutdown: Shutdown,
    task: Option<JoinHandle<Result<u64, RunError>>>,
    status: SocketAddr,
}

impl Listener {
    /// Starts a listener of a configuration, with a status page, that reports to a URL.
    pub fn start(url: &str, config: &str) -> Listener {
        let dir = tempfile::tempdir().unwrap();
        let status = address(free_port());
        let path = dir.path().join("listen.toml");
        write_config(&path, status, config);
        let (reload, shutdown) = (Arc::new(Notify::new()), Shutdown::default());
        let config = Config::read(&path).unwrap();
        let server = agg_client::Server::parse(url, &Access::default()).unwrap();
        let (notified, requested) = (reload.clone(), shutdown.clone());
        let task = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let node = NodeName(NODE.into());
            let running = run(&server, config, Some(&path), node, notified, &requested);
            runtime.block_on(running)
        });
        let listener = Listener {
            dir,
            reload,
            shutdown,
            task: Some(task),
            status,
        };
        until("the listener listens", || {
            TcpStream::connect(status).is_ok().then_some(())
        });
        listener
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("listen.toml")
    }

    /// Writes another configuration and makes the listener read it.
    pub fn reload(&self, config: &str) {
        write_config(&self.path(), self.status, config);
        self.reload.notify_one();
    }

    pub fn status_address(&self) -> SocketAddr {
        self.status
    }

    /// Returns the state of the status page.
    pub fn status(&self) -> Json {
        let (status, _, body) = http(self.status, "GET", "/status.json", &[], b"");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    /// Returns a count of a protocol.
    pub fn count(&self, protocol: &str, count: &str) -> u64 {
        self.status()["protocols"][protocol][count]
            .as_u64()
            .unwrap()
    }

    /// Returns the number of inputs that a protocol could not use.
    pub fn invalid(&self, protocol: &str) -> u64 {
        let status = self.status();
        let invalid = status["protocols"][protocol]["invalid"].as_object();
        let counts = invalid.unwrap().values();
        counts
            .map(|invalid| invalid["count"].as_u64().unwrap())
            .sum()
    }

    pub fn is_up(&self) -> bool {
        self.status()["is_up"].as_bool().unwrap()
    }

    /// Waits until the listener knows whether the server answers.
    pub fn until_up(&self, is_up: bool) {
        until("the listener notices the server", || {
            (self.is_up() == is_up).then_some(())
        });
    }

    /// Waits until nothing is buffered.
    pub fn until_sent(&self) {
        until("all is sent", || {
            (self.status()["buffered_bytes"] == 0).then_some(())
        });
    }

    /// Checks that each report that was received has an outcome. None may be without a reply.
    pub fn assert_counts_add_up(&self) {
        self.until_sent();
        let mut counts = Json::Null;
        let add_up = |counts: &Json| {
            counts.as_object().unwrap().values().all(|c| {
                let of = |name: &str| c[name].as_u64().unwrap();
                of("received") == of("counted") + of("late") + of("rejected") + of("dropped")
            })
        };
        // Requests are counted as received once they are answered.
        for _ in 0..100 {
            counts = self.status()["protocols"].clone();
            if add_up(&counts) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{counts}");
    }

    /// Requests the end, and returns the number of reports that were not sent.
    pub fn end(&mut self) -> Result<u64, RunError> {
        self.shutdown.request();
        self.task.take().unwrap().join().unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(task) = self.task.take() {
            // A failure has been reported by the test.
            let _ = task.join();
        }
    }
}

fn write_config(path: &std::path::Path, status: SocketAddr, config: &str) {
    let text = format!("listen = \"{status}\"\n{config}");
    std::fs::write(path, text).unwrap();
}

pub fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Returns a socket that sends to an address.
pub fn udp(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Sends a request over a connection of its own. Returns the status, the head and the body of the answer.
pub fn http(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(to).unwrap();
    send_request(&mut stream, method, path, headers, body).unwrap();
    let mut answer = Vec::new();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // The connection may be reset behind the answer, if not all of the request was read.
    let _ = stream.read_to_end(&mut answer);
    parse_answer(&answer)
}

pub fn send_request(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| *name == "connection") {
        head += "connection: close\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

pub fn parse_answer(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

/// Returns a number of a metric, as AGG.GET has it; 0 if there is no such metric.
pub fn number(server: &Server, metric: &str, field: &str) -> f64 {
    let value = server.field(&format!("AGG.GET {NODE} METRIC {metric}"), field);
    match value {
        None => 0.0,
        Some(Value::Int(number)) => number as f64,
        Some(Value::Double(number)) => number,
        Some(Value::BulkString(text)) => String::from_utf8(text).unwrap().parse().unwrap(),
        Some(other) => panic!("{other:?}"),
    }
}

/// Returns the resident memory of this process, bytes.
pub fn rss() -> u64 {
    let (now, _) = resident(std::process::id()).unwrap();
    now
}
