//! `agg drain`: prints what waits in the queues. At least once: a record is acknowledged when its line was written
//! and flushed, never before, and given back when it was not; an acknowledgement that was lost with the connection
//! is sent again.

mod nodes;
mod print;
mod tally;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use redis::Cmd;

use crate::Ended;
use crate::output;
use crate::poll::append::Appender;
use crate::poll::aside::Rotation;
use agg_client::Reconnector;
use agg_client::Shutdown;
use agg_client::connect::{BlockingConnection, ClientError, Server};
use agg_client::messages::{WarnOnce, say};
use aggregator_protocol::{NodeName, units};

use agg_client::fetch::{self, FetchRequest};
use aggregator_protocol::{Queue, RecordFormat};
use nodes::Nodes;
use print::{CHUNK, Look};
use tally::Tally;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A node to drain; may be given several times [default: all of the server]
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<OsString>,

    /// The queues [default: all, with --format line MIN,HOUR]
    #[arg(
        long = "queue",
        value_parser = queue_values(),
        ignore_case = true,
        value_delimiter = ',',
        value_name = "QUEUE"
    )]
    queues: Vec<Queue>,

    /// How records are printed, one a line; line: InfluxDB line protocol, of MIN and HOUR only
    #[arg(long, value_parser = format_values(), default_value = "json")]
    format: RecordFormat,

    /// Append to FILE instead of printing; what was written is on the disk before it leaves the queues
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,

    /// Go on with what comes, until interrupted
    #[arg(long)]
    follow: bool,

    /// End after N records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// How long others do not get what was fetched here; longer than a batch takes to print
    #[arg(long, default_value = "30s", value_parser = units::some_duration, value_name = "TIME")]
    lease: Duration,

    /// Print no summary on standard error
    #[arg(long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  agg drain                                    all that waits, then end
  agg drain --follow --node web1 --queue LOG   one node's log, as it comes
  agg drain --queue ERROR --count 10
  agg drain --to-file records.jsonl            to be brought elsewhere later, by agg load
  agg drain --format line | curl --data-binary @- 'http://localhost:8086/write?db=grid'

What was printed leaves the queues. To look only, there is AGG.PEEK.";

fn queue_values() -> impl TypedValueParser<Value = Queue> {
    let value = |queue: Queue| {
        PossibleValue::new(queue.name()).help(match queue {
            Queue::Min => "Records of 5-minute windows",
            Queue::Hour => "Records of hours",
            Queue::Log => "Log lines",
            Queue::Error => "Error conditions",
            Queue::Reality => "Objects",
        })
    };
    PossibleValuesParser::new(Queue::ALL.map(value)).try_map(|name| {
        let queue = Queue::from_name(name.to_uppercase().as_bytes());
        queue.ok_or("no queue has this name")
    })
}

fn format_values() -> impl TypedValueParser<Value = RecordFormat> {
    PossibleValuesParser::new([
        PossibleValue::new("json").help("One JSON object a line"),
        PossibleValue::new("line").help("InfluxDB's line protocol, of MIN and HOUR"),
    ])
    .map(|name| match name.as_str() {
        "line" => RecordFormat::Line,
        _ => RecordFormat::Json,
    })
}

/// Entries of one fetch. A reply ends at about 1 MiB anyway.
const BATCH: u64 = 500;
/// How long one fetch waits at the server: so long may an interruption take.
const BLOCK: Duration = Duration::from_millis(500);

impl Options {
    /// Whether it goes on until it is interrupted.
    pub fn endless(&self) -> bool {
        self.follow
    }

    /// Returns an error if the arguments contradict each other.
    pub fn check(&self) -> Result<(), String> {
        let line = self.format == RecordFormat::Line;
        match self
            .queues
            .iter()
            .find(|queue| line && !Queue::NUMBERS.contains(queue))
        {
            Some(queue) => Err(format!(
                "--format line is for the queues MIN and HOUR, not for {}",
                queue.name()
            )),
            None => Ok(()),
        }
    }

    fn request(&self) -> FetchRequest {
        let mut queues = self.queues.clone();
        if queues.is_empty() {
            queues = match self.format {
                RecordFormat::Json => Queue::ALL.to_vec(),
                RecordFormat::Line => Queue::NUMBERS.to_vec(),
            };
        }
        let mut seen = Vec::new();
        queues.retain(|queue| {
            !seen.contains(queue) && {
                seen.push(*queue);
                true
            }
        });
        FetchRequest {
            queues,
            format: self.format,
            lease: self.lease,
        }
    }
}

/// Drains until nothing is there, or the end is asked for.
pub fn run(server: &Server, options: Options, stop: &Shutdown) -> Result<Ended, String> {
    if options.to_file.is_none() {
        output::check()?;
    }
    let nodes = Nodes::new(options.nodes.iter().cloned().map(NodeName::from).collect());
    let mut drain = Drain {
        server,
        stop,
        request: options.request(),
        nodes,
        follow: options.follow,
        left: options.count.unwrap_or(u64::MAX),
        tally: Tally::default(),
        owed: Vec::new(),
        file: options
            .to_file
            .map(|path| Appender::new(path, Rotation::default())),
        output: None,
        once: WarnOnce::default(),
    };
    let ended = drain.run();
    if !options.quiet {
        say(&drain.tally.to_string());
    }
    if !drain.owed.is_empty() {
        say("what was printed last is not acknowledged at the server and will come again");
    }
    ended
}

struct Drain<'a> {
    server: &'a Server,
    stop: &'a Shutdown,
    request: FetchRequest,
    nodes: Nodes,
    follow: bool,
    /// Records still to print.
    left: u64,
    tally: Tally,
    /// Acknowledgements for which the server has not answered.
    owed: Vec<Cmd>,
    /// Where records go, if not to standard output.
    file: Option<Appender>,
    /// Why the output takes no more.
    output: Option<io::Error>,
    once: WarnOnce,
}

impl Drain<'_> {
    fn run(&mut self) -> Result<Ended, String> {
        let limit = (!self.follow).then_some(Duration::ZERO);
        let mut reach = Reconnector::new(self.server, self.stop, limit);
        let mut idle = Idle::default();
        let mut link = None;
        loop {
            if link.is_none() {
                link = reach.link()?;
            }
            let Some(open) = &mut link else {
                return Ok(Ended::Interrupted);
            };
            let start = Instant::now();
            match self.round(open) {
                Ok(found) => {
                    reach.worked();
                    if let Some(ended) = self.ended(found)? {
                        return Ok(ended);
                    }
                    // A server that should have waited and did not (its key is gone) is not to be asked in a
                    // circle.
                    let waited = self.server_waits() && start.elapsed() >= BLOCK / 2;
                    self.stop.wait(idle.pause(found || waited));
                }
                Err(failure) => {
                    link = None;
                    if self.output.is_some() {
                        return Err(failure.into());
                    }
                    // The signal that asks for the end interrupts the wait for records: no fault to tell of.
                    if self.stop.is_requested() {
                        continue;
                    }
                    reach.failed(failure)?;
                }
            }
        }
    }

    /// Whether it is over after a round that did or did not find anything.
    fn ended(&mut self, found: bool) -> Result<Option<Ended>, String> {
        match self.output.take() {
            // `agg drain | head` is no failure.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Some(Ended::Done)),
            Some(error) => {
                let place = self.file.as_ref().map(|file| file.path().display());
                let place = place.map_or(String::new(), |path| format!(" {path}"));
                return Err(format!("cannot write{place}: {error}"));
            }
            None => {}
        }
        if self.left == 0 || (!found && !self.follow) {
            return Ok(Some(Ended::Done));
        }
        Ok(self.stop.is_requested().then_some(Ended::Interrupted))
    }

    /// Whether the server does the waiting.
    fn server_waits(&self) -> bool {
        self.follow && self.nodes.single()
    }

    /// Fetches once from every node. Tells whether there was anything.
    fn round(&mut self, link: &mut BlockingConnection) -> Result<bool, ClientError> {
        self.pay(link)?;
        let nodes = self
            .nodes
            .list(self.server, link, self.follow, self.stop)?
            .to_vec();
        let block = self.server_waits().then_some(BLOCK);
        let mut found = false;
        for node in &nodes {
            if self.left == 0 || self.stop.is_requested() || self.output.is_some() {
                break;
            }
            found |= self.batch(link, node, block)?;
        }
        Ok(found)
    }

    fn batch(
        &mut self,
        link: &mut BlockingConnection,
        node: &NodeName,
        block: Option<Duration>,
    ) -> Result<bool, ClientError> {
        let reply = match link.call(&self.request.fetch(node, BATCH.min(self.left), block))? {
            Ok(reply) => reply,
            // A key that was a node when the nodes were looked up.
            Err(text) if !self.nodes.named && text.starts_with("WRONGTYPE") => return Ok(false),
            // The server has no memory for more leases: what others have leased there will free some.
            Err(text) if self.follow && text.starts_with("AGGFULL") => {
                let text = link.refused(&format!("to drain node {node}"), &text);
                self.once.say(&format!("{text}; trying again"));
                return Ok(false);
            }
            Err(text) => return Err(link.refused(&format!("to drain node {node}"), &text)),
        };
        let Some(entries) = fetch::entries(reply) else {
            return Err(link.unexpected_reply("AGG.FETCH"));
        };
        let stopped = || self.stop.is_requested();
        let look = self.look();
        let (printed, result) = match &mut self.file {
            None => print::print(&mut io::stdout().lock(), &entries, look, CHUNK, stopped),
            // Each write costs an fsync, so it is one for a whole reply.
            Some(file) => print::print(&mut Lines(file), &entries, look, usize::MAX, stopped),
        };
        self.output = result.err();
        self.tally.add(&entries[..printed]);
        self.left -= printed as u64;
        self.owed = fetch::settle(node, &entries, printed);
        self.pay(link)?;
        Ok(!entries.is_empty())
    }

    fn look(&self) -> Look {
        match self.request.format {
            RecordFormat::Json => Look::Json,
            RecordFormat::Line if self.file.is_none() && io::stdout().is_terminal() => Look::Text,
            RecordFormat::Line => Look::Raw,
        }
    }

    /// Sends the acknowledgements that are due.
    fn pay(&mut self, link: &mut BlockingConnection) -> Result<(), ClientError> {
        let mut refusal = None;
        link.pipeline(&self.owed, |_, reply| {
            refusal = reply.err().or(refusal.take())
        })?;
        match refusal {
            Some(text) => Err(link.refused("AGG.ACK", &text)),
            None => {
                self.owed.clear();
                Ok(())
            }
        }
    }
}

/// A file as something to write to: each write is whole lines.
struct Lines<'a>(&'a mut Appender);

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Backoff between looks at several nodes: short while something comes, up to a second when nothing does.
struct Idle(Duration);

impl Default for Idle {
    fn default() -> Self {
        Idle(Self::SHORTEST)
    }
}

impl Idle {
    const SHORTEST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(1);

    fn pause(&mut self, busy: bool) -> Duration {
        if busy {
            self.0 = Self::SHORTEST;
            return Duration::ZERO;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        pause
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
    fn queues_by_format() {
        assert_eq!(options("").request().queues, Queue::ALL);
        assert_eq!(options("--format line").request().queues, Queue::NUMBERS);
        let queues = options("--queue log,MIN --queue Log").request().queues;
        assert_eq!(queues, [Queue::Log, Queue::Min]);
    }

    #[test]
    fn line_protocol_is_for_numbers() {
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
    fn pauses_grow_while_nothing_comes() {
        let mut idle = Idle::default();
        let ms: Vec<u128> = (0..8).map(|_| idle.pause(false).as_millis()).collect();
        assert_eq!(ms, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(idle.pause(true), Duration::ZERO);
        assert_eq!(idle.pause(false).as_millis(), 20);
    }
}
