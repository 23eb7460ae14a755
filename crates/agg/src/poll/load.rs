//! `agg load`: brings records from files, as `agg drain` and the sinks of type file write them, to the sinks of a
//! poller's settings, by the same routes.
//!
//! What holds: a record is counted as stored when every sink of its routes has it; what is on the way is bounded by
//! `max-in-flight`; a file can be loaded again, as (node, queue, id) tells what is known from news. A line that is no
//! record is told with its place and stops nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::time::Instant;

use crate::exit_status::ExitStatus;
use crate::line;
use agg_client::Shutdown;
use agg_client::messages::say;
use aggregator_protocol::NodeName;
use aggregator_protocol::{Queue, RecordFormat};

use super::batch::{Batch, Delivery, Event, Record};
use super::config::Config;
use super::plan::{Plan, To};
use super::sinks::Sinks;
use super::status::Status;

/// Of what a batch consists at most: records,
const RECORDS: usize = 2000;
/// and their bytes.
const BYTES: usize = 1 << 20;
/// The longest line that is read: several times the longest text that a record may hold.
const LINE: u64 = 16 << 20;
/// Lines that are no records: so many are told.
const TOLD: u64 = 5;

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The poller's file of settings: its routes and sinks
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Files of JSON lines, plain or compressed by gzip or zstd; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  agg drain --to-file records.jsonl                   keep what waits in the queues
  agg load records.jsonl --config poller.toml         bring it to the sinks later
  agg load archive/*.jsonl.zst --config poller.toml
  agg load dead-letters.jsonl --config poller.toml    try once more what a sink refused

What was loaded before may be loaded again: a record is known by node, queue and id.

Exit codes: 0 all is stored, 1 failed, or something was refused or is no record, 2 wrong usage or a file with mistakes,
130 interrupted before the end.";

/// What was read, by those who read and those who tell.
#[derive(Default)]
struct Tally {
    /// Bytes of the files, compressed ones as they are.
    bytes: AtomicU64,
    records: AtomicU64,
    /// Lines that are no records.
    strange: AtomicU64,
    /// Records that no route takes.
    unrouted: AtomicU64,
}

/// What tells a record where it belongs; also a dead letter, which has the record within.
#[derive(Deserialize)]
struct Head<'a> {
    node: String,
    queue: &'a str,
    id: i64,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    line: Option<String>,
}

/// Reads the settings and loads the files.
pub fn run(options: &Options, config: Config) -> Result<ExitStatus, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let ended = runtime.block_on(load(options.files.clone(), config));
    // What is stuck in a call is not waited for.
    runtime.shutdown_background();
    ended
}

impl Options {
    /// Reads the settings.
    ///
    /// Returns an error, with line and column, if they are not as they should be.
    pub fn read(&self) -> Result<Config, String> {
        Config::read(&self.config)
    }
}

async fn load(files: Vec<PathBuf>, config: Config) -> Result<ExitStatus, String> {
    let stop = Shutdown::default();
    listen(&stop)?;
    let (status, mut sinks) = (Status::new(), Sinks::new(&stop));
    sinks.set(&config, &status)?;
    let plan = Plan {
        routes: config.routes,
        outlets: sinks.outlets(),
        poll_interval: config.poll_interval,
        lease: config.lease,
        grace: config.shutdown_grace,
    };
    let tally = Arc::new(Tally::default());
    let bar = bar(&files);
    // Little waits to be sent: the sinks' room is what bounds it.
    let (send, batches) = channel(1);
    let reader = {
        let (tally, stop) = (tally.clone(), stop.clone());
        std::thread::spawn(move || -> Result<(), String> {
            for file in &files {
                read(file, &tally, &stop, |batch| {
                    // Nobody listens when the end was asked for.
                    let _ = send.blocking_send(batch);
                })?;
            }
            Ok(())
        })
    };
    let mut loader = Loader::new(plan, tally.clone());
    tokio::select! {
        () = loader.take(batches, &bar) => {}
        () = stop.requested() => {}
    }
    bar.finish_and_clear();
    let read = match stop.is_requested() {
        // It may be in a call.
        true => Ok(()),
        false => reader
            .join()
            .unwrap_or_else(|_| Err("reading failed".into())),
    };
    let deadline = if stop.is_requested() {
        sinks.hurry();
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
    let [records, strange, unrouted] = [&tally.records, &tally.strange, &tally.unrouted]
        .map(|count| count.load(Ordering::Relaxed));
    say(&format!(
        "{records} records read, {unrouted} of them taken by no route, {strange} lines that are no records"
    ));
    ended.and(read)?;
    Ok(if stop.is_requested() {
        ExitStatus::Interrupted
    } else if dead + strange > 0 {
        ExitStatus::Incomplete
    } else {
        ExitStatus::Success
    })
}

/// Asks for the end at a signal; at a second one the program ends at once.
fn listen(stop: &Shutdown) -> Result<(), String> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signal =
            signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signal.recv().await;
            stop.request();
            signal.recv().await;
            std::process::exit(i32::from(ExitStatus::Interrupted.code()));
        });
    }
    Ok(())
}

/// Shows how far it is, on a terminal.
fn bar(files: &[PathBuf]) -> ProgressBar {
    let size = |path: &PathBuf| path.metadata().map(|data| data.len());
    let sizes: io::Result<Vec<u64>> = files.iter().map(size).collect();
    let bar = match sizes {
        Ok(sizes) => ProgressBar::new(sizes.iter().sum()),
        Err(_) => ProgressBar::no_length(),
    };
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = "{bar:30} {bytes} of {total_bytes}, {msg} records, {eta} left";
    // It is a good one.
    bar.with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

/// Hands batches to the sinks and counts what they have.
struct Loader {
    plan: Plan,
    tally: Arc<Tally>,
    events: UnboundedReceiver<Event>,
    back: UnboundedSender<Event>,
    /// By number, how many sinks have not answered.
    waiting: HashMap<u64, usize>,
    last: u64,
}

impl Loader {
    fn new(plan: Plan, tally: Arc<Tally>) -> Loader {
        let (back, events) = unbounded_channel();
        Loader {
            plan,
            tally,
            events,
            back,
            waiting: HashMap::new(),
            last: 0,
        }
    }

    /// Works until there are no more batches and all were answered.
    async fn take(&mut self, mut batches: Receiver<Batch>, bar: &ProgressBar) {
        while let Some(batch) = batches.recv().await {
            self.hand_over(batch).await;
            while let Ok(event) = self.events.try_recv() {
                self.answered(&event);
            }
            bar.set_position(self.tally.bytes.load(Ordering::Relaxed));
            bar.set_message(self.tally.records.load(Ordering::Relaxed).to_string());
        }
        while !self.waiting.is_empty() {
            // Both ends are ours, so it is never closed.
            if let Some(event) = self.events.recv().await {
                self.answered(&event);
            }
        }
    }

    fn answered(&mut self, event: &Event) {
        let (Event::Stored(number) | Event::GivenUp(number)) = event;
        if let Some(left) = self.waiting.get_mut(number) {
            *left -= 1;
            if *left == 0 {
                self.waiting.remove(number);
            }
        }
    }

    async fn hand_over(&mut self, mut batch: Batch) {
        let to = self.plan.to(&batch.node.0, batch.queue);
        if to.is_empty() {
            let count = batch.records.len() as u64;
            self.tally.unrouted.fetch_add(count, Ordering::Relaxed);
            return;
        }
        if to.iter().any(|to| to.outlet.format == RecordFormat::Line) {
            for record in batch
                .records
                .iter_mut()
                .filter(|record| record.line.is_none())
            {
                // Of one that has none the sink says so.
                record.line = record
                    .json
                    .as_deref()
                    .and_then(|json| line::from_json(json).ok());
            }
        }
        let bytes = batch.records.iter().map(Record::bytes).sum();
        self.last += 1;
        self.waiting.insert(self.last, to.len());
        let batch = Arc::new(batch);
        for To { outlet, edits } in to {
            let room = outlet.share.wait(bytes).await;
            let mut delivery = Delivery::new(batch.clone(), self.last, self.back.clone(), room);
            delivery.edits = edits;
            // What a sink that has ended does not take is dropped, and so given up.
            let _ = outlet.inbox.send(delivery);
        }
    }
}

/// Reads a file, and gives its records in batches of one queue of a node.
fn read(
    path: &Path,
    tally: &Tally,
    stop: &Shutdown,
    mut give: impl FnMut(Batch),
) -> Result<(), String> {
    let place = path.display();
    let unread = |error: io::Error| format!("cannot read {place}: {error}");
    let mut lines = open(path, tally).map_err(unread)?;
    let mut batch: Option<Batch> = None;
    let (mut bytes, mut number) = (0, 0);
    // What was read before a fault is loaded.
    let result = loop {
        let mut text = Vec::new();
        match (&mut lines).take(LINE).read_until(b'\n', &mut text) {
            Err(error) => break Err(unread(error)),
            Ok(0) => break Ok(()),
            Ok(_) if stop.is_requested() => break Ok(()),
            Ok(_) => number += 1,
        }
        if text.last() != Some(&b'\n') && text.len() as u64 == LINE {
            break Err(format!(
                "line {number} of {place} is longer than any record"
            ));
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let (node, queue, record) = match record(&text) {
            Ok(record) => record,
            Err(why) => {
                let before = tally.strange.fetch_add(1, Ordering::Relaxed);
                if before < TOLD {
                    say(&format!("{place}:{number}: {why}"));
                }
                continue;
            }
        };
        tally.records.fetch_add(1, Ordering::Relaxed);
        let texts = record.json.iter().chain(&record.line);
        let size = texts.map(Vec::len).sum::<usize>();
        let fits = |batch: &Batch| {
            (&batch.node, batch.queue) == (&node, queue)
                && batch.records.len() < RECORDS
                && bytes + size <= BYTES
        };
        match &mut batch {
            Some(open) if fits(open) => {
                bytes += size;
                open.records.push(record);
            }
            other => {
                bytes = size;
                let records = vec![record];
                let new = Batch {
                    node,
                    queue,
                    records,
                };
                if let Some(full) = other.replace(new) {
                    give(full);
                }
            }
        }
    };
    batch.into_iter().for_each(give);
    result
}

/// The file as text, whatever it is compressed by.
fn open<'a>(path: &Path, tally: &'a Tally) -> io::Result<Box<dyn BufRead + 'a>> {
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => {
            let file = File::open(path)?;
            // What is appended meanwhile is not read: it may be a sink of ours that appends.
            match file.metadata()? {
                data if data.is_file() => Box::new(file.take(data.len())),
                _ => Box::new(file),
            }
        }
    };
    let mut source = BufReader::new(Counted { source, tally });
    let start = source.fill_buf()?;
    // The first bytes of each form (RFC 1952, RFC 8878).
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

/// Counts what is read.
struct Counted<'a> {
    source: Box<dyn Read>,
    tally: &'a Tally,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.tally.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn record(text: &[u8]) -> Result<(NodeName, Queue, Record), String> {
    let text = text.trim_ascii();
    let strange = |error: serde_json::Error| format!("no record: {error}");
    let head: Head = serde_json::from_slice(text).map_err(strange)?;
    // A dead letter of a sink of line protocol alone has no JSON.
    let json = match (head.record, &head.line) {
        (Some(record), _) => Some(record.get().as_bytes()),
        (None, Some(_)) => None,
        (None, None) => Some(text),
    };
    let queue = Queue::from_name(head.queue.as_bytes())
        .ok_or_else(|| format!("no record: there is no queue {:?}", head.queue))?;
    let record = Record {
        id: head.id,
        deliveries: 1,
        json: json.map(<[u8]>::to_vec),
        line: head.line.map(String::into_bytes),
    };
    Ok((NodeName(head.node.into_bytes()), queue, record))
}
