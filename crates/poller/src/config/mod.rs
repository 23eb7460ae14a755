//! The configuration of `agg poll`: read, checked as a whole, and converted to what the engine uses.
//!
//! # Invariants
//!
//! A [`Config`] is consistent: every sink that a route names exists and takes the queues of the route, every URL is valid,
//! and every secret was read. An error has its line and column, and no message shows a password or token.

mod error;
mod file;
mod fleet;
mod model;
mod placeholder;
mod post;
mod proxy;
mod route;
mod serve;
mod server;
mod sink;
mod source;
mod tags;
mod tls;
mod validate;
mod value;

use std::io;
use std::path::{Path, PathBuf};

use agg_client::FileStamps;
use aggregator_protocol::masking;

use error::{ConfigError, position};
use validate::{Strictness, parse};

pub use fleet::{Fleet, Registry, is_member_name};
pub use model::{Config, Kind, Mongo, Route, Sink, WebLimits};
pub use post::{Body, Expect, Post, Proxy};
pub use sink::{
    Aggregator, IndexBy, Kafka, KafkaCompression, KafkaSasl, OpenSearch, Otlp, Postgres,
    Prometheus, RedisStream, Timestamp,
};
pub use tls::TlsSettings;
pub(crate) use value::encode as percent_encode;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// The file is not a text file.
    #[error("{} is not UTF-8 text", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// The file has errors: a line for each, with its place in the file.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads the file and the secrets that it names.
    ///
    /// # Errors
    ///
    /// Returns all errors, a line each, with their lines and columns.
    pub fn read(path: &Path) -> Result<Config, ReadError> {
        Config::read_noting(path, &mut FileStamps::default())
    }

    /// Reads like [`Config::read`], and notes all files that are read, also if there are errors: the file itself, and
    /// the files of passwords, headers, certificates and keys that it names.
    ///
    /// # Errors
    ///
    /// Returns all errors, a line each, with their lines and columns.
    pub fn read_noting(path: &Path, stamps: &mut FileStamps) -> Result<Config, ReadError> {
        read(path, Strictness::Start, stamps)
    }

    /// Reads like [`Config::read`], and requires what may still be created, such as the folder of a file sink.
    ///
    /// # Errors
    ///
    /// Returns all errors, a line each, with their lines and columns.
    pub fn check(path: &Path) -> Result<Config, ReadError> {
        read(path, Strictness::Check, &mut FileStamps::default())
    }
}

fn read(path: &Path, strictness: Strictness, stamps: &mut FileStamps) -> Result<Config, ReadError> {
    stamps.note(path);
    let (name, path) = (path.display(), path.to_owned());
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return Err(ReadError::Io { path, error }),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(ReadError::NotUtf8 { path });
    };
    let line = |error: ConfigError| {
        let place = error.at.map(|at| position(&text, at));
        let place = place.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
        // Names in the file may contain any character.
        masking::text(&format!("{name}{place}: {error}")).into_owned()
    };
    parse(&text, strictness, stamps).map_err(|errors| {
        let lines: Vec<String> = errors.into_iter().map(line).collect();
        ReadError::Invalid(lines.join("\n"))
    })
}

/// Parses a file that has at most one error.
#[cfg(test)]
fn parse_one(text: &str) -> Result<Config, ConfigError> {
    parse(text, Strictness::Start, &mut FileStamps::default()).map_err(|mut errors| {
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.remove(0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agg_client::discovery::Source;
    use aggregator_protocol::{Queue, RecordFormat};

    use super::*;

    const GOOD: &str = r#"
lease = "5s"
[[source]]
urls = ["redis://127.0.0.1:7777", "unix:///run/redis.sock"]

[[route]]
queues = ["MIN", "hour"]
include = ["web*"]
exclude = ["web9"]
sinks = ["influx", "out"]

[sink.out]
type = "stdout"

[sink.influx]
type = "influxdb"
url = "http://127.0.0.1:8086/"
database = "grid & co"
"#;

    /// Returns the error for the valid file with one part replaced.
    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        match parse_one(&text) {
            Ok(_) => panic!("{to} was accepted"),
            Err(ConfigError { at: None, text, .. }) => text,
            Err(ConfigError {
                at: Some(at),
                text: reason,
                ..
            }) => {
                let (line, column) = position(&text, at);
                format!("{line}:{column}: {reason}")
            }
        }
    }

    #[test]
    fn valid_file_is_read() {
        let config = parse_one(GOOD).map_err(|error| error.text).unwrap();
        assert_eq!(config.lease, Duration::from_secs(5));
        assert_eq!(config.poll_interval, Duration::from_secs(1));
        assert_eq!(config.max_in_flight, 64 << 20);
        let Source::Urls(servers) = &config.sources[0] else {
            panic!()
        };
        assert_eq!(servers.len(), 2);
        let route = &config.routes[0];
        assert!(route.matches(b"web1", Queue::Hour) && !route.matches(b"web1", Queue::Log));
        assert!(!route.matches(b"web9", Queue::Min) && !route.matches(b"db", Queue::Min));
        let names: Vec<&str> = route
            .sinks
            .iter()
            .map(|s| &*config.sinks[*s].name)
            .collect();
        assert_eq!(names, ["influx", "out"]);
        let Kind::Influx(influx, _) = &config.sinks[0].kind else {
            panic!()
        };
        assert_eq!(
            influx.url.to_string(),
            "http://127.0.0.1:8086/write?precision=ns&db=grid%20%26%20co"
        );
        assert_eq!(config.sinks[0].format, RecordFormat::Line);
    }

    #[test]
    fn errors_have_line_and_column() {
        for (from, to, expected) in [
            (
                "lease = \"5s\"",
                "lease = \"5\"",
                "2:9: \"5\" has no unit: write 5s or 5ms",
            ),
            (
                "lease = \"5s\"",
                "lease = \"1ms\"",
                "2:9: expected a lease of at least 1s",
            ),
            (
                "lease = \"5s\"",
                "listen = \"9777\"",
                "2:10: expected an address and a port, as 127.0.0.1:9777 or [::]:9777, not \"9777\"",
            ),
            (
                "lease =",
                "leese =",
                "2:1: unknown key `leese`, did you mean `lease`?",
            ),
            (
                "lease =",
                "max-deliveries = 0\nlease =",
                "2:18: expected at least 1",
            ),
            (
                "[[route]]",
                "[[rout]]",
                "6:3: unknown key `rout`, did you mean `route`?",
            ),
            (
                "\"hour\"",
                "\"DAY\"",
                "7:18: expected MIN, HOUR, LOG, ERROR or REALITY, not \"DAY\"",
            ),
            (
                "\"hour\"",
                "\"LOG\"",
                "7:18: sink \"influx\" writes line protocol, which is for MIN and HOUR, not for LOG",
            ),
            (
                "\"web*\"",
                "\"web[\"",
                "8:12: the pattern \"web[\" ends within a [...]",
            ),
            ("\"out\"]", "\"none\"]", "10:20: there is no [sink.none]"),
            (", \"out\"]", "]", "12:1: no route names the sink \"out\""),
            (
                "\"stdout\"",
                "\"tape\"",
                "13:8: expected the type stdout, file, influxdb, prometheus, http, mongodb, opensearch, otlp, postgresql, redis-stream, aggregator or kafka, not \"tape\"",
            ),
            (
                "\"stdout\"",
                "\"stdout\"\npath = \"x\"",
                "14:8: a sink of type stdout has no \"path\": it takes format",
            ),
            (
                "\"stdout\"",
                "\"file\"",
                "12:1: expected \"path\" in this sink",
            ),
            (
                "grid & co\"",
                "x\"\nbucket = \"b\"",
                "19:10: \"bucket\" is not for version 1 of InfluxDB",
            ),
            (
                "\"stdout\"",
                "\"file\"\npath = \"x\"\ncompress = \"zstd\"",
                "15:12: this key is for rotated files: set rotate or rotate-every too",
            ),
            (
                "\"stdout\"",
                "\"file\"\npath = \"x\"\nrotate-every = \"1h\"\ncompress = \"zip\"",
                "16:12: expected zstd or gzip, not \"zip\"",
            ),
            (
                "\"stdout\"",
                "\"file\"\npath = \"x\"\nrotate-every = \"1ms\"",
                "15:16: expected at least 1s",
            ),
            (
                "http://127.0.0.1:8086/",
                "http://u@127.0.0.1:8086/",
                "17:7: expected http://HOST:PORT or https://HOST:PORT; user and password have their own keys",
            ),
            (
                "127.0.0.1:8086/",
                "127.0.0.1:port",
                "17:7: expected http://HOST:PORT or https://HOST:PORT",
            ),
            (
                "grid & co\"",
                "x\"\ntls-ca = \"/no\"",
                "19:10: \"tls-ca\" is for an https:// URL",
            ),
            (
                "http://127.0.0.1:8086/\"",
                "https://h\"\ntls-cert = \"/no\"",
                "18:12: expected tls-key beside it",
            ),
            (
                "http://127.0.0.1:8086/\"",
                "https://h\"\ntls-ca = \"/no\"",
                "18:10: cannot read /no: No such file",
            ),
            (
                "grid & co\"",
                "x\"\nversion = 4",
                "19:11: expected the version 1, 2 or 3",
            ),
            (
                "grid & co\"",
                "x\"\naccept-partial = true",
                "19:18: \"accept-partial\" is not for version 1 of InfluxDB",
            ),
            (
                "grid & co\"",
                "x\"\nwriters = 17",
                "19:11: expected at most 16",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h/x?y=z\"\nheaders = { content-type = \"x\" }",
                "15:13: the header \"content-type\" is set by agg",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nheaders = { a-env = \"AGG_NO_SUCH_NAME\" }",
                "15:21: the environment variable AGG_NO_SUCH_NAME of the header is not set",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nformat = \"line\"",
                "15:10: expected the format json or lines, not \"line\"",
            ),
            (
                "sinks = [\"influx",
                "add-tags = { dc = \"berlin\", node = \"x\" }\nsinks = [\"influx",
                "10:29: \"node\" has another meaning in line protocol",
            ),
            (
                "sinks = [\"influx",
                "add-tags = { p99_9 = \"x\" }\nsinks = [\"influx",
                "10:14: \"p99_9\" has another meaning in line protocol",
            ),
            (
                "sinks = [\"influx",
                "rename-tags = { a = \"x\", b = \"x\" }\nsinks = [\"influx",
                "10:30: another tag is renamed to \"x\" too",
            ),
            (
                "sinks = [\"influx",
                "drop-tags = [\"a\"]\nrename-tags = { a = \"\" }\nsinks = [\"influx",
                "11:21: the tag name is empty",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nproxy = \"http://u:s3cret@p\"",
                "15:9: user and password of a proxy belong in HTTPS_PROXY or HTTP_PROXY, not in this file",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nproxy = \"socks5://p\"",
                "15:9: expected a proxy such as http://HOST:PORT, or none",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nexpect = {}",
                "15:10: expected content-type, body or both",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nexpect = { content-type = \"json\" }",
                "15:27: expected a media type such as application/json",
            ),
            (
                "lease = \"5s\"",
                "max-in-flight = \"1mb\"",
                "2:17: expected at least 8mb: 4mb for each sink",
            ),
            ("lease = \"5s\"", "lease = ", "2:9: "),
            (
                "unix:///run/redis.sock",
                "redis://127.0.0.1:7777",
                "4:35: redis://127.0.0.1:7777 is listed twice",
            ),
        ] {
            let error = error(from, to);
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
    }

    #[test]
    fn no_message_shows_a_secret() {
        for to in ["redis://:s3cret@h:port", "http://u:s3cret@h"] {
            assert!(!error("redis://127.0.0.1:7777", to).contains("s3cret"));
        }
        let list = "\"stdout\"";
        for (headers, expected) in [
            (
                "\"a: s3cret\"",
                "15:11: expected a table { NAME = \"value\" }",
            ),
            (
                "{ a = \"s3cret\\u0001\" }",
                "15:13: expected a line of text for this header",
            ),
            (
                "{ a = \"1\", A = \"s3cret\" }",
                "15:13: the header \"a\" is set twice",
            ),
        ] {
            let http = format!("\"http\"\nurl = \"http://h/?token=s3cret\"\nheaders = {headers}");
            assert_eq!(error(list, &http), expected);
        }
        let list = "[\"redis://127.0.0.1:7777\", \"unix:///run/redis.sock\"]";
        assert_eq!(
            error(list, "\"redis://:s3cret@h\""),
            "4:8: expected a list of URLs: put it in [ ]"
        );
        assert!(!error("http://127", "http://u:s3cret@127").contains("s3cret"));
    }

    /// Parses with variables, and returns the errors with their places.
    fn with_variables(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found
                .map(|(_, value)| value.to_string())
                .ok_or(std::env::VarError::NotPresent)
        };
        let stamps = &mut FileStamps::default();
        validate::parse_with(text, Strictness::Start, stamps, &variable).map_err(|errors| {
            let lines = errors.into_iter().map(|error| {
                let (line, column) = position(text, error.at.unwrap_or(0));
                format!("{line}:{column}: {}", error.text)
            });
            lines.collect()
        })
    }

    #[test]
    fn any_string_may_refer_to_the_environment() {
        let text = GOOD
            .replace("\"5s\"", "\"${LEASE}\"")
            .replace(
                "redis://127.0.0.1:7777",
                "redis://:${PASS}@h:${PORT:-7777}/",
            )
            .replace("web9", "${OUT}")
            .replace("\"stdout\"", "\"http\"\nurl = \"http://h/?token=${PASS}\"\nheaders = { authorization = \"Bearer ${PASS}\" }");
        let variables = [("LEASE", "7s"), ("PASS", "s3cret"), ("OUT", "db\"*")];
        let config =
            with_variables(&text, &variables).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(config.lease, Duration::from_secs(7));
        let Source::Urls(servers) = &config.sources[0] else {
            panic!()
        };
        assert_eq!(servers[0].endpoint(), "redis://h:7777");
        assert!(!config.routes[0].matches(b"webdb", Queue::Log));
        let Kind::Http(http, _) = &config.sinks[1].kind else {
            panic!()
        };
        assert_eq!(http.url.query(), Some("token=s3cret"));
        assert_eq!(http.headers[0].1, "Bearer s3cret");
    }

    #[test]
    fn unset_variable_is_an_error_at_its_place() {
        let text = GOOD
            .replace("\"5s\"", "\"${LEASE}\"")
            .replace("redis.sock", "${NAME}.sock")
            .replace("127.0.0.1:8086", "${HOST}:${PORT}")
            .replace("grid & co", "${-}");
        let not_set = |name| {
            format!(
                "the environment variable {name} is not set: set it, or write a default, as ${{{name}:-value}}"
            )
        };
        assert_eq!(
            with_variables(&text, &[]).err().unwrap(),
            [
                format!("2:10: {}", not_set("LEASE")),
                format!("4:48: {}", not_set("NAME")),
                format!("17:15: {}", not_set("HOST")),
                format!("17:23: {}", not_set("PORT")),
                "18:13: expected ${NAME} or ${NAME:-default}; write $${ for ${ itself".to_owned(),
            ]
        );
    }

    #[test]
    fn no_message_shows_the_value_of_a_variable() {
        let sink = "[sink.influx]\ntype = \"influxdb\"\nurl = \"${S}\"\ndatabase = \"${S}\"\nversion = \"${S}\"\n\
                    tls-ca = \"/${S}\"\ncompress = \"${S}\"\nproxy = \"${S}\"\ntoken-file = \"/${S}\"\ntimeout = \"${S}\"\n\
                    [sink.mongo]\ntype = \"mongodb\"\nuri = \"mongodb://${S}:port/?tls=${S}\"\ndatabase = \"${S}\"\nprefix = \"$$${S}\"\n\
                    [sink.http]\ntype = \"http\"\nurl = \"http://${S}:port/\"\nexpect = { content-type = \"${S}\", body = \"[${S}\" }\n\
                    headers = { a = \"${S}\\u0001\", b-env = \"${S}\", c-file = \"/${S}\" }\nformat = \"${S}\"\n\
                    [sink.file]\ntype = \"${S}\"\n[sink.out]\ntype = \"file\"\npath = \"/${S}/\"\nmode = \"${S}\"\nrotate = \"${S}\"\n";
        let text = format!(
            "lease = \"${{S}}\"\nlisten = \"${{S}}\"\nuser = \"${{S}}\"\npassword-env = \"${{S}}\"\nallowed-hosts = [\"${{S}}/\"]\n\
             max-in-flight = \"${{S}}\"\nmax-deliveries = \"${{S}}\"\ndead-letters-mode = \"${{S}}\"\n\
             [[source]]\nurls = [\"redis://:${{S}}@h:port\", \"${{S}}\", \"redis://${{S}}:1\", \"redis://${{S}}:1\"]\n\
             [[source]]\nrange = \"${{S}}\"\nscan-interval = \"${{S}}\"\ntls = \"${{S}}\"\n\
             [[source]]\ncluster = [\"redis://h\"]\nallow = [\"${{S}}\"]\ntls-ca = \"/${{S}}\"\ntls = true\n\
             [[route]]\nqueues = [\"${{S}}\"]\ninclude = [\"[${{S}}\"]\nsinks = [\"${{S}}\"]\n\
             rename-tags = {{ a = \"${{S}}\", b = \"${{S}}\" }}\n{sink}"
        );
        for secret in ["s3cret", "S3\"cre\\t"] {
            let errors = with_variables(&text, &[("S", secret)]).err().unwrap();
            assert!(errors.len() > 25, "{errors:#?}");
            for error in errors {
                let lower = error.to_lowercase();
                assert!(!lower.contains("s3"), "{error}");
                assert!(!lower.contains("cre\\t"), "{error}");
            }
        }
    }

    #[test]
    fn secrets_come_from_files_and_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "t0ken\n").unwrap();
        let to = format!("version = 2\norg = \"o\"\nbucket = \"b\"\ntoken-file = {path:?}");
        let text = GOOD.replace("database = \"grid & co\"", &to);
        let config = parse_one(&text).map_err(|error| error.text).unwrap();
        let Kind::Influx(influx, _) = &config.sinks[0].kind else {
            panic!()
        };
        assert_eq!(
            influx.headers,
            [("authorization".to_owned(), "Token t0ken".to_owned())]
        );
        assert!(
            influx
                .url
                .to_string()
                .ends_with("/api/v2/write?org=o&bucket=b&precision=ns")
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(error("database = \"grid & co\"", &to).ends_with("the token is empty"));
        assert!(
            error("sock\"]", "sock\"]\npassword-env = \"AGG_NO_SUCH_NAME\"").starts_with(
                "5:16: the environment variable AGG_NO_SUCH_NAME of the password is not set"
            )
        );
    }

    #[test]
    fn every_named_file_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let text = "password-file = '{dir}/all'\n\
                    [[source]]\ncluster = ['redis://h']\npassword-file = '{dir}/own'\n\
                    [[source]]\nsentinel = ['redis://h']\nservice = 'x'\nsentinel-password-file = '{dir}/sentinel'\n\
                    [[source]]\nurls = ['rediss://h']\ntls-ca = '{dir}/ca'\ntls-cert = '{dir}/cert'\ntls-key = '{dir}/key'\n\
                    [[route]]\nqueues = ['MIN']\nsinks = ['a', 'b', 'c']\n\
                    [sink.a]\ntype = 'http'\nurl = 'https://h/'\nheaders = { X-Key-file = '{dir}/header' }\n\
                    tls-ca = '{dir}/ca2'\ntls-cert = '{dir}/cert2'\ntls-key = '{dir}/key2'\n\
                    [sink.b]\ntype = 'influxdb'\nurl = 'http://h'\ntoken-file = '{dir}/token'\n\
                    [sink.c]\ntype = 'mongodb'\ndatabase = 'x'\nuser = 'u'\npassword-file = '{dir}/mongo'\n\
                    uri = 'mongodb://h/?tls=true&tlsCAFile={dir}/ca3&tlsCertificateKeyFile={dir}/cert3'\n";
        let path = dir.path().join("poller.toml");
        std::fs::write(&path, text.replace("{dir}", dir.path().to_str().unwrap())).unwrap();
        for name in [
            "all",
            "own",
            "sentinel",
            "ca",
            "cert",
            "key",
            "header",
            "ca2",
            "cert2",
            "key2",
            "token",
            "mongo",
            "ca3",
            "cert3",
            "poller.toml",
        ] {
            let mut stamps = FileStamps::default();
            // The files are invalid, and watched all the same.
            assert!(Config::read_noting(&path, &mut stamps).is_err());
            assert!(!stamps.changed());
            std::fs::write(dir.path().join(name), "[").unwrap();
            assert!(stamps.changed(), "{name}");
        }
    }
}
