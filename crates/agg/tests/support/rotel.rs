//! A real collector of OpenTelemetry (rotel, which scripts/servers.sh fetches) on free loopback ports. It passes nothing
//! on, and prints what it receives. It ends with its value, by its process id.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::proxy::Proxy;
use super::{fetched_servers, free_port, missing, until};

/// A running collector. The poller of a test connects through the proxy.
pub struct Rotel {
    child: Child,
    port: u16,
    pub proxy: Proxy,
    dir: tempfile::TempDir,
    starts: usize,
}

/// A metric with one point, or a log record, as the collector prints it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The attributes of its resource, each as `TYPE(VALUE)`.
    pub resource: BTreeMap<String, String>,
    /// Its fields by their names in the output, such as `Name` and `Value`.
    pub fields: BTreeMap<String, String>,
    /// Its attributes, each as `TYPE(VALUE)`.
    pub attributes: BTreeMap<String, String>,
    /// The buckets of a histogram: their bounds and counts.
    pub buckets: Vec<(String, u64)>,
}

impl Rotel {
    /// Starts one; `None` if the program is missing.
    pub fn start() -> Option<Rotel> {
        if !fetched_servers().join("rotel").exists() {
            return missing("rotel, which scripts/servers.sh fetches,");
        }
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let mut rotel = Rotel {
            child: spawn(port, &dir, 0),
            port,
            proxy: Proxy::start(port),
            dir,
            starts: 1,
        };
        rotel.wait_until_it_listens();
        Some(rotel)
    }

    /// Returns the URL of the proxy.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port)
    }

    /// Kills it, as a crash does.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.dir, self.starts);
        self.starts += 1;
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&mut self) {
        until("rotel listens", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("rotel ended with {status}");
            }
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Returns what all of its starts have received.
    pub fn received(&self) -> Vec<Received> {
        let files = (0..self.starts).map(|start| output(&self.dir, start));
        let texts = files.map(|path| std::fs::read_to_string(path).unwrap());
        texts.flat_map(|text| parse(&text)).collect()
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        self.stop();
    }
}

fn output(dir: &tempfile::TempDir, start: usize) -> std::path::PathBuf {
    dir.path().join(format!("output{start}"))
}

fn spawn(port: u16, dir: &tempfile::TempDir, start: usize) -> Child {
    Command::new(fetched_servers().join("rotel"))
        .args(["start", "--exporter", "blackhole", "--debug-log", "metrics"])
        .args(["--debug-log", "logs", "--debug-log-verbosity", "detailed"])
        .arg(format!("--otlp-http-endpoint=127.0.0.1:{port}"))
        .arg(format!("--otlp-grpc-endpoint=127.0.0.1:{}", free_port()))
        .arg(format!("--pid-file={}", dir.path().join("pid").display()))
        .stdin(Stdio::null())
        .stdout(File::create(output(dir, start)).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads the output. A line that is not complete yet is left out, and so is the last metric or log record, which may have
/// further lines.
fn parse(text: &str) -> Vec<Received> {
    #[derive(Clone, Copy)]
    enum Part {
        Resource,
        Descriptor,
        Attributes,
    }
    let mut all: Vec<Received> = Vec::new();
    let (mut resource, mut part) = (BTreeMap::new(), Part::Resource);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        if line.starts_with("ResourceMetrics #") || line.starts_with("ResourceLog #") {
            (resource, part) = (BTreeMap::new(), Part::Resource);
        } else if line.starts_with("Metric #") || line.starts_with("LogRecord #") {
            all.push(Received {
                resource: resource.clone(),
                ..Received::default()
            });
            part = Part::Descriptor;
        } else if line == "Data point attributes:" || line == "Attributes:" {
            part = Part::Attributes;
        } else if let Some(pair) = line.strip_prefix("     -> ") {
            let (name, value) = pair.split_once(": ").unwrap();
            let (name, value) = (name.to_owned(), value.to_owned());
            match (part, all.last_mut()) {
                (Part::Resource, _) => resource.insert(name, value),
                (Part::Descriptor, Some(last)) => last.fields.insert(name, value),
                (Part::Attributes, Some(last)) => last.attributes.insert(name, value),
                _ => panic!("{line}"),
            };
        } else if let (Some(bucket), Some(last)) = (line.strip_prefix("Bucket "), all.last_mut()) {
            let (bounds, count) = bucket.split_once(", Count: ").unwrap();
            last.buckets
                .push((bounds.to_owned(), count.parse().unwrap()));
        } else if let (Some((name, value)), Some(last)) = (line.split_once(": "), all.last_mut())
            && name.chars().all(char::is_alphanumeric)
        {
            last.fields.insert(name.to_owned(), value.to_owned());
        }
    }
    all
}
