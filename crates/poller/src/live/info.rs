//! The report of a server about itself: INFO. No I/O.
//!
//! The field of INFO that a family shows is in one table. A field that a server does not have makes no sample, so the
//! replies of older and newer modules remain usable.

use std::collections::BTreeMap;

use aggregator_protocol::Queue;

use crate::web::metrics::exposition::Exposition;

/// The most fields that are kept: the module has about 70.
const MAX_FIELDS: usize = 1000;
/// The longest name of a field.
const MAX_NAME: usize = 64;

/// The fields of INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// The module's numbers, by their names after `agg_`.
    fields: BTreeMap<String, u64>,
    /// The server's clock, Unix milliseconds.
    pub now_ms: Option<i64>,
}

impl ServerInfo {
    /// Parses the reply of INFO. Returns none if the server does not have the module.
    pub fn parse(text: &str) -> Option<ServerInfo> {
        let mut info = ServerInfo::default();
        let lines = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'));
        for (name, value) in lines {
            if name == "server_time_usec" {
                info.now_ms = value.parse::<i64>().ok().map(|time| time / 1000);
            }
            let Some(name) = name.strip_prefix("agg_") else {
                continue;
            };
            if let Ok(value) = value.parse()
                && name.len() <= MAX_NAME
                && info.fields.len() < MAX_FIELDS
            {
                info.fields.insert(name.to_owned(), value);
            }
        }
        (!info.fields.is_empty()).then_some(info)
    }
}

/// The place of the value of a sample.
enum From {
    /// In a field.
    Field(&'static str),
    /// In a field of each queue, of this end.
    Queues(&'static str),
    /// In all fields with this beginning, each a reason; those that end with `_last` are times.
    Reasons(&'static str),
    /// In all fields with this beginning, each a severity.
    Severities(&'static str),
    /// In fields, each with the label `window` and its value.
    Windows([(&'static str, &'static str); 3]),
}

/// A family: its name, type, help, where its values are, and what they are multiplied with.
type Family = (&'static str, &'static str, &'static str, From, f64);

const FAMILIES: [Family; 24] = [
    (
        "agg_server_nodes",
        "gauge",
        "Nodes.",
        From::Field("nodes"),
        1.0,
    ),
    (
        "agg_server_metrics",
        "gauge",
        "Metrics of all nodes.",
        From::Field("metrics"),
        1.0,
    ),
    (
        "agg_server_errors",
        "gauge",
        "Errors of all nodes.",
        From::Field("errors"),
        1.0,
    ),
    (
        "agg_server_new_errors_total",
        "counter",
        "Errors that were not known, by the severity with which they were first reported.",
        From::Severities("new_errors_"),
        1.0,
    ),
    (
        "agg_server_objects",
        "gauge",
        "Objects of all nodes.",
        From::Field("realities"),
        1.0,
    ),
    (
        "agg_server_memory_bytes",
        "gauge",
        "Memory that the module uses.",
        From::Field("held"),
        1.0,
    ),
    (
        "agg_server_memory_limit_bytes",
        "gauge",
        "Memory that the module may use: agg.max-memory.",
        From::Field("max_memory"),
        1.0,
    ),
    (
        "agg_server_node_memory_limit_bytes",
        "gauge",
        "Memory that a node may use: agg.max-node-memory; 0 is without limit.",
        From::Field("max_node_memory"),
        1.0,
    ),
    (
        "agg_server_queue_records",
        "gauge",
        "Records in the queues, pending and leased.",
        From::Queues("length"),
        1.0,
    ),
    (
        "agg_server_queue_bytes",
        "gauge",
        "Memory of the records in the queues.",
        From::Queues("bytes"),
        1.0,
    ),
    (
        "agg_server_queue_leased_records",
        "gauge",
        "Records that a poller has fetched and not acknowledged.",
        From::Queues("leased"),
        1.0,
    ),
    (
        "agg_server_queue_oldest_seconds",
        "gauge",
        "Age of the oldest record in the queues.",
        From::Queues("oldest"),
        0.001,
    ),
    (
        "agg_server_queue_dropped_records_total",
        "counter",
        "Records that left the queues undelivered.",
        From::Queues("dropped"),
        1.0,
    ),
    (
        "agg_server_dropped_total",
        "counter",
        "What was dropped at a limit, by the limit.",
        From::Reasons("dropped_"),
        1.0,
    ),
    (
        "agg_server_refused_reports_total",
        "counter",
        "Reports that were refused, by reason.",
        From::Reasons("refused_"),
        1.0,
    ),
    (
        "agg_server_late_samples_total",
        "counter",
        "Samples that were too late: for all windows, or for the short or the long window alone.",
        From::Windows([("all", "late"), ("min", "late_min"), ("hour", "late_hour")]),
        1.0,
    ),
    (
        "agg_server_suspect_diff_total",
        "counter",
        "Short windows of counters to which several processes seem to report their totals.",
        From::Field("suspect_diff"),
        1.0,
    ),
    (
        "agg_server_sources_dropped_total",
        "counter",
        "Sources of sequence numbers that were dropped for new ones.",
        From::Field("sources_dropped"),
        1.0,
    ),
    (
        "agg_server_forgotten_dropped_total",
        "counter",
        "Removed metrics that are no longer remembered.",
        From::Field("forgotten_dropped"),
        1.0,
    ),
    (
        "agg_server_clock_back_total",
        "counter",
        "Times that the server's clock was set back.",
        From::Field("clock_back"),
        1.0,
    ),
    (
        "agg_server_truncated_texts_total",
        "counter",
        "Texts that were truncated.",
        From::Field("truncated"),
        1.0,
    ),
    (
        "agg_server_imported_records_total",
        "counter",
        "Records of other servers that AGG.IMPORT stored.",
        From::Field("imported"),
        1.0,
    ),
    (
        "agg_server_import_duplicates_total",
        "counter",
        "Records that AGG.IMPORT was given again and ignored.",
        From::Field("import_duplicates"),
        1.0,
    ),
    (
        "agg_server_import_refused_total",
        "counter",
        "Records that AGG.IMPORT was given while there was no space for them.",
        From::Field("import_refused"),
        1.0,
    ),
];

/// Writes what servers report about themselves; of a server that is down there is nothing.
pub fn write(servers: &[(&str, Option<&ServerInfo>)], text: &mut Exposition) {
    for (name, kind, help, from, factor) in &FAMILIES {
        text.metric(name, kind, help);
        for (id, info) in servers {
            let fields = info.iter().flat_map(|info| &info.fields);
            for (field, value) in fields {
                let label = match from {
                    From::Field(of) if field == of => None,
                    From::Field(_) => continue,
                    From::Queues(end) => match queue(field, end) {
                        Some(queue) => Some(("queue", queue.to_owned())),
                        None => continue,
                    },
                    From::Reasons(start) => match field.strip_prefix(start) {
                        Some(reason) if !reason.ends_with("_last") => {
                            Some(("reason", reason.replace('_', "-")))
                        }
                        _ => continue,
                    },
                    From::Severities(start) => match field.strip_prefix(start) {
                        Some(severity) => Some(("severity", severity.to_uppercase())),
                        None => continue,
                    },
                    From::Windows(all) => match all.iter().find(|(_, of)| field == of) {
                        Some((window, _)) => Some(("window", (*window).to_owned())),
                        None => continue,
                    },
                };
                let mut labels = vec![("server", *id)];
                labels.extend(label.as_ref().map(|(name, value)| (*name, value.as_str())));
                text.sample(name, &labels, *value as f64 * factor);
            }
        }
    }
}

/// Returns the queue of a field such as `min_length`.
fn queue(field: &str, end: &str) -> Option<&'static str> {
    let (name, rest) = field.split_once('_')?;
    let mut queues = Queue::ALL.into_iter().map(Queue::name);
    let found = queues.find(|queue| queue.eq_ignore_ascii_case(name))?;
    (rest == end).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nserver_time_usec:1796226979462791\r\n# agg_nodes\r\nagg_nodes:1\r\n\
        agg_held:73706\r\nagg_max_memory:268435456\r\nagg_error_length:1\r\nagg_error_oldest:1500\r\n\
        agg_late:4\r\nagg_late_min:5\r\nagg_refused_max_series:6\r\nagg_dropped_queue_full:7\r\n\
        agg_dropped_queue_full_last:1796226979462\r\nagg_new_errors_critical:9\r\nagg_new_field:8\r\nagg_text:abc\r\n";

    fn written(text: &str) -> Vec<String> {
        let info = ServerInfo::parse(text).unwrap();
        let mut text = Exposition::default();
        write(&[("redis://a:1", Some(&info)), ("down", None)], &mut text);
        let text = text.into_string();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.replace("server=\"redis://a:1\"", "S"))
            .collect()
    }

    #[test]
    fn fields_become_samples() {
        assert_eq!(
            written(INFO),
            [
                "agg_server_nodes{S} 1",
                "agg_server_new_errors_total{S,severity=\"CRITICAL\"} 9",
                "agg_server_memory_bytes{S} 73706",
                "agg_server_memory_limit_bytes{S} 268435456",
                "agg_server_queue_records{S,queue=\"ERROR\"} 1",
                "agg_server_queue_oldest_seconds{S,queue=\"ERROR\"} 1.5",
                "agg_server_dropped_total{S,reason=\"queue-full\"} 7",
                "agg_server_refused_reports_total{S,reason=\"max-series\"} 6",
                "agg_server_late_samples_total{S,window=\"all\"} 4",
                "agg_server_late_samples_total{S,window=\"min\"} 5",
            ]
        );
        let info = ServerInfo::parse(INFO).unwrap();
        assert_eq!(info.now_ms, Some(1_796_226_979_462));
    }

    #[test]
    fn server_without_the_module_has_no_information() {
        assert_eq!(
            ServerInfo::parse("# Server\r\nredis_version:7.0.15\r\n"),
            None
        );
        assert_eq!(ServerInfo::parse(""), None);
    }

    #[test]
    fn fields_of_a_hostile_server_are_bounded() {
        let text: String = (0..10_000)
            .map(|n| format!("agg_refused_{n}:1\r\n"))
            .collect();
        let info = ServerInfo::parse(&(text + &format!("agg_{}:1\r\n", "x".repeat(65))));
        assert_eq!(info.unwrap().fields.len(), MAX_FIELDS);
    }
}
