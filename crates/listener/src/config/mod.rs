//! The configuration of `agg listen`.
//!
//! # Invariants
//!
//! Environment variables are replaced in strings first. Each value checks itself when it is read, so an error has its
//! line and column. Then values that depend on each other are checked. A [`Config`] can be used as it is.

mod checks;
mod model;
mod values;

use std::env::VarError;
use std::path::{Path, PathBuf};

use agg_client::environment::expand_table;
use aggregator_protocol::masking;
use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

pub use model::{Config, FieldType, Graphite, InfluxDb, Job, Otlp, Prometheus, Statsd, Syslog};
pub use values::{Addresses, LogLevel, Size, Tag, Time};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: std::io::Error,
    },
    /// The file has an error: its place and the reason.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Checks a configuration that was not read from a file.
    ///
    /// # Errors
    ///
    /// Two values contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        checks::check(self).map_err(ConfigError::Invalid)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has an error.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Io {
            path: path.to_owned(),
            error,
        })?;
        Config::parse(&text).map_err(|error| {
            let text = format!("{}{error}", path.display());
            ConfigError::Invalid(masking::text(&text).into_owned())
        })
    }

    /// Parses the text of a file. The error begins with `:line:column: `, if it has a place.
    pub(crate) fn parse(text: &str) -> Result<Config, String> {
        Config::parse_with(text, &|name| std::env::var(name))
    }

    /// Parses like [`Config::parse`]; `variable` reads the environment.
    fn parse_with(
        text: &str,
        variable: &impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<Config, String> {
        let error = |error: toml::de::Error| {
            let place = error.span().map(|span| position(text, span.start));
            let place = place.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
            format!("{place}: {}", error.message().replace('\n', " "))
        };
        let mut table = DeTable::parse(text).map_err(error)?;
        let (expansions, failed) = expand_table(table.get_mut(), text, variable);
        if let Some(first) = failed.iter().min_by_key(|failed| failed.at) {
            let (line, column) = position(text, first.at);
            return Err(format!(":{line}:{column}: {}", first.text));
        }
        let config = Config::deserialize(Deserializer::from(table));
        let config = config.map_err(|failed| expansions.mask(&error(failed)))?;
        let checked = checks::check(&config);
        checked.map_err(|error| expansions.mask(&format!(": {error}")))?;
        Ok(config)
    }
}

/// Returns line and column of a byte, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::influx::Kind;
    use crate::net::Address;

    #[test]
    fn file_is_read() {
        let text = r#"
node = "web1"
tags = ["site:a"]
errors-from = "warning"
buffer = "1mb"

[statsd]
listen = ["127.0.0.1:8125", "/run/statsd.sock"]

[otlp]
grpc = "127.0.0.1:4317"

[influxdb]
types = [{ field = "*.count", type = "DIFF" }]

[[prometheus.job]]
name = "node"
targets = ["127.0.0.1:9100"]
"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(
            (config.errors_from, config.buffer),
            (Some(LogLevel(5)), Size(1 << 20))
        );
        let statsd = config.statsd.unwrap();
        assert_eq!(statsd.listen.0.len(), 2);
        assert_eq!(statsd.listen.0[1], Address::Unix("/run/statsd.sock".into()));
        let otlp = config.otlp.unwrap();
        assert_eq!(otlp.listen, Addresses::local(4318));
        assert_eq!(otlp.grpc, Addresses::local(4317));
        assert_eq!(config.influxdb.unwrap().types[0].kind, Kind::Diff);
        let prometheus = config.prometheus.unwrap();
        assert_eq!(prometheus.job[0].path, "/metrics");
        assert_eq!(prometheus.interval, Time(Duration::from_secs(15)));
    }

    #[test]
    fn strings_may_refer_to_the_environment() {
        let variable = |name: &str| match name {
            "PORT" => Ok("9125".to_owned()),
            "SECRET" => Ok("s3cret".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let text = "node = \"${NODE:-web1}\"\n[statsd]\nlisten = [\"127.0.0.1:${PORT}\"]";
        let config = Config::parse_with(text, &variable).unwrap();
        assert_eq!(config.node.as_deref(), Some("web1"));
        let address = Address::Ip(([127, 0, 0, 1], 9125).into());
        assert_eq!(config.statsd.unwrap().listen.0, [address]);
        for (value, expected) in [
            ("${NONE}", ":2:11: the environment variable NONE is not set"),
            ("x${SECRET", ":2:12: expected ${NAME} or ${NAME:-default}"),
            ("${SECRET}", ":2:10: expected an address"),
        ] {
            let text = format!("[statsd]\nlisten = \"{value}\"");
            let error = Config::parse_with(&text, &variable).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn each_table_can_have_ports_that_the_system_chooses() {
        let any = "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]";
        let text = format!("[statsd]\n{any}\n[otlp]\n{any}");
        assert_eq!(
            Config::parse(&text).unwrap().protocols(),
            ["statsd", "otlp"]
        );
    }

    #[test]
    fn errors_have_a_place() {
        for (text, expected) in [
            (
                "node = 1\n[statsd]",
                ":1:8: invalid type: integer `1`, expected a string",
            ),
            ("[statsd]\nlisten = \"8125\"", ":2:10: expected an address"),
            ("[statsd]\nport = 1", ":2:1: unknown field `port`"),
            ("buffer = \"64\"\n[statsd]", ":1:10: \"64\" has no unit"),
            (
                "errors-from = \"LOUD\"\n[statsd]",
                ":1:15: expected a level",
            ),
            ("[statsd]\nlisten", ":2:7:"),
            ("node = \"a\"", ": expected one of the tables [statsd]"),
            ("max-connections = 0\n[statsd]", ": max-connections is 0"),
            ("max-instances = 0\n[statsd]", ": max-instances is 0"),
            ("buffer = \"1kb\"\n[statsd]", ": buffer is below 16kb"),
            ("max-body = \"2gb\"\n[statsd]", ": max-body is above 1gb"),
            (
                "[statsd]\n[graphite]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:8125\"]",
                ": 127.0.0.1:8125 is in [statsd] and in [graphite]",
            ),
            (
                "listen = \"127.0.0.1:1\"\n[otlp]\ngrpc = \"127.0.0.1:1\"",
                ": 127.0.0.1:1 is the status page and in [otlp]",
            ),
            (
                "[statsd]\nlisten = [\"/s\", \"/s\"]",
                ": /s is in [statsd] twice",
            ),
            (
                "[prometheus]\ninterval = \"5s\"\ntimeout = \"6s\"",
                ": the timeout of [prometheus] is longer than its interval",
            ),
            (
                "[[prometheus.job]]\nname = \"a\"",
                ": the job \"a\" has neither targets nor file-sd",
            ),
            (
                "[[prometheus.job]]\nname = \"a\"\ntargets = [\"h:1\"]\n[[prometheus.job]]\nname = \"a\"\ntargets = [\"h:1\"]",
                ": two jobs are \"a\"",
            ),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
