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
use tokio::time::timeout;

use crate::batch::{BatchedReport, Outcome};
use crate::counts::Counts;

use buffer::{Buffer, Entry};
use ticket::Ticket;
pub use ticket::{Answer, Unavailable};

/// Maximum reports that are taken out of the buffer at once.
const BATCH_REPORTS: usize = 1000;

/// The bytes of reports from which no further ones are taken.
const BATCH_BYTES: usize = 4 << 20;

/// The time for which a request waits for its outcome when the connection to the server has broken. Senders have timeouts
/// of ten seconds and more.
const PATIENCE: Duration = Duration::from_secs(3);

/// The time without reports after which the server is asked whether it answers.
const CHECK: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to reach the server: until it is up again, requests are rejected.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The time for which reports are sent once a shutdown was requested.
const SEND_AT_END: Duration = Duration::from_millis(4500);

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

    /// Changes the limit, bytes.
    pub fn set_limit(&self, limit: usize) {
        self.0.buffer.lock().set_limit(limit);
    }

    /// Returns the limit, bytes.
    pub fn limit(&self) -> usize {
        self.0.buffer.lock().limit()
    }

    /// Adds reports that nobody waits for.
    pub fn submit(&self, reports: Vec<BatchedReport>) {
        if !reports.is_empty() {
            self.add(reports, None);
        }
    }

    /// Adds the reports of a request, and waits until the server has answered all of them. `gone` completes when nobody
    /// waits for the outcome any more: the reports that were not sent yet are removed then, as if the future is dropped.
    ///
    /// If the connection to the server breaks, what was sent may have been counted. Its reply is waited for, for a short
    /// time; then it is not sent again.
    ///
    /// # Errors
    ///
    /// The server is down, or was too slow for the buffer. Nothing of the request is kept.
    pub async fn report(
        &self,
        reports: Vec<BatchedReport>,
        gone: impl Future<Output = ()>,
    ) -> Result<Answer, Unavailable> {
        if reports.is_empty() {
            return Ok(Answer::default());
        }
        let inputs = reports.iter().map(BatchedReport::inputs).sum();
        let bytes = reports.iter().map(BatchedReport::bytes).sum();
        let ticket = Arc::new(Ticket::new(reports.len()));
        let _withdrawal = Withdrawal(self, ticket.clone());
        {
            // The sender of a request can repeat it, those of other reports cannot: it takes the place of none.
            let buffer = self.0.buffer.lock();
            if !buffer.is_up() || !buffer.has_room(bytes) {
                ticket.cancel();
                return Err(Unavailable);
            }
        }
        self.add(reports, Some(&ticket));
        let down = self.0.buffer.lock().went_down();
        tokio::select! {
            () = ticket.done() => return ticket.answer(),
            () = down => {}
            () = gone => {}
        }
        self.withdraw(&ticket);
        while timeout(PATIENCE, ticket.done()).await.is_err() {
            let mut buffer = self.0.buffer.lock();
            if !buffer.is_up() && buffer.cancel(&ticket) {
                return ticket.unfinished(inputs);
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
                let inputs = dropped.report.inputs();
                match dropped.ticket {
                    Some(ticket) => ticket.lost(inputs),
                    None => self.0.counts.dropped(dropped.report.protocol(), inputs),
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
    /// server is down or answers too slowly. [`Reporter::unsent`] are left then.
    ///
    /// # Errors
    ///
    /// The server rejects what all work depends on, before it has taken anything.
    pub async fn run(&self, server: &Server, shutdown: &Shutdown) -> Result<(), ClientError> {
        let late = async {
            shutdown.requested().await;
            tokio::time::sleep(SEND_AT_END).await;
        };
        tokio::select! {
            result = self.send_all(server, shutdown) => result,
            () = late => Ok(()),
        }
    }

    async fn send_all(&self, server: &Server, shutdown: &Shutdown) -> Result<(), ClientError> {
        let mut sender = Sender {
            server,
            shutdown,
            shared: &self.0,
            reconnector: Reconnector::new(server, shutdown, None).longest_pause(LONGEST_PAUSE),
            connection: None,
            outbox: Outbox::default(),
            warnings: WarnOnce::default(),
        };
        // The first connection shows at once whether the server can be used.
        sender.connect().await?;
        sender.check("AGG.HELP").await?;
        while let Some(entries) = self.next().await {
            sender.send(entries).await?;
            // The last attempt has failed.
            if shutdown.is_requested() && sender.connection.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Returns the number of input reports without a reply.
    pub fn unsent(&self) -> u64 {
        self.0.buffer.lock().inputs()
    }

    /// Waits for reports, or returns an empty list if there are none for some time. Returns none after the last.
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
            if timeout(CHECK, added).await.is_err() {
                return Some(Vec::new());
            }
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
        if !self.1.is_done() && !self.1.is_cancelled() {
            self.0.withdraw(&self.1);
            self.1.cancel();
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
    /// Connects. Once a shutdown is requested it tries no more than once.
    async fn connect(&mut self) -> Result<(), ClientError> {
        while self.connection.is_none() {
            let is_last = self.shutdown.is_requested();
            match self.server.connect().await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => self.failed(error).await?,
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the next connection is the last: a shutdown is requested. One that exists may have been lost before.
    fn is_last_attempt(&self) -> bool {
        self.connection.is_none() && self.shutdown.is_requested()
    }

    /// Notes that the server is down, and pauses.
    async fn failed(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.shared.buffer.lock().set_up(false);
        self.reconnector.failed(error).await
    }

    /// Waits until the server answers a command, if only with an error, and tells requests that it does.
    async fn check(&mut self, command: &str) -> Result<(), ClientError> {
        loop {
            let is_last = self.is_last_attempt();
            self.connect().await?;
            let Some(mut connection) = self.connection.take() else {
                return Ok(());
            };
            match connection.call(&Cmd::new(command)).await {
                Ok(_) => {
                    self.connection = Some(connection);
                    self.reconnector.worked();
                    self.shared.buffer.lock().set_up(true);
                    return Ok(());
                }
                Err(error) => self.failed(error).await?,
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sends entries. Without any, checks that the server answers: its sender waits for the answer to a request, and is
    /// answered at once if it is down. The outbox is empty then, unless a shutdown was requested while the server was down.
    async fn send(&mut self, entries: Vec<Entry>) -> Result<(), ClientError> {
        entries
            .into_iter()
            .for_each(|entry| self.outbox.push(entry));
        if self.outbox.is_empty() {
            return self.check("PING").await;
        }
        loop {
            self.forget_cancelled();
            if self.outbox.is_empty() {
                break;
            }
            let is_last = self.is_last_attempt();
            self.connect().await?;
            let Some(mut connection) = self.connection.take() else {
                return Ok(());
            };
            // While there was no connection, requests may have been cancelled.
            self.shared.buffer.lock().set_sending(true);
            self.forget_cancelled();
            let before = self.outbox.len();
            let sent = self.send_over(&mut connection).await;
            let is_stuck = self.outbox.len() == before;
            if !is_stuck {
                // The pauses grow only while nothing gets through.
                self.reconnector.worked();
            }
            self.shared.buffer.lock().set_sending(false);
            match sent {
                Ok(()) => {
                    self.connection = Some(connection);
                    self.reconnector.worked();
                    self.shared.buffer.lock().set_up(true);
                }
                Err(error) => {
                    self.failed(error).await?;
                    if is_last && is_stuck {
                        return Ok(());
                    }
                }
            }
        }
        self.shared.buffer.lock().sent();
        Ok(())
    }

    /// Removes the reports of requests that were answered as failed.
    fn forget_cancelled(&mut self) {
        let shared = self.shared;
        self.outbox.retain(|entry| {
            let ticket = entry.ticket.as_ref();
            let is_cancelled = ticket.is_some_and(|ticket| ticket.is_cancelled());
            if is_cancelled {
                shared.buffer.lock().answered(&entry.report);
            }
            !is_cancelled
        });
    }

    async fn send_over(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let is_old = |entry: &mut Entry| entry.received.elapsed() >= TIMED_AFTER;
        if self.outbox.iter_mut().any(is_old) {
            self.set_times(connection).await?;
        }
        let (shared, warnings) = (self.shared, &mut self.warnings);
        let counts = &shared.counts;
        let each = |entry: Entry, delivery| {
            let report = &entry.report;
            shared.buffer.lock().answered(report);
            let outcome = match delivery {
                Delivery::Taken(outcome) => outcome,
                Delivery::Repeated => report.all_counted(),
                Delivery::Rejected(error) => report.all_rejected(error.to_string()),
            };
            if let Some(reason) = outcome.reason() {
                warnings.warn(&format!("{}: {reason}", report.protocol()));
            }
            if let Some(ticket) = &entry.ticket {
                // Without an answer, its sender repeats it.
                counts.received(report.protocol(), outcome.inputs());
                ticket.answered(&outcome);
            }
            counts.answered(report.protocol(), &outcome);
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
