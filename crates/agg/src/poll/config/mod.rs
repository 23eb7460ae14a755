//! The file that says what `agg poll` does: read, checked as a whole and turned into what the engine needs.
//!
//! What holds: whoever has a [`Config`] can rely on it: every sink that a route names exists and takes its queues,
//! every URL was read, every secret was found. A mistake is told with its line and column, and no message shows a
//! password or token.

mod all;
mod file;
mod http;
mod proxy;
mod sink;
mod source;
mod tags;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use ureq::tls::TlsConfig;

use agg_client::FileStamps;
use agg_client::discovery::Source;
use aggregator_protocol::masking;
use aggregator_protocol::{Queue, RecordFormat};

use all::Rigour;

use super::append::Mode;
use super::aside::Rotation;
use super::glob::Glob;
use super::tags::Edits;
use super::web::Limits;

/// The least memory a sink needs: what one fetch may bring, and a little to go on with meanwhile.
pub const LEAST_SHARE: u64 = 4 << 20;

/// What the file says.
#[derive(Default)]
pub struct Config {
    /// How long to wait at most between two looks at a queue in which nothing was.
    pub poll_interval: Duration,
    /// How long other pollers do not get what was fetched; extended while a sink takes longer.
    pub lease: Duration,
    /// Bytes of records held at a time, all sinks together.
    pub max_in_flight: u64,
    /// What was handed out more often is set aside with the dead letters.
    pub max_deliveries: u64,
    /// How long the end may take.
    pub shutdown_grace: Duration,
    /// Where records go that a sink refuses for good.
    pub dead_letters: PathBuf,
    /// Their file's permissions.
    pub dead_letters_mode: Mode,
    /// Where the poller is to be seen over HTTP.
    pub listen: Option<SocketAddr>,
    /// Who may ask there.
    pub web: Limits,
    /// Where the servers are.
    pub sources: Vec<Source>,
    /// What goes where.
    pub routes: Vec<Route>,
    /// The sinks; routes name them by their place here.
    pub sinks: Vec<Sink>,
}

/// What goes where.
#[derive(Clone)]
pub struct Route {
    /// These queues
    pub queues: Vec<Queue>,
    /// of nodes that one of these matches
    pub include: Vec<Glob>,
    /// and none of these
    pub exclude: Vec<Glob>,
    /// go to these sinks.
    pub sinks: Vec<usize>,
    /// On the way their tags are edited so.
    pub edits: Option<Arc<Edits>>,
}

impl Route {
    /// Whether it takes a node's queue.
    pub fn takes(&self, node: &[u8], queue: Queue) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(node));
        self.queues.contains(&queue) && any(&self.include) && !any(&self.exclude)
    }
}

/// A sink.
#[derive(Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its name in the file.
    pub name: String,
    /// How it wants its records.
    pub format: RecordFormat,
    /// What it is.
    pub kind: Kind,
}

/// What a sink is.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// Standard output.
    Stdout,
    /// A file, begun anew now and then.
    File {
        path: PathBuf,
        rotation: Rotation,
        mode: Mode,
    },
    /// A database that speaks InfluxDB's HTTP.
    Influx(Post),
    /// Any server that takes JSON.
    Http(Post, Body),
    /// A database that speaks MongoDB's protocol.
    Mongo(Box<Mongo>),
}

/// Whom to trust and who we are, by https.
#[derive(Clone)]
pub struct Https {
    /// As the library takes it.
    pub config: TlsConfig,
    /// The files that it was made from, by which it is compared.
    files: Vec<Vec<u8>>,
}

impl PartialEq for Https {
    fn eq(&self, other: &Https) -> bool {
        self.files == other.files
    }
}

impl Eq for Https {}

/// What a request has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// One array of records.
    Array,
    /// A line for each.
    Lines,
}

/// Where and how records are sent by HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// Where they are sent, parameters included.
    pub url: String,
    /// More headers; secret.
    pub headers: Vec<(String, String)>,
    /// Whom to trust and who we are, by https.
    pub tls: Option<Https>,
    /// By which it is reached; secret.
    pub proxy: Option<ureq::Proxy>,
    /// What an answer has to be like, besides its status.
    pub expect: Expect,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Requests at a time.
    pub writers: usize,
    /// Records sent at once.
    pub batch_lines: usize,
    /// Bytes sent at once.
    pub batch_bytes: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What an answer has to be like to mean that the records are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The answer's media type, as `application/json`.
    pub content_type: Option<String>,
    /// A pattern of the whole body.
    pub body: Option<Glob>,
}

impl Kind {
    /// Its type, as the file has it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Stdout => "stdout",
            Kind::File { .. } => "file",
            Kind::Influx(_) => "influxdb",
            Kind::Http(..) => "http",
            Kind::Mongo(_) => "mongodb",
        }
    }
}

/// A database that speaks MongoDB's protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct Mongo {
    /// Its servers and the driver's options, user and password included; secret.
    pub uri: String,
    /// The database.
    pub database: String,
    /// What the names of the collections begin with.
    pub prefix: String,
    /// Whether statistics go to a time-series collection.
    pub time_series: bool,
    /// Records written at once.
    pub batch_lines: usize,
    /// Bytes written at once, as JSON.
    pub batch_bytes: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What was in the files of certificates that the URI names, which the driver reads: by this it is compared.
    files: Vec<Vec<u8>>,
}

/// A mistake in the file.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    /// Byte in the file; none where the whole file lacks something.
    at: Option<usize>,
    text: String,
}

impl Mistake {
    fn at<T>(place: &Spanned<T>, text: impl Into<String>) -> Mistake {
        Mistake {
            at: Some(place.span().start),
            text: text.into(),
        }
    }

    fn missing(text: &str) -> Mistake {
        let text = text.to_owned();
        Mistake { at: None, text }
    }
}

impl Config {
    /// Reads the file and the secrets that it names.
    ///
    /// Returns all mistakes, a line each, with their lines and columns.
    pub fn read(path: &Path) -> Result<Config, String> {
        Config::read_noting(path, &mut FileStamps::default())
    }

    /// The same; notes all the files that are read, also where there is a mistake: the file itself, and those of the
    /// passwords, headers, certificates and keys that it names.
    pub fn read_noting(path: &Path, stamps: &mut FileStamps) -> Result<Config, String> {
        Config::read_with(path, Rigour::Start, stamps)
    }

    /// As [`Config::read`]; what may yet come, as a directory to write to, has to be there.
    pub fn check(path: &Path) -> Result<Config, String> {
        Config::read_with(path, Rigour::Check, &mut FileStamps::default())
    }

    fn read_with(path: &Path, rigour: Rigour, stamps: &mut FileStamps) -> Result<Config, String> {
        stamps.note(path);
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8 text"))?;
        let line = |mistake: Mistake| {
            let place = mistake.at.map(|at| position(&text, at));
            let place = place.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
            // A name in it may have any character.
            masking::text(&format!("{name}{place}: {}", mistake.text)).into_owned()
        };
        Config::parse_all(&text, rigour, stamps)
            .map_err(|all| all.into_iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// Reads a file that has one mistake at most.
    #[cfg(test)]
    fn parse(text: &str) -> Result<Config, Mistake> {
        Config::parse_all(text, Rigour::Start, &mut FileStamps::default()).map_err(|mut all| {
            assert_eq!(all.len(), 1, "{all:#?}");
            all.remove(0)
        })
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
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

    /// The message for the good file with one part replaced.
    fn mistake(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        match Config::parse(&text) {
            Ok(_) => panic!("{to} was taken"),
            Err(Mistake { at: None, text }) => text,
            Err(Mistake {
                at: Some(at),
                text: why,
            }) => {
                let (line, column) = position(&text, at);
                format!("{line}:{column}: {why}")
            }
        }
    }

    #[test]
    fn a_good_file() {
        let config = Config::parse(GOOD).map_err(|mistake| mistake.text).unwrap();
        assert_eq!(config.lease, Duration::from_secs(5));
        assert_eq!(config.poll_interval, Duration::from_secs(1));
        assert_eq!(config.max_in_flight, 64 << 20);
        let Source::Urls(servers) = &config.sources[0] else {
            panic!()
        };
        assert_eq!(servers.len(), 2);
        let route = &config.routes[0];
        assert!(route.takes(b"web1", Queue::Hour) && !route.takes(b"web1", Queue::Log));
        assert!(!route.takes(b"web9", Queue::Min) && !route.takes(b"db", Queue::Min));
        let names: Vec<&str> = route
            .sinks
            .iter()
            .map(|s| &*config.sinks[*s].name)
            .collect();
        assert_eq!(names, ["influx", "out"]);
        let Kind::Influx(influx) = &config.sinks[0].kind else {
            panic!()
        };
        assert_eq!(
            influx.url,
            "http://127.0.0.1:8086/write?precision=ns&db=grid%20%26%20co"
        );
        assert_eq!(config.sinks[0].format, RecordFormat::Line);
    }

    #[test]
    fn mistakes_are_told_with_line_and_column() {
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
                "7:18: the sink \"influx\" writes line protocol, which is for MIN and HOUR, not for LOG",
            ),
            (
                "\"web*\"",
                "\"web[\"",
                "8:12: the pattern \"web[\" ends within a [...]",
            ),
            (
                "\"out\"]",
                "\"none\"]",
                "10:20: there is no [sink.none] in this file",
            ),
            (", \"out\"]", "]", "12:1: no route names the sink \"out\""),
            (
                "\"stdout\"",
                "\"tape\"",
                "13:8: expected the type stdout, file, influxdb, http or mongodb, not \"tape\"",
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
                "15:12: this is for files that are moved aside: expected rotate or rotate-every",
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
                "17:7: expected http://HOST:PORT or https://HOST:PORT; who we are stands in keys of its own",
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
                "15:13: the header \"content-type\" says what is sent, and is set by agg",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nheaders = { a-env = \"AGG_NO_SUCH_NAME\" }",
                "15:21: the environment has no variable AGG_NO_SUCH_NAME for the header",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nformat = \"line\"",
                "15:10: expected the format json or lines, not \"line\"",
            ),
            (
                "sinks = [\"influx",
                "add-tags = { dc = \"berlin\", node = \"x\" }\nsinks = [\"influx",
                "10:29: \"node\" is a name that line protocol has for something else",
            ),
            (
                "sinks = [\"influx",
                "rename-tags = { a = \"x\", b = \"x\" }\nsinks = [\"influx",
                "10:30: another tag is to be named \"x\" already",
            ),
            (
                "sinks = [\"influx",
                "drop-tags = [\"a\"]\nrename-tags = { a = \"\" }\nsinks = [\"influx",
                "11:21: expected a name of a tag, not empty",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nproxy = \"http://u:s3cret@p\"",
                "15:9: a proxy's user and password stand in HTTPS_PROXY or HTTP_PROXY, not in this file",
            ),
            (
                "\"stdout\"",
                "\"http\"\nurl = \"http://h\"\nproxy = \"socks5://p\"",
                "15:9: expected a proxy as http://HOST:PORT, or none",
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
                "4:35: redis://127.0.0.1:7777 stands in this file twice",
            ),
        ] {
            let told = mistake(from, to);
            assert!(told.starts_with(expected), "{told}\nexpected {expected}");
        }
    }

    #[test]
    fn no_message_shows_a_secret() {
        for to in ["redis://:s3cret@h:port", "http://u:s3cret@h"] {
            assert!(!mistake("redis://127.0.0.1:7777", to).contains("s3cret"));
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
                "15:13: the header \"a\" stands here twice",
            ),
        ] {
            let http = format!("\"http\"\nurl = \"http://h/?token=s3cret\"\nheaders = {headers}");
            assert_eq!(mistake(list, &http), expected);
        }
        let list = "[\"redis://127.0.0.1:7777\", \"unix:///run/redis.sock\"]";
        assert_eq!(
            mistake(list, "\"redis://:s3cret@h\""),
            "4:8: expected a list of URLs: put it in [ ]"
        );
        assert!(!mistake("http://127", "http://u:s3cret@127").contains("s3cret"));
    }

    #[test]
    fn secrets_come_from_files_and_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "t0ken\n").unwrap();
        let to = format!("version = 2\norg = \"o\"\nbucket = \"b\"\ntoken-file = {path:?}");
        let text = GOOD.replace("database = \"grid & co\"", &to);
        let config = Config::parse(&text)
            .map_err(|mistake| mistake.text)
            .unwrap();
        let Kind::Influx(influx) = &config.sinks[0].kind else {
            panic!()
        };
        assert_eq!(
            influx.headers,
            [("authorization".to_owned(), "Token t0ken".to_owned())]
        );
        assert!(
            influx
                .url
                .ends_with("/api/v2/write?org=o&bucket=b&precision=ns")
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(mistake("database = \"grid & co\"", &to).ends_with("the token there is empty"));
        assert!(
            mistake("sock\"]", "sock\"]\npassword-env = \"AGG_NO_SUCH_NAME\"").starts_with(
                "5:16: the environment has no variable AGG_NO_SUCH_NAME for the password"
            )
        );
    }

    #[test]
    fn every_file_that_is_named_is_watched() {
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
            // They are not what they should be, and watched all the same.
            assert!(Config::read_noting(&path, &mut stamps).is_err());
            assert!(!stamps.changed());
            std::fs::write(dir.path().join(name), "[").unwrap();
            assert!(stamps.changed(), "{name}");
        }
    }
}
