//! Writes messages to standard error, as text for people or as JSON for programs.
//!
//! # Invariants
//! - Text: each line is `agg: ` and the message, whatever its level. In a service, time and level precede it.
//! - JSON: each line is one object with timestamp, level and message, and with server, sink and node where they are
//!   known. These three are fields of the event or of an enclosing span, so that the code that logs need not know them.
//! - No message spans two lines or reaches a terminal unmasked.
//! - Messages of libraries are shown only on request, and then with their target.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use agg_client::timestamp::utc;
use aggregator_protocol::masking;

/// The format of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object per line: timestamp, level, message, and server, sink and node where known
    Json,
}

/// The arguments.
#[derive(Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Format of the messages on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: Format,

    /// Minimum level: error, warn, info, debug or trace, or directives such as agg=debug,hyper=info
    #[arg(long, value_name = "LEVEL", env = "AGG_LOG", default_value = "info", value_parser = filter)]
    log_level: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log: Format::Text,
            log_level: "info".into(),
        }
    }
}

/// Parses the argument of `--log-level`. A single level applies to this program, not to its libraries.
fn filter(text: &str) -> Result<String, String> {
    let directives = match text.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => format!("agg={level}"),
        Err(_) => text.to_owned(),
    };
    EnvFilter::builder()
        .parse(&directives)
        .map(|_| directives)
        .map_err(|_| {
            "expected error, warn, info, debug, trace or off, or directives such as \
             agg=debug,hyper=info"
                .into()
        })
}

impl Options {
    /// Installs the writer for a service, whose messages are read later; otherwise as [`Options::init`].
    pub fn init_service(&self) {
        self.init_with(Prefix::of_service());
    }

    /// Installs the writer of messages. Only the first call in a program has an effect.
    pub fn init(&self) {
        self.init_with(Prefix::None);
    }

    fn init_with(&self, prefix: Prefix) {
        let directives = filter(&self.log_level).unwrap_or_default();
        let lines = LineWriter {
            format: self.log,
            prefix,
            write: |line: &str| {
                // Errors are ignored: a closed standard error is no reason to end. One call, so that lines stay whole.
                let _ = std::io::stderr().write_all(line.as_bytes());
            },
        };
        let all = Registry::default()
            .with(EnvFilter::new(directives))
            .with(lines);
        let _ = tracing::subscriber::set_global_default(all);
    }
}

/// The text before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// Nothing, for a command run by a person.
    None,
    /// Time and level, for a service.
    Time,
    /// The level for journald (`<4>`), which adds the time itself.
    Journal,
}

impl Prefix {
    /// Returns the prefix for a service.
    fn of_service() -> Prefix {
        match is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
            true => Prefix::Journal,
            false => Prefix::Time,
        }
    }

    fn text(self, level: &Level, now: SystemTime) -> String {
        match self {
            Prefix::None => String::new(),
            Prefix::Time => format!("{} {level} ", utc(now)),
            Prefix::Journal => {
                let priority = match *level {
                    Level::ERROR => 3,
                    Level::WARN => 4,
                    Level::INFO => 6,
                    _ => 7,
                };
                format!("<{priority}>")
            }
        }
    }
}

/// Returns whether standard error is the stream that systemd names, as `DEVICE:INODE`: it may have been redirected
/// since.
fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    (device.parse(), inode.parse()) == (Ok(stat.st_dev), Ok(stat.st_ino))
}

/// Writes one line per event.
struct LineWriter<W> {
    format: Format,
    prefix: Prefix,
    write: W,
}

/// The fields of a span or event.
#[derive(Clone, Default)]
struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        // The name of a raw identifier.
        let name = field.name();
        self.0
            .insert(name.strip_prefix("r#").unwrap_or(name), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

impl<S, W> Layer<S> for LineWriter<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        // Inner spans override outer ones.
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(more) = span.extensions().get::<Fields>() {
                fields.0.extend(more.0.clone());
            }
        }
        event.record(&mut fields);
        let now = SystemTime::now();
        let line = match self.format {
            Format::Text => {
                let prefix = self.prefix.text(event.metadata().level(), now);
                prefix + &text(event.metadata(), fields)
            }
            Format::Json => json(event.metadata(), fields, now),
        };
        (self.write)(&line);
    }
}

/// Returns a line of text. Messages of this program are complete without their fields, those of libraries may not be.
fn text(metadata: &Metadata<'_>, mut fields: Fields) -> String {
    let message = match fields.0.remove("message") {
        Some(Value::String(message)) => message,
        _ => String::new(),
    };
    if is_message(metadata) {
        return format!("agg: {}\n", masking::text(&message));
    }
    let mut line = format!("agg: {} {}: {message}", metadata.level(), metadata.target());
    for (name, value) in fields.0 {
        let _ = write!(line, " {name}={value}");
    }
    format!("{}\n", masking::text(&line))
}

/// Returns a line of JSON. Messages of this program have no target.
fn json(metadata: &Metadata<'_>, mut fields: Fields, now: SystemTime) -> String {
    let message = fields.0.remove("message").unwrap_or_default();
    if !is_message(metadata) {
        fields.0.insert("target", metadata.target().into());
    }
    let line = Line {
        timestamp: utc(now),
        level: metadata.level().as_str().to_lowercase(),
        message,
        fields: fields.0,
    };
    // Strings and numbers always serialize.
    let line = serde_json::to_string(&line).unwrap_or_default();
    masking::json_lines(&line) + "\n"
}

/// A message in JSON. The fields that every message has come first.
#[derive(Serialize)]
struct Line {
    timestamp: String,
    level: String,
    message: Value,
    #[serde(flatten)]
    fields: BTreeMap<&'static str, Value>,
}

/// Returns whether an event is a message of this program for its users. Messages of libraries and for developers are
/// shown with their target and fields.
fn is_message(metadata: &Metadata<'_>) -> bool {
    let name = metadata.target().split("::").next().unwrap_or_default();
    (name == "agg" || name.starts_with("agg_")) && *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Returns the lines of the messages that `log` writes.
    fn logged_with(prefix: Prefix, format: Format, level: &str, log: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let write = move |line: &str| kept.lock().unwrap().push(line.to_owned());
        let all = Registry::default()
            .with(EnvFilter::new(filter(level).unwrap()))
            .with(LineWriter {
                format,
                prefix,
                write,
            });
        tracing::subscriber::with_default(all, log);
        let lines = lines.lock().unwrap();
        lines.clone()
    }

    fn logged(format: Format, level: &str, log: impl FnOnce()) -> Vec<String> {
        logged_with(Prefix::None, format, level, log)
    }

    fn log_some() {
        tracing::error_span!("server", server = "redis://h").in_scope(|| {
            tracing::info!("one\ntwo \"three\"");
            let span = tracing::info_span!("node", node = tracing::field::Empty, count = 3);
            span.record("node", "n1");
            let _within = span.enter();
            tracing::warn!("trouble");
        });
        tracing::error!(sink = %"influx", "gone");
        tracing::debug!(n = 1, "details");
        tracing::warn!(target: "hyper::client", "a library");
    }

    #[test]
    fn text_has_no_fields_for_own_messages() {
        let lines = logged(Format::Text, "info", log_some);
        assert_eq!(
            lines,
            [
                "agg: one\\ntwo \"three\"\n",
                "agg: trouble\n",
                "agg: gone\n"
            ]
        );
        assert_eq!(logged(Format::Text, "error", log_some), ["agg: gone\n"]);
        let lines = logged(Format::Text, "agg=debug,hyper=warn", log_some);
        assert!(
            lines.contains(&"agg: DEBUG agg::log::tests: details n=1\n".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"agg: WARN hyper::client: a library\n".to_owned()),
            "{lines:?}"
        );
    }

    #[test]
    fn messages_of_a_service_have_time_and_level() {
        let lines = logged_with(Prefix::Time, Format::Text, "info", log_some);
        for (line, rest) in lines.iter().zip([
            " INFO agg: one\\ntwo \"three\"\n",
            " WARN agg: trouble\n",
            " ERROR agg: gone\n",
        ]) {
            let (time, level) = line.split_at(24);
            assert_eq!(level, rest);
            assert!(time.starts_with("2") && time.ends_with('Z'), "{time}");
        }
        let lines = logged_with(Prefix::Journal, Format::Text, "warn", log_some);
        assert_eq!(lines, ["<4>agg: trouble\n", "<3>agg: gone\n"]);
    }

    #[test]
    fn journal_is_recognized_by_its_stream() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(&own)));
        for other in [None, Some(""), Some("x:y"), Some("1:2")] {
            assert!(!is_journal(other), "{other:?}");
        }
    }

    #[test]
    fn hostile_text_adds_no_line_and_is_masked() {
        let log = || {
            tracing::warn!("{}", "sink: \x1b[2Jbad\nagg: forged\u{9b}31m\u{202e}");
            tracing::debug!(why = "a\u{9b}\n", "details");
        };
        let lines = logged_with(Prefix::Time, Format::Text, "agg=debug", log);
        assert!(
            lines[0].ends_with("agg: sink: \\u001b[2Jbad\\nagg: forged\\u009b31m\\u202e\n"),
            "{lines:?}"
        );
        for line in lines.iter().chain(&logged(Format::Json, "agg=debug", log)) {
            let (line, end) = line.split_at(line.len() - 1);
            assert!(
                end == "\n" && !line.contains(masking::is_hidden),
                "{line:?}"
            );
        }
    }

    #[test]
    fn json_has_one_object_per_line_with_known_fields() {
        let lines = logged(Format::Json, "info", log_some);
        let objects: Vec<Value> = lines
            .iter()
            .map(|line| {
                assert_eq!(line.find('\n'), Some(line.len() - 1));
                serde_json::from_str(line).unwrap()
            })
            .collect();
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[0]["message"], "one\ntwo \"three\"");
        assert_eq!(objects[0]["level"], "info");
        assert_eq!(objects[0]["server"], "redis://h");
        assert_eq!(objects[1]["level"], "warn");
        assert_eq!(objects[1]["node"], "n1");
        assert_eq!(objects[1]["server"], "redis://h");
        assert_eq!(objects[1]["count"], 3);
        let lines = logged(Format::Json, "warn", log_some);
        assert!(lines[0].contains("\"server\":\"redis://h\""), "{lines:?}");
        assert_eq!(objects[2]["level"], "error");
        assert_eq!(objects[2]["sink"], "influx");
        assert!(objects[2]["server"].is_null());
        assert!(objects.iter().all(|object| object["target"].is_null()));
        let with_others = logged(Format::Json, "agg=debug,hyper=warn", log_some);
        let target = |line: &str| serde_json::from_str::<Value>(line).unwrap()["target"].take();
        let targets: Vec<_> = with_others[3..].iter().map(|line| target(line)).collect();
        assert_eq!(targets, ["agg::log::tests", "hyper::client"]);
        assert!(lines[0].starts_with("{\"timestamp\":\"2"), "{}", lines[0]);
        let time = objects[0]["timestamp"].as_str().unwrap();
        assert!(time.starts_with("20") && time.len() == 24, "{time}");
    }

    #[test]
    fn single_level_applies_to_this_program() {
        assert_eq!(filter("debug").unwrap(), "agg=debug");
        assert_eq!(filter("agg=trace,info").unwrap(), "agg=trace,info");
        assert!(filter("agg=loud").is_err());
    }
}
