//! Sends reports to the server: keeps them in a bounded buffer while it is down, and tells requests that wait what became
//! of theirs.
//!
//! # Invariants
//!
//! - The buffer is bounded in bytes. If it is full, the oldest reports that were not sent yet are dropped and counted.
//! - A report whose reply was lost is sent again with its sequence number, so it counts once.
//! - A report that had to wait has the time at which it was received.
//! - A request that was answered as failed has nothing left in the buffer, so its sender may repeat it.

mod buffer;
mod ticket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agg_client::command::{Cmd, Report, Sequence};
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::reply::Value;
use agg_client::{Delivery, Outbox, Reconnector, Shutdown, WarnOnce};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::batch::{BatchedReport, Outcome};
use crate::counts::Counts;

use buffer::{Buffer, Entry};
use ticket::Ticket;
pub use ticket::{Answer, Unavailable};

/// Maximum reports that are taken out of the buffer at once.
const BATCH_REPORTS: usize = 1000;

/// The bytes of reports from which no further ones are taken.
const BATCH_BYTES: usize = 4 << 20;

/// The age from which a report is sent with its time. Younger ones get the server's.
const TIMED_AFTER: Duration = Duration::from_secs(1);

/// Takes reports for one server. Clones share the buffer.
#[derive(Clone)]
pub struct Reporter(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    counts: Arc<Counts>,
    /// Notified when reports are added, and at the end.
    added: Notify,
}

impl Reporter {
    /// Creates a reporter that keeps up to `limit` bytes of reports.
    pub fn new(limit: usize, counts: Arc<Counts>) -> Reporter {
        Reporter(Arc::new(Shared {
            buffer: Mutex::new(Buffer::new(limit)),
            counts,
            added: Notify::new(),
        }))
    }

    /// Adds reports that nobody waits for.
    pub fn submit(&self, reports: Vec<BatchedReport>) {
        if !reports.is_empty() {
            self.add(reports, None);
        }
    }

    /// Adds the reports of a request, and waits until the server has answered all of them. If the future is dropped, the
    /// reports that were not sent yet are removed.
    ///
    /// # Errors
    ///
    /// The server is down, or was too slow for the buffer. Nothing of the request is kept.
    pub async fn report(&self, reports: Vec<BatchedReport>) -> Result<Answer, Unavailable> {
        if reports.is_empty() {
            return Ok(Answer::default());
        }
        if !self.is_up() {
            return Err(Unavailable);
        }
        let ticket = Arc::new(Ticket::new(reports.len()));
        let _withdrawal = Withdrawal(self, ticket.clone());
        self.add(reports, Some(&ticket));
        let (done, down) = (ticket.done(), self.0.buffer.lock().went_down());
        tokio::select! {
            () = done => {}
            () = down => {
                self.withdraw(&ticket);
                // What was sent may have been counted, so its reply is waited for.
                ticket.done().await;
            }
        }
        ticket.answer()
    }

    fn add(&self, reports: Vec<BatchedReport>, ticket: Option<&Arc<Ticket>>) {
        let received = Instant::now();
        let mut buffer = self.0.buffer.lock();
        for report in reports {
            let entry = Entry {
                report,
                received,
                ticket: ticket.cloned(),
            };
            for dropped in buffer.push(entry) {
                self.0
                    .counts
                    .dropped(dropped.report.protocol(), dropped.report.inputs());
                if let Some(ticket) = dropped.ticket {
                    ticket.lost(dropped.report.inputs());
                }
            }
        }
        drop(buffer);
        self.0.added.notify_one();
    }

    fn withdraw(&self, ticket: &Arc<Ticket>) {
        let (reports, inputs) = self.0.buffer.lock().remove(ticket);
        ticket.withdrawn(reports, inputs);
    }

    /// Returns `false` if the last attempt to reach the server has failed.
    pub fn is_up(&self) -> bool {
        self.0.buffer.lock().is_up()
    }

    /// Returns the bytes of reports without a reply.
    pub fn buffered_bytes(&self) -> usize {
        self.0.buffer.lock().bytes()
    }

    /// Sends reports until [`Reporter::close`] was called and the buffer is empty, or a shutdown is requested while the
    /// server is down. Returns the number of input reports that were taken out of the buffer and have no reply.
    ///
    /// # Errors
    ///
    /// The server rejects what all work depends on, before it has taken anything.
    pub async fn run(&self, server: &Server, shutdown: &Shutdown) -> Result<u64, ClientError> {
        let mut sender = Sender {
            server,
            shutdown,
            shared: &self.0,
            reconnector: Reconnector::new(server, shutdown, None),
            connection: None,
            outbox: Outbox::default(),
            warnings: WarnOnce::default(),
        };
        // The first connection shows at once whether the server can be used.
        sender.connect().await?;
        sender.check().await?;
        while let Some(entries) = self.next().await {
            sender.send(entries).await?;
            if !sender.outbox.is_empty() {
                break;
            }
        }
        let unsent = sender.outbox.iter_mut().map(|entry| entry.report.inputs());
        Ok(unsent.sum::<u64>())
    }

    /// Returns the number of input reports in the buffer.
    pub fn unsent(&self) -> u64 {
        self.0.buffer.lock().inputs()
    }

    /// Waits for reports. Returns none after the last.
    async fn next(&self) -> Option<Vec<Entry>> {
        loop {
            let added = self.0.added.notified();
            {
                let mut buffer = self.0.buffer.lock();
                let entries = buffer.take(BATCH_REPORTS, BATCH_BYTES);
                if !entries.is_empty() {
                    return Some(entries);
                }
                if buffer.is_closed() {
                    return None;
                }
            }
            added.await;
        }
    }

    /// Makes [`Reporter::run`] return once everything is sent.
    pub fn close(&self) {
        self.0.buffer.lock().close();
        self.0.added.notify_one();
    }
}

/// Removes the reports of a request that is no longer waited for.
struct Withdrawal<'a>(&'a Reporter, Arc<Ticket>);

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if !self.1.is_done() {
            self.0.withdraw(&self.1);
        }
    }
}

/// Sends entries over a connection that is made again when it breaks.
struct Sender<'a> {
    server: &'a Server,
    shutdown: &'a Shutdown,
    shared: &'a Shared,
    reconnector: Reconnector<'a>,
    connection: Option<Connection>,
    outbox: Outbox<Entry>,
    warnings: WarnOnce,
}

impl Sender<'_> {
    /// Connects, unless a shutdown is requested while the server is down.
    async fn connect(&mut self) -> Result<(), ClientError> {
        while self.connection.is_none() && !self.shutdown.is_requested() {
            match self.server.connect().await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => self.failed(error).await?,
            }
        }
        Ok(())
    }

    /// Notes that the server is down, and pauses.
    async fn failed(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.shared.buffer.lock().set_up(false);
        self.reconnector.failed(error).await
    }

    /// Checks that the server has the module, and tells requests that the server answers.
    async fn check(&mut self) -> Result<(), ClientError> {
        while self.connection.is_some() || !self.shutdown.is_requested() {
            self.connect().await?;
            let Some(mut connection) = self.connection.take() else {
                return Ok(());
            };
            match connection.call(&Cmd::new("AGG.HELP")).await {
                Ok(_) => {
                    self.connection = Some(connection);
                    self.reconnector.worked();
                    self.shared.buffer.lock().set_up(true);
                    return Ok(());
                }
                Err(error) => self.failed(error).await?,
            }
        }
        Ok(())
    }

    /// Sends entries. The outbox is empty then, unless a shutdown was requested while the server was down.
    async fn send(&mut self, entries: Vec<Entry>) -> Result<(), ClientError> {
        entries
            .into_iter()
            .for_each(|entry| self.outbox.push(entry));
        while !self.outbox.is_empty() {
            self.connect().await?;
            let Some(mut connection) = self.connection.take() else {
                return Ok(());
            };
            match self.send_over(&mut connection).await {
                Ok(()) => {
                    self.connection = Some(connection);
                    self.reconnector.worked();
                    self.shared.buffer.lock().set_up(true);
                }
                Err(error) => self.failed(error).await?,
            }
        }
        self.shared.buffer.lock().sent();
        Ok(())
    }

    async fn send_over(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let is_old = |entry: &mut Entry| entry.received.elapsed() >= TIMED_AFTER;
        if self.outbox.iter_mut().any(is_old) {
            self.set_times(connection).await?;
        }
        let (counts, warnings) = (&self.shared.counts, &mut self.warnings);
        let each = |entry: Entry, delivery| {
            let report = &entry.report;
            let outcome = match delivery {
                Delivery::Taken(outcome) => outcome,
                Delivery::Repeated => report.all_counted(),
                Delivery::Rejected(error) => report.all_rejected(error.to_string()),
            };
            if let Some(reason) = outcome.reason() {
                warnings.warn(&format!("{}: {reason}", report.protocol()));
            }
            counts.answered(report.protocol(), &outcome);
            if let Some(ticket) = &entry.ticket {
                ticket.answered(&outcome);
            }
        };
        self.outbox.send(connection, each).await
    }

    /// Gives the reports that had to wait the time at which they were received, by the server's clock.
    async fn set_times(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let now = match connection.time().await? {
            Ok(now) => now,
            Err(error) => {
                let what =
                    "cannot read the server's time, reports that had to wait have the local time";
                self.warnings.warn(&format!("{what}: {error}"));
                unix_ms()
            }
        };
        for entry in self.outbox.iter_mut() {
            let age = i64::try_from(entry.received.elapsed().as_millis()).unwrap_or(i64::MAX);
            if entry.received.elapsed() >= TIMED_AFTER {
                entry.report.set_time(now.saturating_sub(age));
            }
        }
        Ok(())
    }
}

impl Report for Entry {
    type Reply = Outcome;

    fn name(&self) -> &'static str {
        self.report.name()
    }

    fn write_numbered(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        self.report.write_numbered(sequence, cmd);
    }

    fn read_taken(&self, reply: Value) -> Option<Outcome> {
        self.report.read_taken(reply)
    }

    fn is_samples(&self) -> bool {
        self.report.is_samples()
    }

    fn without_columns(self) -> Vec<Self> {
        let Entry {
            report,
            received,
            ticket,
        } = self;
        let parts = report.without_columns();
        if let Some(ticket) = &ticket {
            ticket.split(parts.len());
        }
        let entry = |report| Entry {
            report,
            received,
            ticket: ticket.clone(),
        };
        parts.into_iter().map(entry).collect()
    }
}

/// Returns the local time, Unix milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
