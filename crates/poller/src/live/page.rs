//! The page of metrics: the text of a collection, and the same compressed.

use std::io::Write;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::info::{self, ServerInfo};
use super::series::{self, Series, SeriesSet};
use crate::web::held::SharedBytes;
use crate::web::metrics::exposition::Exposition;
use crate::web::metrics::process;

/// The text of a collection.
#[derive(Default)]
pub struct Page {
    text: SharedBytes,
    compressed: OnceLock<SharedBytes>,
}

impl Page {
    fn new(text: String) -> Page {
        Page {
            text: text.into_bytes().into(),
            compressed: OnceLock::new(),
        }
    }

    /// Returns the text.
    pub fn text(&self) -> &SharedBytes {
        &self.text
    }

    /// Returns the text compressed by gzip, once for all requests. It takes a while.
    pub fn compressed(&self) -> &SharedBytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory does not fail.
            let _ = encoder.write_all(self.text.as_ref());
            encoder.finish().unwrap_or_default().into()
        };
        self.compressed.get_or_init(compress)
    }
}

/// A server at the end of a collection.
pub struct ServerState {
    /// Its identity.
    pub id: String,
    /// Its report about itself; none if it is down.
    pub info: Option<ServerInfo>,
    /// The time that its reading took.
    pub duration: Duration,
    /// The number of nodes that were read.
    pub nodes: u64,
    /// The number of nodes whose metrics are left out because of their age.
    pub old_nodes: u64,
}

/// The state of the process.
pub struct Process {
    /// Its start.
    pub created: SystemTime,
    /// The number of requests that it has rejected because of slow clients.
    pub rejected: u64,
}

/// Writes the page of a collection. With `process`, it has the families of the process.
pub fn page(
    servers: &[ServerState],
    series: SeriesSet,
    limit: usize,
    started: Instant,
    process: Option<Process>,
) -> Page {
    let mut text = Exposition::default();
    let gauge = |name, help| (name, "gauge", help);
    text.each(
        gauge(
            "agg_server_up",
            "1 if the server was read, 0 if it was not.",
        ),
        "server",
        servers,
        |server| (&server.id, f64::from(u8::from(server.info.is_some()))),
    );
    text.each(
        gauge(
            "agg_server_read_seconds",
            "Time that reading the server took.",
        ),
        "server",
        servers,
        |server| (&server.id, server.duration.as_secs_f64()),
    );
    text.each(
        gauge(
            "agg_server_old_nodes",
            "Nodes whose metrics are left out, as they have had no sample for max-age.",
        ),
        "server",
        servers,
        |server| (&server.id, server.old_nodes as f64),
    );
    let infos = servers.iter();
    let infos: Vec<_> = infos
        .map(|server| (&*server.id, server.info.as_ref()))
        .collect();
    info::write(&infos, &mut text);
    let (mut all, left_out, duplicates) = series.finish();
    let count = all.len();
    if process.is_some() {
        // Among those of the nodes, one of which may have a metric of this name: each family occurs once.
        let own = Series {
            key: "process_cpu_seconds_total{}".into(),
            value: process::cpu_seconds(),
        };
        let at = all.partition_point(|series| series.key < own.key);
        all.insert(at, own);
    }
    series::write(&all, &mut text);
    for (name, help, value) in [
        (
            "agg_serve_series",
            "Series of nodes on this page.",
            count as f64,
        ),
        (
            "agg_serve_series_limit",
            "Series of nodes that this page may have: max-series.",
            limit as f64,
        ),
        (
            "agg_serve_series_left_out",
            "Series that are left out at the limit.",
            left_out as f64,
        ),
        (
            "agg_serve_series_duplicates",
            "Series that two servers have, of which only that of the first is on this page.",
            duplicates as f64,
        ),
        (
            "agg_serve_collection_seconds",
            "Time that this page took.",
            started.elapsed().as_secs_f64(),
        ),
    ] {
        text.single(name, "gauge", help, value);
    }
    if let Some(process) = process {
        of_process(&process, &mut text);
    }
    Page::new(text.into_string())
}

/// Writes the families of the process, except for its CPU time.
fn of_process(process: &Process, text: &mut Exposition) {
    text.single(
        "agg_serve_rejected_requests_total",
        "counter",
        "Requests rejected because slow clients had not received other responses.",
        process.rejected as f64,
    );
    text.metric(
        "agg_serve_build_info",
        "gauge",
        "The version of this program; the value is 1.",
    );
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.sample("agg_serve_build_info", &version, 1.0);
    let since_1970 = process.created.duration_since(UNIX_EPOCH);
    text.single(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process, in Unix seconds.",
        since_1970.unwrap_or_default().as_secs_f64(),
    );
    if let Some(bytes) = process::resident_bytes() {
        text.single(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory.",
            bytes as f64,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::series::NODE_FAMILIES;
    use super::*;
    use crate::web::fixtures;

    /// The families of a page without nodes.
    fn of_page(process: Option<Process>) -> Vec<String> {
        let server = ServerState {
            id: "redis://a:1".into(),
            info: ServerInfo::parse("agg_nodes:1"),
            duration: Duration::ZERO,
            nodes: 1,
            old_nodes: 0,
        };
        let page = page(&[server], SeriesSet::new(10), 10, Instant::now(), process);
        let text = String::from_utf8(page.text().as_ref().to_vec()).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect()
    }

    /// The program's own families.
    fn families() -> BTreeSet<String> {
        let process = Process {
            created: SystemTime::now(),
            rejected: 0,
        };
        let nodes = NODE_FAMILIES.iter().map(|(name, ..)| (*name).to_owned());
        of_page(Some(process)).into_iter().chain(nodes).collect()
    }

    #[test]
    fn page_beside_that_of_the_poller_has_no_family_of_it() {
        let view = fixtures::view(&fixtures::bad(3));
        let text = crate::web::metrics::text(&view, true, 0);
        let of_poller = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let of_poller: BTreeSet<&str> = of_poller
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert!(of_poller.contains("process_cpu_seconds_total"));
        let live = of_page(None);
        assert!(live.contains(&"agg_serve_series".to_owned()));
        for name in live {
            assert!(!of_poller.contains(&*name), "{name}");
        }
    }

    fn read(name: &str) -> String {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/");
        std::fs::read_to_string(format!("{docs}{name}")).unwrap()
    }

    #[test]
    fn documentation_names_every_family() {
        let page = read("agg-serve.md");
        for name in families() {
            let is_own = name.starts_with("agg_");
            assert!(!is_own || page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn alerts_use_only_existing_families() {
        let known = families();
        for file in ["alerts-serve.yml", "alerts-serve_test.yml"] {
            let text = read(&format!("monitoring/{file}"));
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let named: BTreeSet<&str> = words.filter(|word| word.starts_with("agg_")).collect();
            assert!(named.len() > 5, "{file}: {named:?}");
            for name in named {
                assert!(known.contains(name), "{file}: {name}");
            }
        }
    }
}
