//! The arguments of `agg pipe`, and the command that sends a line.

use std::ffi::OsString;

use agg_client::command::Cmd;

use aggregator_protocol::{NodeName, level, tags, units};

use crate::node_argument::node_or_host_name;

/// The kind of report that each line becomes.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Send each line of standard input as a log entry
    #[command(after_help = LOG_EXAMPLES)]
    Log(Common),
    /// Send each line of standard input as an error
    #[command(after_help = ERROR_EXAMPLES)]
    Error(ErrorOptions),
}

const LOG_EXAMPLES: &str = "\
Examples:
  tail -F app.log | agg pipe log --node web1 --tag app:shop
  dmesg --follow | agg pipe log --level NOTICE
  agg pipe log < yesterday.log

Empty lines are skipped; lines longer than 1 MiB are cut. Delivery is at least once: if the
connection breaks, unanswered lines are sent again.";

const ERROR_EXAMPLES: &str = "\
Examples:
  ./backup.sh 2>&1 >/dev/null | agg pipe error --type OPS --code backup
  echo 'disk is slow' | agg pipe error --type PERF --level NOTICE --public 'The shop is slow today'

Similar lines are counted as one error.";

/// The arguments of both commands.
#[derive(clap::Args)]
pub struct Common {
    /// The node to report as [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<OsString>,

    /// Level of all lines: 0 to 9, TRACE, DEBUG, INFO, NOTICE, WARNING, ERROR or CRITICAL [default: the
    /// server's: INFO, of errors ERROR]
    #[arg(long, value_parser = level, value_name = "LEVEL")]
    level: Option<u8>,

    /// A tag for all lines; may be given several times
    #[arg(long = "tag", value_parser = tags::tag, value_name = "NAME:VALUE")]
    tags: Vec<String>,

    /// Time to retry before giving up if the server cannot be reached, for example 30s or 10m
    #[arg(long, default_value = "30s", value_parser = units::duration, value_name = "TIME")]
    pub retry: std::time::Duration,
}

/// The arguments of errors.
#[derive(clap::Args)]
pub struct ErrorOptions {
    #[command(flatten)]
    common: Common,

    /// The type of error
    #[arg(long = "type", value_enum, ignore_case = true)]
    kind: Option<ErrorType>,

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

#[derive(Clone, Copy, clap::ValueEnum)]
enum ErrorType {
    #[value(name = "BUG")]
    Bug,
    #[value(name = "PERF")]
    Perf,
    #[value(name = "OPS")]
    Ops,
    #[value(name = "UNKNOWN")]
    Unknown,
}

fn level(text: &str) -> Result<u8, String> {
    level::parse(text.as_bytes()).ok_or_else(|| format!("expected {}", level::EXPECTED))
}

impl ErrorType {
    fn word(self) -> &'static str {
        match self {
            ErrorType::Bug => "BUG",
            ErrorType::Perf => "PERF",
            ErrorType::Ops => "OPS",
            ErrorType::Unknown => "UNKNOWN",
        }
    }
}

impl Command {
    /// Returns the arguments that both commands have.
    pub fn common(&self) -> &Common {
        match self {
            Command::Log(common) => common,
            Command::Error(error) => &error.common,
        }
    }

    /// Returns the template of the commands.
    ///
    /// # Errors
    /// The machine has no name, and the arguments give none.
    pub fn template(&self) -> Result<Template, String> {
        let common = self.common();
        let node = node_or_host_name(common.node.as_ref())?;
        let mut options: Vec<(&'static str, Vec<u8>)> = Vec::new();
        options.extend(
            common
                .level
                .map(|level| ("LEVEL", level.to_string().into_bytes())),
        );
        if !common.tags.is_empty() {
            options.push(("TAGS", common.tags.join(" ").into_bytes()));
        }
        let verb = match self {
            Command::Log(_) => "AGG.LOG",
            Command::Error(error) => {
                options.extend(error.kind.map(|kind| ("TYPE", kind.word().into())));
                let texts = [
                    ("CODE", &error.code),
                    ("FUNC", &error.func),
                    ("FILE", &error.file),
                    ("PUBLIC", &error.public),
                ];
                let given = |(word, text): (&'static str, &Option<OsString>)| {
                    Some((word, text.clone()?.into_encoded_bytes()))
                };
                options.extend(texts.into_iter().filter_map(given));
                "AGG.ERROR"
            }
        };
        Ok(Template {
            verb,
            node,
            options,
        })
    }
}

/// A command without its line.
pub struct Template {
    verb: &'static str,
    node: NodeName,
    options: Vec<(&'static str, Vec<u8>)>,
}

impl Template {
    /// Returns the command for a line.
    pub fn command(&self, line: &[u8]) -> Cmd {
        let mut command = Cmd::of_node(self.verb, &self.node);
        command.arg(line);
        for (word, value) in &self.options {
            command.arg(*word).arg(value);
        }
        command
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
        Cli::parse_from(line_of)
            .command
            .template()
            .unwrap()
            .command(line)
            .to_bytes()
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
            ])
        );
    }

    #[test]
    fn log_line_has_no_type_and_level_is_at_most_nine() {
        for bad in [
            "pipe log --type OPS",
            "pipe log --level 10",
            "pipe error --type NONE",
            "pipe",
        ] {
            assert!(Cli::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
