//! Where what the program says goes: lines on standard error, for people or for programs.
//!
//! What holds: for people each line is `agg: ` and the message, whatever its level, with time and level before it where
//! a service writes; for programs each line is one JSON object with timestamp, level and message, and server, sink and
//! node where they are known. These three are fields of the event, or of a span that it happens in, so that the code that
//! logs need not know whom it works for. No text makes a second line or reaches a terminal raw (escape.rs). What libraries tell is shown only when it is asked for, and then with its source.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use aggregator_protocol::masking;
use aggregator_protocol::timestamp::utc;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Look {
    /// For people
    #[default]
    Text,
    /// One JSON object a line: timestamp, level, message, and server, sink and node where they are known
    Json,
}

/// The arguments.
#[derive(Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// How the lines on standard error look
    #[arg(long, value_name = "LOOK", default_value = "text")]
    log: Look,

    /// What is told: error, warn, info, debug or trace, or directives such as agg=debug,hyper=info
    #[arg(long, value_name = "LEVEL", env = "AGG_LOG", default_value = "info", value_parser = filter)]
    log_level: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log: Look::Text,
            log_level: "info".into(),
        }
    }
}

/// Whether it can be read; a bare level is that of this program, not of its libraries.
fn filter(text: &str) -> Result<String, String> {
    let directives = match text.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => format!("agg={level}"),
        Err(_) => text.to_owned(),
    };
    EnvFilter::builder()
        .parse(&directives)
        .map(|_| directives)
        .map_err(|_| "expected error, warn, info, debug, trace or off, or directives".into())
}

impl Options {
    /// As [`Options::begin`], for a service, whose lines are read later.
    pub fn begin_service(&self) {
        self.begin_with(Stamp::of_service());
    }

    /// From now on what is said goes where it belongs. Only the first call in a program counts.
    pub fn begin(&self) {
        self.begin_with(Stamp::None);
    }

    fn begin_with(&self, stamp: Stamp) {
        let directives = filter(&self.log_level).unwrap_or_default();
        let lines = Lines {
            look: self.log,
            stamp,
            write: |line: &str| {
                // A closed standard error is no reason to end. One call, so that lines stay whole.
                let _ = std::io::stderr().write_all(line.as_bytes());
            },
        };
        let all = Registry::default()
            .with(EnvFilter::new(directives))
            .with(lines);
        let _ = tracing::subscriber::set_global_default(all);
    }
}

/// What stands before a line for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    /// Nothing: of a command that a person has just started.
    None,
    /// When it was, and how bad: of a service.
    Time,
    /// How bad, as journald reads it (`<4>`); it knows the time itself.
    Journal,
}

impl Stamp {
    /// That of a service.
    fn of_service() -> Stamp {
        match is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
            true => Stamp::Journal,
            false => Stamp::Time,
        }
    }

    fn before(self, level: &Level, now: SystemTime) -> String {
        match self {
            Stamp::None => String::new(),
            Stamp::Time => format!("{} {level} ", utc(now)),
            Stamp::Journal => {
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

/// Whether standard error is the stream that systemd names, `DEVICE:INODE`: it may have been sent elsewhere since.
fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    (device.parse(), inode.parse()) == (Ok(stat.st_dev), Ok(stat.st_ino))
}

/// Writes a line for each event.
struct Lines<W> {
    look: Look,
    stamp: Stamp,
    write: W,
}

/// The fields of a span or event.
#[derive(Clone, Default)]
struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        // A prefix marks a name that is a word of the language.
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

impl<S, W> Layer<S> for Lines<W>
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
        // The inner ones win.
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
        let line = match self.look {
            Look::Text => {
                let before = self.stamp.before(event.metadata().level(), now);
                before + &text(event.metadata(), fields)
            }
            Look::Json => json(event.metadata(), fields, now),
        };
        (self.write)(&line);
    }
}

/// A line for a person. What this program says is whole without fields; of what a library says nothing is known.
fn text(metadata: &Metadata<'_>, mut fields: Fields) -> String {
    let message = match fields.0.remove("message") {
        Some(Value::String(message)) => message,
        _ => String::new(),
    };
    let ours = is_ours(metadata);
    if ours && *metadata.level() <= Level::INFO {
        return format!("agg: {}\n", masking::text(&message));
    }
    let mut line = format!("agg: {} {}: {message}", metadata.level(), metadata.target());
    for (name, value) in fields.0 {
        let _ = write!(line, " {name}={value}");
    }
    format!("{}\n", masking::text(&line))
}

/// Whether a crate of this program says it.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let ours = ["agg", "agg_client", "agg_poller"];
    metadata
        .target()
        .split("::")
        .next()
        .is_some_and(|name| ours.contains(&name))
}

/// A line for a program: what every line has comes first. Of this program itself no source is told: it is one file's
/// functions that say everything.
fn json(metadata: &Metadata<'_>, mut fields: Fields, now: SystemTime) -> String {
    let level = metadata.level().as_str().to_lowercase();
    let message = fields.0.remove("message").unwrap_or_default();
    let mut line = format!(
        "{{\"timestamp\":{},\"level\":{},\"message\":{message}",
        Value::from(utc(now)),
        Value::from(level)
    );
    if metadata.target() != "agg_client::messages" {
        fields.0.insert("target", metadata.target().into());
    }
    for (name, value) in fields.0 {
        let _ = write!(line, ",{}:{value}", Value::from(name));
    }
    line.push_str("}\n");
    masking::json_lines(&line)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// The lines of what is said within.
    fn told_with(stamp: Stamp, look: Look, level: &str, say: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let write = move |line: &str| kept.lock().unwrap().push(line.to_owned());
        let all = Registry::default()
            .with(EnvFilter::new(filter(level).unwrap()))
            .with(Lines { look, stamp, write });
        tracing::subscriber::with_default(all, say);
        let lines = lines.lock().unwrap();
        lines.clone()
    }

    fn told(look: Look, level: &str, say: impl FnOnce()) -> Vec<String> {
        told_with(Stamp::None, look, level, say)
    }

    fn some() {
        agg_client::messages::of_server("redis://h").in_scope(|| {
            agg_client::messages::say("one\ntwo \"three\"");
            let span = tracing::info_span!("node", node = tracing::field::Empty, count = 3);
            span.record("node", "n1");
            let _within = span.enter();
            agg_client::messages::warn("trouble");
        });
        tracing::error!(sink = %"influx", "gone");
        tracing::debug!(n = 1, "details");
        tracing::warn!(target: "hyper::client", "a library");
    }

    #[test]
    fn people_read_what_they_always_did() {
        let lines = told(Look::Text, "info", some);
        assert_eq!(
            lines,
            [
                "agg: one\\ntwo \"three\"\n",
                "agg: trouble\n",
                "agg: gone\n"
            ]
        );
        assert_eq!(told(Look::Text, "error", some), ["agg: gone\n"]);
        let lines = told(Look::Text, "agg=debug,hyper=warn", some);
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
    fn lines_of_a_service_have_time_and_level() {
        let lines = told_with(Stamp::Time, Look::Text, "info", some);
        for (line, rest) in lines.iter().zip([
            " INFO agg: one\\ntwo \"three\"\n",
            " WARN agg: trouble\n",
            " ERROR agg: gone\n",
        ]) {
            let (time, level) = line.split_at(24);
            assert_eq!(level, rest);
            assert!(time.starts_with("2") && time.ends_with('Z'), "{time}");
        }
        let lines = told_with(Stamp::Journal, Look::Text, "warn", some);
        assert_eq!(lines, ["<4>agg: trouble\n", "<3>agg: gone\n"]);
    }

    #[test]
    fn journal_is_known_by_the_stream_that_it_names() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(&own)));
        for other in [None, Some(""), Some("x:y"), Some("1:2")] {
            assert!(!is_journal(other), "{other:?}");
        }
    }

    #[test]
    fn hostile_text_makes_no_line_and_reaches_no_terminal() {
        let say = || {
            agg_client::messages::warn("sink: \x1b[2Jbad\nagg: forged\u{9b}31m\u{202e}");
            tracing::debug!(why = "a\u{9b}\n", "details");
        };
        let lines = told_with(Stamp::Time, Look::Text, "agg=debug", say);
        assert!(
            lines[0].ends_with("agg: sink: \\u001b[2Jbad\\nagg: forged\\u009b31m\\u202e\n"),
            "{lines:?}"
        );
        for line in lines.iter().chain(&told(Look::Json, "agg=debug", say)) {
            let (line, end) = line.split_at(line.len() - 1);
            assert!(
                end == "\n" && !line.contains(masking::is_hidden),
                "{line:?}"
            );
        }
    }

    #[test]
    fn programs_read_whole_objects_with_what_is_known() {
        let lines = told(Look::Json, "info", some);
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
        let lines = told(Look::Json, "warn", some);
        assert!(lines[0].contains("\"server\":\"redis://h\""), "{lines:?}");
        assert_eq!(objects[2]["level"], "error");
        assert_eq!(objects[2]["sink"], "influx");
        assert!(objects[2]["server"].is_null());
        assert_eq!(objects[2]["target"], "agg::log::tests");
        assert!(objects[0]["target"].is_null());
        assert!(lines[0].starts_with("{\"timestamp\":\"2"), "{}", lines[0]);
        let time = objects[0]["timestamp"].as_str().unwrap();
        assert!(time.starts_with("20") && time.len() == 24, "{time}");
    }

    #[test]
    fn a_level_is_this_programs_own() {
        assert_eq!(filter("debug").unwrap(), "agg=debug");
        assert_eq!(filter("agg=trace,info").unwrap(), "agg=trace,info");
        assert!(filter("agg=loud").is_err());
    }
}
