//! Loads records from files, as `agg drain` and file sinks write them, into the sinks of a poller's
//! configuration, by the same routes.
//!
//! # Invariants
//!
//! A record is stored when every sink of its routes has stored it. Records in flight are bounded by `max-in-flight`. A
//! file can be loaded again, since (node, queue, id) identifies a record. A line that is not a record is reported with
//! its line number and skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use agg_client::Shutdown;
use aggregator_protocol::NodeName;
use aggregator_protocol::{Queue, RecordFormat};

use super::batch::{Batch, Delivery, DeliveryStatus};
use super::config::Config;
use super::error::PollError;
use super::routing::{Destination, RoutingTable};
use super::sinks::Sinks;
use super::status::Status;
use super::tasks::Tasks;
use aggregator_protocol::format::{count, grouped};

/// The maximum number of records of a batch.
const MAX_RECORDS: usize = 2000;
/// The maximum number of bytes of the records of a batch.
const MAX_BYTES: usize = 1 << 20;
/// The longest line: several times the longest text that a record may contain.
const MAX_LINE: u64 = 16 << 20;
/// The number of lines that are not records and are reported.
const MAX_REPORTED: u64 = 5;

/// Counts what was read.
#[derive(Default)]
struct Counters {
    /// Bytes of the files, before decompression.
    bytes: AtomicU64,
    records: AtomicU64,
    /// Lines that are not records.
    invalid: AtomicU64,
    /// Records that no route matches.
    unrouted: AtomicU64,
}

/// The fields by which a record is routed. A dead letter has them too, and contains the record.
#[derive(Deserialize)]
struct Head<'a> {
    node: String,
    queue: &'a str,
    id: i64,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    line: Option<String>,
}

/// The counts of a finished load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Records that were read.
    pub records: u64,
    /// Records that no route matches.
    pub unrouted: u64,
    /// Lines that are not records.
    pub invalid: u64,
    /// Records that a sink rejected.
    pub dead: u64,
    /// True if a request to shut down ended it early.
    pub is_interrupted: bool,
}

/// The counts of what was read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files, before decompression.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

/// Loads files into the sinks of a configuration. `-` is standard input. Reports its progress now and then.
///
/// # Errors
///
/// Returns an error if a file cannot be read, a sink failed permanently, or a sink is a hub: it takes old records for
/// known ones, and would drop them.
pub async fn load(
    files: Vec<PathBuf>,
    config: Config,
    progress: impl Fn(Progress),
    shutdown: &Shutdown,
) -> Result<Loaded, PollError> {
    if let Some(hub) = config.sinks.iter().find(|sink| sink.kind.needs_floor()) {
        let name = hub.name.clone();
        return Err(PollError::LoadIntoHub { name });
    }
    let tasks = Tasks::new(shutdown.clone());
    let (status, mut sinks) = (Status::new(), Sinks::new(tasks.clone()));
    sinks.set(&config, &status)?;
    let table = RoutingTable {
        routes: config.routes,
        sinks: sinks.handles(),
        poll_interval: config.poll_interval,
        lease: config.lease,
        grace: config.shutdown_grace,
    };
    let counters = Arc::new(Counters::default());
    // A short queue: memory is bounded by the budgets of the sinks.
    let (send, batches) = channel(1);
    let reader = {
        let (counters, shutdown) = (counters.clone(), shutdown.clone());
        spawn_blocking(move || -> Result<(), PollError> {
            for file in &files {
                read(file, &counters, &shutdown, |batch| {
                    // The receiver is dropped when shutdown is requested.
                    let _ = send.blocking_send(batch);
                })?;
            }
            Ok(())
        })
    };
    let mut loader = Loader::new(table, counters.clone());
    tokio::select! {
        () = loader.run(batches, progress) => {}
        () = shutdown.requested() => {}
    }
    let read = match shutdown.is_requested() {
        // The reader may be blocked in a call.
        true => Ok(()),
        false => reader.await.unwrap_or_else(|_| {
            let task = "the reader of files".into();
            Err(PollError::TaskPanicked { task })
        }),
    };
    let deadline = if shutdown.is_requested() {
        sinks.drain_now();
        Instant::now() + config.shutdown_grace
    } else {
        Instant::now() + Duration::from_secs(3600)
    };
    drop(loader);
    let dead: u64 = status
        .sinks()
        .iter()
        .map(|sink| sink.dead.load(Ordering::Relaxed))
        .sum();
    let ended = sinks.end(deadline).await;
    let [records, invalid, unrouted] = [&counters.records, &counters.invalid, &counters.unrouted]
        .map(|count| count.load(Ordering::Relaxed));
    tracing::info!(
        "{} read, {} matched no route, {}",
        count(records, "record"),
        grouped(unrouted),
        count(invalid, "invalid line")
    );
    ended.and(tasks.check()).and(read)?;
    Ok(Loaded {
        records,
        unrouted,
        invalid,
        dead,
        is_interrupted: shutdown.is_requested(),
    })
}

/// Hands batches to the sinks and waits for their reports.
struct Loader {
    table: RoutingTable,
    counters: Arc<Counters>,
    reports: UnboundedReceiver<DeliveryStatus>,
    report_to: UnboundedSender<DeliveryStatus>,
    /// The number of sinks that have not reported yet, by the number of the batch.
    pending: HashMap<u64, usize>,
    last_number: u64,
}

impl Loader {
    fn new(table: RoutingTable, counters: Arc<Counters>) -> Loader {
        let (report_to, reports) = unbounded_channel();
        Loader {
            table,
            counters,
            reports,
            report_to,
            pending: HashMap::new(),
            last_number: 0,
        }
    }

    /// Runs until there are no more batches and all sinks have reported.
    async fn run(&mut self, mut batches: Receiver<Batch>, progress: impl Fn(Progress)) {
        while let Some(batch) = batches.recv().await {
            self.deliver(batch).await;
            while let Ok(status) = self.reports.try_recv() {
                self.note(&status);
            }
            progress(Progress {
                bytes: self.counters.bytes.load(Ordering::Relaxed),
                records: self.counters.records.load(Ordering::Relaxed),
            });
        }
        while !self.pending.is_empty() {
            // The channel is never closed: the loader has both ends.
            if let Some(status) = self.reports.recv().await {
                self.note(&status);
            }
        }
    }

    fn note(&mut self, status: &DeliveryStatus) {
        let (DeliveryStatus::Stored(number) | DeliveryStatus::Abandoned(number)) = status;
        if let Some(left) = self.pending.get_mut(number) {
            *left -= 1;
            if *left == 0 {
                self.pending.remove(number);
            }
        }
    }

    async fn deliver(&mut self, mut batch: Batch) {
        let destinations = self.table.destinations(&batch.node.0, batch.queue);
        if destinations.is_empty() {
            let count = batch.records.len() as u64;
            self.counters.unrouted.fetch_add(count, Ordering::Relaxed);
            return;
        }
        if destinations
            .iter()
            .any(|to| to.sink.format == RecordFormat::Line)
        {
            // A record without a line becomes a dead letter.
            batch.add_lines();
        }
        let bytes = batch.bytes();
        self.last_number += 1;
        self.pending.insert(self.last_number, destinations.len());
        let batch = Arc::new(batch);
        for Destination { sink, edits } in destinations {
            let permit = sink.budget.acquire(bytes).await;
            let mut delivery = Delivery::new(
                batch.clone(),
                self.last_number,
                self.report_to.clone(),
                permit,
            );
            delivery.edits = edits;
            // A sink that has ended drops the delivery, which reports it as abandoned.
            let _ = sink.inbox.send(delivery);
        }
    }
}

/// Reads a file, and passes its records on in batches of one queue of a node.
fn read(
    path: &Path,
    counters: &Counters,
    shutdown: &Shutdown,
    mut pass: impl FnMut(Batch),
) -> Result<(), PollError> {
    let name = path.display();
    let cannot_read = |error| {
        let path = path.to_owned();
        PollError::Read { path, error }
    };
    let mut lines = open(path, counters).map_err(cannot_read)?;
    let mut batch: Option<Batch> = None;
    let (mut bytes, mut number) = (0, 0);
    // What was read before an error is loaded.
    let result = loop {
        let mut text = Vec::new();
        match (&mut lines).take(MAX_LINE).read_until(b'\n', &mut text) {
            Err(error) => break Err(cannot_read(error)),
            Ok(0) => break Ok(()),
            Ok(_) if shutdown.is_requested() => break Ok(()),
            Ok(_) => number += 1,
        }
        if text.last() != Some(&b'\n') && text.len() as u64 == MAX_LINE {
            break Err(PollError::LineTooLong {
                path: path.to_owned(),
                line: number,
            });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let parsed = match record(&text) {
            Ok(parsed) => parsed,
            Err(reason) => {
                let before = counters.invalid.fetch_add(1, Ordering::Relaxed);
                if before < MAX_REPORTED {
                    tracing::info!("{name}:{number}: {reason}");
                }
                continue;
            }
        };
        counters.records.fetch_add(1, Ordering::Relaxed);
        let Parsed {
            node,
            queue,
            id,
            json,
            line,
        } = parsed;
        let line = line.as_deref().map(str::as_bytes);
        let size = json.map_or(0, <[u8]>::len) + line.map_or(0, <[u8]>::len);
        let fits = |batch: &Batch| {
            (&batch.node, batch.queue) == (&node, queue)
                && batch.records.len() < MAX_RECORDS
                && bytes + size <= MAX_BYTES
        };
        if batch.as_ref().is_some_and(|batch| !fits(batch)) {
            batch.take().into_iter().for_each(&mut pass);
            bytes = 0;
        }
        bytes += size;
        let open = batch.get_or_insert_with(|| Batch::new(node, queue));
        open.push(id, 1, json, line);
    };
    batch.into_iter().for_each(pass);
    result
}

/// Opens a file and decompresses it if necessary.
fn open<'a>(path: &Path, counters: &'a Counters) -> io::Result<Box<dyn BufRead + 'a>> {
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => {
            let file = File::open(path)?;
            // Only what the file contains now: a sink may append to the same file.
            match file.metadata()? {
                data if data.is_file() => Box::new(file.take(data.len())),
                _ => Box::new(file),
            }
        }
    };
    let mut source = BufReader::new(Counted { source, counters });
    let start = source.fill_buf()?;
    // The magic numbers of RFC 1952 and RFC 8878.
    let gzip = start.starts_with(&[0x1f, 0x8b]);
    let zstd = start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    Ok(if gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(source)))
    } else if zstd {
        Box::new(BufReader::new(zstd::stream::Decoder::with_buffer(source)?))
    } else {
        Box::new(source)
    })
}

/// Counts the bytes that are read.
struct Counted<'a> {
    source: Box<dyn Read>,
    counters: &'a Counters,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.counters
            .bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A line that is not a record.
#[derive(Debug, thiserror::Error)]
enum NotARecord {
    #[error("not a record: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not a record: unknown queue {0:?}")]
    Queue(String),
}

/// A record of a file.
struct Parsed<'a> {
    node: NodeName,
    queue: Queue,
    id: i64,
    json: Option<&'a [u8]>,
    line: Option<String>,
}

/// Parses a line.
fn record(text: &[u8]) -> Result<Parsed<'_>, NotARecord> {
    let text = text.trim_ascii();
    let head: Head = serde_json::from_slice(text)?;
    // A dead letter may have line protocol only.
    let json = match (head.record, &head.line) {
        (Some(record), _) => Some(record.get().as_bytes()),
        (None, Some(_)) => None,
        (None, None) => Some(text),
    };
    let queue = Queue::from_name(head.queue.as_bytes())
        .ok_or_else(|| NotARecord::Queue(head.queue.to_string()))?;
    Ok(Parsed {
        node: NodeName(head.node.into_bytes()),
        queue,
        id: head.id,
        json,
        line: head.line,
    })
}
