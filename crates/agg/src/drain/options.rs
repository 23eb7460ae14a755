//! The arguments of `agg drain`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use agg_client::fetch::FetchRequest;
use aggregator_protocol::{NodeName, Queue, RecordFormat, units};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A node to drain; may be given several times [default: all nodes of the server]
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<OsString>,

    /// The queues [default: all; with --format line MIN,HOUR]
    #[arg(
        long = "queue",
        value_parser = queue_values(),
        ignore_case = true,
        value_delimiter = ',',
        value_name = "QUEUE"
    )]
    queues: Vec<Queue>,

    /// Format of the records, one per line
    #[arg(long, value_enum, default_value = "json")]
    format: PrintFormat,

    /// Append to FILE instead of printing. Records are synced to disk before they leave the queues
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,

    /// Wait for further records until interrupted
    #[arg(long)]
    follow: bool,

    /// Exit after N records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Lease of fetched records, for example 30s or 5m; must exceed the time to print a batch
    #[arg(long, default_value = "30s", value_parser = units::positive_duration, value_name = "TIME")]
    lease: Duration,

    /// Print no summary on standard error
    #[arg(long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  agg drain                                    print all records, then exit
  agg drain --follow --node web1 --queue LOG   follow the log of one node
  agg drain --queue ERROR --count 10 --format pretty
  agg drain --to-file records.jsonl            store records for agg load
  agg drain --format line | curl --data-binary @- 'http://localhost:8086/write?db=grid'

Printed records are removed from the queues. AGG.PEEK reads them without removing them.";

fn queue_values() -> impl TypedValueParser<Value = Queue> {
    let value = |queue: Queue| {
        PossibleValue::new(queue.name()).help(match queue {
            Queue::Min => "Short windows, 5 minutes by default",
            Queue::Hour => "Long windows, an hour by default",
            Queue::Log => "Log entries",
            Queue::Error => "Errors",
            Queue::Reality => "Objects",
        })
    };
    PossibleValuesParser::new(Queue::ALL.map(value)).try_map(|name| {
        let queue = Queue::from_name(name.to_uppercase().as_bytes());
        queue.ok_or("no queue has this name")
    })
}

/// The format of printed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PrintFormat {
    /// One JSON object per line
    Json,
    /// InfluxDB line protocol, for MIN and HOUR
    Line,
    /// A summary of each record for people, cut to the width of the terminal
    Pretty,
}

impl PrintFormat {
    /// Returns the format to fetch records in.
    fn record_format(self) -> RecordFormat {
        match self {
            PrintFormat::Json | PrintFormat::Pretty => RecordFormat::Json,
            PrintFormat::Line => RecordFormat::Line,
        }
    }
}

impl Options {
    /// Returns whether the command runs until it is interrupted.
    pub fn is_endless(&self) -> bool {
        self.follow
    }

    /// Checks the arguments.
    ///
    /// # Errors
    /// The arguments contradict each other.
    pub fn check(&self) -> Result<(), String> {
        if self.is_pretty() && self.has_file() {
            return Err(
                "--format pretty is for terminals: --to-file writes json or line".to_owned(),
            );
        }
        let is_line = self.format == PrintFormat::Line;
        match self
            .queues
            .iter()
            .find(|queue| is_line && !Queue::NUMBERS.contains(queue))
        {
            Some(queue) => Err(format!(
                "--format line is for the queues MIN and HOUR, not for {}",
                queue.name()
            )),
            None => Ok(()),
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeName> {
        self.nodes.iter().cloned().map(NodeName::from).collect()
    }

    pub(super) fn has_file(&self) -> bool {
        self.to_file.is_some()
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        self.to_file.clone()
    }

    pub(super) fn count(&self) -> u64 {
        self.count.unwrap_or(u64::MAX)
    }

    pub(super) fn is_pretty(&self) -> bool {
        self.format == PrintFormat::Pretty
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns what to fetch, each queue once.
    pub(super) fn request(&self) -> FetchRequest {
        let chosen = match (self.queues.as_slice(), self.format.record_format()) {
            ([], RecordFormat::Json) => &Queue::ALL[..],
            ([], RecordFormat::Line) => &Queue::NUMBERS[..],
            (chosen, _) => chosen,
        };
        let mut queues: Vec<Queue> = Vec::new();
        for queue in chosen {
            if !queues.contains(queue) {
                queues.push(*queue);
            }
        }
        FetchRequest {
            queues,
            format: self.format.record_format(),
            lease: self.lease,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Options {
        Line::parse_from(format!("drain {line}").split_whitespace()).options
    }

    #[test]
    fn queues_depend_on_the_format() {
        assert_eq!(options("").request().queues, Queue::ALL);
        assert_eq!(options("--format line").request().queues, Queue::NUMBERS);
        let queues = options("--queue log,MIN --queue Log").request().queues;
        assert_eq!(queues, [Queue::Log, Queue::Min]);
    }

    #[test]
    fn line_protocol_is_for_windows_only() {
        assert!(options("--format line --queue HOUR").check().is_ok());
        assert_eq!(
            options("--format line --queue MIN,LOG")
                .check()
                .unwrap_err(),
            "--format line is for the queues MIN and HOUR, not for LOG"
        );
        assert!(options("--queue LOG").check().is_ok());
    }

    #[test]
    fn pretty_lines_are_for_terminals() {
        assert!(options("--format pretty --follow").check().is_ok());
        assert_eq!(
            options("--format pretty --to-file x").check().unwrap_err(),
            "--format pretty is for terminals: --to-file writes json or line"
        );
    }
}
