//! `agg drain`: prints the records of the queues and removes them.
//!
//! # Invariants
//! At-least-once delivery: a record is acknowledged only after its line was written and flushed; a record that was not
//! written is released. An acknowledgement that was lost with the connection is sent again.

mod nodes;
mod options;
mod pretty;
mod print;
mod tally;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use agg_client::command::Cmd;

use agg_client::WarnOnce;
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::fetch::{self, FetchRequest, FetchedRecord};
use agg_client::{Reconnector, Shutdown};
use agg_poller::rotation::{Appender, Rotation};
use aggregator_protocol::{NodeName, RecordFormat};

use crate::exit_status::ExitStatus;

use nodes::Nodes;
pub use options::Options;
use pretty::Style;
use print::{CHUNK_BYTES, Rendering};
use tally::Tally;

/// Maximum records per fetch. The server also limits a reply to about 1 MiB.
const BATCH: u64 = 500;
/// The time for which a fetch blocks at the server. An interruption takes up to this long.
const BLOCK: Duration = Duration::from_millis(500);

/// Drains until the queues are empty, or until a shutdown is requested.
///
/// # Errors
/// The server does not answer or rejects a command, or the output cannot be written.
pub async fn run(
    server: &Server,
    options: Options,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    if !options.has_file() {
        agg_poller::output::check().map_err(|error| error.to_string())?;
    }
    let mut drain = Drain {
        server,
        shutdown,
        request: options.request(),
        style: options.is_pretty().then(Style::of_stdout),
        nodes: Nodes::new(options.nodes()),
        follow: options.is_endless(),
        remaining: options.count(),
        tally: Tally::default(),
        unconfirmed: Vec::new(),
        file: options
            .file()
            .map(|path| Appender::new(path, Rotation::default())),
        write_error: None,
        warnings: WarnOnce::default(),
    };
    let result = drain.run().await;
    if !options.is_quiet() {
        tracing::info!("{}", drain.tally);
    }
    if !drain.unconfirmed.is_empty() {
        tracing::info!(
            "the last records written were not acknowledged and will be delivered again"
        );
    }
    result
}

/// A run of the command.
struct Drain<'a> {
    server: &'a Server,
    shutdown: &'a Shutdown,
    request: FetchRequest,
    /// The layout of summaries for people, with `--format pretty`.
    style: Option<Style>,
    nodes: Nodes,
    /// True if the command waits for further records.
    follow: bool,
    /// Number of records that may still be printed.
    remaining: u64,
    tally: Tally,
    /// Acknowledgements that the server has not answered yet.
    unconfirmed: Vec<Cmd>,
    /// The file to append to instead of standard output.
    file: Option<Appender>,
    /// The error after which nothing more can be written.
    write_error: Option<io::Error>,
    warnings: WarnOnce,
}

impl Drain<'_> {
    async fn run(&mut self) -> Result<ExitStatus, String> {
        let limit = (!self.follow).then_some(Duration::ZERO);
        let mut reconnector = Reconnector::new(self.server, self.shutdown, limit);
        let mut pauses = IdlePauses::default();
        let mut connection = None;
        loop {
            if connection.is_none() {
                connection = reconnector.connect().await?;
            }
            let Some(connected) = &mut connection else {
                return Ok(ExitStatus::Interrupted);
            };
            let start = Instant::now();
            match self.drain_nodes(connected).await {
                Ok(had_records) => {
                    reconnector.worked();
                    if let Some(status) = self.exit_status(had_records)? {
                        return Ok(status);
                    }
                    // If the key was deleted, a blocking fetch returns immediately: pause before the next one.
                    let blocked = self.server_blocks() && start.elapsed() >= BLOCK / 2;
                    self.shutdown
                        .sleep(pauses.next(had_records || blocked))
                        .await;
                }
                Err(error) => {
                    connection = None;
                    if self.write_error.is_some() {
                        return Err(error.into());
                    }
                    // An error after a shutdown request is not reported.
                    if self.shutdown.is_requested() {
                        continue;
                    }
                    reconnector.failed(error).await?;
                }
            }
        }
    }

    /// Returns the exit status if draining is finished after a round that returned records or did not.
    fn exit_status(&mut self, had_records: bool) -> Result<Option<ExitStatus>, String> {
        match self.write_error.take() {
            // The end of `agg drain | head` is not an error.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok(Some(ExitStatus::Success));
            }
            Some(error) => {
                let output = match &self.file {
                    Some(file) => file.path().display().to_string(),
                    None => "to standard output".to_owned(),
                };
                return Err(format!("cannot write {output}: {error}"));
            }
            None => {}
        }
        if self.remaining == 0 || (!had_records && !self.follow) {
            return Ok(Some(ExitStatus::Success));
        }
        Ok((self.shutdown.is_requested()).then_some(ExitStatus::Interrupted))
    }

    /// Returns whether fetches block at the server. They can do so for a single node only.
    fn server_blocks(&self) -> bool {
        self.follow && self.nodes.is_single()
    }

    /// Fetches once from every node. Returns whether there were records.
    async fn drain_nodes(&mut self, connection: &mut Connection) -> Result<bool, ClientError> {
        self.acknowledge(connection).await?;
        let nodes = self
            .nodes
            .list(self.server, connection, self.follow, self.shutdown)
            .await?
            .to_vec();
        let block = self.server_blocks().then_some(BLOCK);
        let mut had_records = false;
        for node in &nodes {
            if self.remaining == 0 || self.shutdown.is_requested() || self.write_error.is_some() {
                break;
            }
            had_records |= self.drain_node(connection, node, block).await?;
        }
        Ok(had_records)
    }

    /// Fetches from a node, prints the records and acknowledges them. Returns whether there were records.
    async fn drain_node(
        &mut self,
        connection: &mut Connection,
        node: &NodeName,
        block: Option<Duration>,
    ) -> Result<bool, ClientError> {
        let records = self.fetch(connection, node, block).await?;
        let printed = self.print(&records);
        self.tally.add(&records[..printed]);
        self.remaining -= printed as u64;
        self.unconfirmed = fetch::settle(node, &records, printed);
        self.acknowledge(connection).await?;
        Ok(!records.is_empty())
    }

    /// Fetches records. Returns none if the server rejects the command for a reason that is not an error here.
    async fn fetch(
        &mut self,
        connection: &mut Connection,
        node: &NodeName,
        block: Option<Duration>,
    ) -> Result<Vec<FetchedRecord>, ClientError> {
        let command = self.request.fetch(node, BATCH.min(self.remaining), block);
        let text = match connection.call(&command).await? {
            Ok(reply) => {
                let records = fetch::read_records(reply);
                return records.ok_or_else(|| connection.unexpected_reply("AGG.FETCH"));
            }
            Err(text) => text,
        };
        // The key was a node when the nodes were listed.
        if !self.nodes.are_named && text.code == "WRONGTYPE" {
            return Ok(Vec::new());
        }
        let error = connection.rejected(&format!("AGG.FETCH from node {node}"), &text);
        // The server has no memory for more leases, until clients acknowledge records.
        if self.follow && text.code == "AGGFULL" {
            self.warnings.warn(&format!("{error}; trying again"));
            return Ok(Vec::new());
        }
        Err(error)
    }

    /// Prints records. Returns the number of those that were written, and keeps the error if it is not all.
    fn print(&mut self, records: &[FetchedRecord]) -> usize {
        let (rendering, stopped) = (self.rendering(), || self.shutdown.is_requested());
        let (printed, result) = match &mut self.file {
            None => {
                let mut out = io::stdout().lock();
                print::print(&mut out, records, rendering, CHUNK_BYTES, stopped)
            }
            // One write for the whole reply, as each write costs an fsync.
            Some(file) => {
                let mut out = FileWriter(file);
                print::print(&mut out, records, rendering, usize::MAX, stopped)
            }
        };
        self.write_error = result.err();
        printed
    }

    fn rendering(&self) -> Rendering {
        if let Some(style) = self.style {
            return Rendering::Pretty(style);
        }
        match self.request.format {
            RecordFormat::Json => Rendering::Json,
            RecordFormat::Line if self.file.is_none() && io::stdout().is_terminal() => {
                Rendering::Text
            }
            RecordFormat::Line => Rendering::Verbatim,
        }
    }

    /// Sends the acknowledgements that are due.
    async fn acknowledge(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let mut error = None;
        connection
            .pipeline(&self.unconfirmed, |_, reply| {
                error = reply.err().or(error.take());
            })
            .await?;
        match error {
            Some(text) => Err(connection.rejected("AGG.ACK", &text)),
            None => {
                self.unconfirmed.clear();
                Ok(())
            }
        }
    }
}

/// Writes whole lines to a file.
struct FileWriter<'a>(&'a mut Appender);

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pauses between rounds: none while there are records, growing to a second while there are none.
struct IdlePauses(Duration);

impl Default for IdlePauses {
    fn default() -> Self {
        IdlePauses(Self::SHORTEST)
    }
}

impl IdlePauses {
    const SHORTEST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(1);

    fn next(&mut self, is_busy: bool) -> Duration {
        if is_busy {
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

    #[test]
    fn pauses_grow_while_there_are_no_records() {
        let mut pauses = IdlePauses::default();
        let ms: Vec<u128> = (0..8).map(|_| pauses.next(false).as_millis()).collect();
        assert_eq!(ms, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pauses.next(true), Duration::ZERO);
        assert_eq!(pauses.next(false).as_millis(), 20);
    }
}
