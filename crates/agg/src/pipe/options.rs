//! The arguments of `agg pipe`, and the command that sends a line.

use std::ffi::OsString;

use agg_client::command::{Cmd, Error, ErrorType, Level, Log, Report, Sequence, Stat};
use aggregator_protocol::{NodeName, grouping, tags, units};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::node_argument::node_or_host_name;
use crate::sample_arguments::SampleArguments;

use super::samples::LineOfSample;

/// The kind of report that each line becomes.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Send each line of standard input as a log entry
    #[command(after_help = LOG_EXAMPLES)]
    Log(Common),
    /// Send each line of standard input as an error
    #[command(after_help = ERROR_EXAMPLES)]
    Error(ErrorOptions),
    /// Send each line of standard input, a metric and its value, as a sample
    #[command(after_help = STAT_EXAMPLES)]
    Stat(StatOptions),
}

const LOG_EXAMPLES: &str = "\
Examples:
  tail -F app.log | agg pipe log --node web1 --tag app:shop
  dmesg --follow | agg pipe log --level NOTICE
  agg pipe log < yesterday.log

Empty lines are skipped; lines longer than 1 MiB are cut. If the connection breaks, unanswered
lines are sent again; each counts once.";

const ERROR_EXAMPLES: &str = "\
Examples:
  ./backup.sh 2>&1 >/dev/null | agg pipe error --type OPS --code backup
  echo 'disk is slow' | agg pipe error --type PERF --level NOTICE --public 'The shop is slow today'

Similar lines are counted as one error.";

const STAT_EXAMPLES: &str = "\
Examples:
  printf '%s\\n' 'queue.length 17' 'queue.age 2.5' | agg pipe stat --node shop
  ./measure --every 10s | agg pipe stat --tag app:shop
  awk '{ print \"page.seconds\", $NF }' access.log | agg pipe stat --hist

A line has a metric and its value, and may have the time of the value in Unix milliseconds, separated
by blanks. Other lines are reported with their numbers and skipped. If the connection breaks,
unanswered lines are sent again; each counts once.";

/// The arguments of all kinds.
#[derive(clap::Args)]
pub struct Target {
    /// The node to report as [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// Time to retry before giving up if the server cannot be reached, for example 30s or 10m
    #[arg(long, default_value = "30s", value_parser = units::duration, value_name = "TIME")]
    pub retry: std::time::Duration,
}

/// The arguments of samples.
#[derive(clap::Args)]
pub struct StatOptions {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    sample: SampleArguments,
}

/// The arguments of log entries and errors.
#[derive(clap::Args)]
pub struct Common {
    #[command(flatten)]
    target: Target,

    /// Level of all lines: 0 to 9, TRACE, DEBUG, INFO, NOTICE, WARNING, ERROR or CRITICAL [default: the
    /// server's: INFO, of errors ERROR]
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,

    /// A tag for all lines; may be given several times
    #[arg(long = "tag", value_parser = tags::tag, value_name = "NAME:VALUE")]
    tags: Vec<String>,
}

/// The arguments of errors.
#[derive(clap::Args)]
pub struct ErrorOptions {
    #[command(flatten)]
    common: Common,

    /// The type of error
    #[arg(long = "type", ignore_case = true, value_parser = error_type())]
    error_type: Option<ErrorType>,

    /// A code that distinguishes errors with the same text
    #[arg(long, value_name = "TEXT")]
    code: Option<OsString>,

    /// The function in which the error occurred
    #[arg(long, value_name = "NAME")]
    func: Option<OsString>,

    /// The source file in which the error occurred
    #[arg(long, value_name = "PATH")]
    file: Option<OsString>,

    /// A message for end users
    #[arg(long, value_name = "TEXT")]
    public: Option<OsString>,
}

fn error_type() -> impl TypedValueParser<Value = ErrorType> {
    PossibleValuesParser::new(ErrorType::ALL.map(ErrorType::as_str))
        .try_map(|name| ErrorType::from_name(&name).ok_or("unknown type"))
}

impl Command {
    /// Returns the arguments that all kinds have.
    pub fn target(&self) -> &Target {
        match self {
            Command::Log(common) => &common.target,
            Command::Error(error) => &error.common.target,
            Command::Stat(stat) => &stat.target,
        }
    }

    /// Returns the template of the commands.
    ///
    /// # Errors
    /// The machine has no name, and the arguments give none.
    pub fn template(self) -> Result<Template, String> {
        let node = node_or_host_name(self.target().node.as_ref())?;
        let bytes = |text: &Option<OsString>| text.clone().map(OsString::into_encoded_bytes);
        let joined = |tags: &[String]| (!tags.is_empty()).then(|| tags.join(" "));
        Ok(match self {
            Command::Log(common) => Template {
                node,
                level: common.level,
                tags: joined(&common.tags),
                kind: Kind::Log,
            },
            Command::Error(error) => Template {
                node,
                level: error.common.level,
                tags: joined(&error.common.tags),
                kind: Kind::Error(ErrorTemplate {
                    error_type: error.error_type,
                    code: bytes(&error.code),
                    func: bytes(&error.func),
                    file: bytes(&error.file),
                    public: bytes(&error.public),
                }),
            },
            Command::Stat(stat) => Template {
                node,
                level: None,
                tags: stat.sample.tags(),
                kind: Kind::Stat(stat.sample),
            },
        })
    }
}

/// A report without its line.
pub struct Template {
    node: NodeName,
    level: Option<Level>,
    tags: Option<String>,
    kind: Kind,
}

/// The options of a kind of report that the others do not have.
enum Kind {
    Log,
    Error(ErrorTemplate),
    Stat(SampleArguments),
}

struct ErrorTemplate {
    error_type: Option<ErrorType>,
    code: Option<Vec<u8>>,
    func: Option<Vec<u8>>,
    file: Option<Vec<u8>>,
    public: Option<Vec<u8>>,
}

/// Applies an option of a report if it is given.
fn with<R, T>(report: R, value: Option<T>, set: impl FnOnce(R, T) -> R) -> R {
    match value {
        Some(value) => set(report, value),
        None => report,
    }
}

impl Template {
    /// Returns the name of the command.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Log => "AGG.LOG",
            Kind::Error(_) => "AGG.ERROR",
            Kind::Stat(_) => "AGG.STAT",
        }
    }

    /// Checks whether a line can be sent.
    ///
    /// # Errors
    /// The line is to be a sample, and is none.
    pub fn check(&self, line: &[u8]) -> Result<(), String> {
        match self.kind {
            Kind::Stat(_) => LineOfSample::parse(line).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Appends the arguments of the command for a line, which was checked.
    pub fn write(&self, line: &[u8], sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        match &self.kind {
            Kind::Log => self.log(line).write_numbered(sequence, cmd),
            Kind::Stat(sample) => {
                if let Ok(line) = LineOfSample::parse(line) {
                    self.stat(sample, &line).write_numbered(sequence, cmd);
                }
            }
            Kind::Error(error) => {
                let key = error.key(line);
                let command = self.error(error, line).key(&key);
                command.write_numbered(sequence, cmd);
            }
        }
    }

    fn log<'a>(&'a self, line: &'a [u8]) -> Log<'a> {
        let log = Log::new(&self.node, line);
        let log = with(log, self.level, Log::level);
        with(log, self.tags.as_deref(), Log::tags)
    }

    fn stat<'a>(&'a self, sample: &SampleArguments, line: &LineOfSample<'a>) -> Stat<'a> {
        let stat = sample.apply(Stat::new(&self.node, line.metric, line.value));
        let stat = with(stat, self.tags.as_deref(), Stat::tags);
        with(stat, line.time, Stat::at)
    }

    fn error<'a>(&'a self, template: &'a ErrorTemplate, line: &'a [u8]) -> Error<'a> {
        let error = Error::new(&self.node, line);
        let error = with(error, self.level, Error::level);
        let error = with(error, self.tags.as_deref(), Error::tags);
        let error = with(error, template.error_type, Error::error_type);
        let error = with(error, template.code.as_ref(), Error::code);
        let error = with(error, template.func.as_ref(), Error::func);
        let error = with(error, template.file.as_ref(), Error::file);
        with(error, template.public.as_ref(), Error::public)
    }
}

impl ErrorTemplate {
    /// Returns the key of a line: lines that differ only in parts that vary have the same. The texts that identify an
    /// error without a key, such as its code, still do.
    fn key(&self, line: &[u8]) -> String {
        let context = [&self.code, &self.func, &self.file, &self.public]
            .map(|text| text.as_deref().unwrap_or_default());
        grouping::key_with(&String::from_utf8_lossy(line), &context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn sent(arguments: &[&str], line: &[u8]) -> Vec<u8> {
        let line_of = ["pipe"].iter().chain(arguments);
        let template = Cli::parse_from(line_of).command.template().unwrap();
        let mut command = Cmd::new(template.name());
        template.write(line, None, &mut command);
        command.to_bytes()
    }

    fn packed(words: &[&[u8]]) -> Vec<u8> {
        let (name, arguments) = words.split_first().unwrap();
        let mut command = Cmd::new(std::str::from_utf8(name).unwrap());
        command.args(arguments.iter().copied());
        command.to_bytes()
    }

    #[test]
    fn log_line_is_sent_unchanged() {
        assert_eq!(
            sent(&["log", "--node", "n1"], b"LEVEL \xff"),
            packed(&[b"AGG.LOG", b"n1", b"LEVEL \xff"])
        );
        assert_eq!(
            sent(
                &[
                    "log", "--node", "n1", "--level", "0", "--tag", "a:b", "--tag", "c"
                ],
                b"x"
            ),
            packed(&[b"AGG.LOG", b"n1", b"x", b"LEVEL", b"0", b"TAGS", b"a:b c"])
        );
    }

    #[test]
    fn error_has_further_options() {
        let arguments = "error --node n1 --type ops --code c --func f --file p --public sorry";
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let key = grouping::key_with("x", &[b"c", b"f", b"p", b"sorry"]);
        assert_eq!(
            sent(&arguments, b"x"),
            packed(&[
                b"AGG.ERROR",
                b"n1",
                b"x",
                b"TYPE",
                b"OPS",
                b"CODE",
                b"c",
                b"FUNC",
                b"f",
                b"FILE",
                b"p",
                b"PUBLIC",
                b"sorry",
                b"KEY",
                key.as_bytes(),
            ])
        );
    }

    #[test]
    fn key_of_an_error_is_computed_from_the_line_and_the_options() {
        assert_eq!(
            sent(&["error", "--node", "n1"], b"worker 17: \xff"),
            packed(&[
                b"AGG.ERROR",
                b"n1",
                b"worker 17: \xff",
                b"KEY",
                "worker <*>: \u{fffd}".as_bytes(),
            ])
        );
        let of = |option: &str, line: &[u8]| {
            let arguments = ["pipe", "error", "--node", "n1", option, "x"];
            let template = Cli::parse_from(arguments).command.template().unwrap();
            match template.kind {
                Kind::Error(error) => error.key(line),
                _ => panic!(),
            }
        };
        let options = ["--code", "--func", "--file", "--public"];
        let keys = options.map(|option| of(option, b"a 1"));
        for (option, key) in options.iter().zip(&keys) {
            assert_eq!(keys.iter().filter(|other| *other == key).count(), 1);
            assert_eq!(of(option, b"a 2"), *key);
        }
    }

    #[test]
    fn sample_has_the_options_and_its_time() {
        let arguments = [
            "stat", "--node", "n1", "--type", "INC", "--hist", "--tag", "a:b",
        ];
        let tail: [&[u8]; 4] = [b"INC", b"HIST", b"TAGS", b"a:b"];
        let head: [&[u8]; 4] = [b"AGG.STAT", b"n1", b"m", b"2"];
        assert_eq!(sent(&arguments, b"m 2"), packed(&[head, tail].concat()));
        let at: [&[u8]; 2] = [b"AT", b"1760000000000"];
        let expected = packed(&[&head[..], &tail, &at].concat());
        assert_eq!(sent(&arguments, b" m\t2  1760000000000 "), expected);
    }

    #[test]
    fn log_line_has_no_type_and_level_is_at_most_nine() {
        for bad in [
            "pipe log --type OPS",
            "pipe log --level 10",
            "pipe error --type NONE",
            "pipe stat --type NONE",
            "pipe stat --level 3",
            "pipe",
        ] {
            assert!(Cli::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
