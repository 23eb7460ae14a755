//! Drains one server: fetches what the routes take, hands it to the sinks, and acknowledges what all of them have stored.
//! One task per server.
//!
//! # Invariants
//!
//! - A record is acknowledged only when each of its sinks has reported it as stored.
//! - The lease of a batch that a slow sink still has in flight is extended when half of it is over. A record that is
//!   delivered again all the same (the server was down) is not handed to the sinks a second time while it is in flight.
//! - Acknowledgements that were lost with a connection are sent again before anything else is fetched, at whatever
//!   address the server is by then.
//! - Nothing is fetched for which a sink has no budget.
//! - In a fleet a server that another poller owns is only watched (attention.rs). What is in flight when a server moves to
//!   another poller is stored and acknowledged as usual.

mod attention;
mod fetching;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agg_client::command::Cmd;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use agg_client::Backoff;
use agg_client::Shutdown;
use agg_client::WarnOnce;
use agg_client::connect::{ClientError, Connection, Server};
use agg_client::nodes::{self, NodeScan};
use aggregator_protocol::{NodeName, Queue, RecordFormat};

use super::batch::DeliveryStatus;
use super::budget::Permit;
use super::ledger::Ledger;
use super::node_stats;
use super::ownership::{Members, Role};
use super::routing::{Destination, RoutingTable, SinkHandle};
use super::status::{ServerStatus, Shared};

/// Scanning for nodes may take one part in so many of the time.
const SCAN_SHARE: u32 = 20;
/// The shortest pause between two fetches from a queue that has no backlog.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two tries to connect to a server that is down, so that one that returns is drained within
/// about that time. With half a minute it took 28 s; a thousand dead servers cost a hundred connection attempts per second.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// The pause of a drainer that has nothing to do until something changes.
const IDLE_PAUSE: Duration = Duration::from_secs(60);
/// The bytes reserved for one reply: about 1 MiB, and the item that exceeded it.
const REPLY_BYTES: u64 = (1 << 20) + (256 << 10);

/// A queue of a node that is routed to at least one sink.
struct NodeQueue {
    node: NodeName,
    queue: Queue,
    destinations: Vec<Destination>,
    /// The time of the next fetch.
    due: Instant,
    /// The pause after that fetch if it finds nothing.
    pause: Duration,
    /// The last reply was full, so there is more. Then several fetches go out at once, so that the server works while
    /// its previous reply is read.
    has_backlog: bool,
}

impl NodeQueue {
    fn needs(&self, format: RecordFormat) -> bool {
        self.destinations.iter().any(|to| to.sink.format == format)
    }

    fn needs_floor(&self) -> bool {
        self.destinations.iter().any(|to| to.sink.needs_floor)
    }
}

/// The task that drains a server.
pub struct Drainer {
    /// The server as its source names it.
    id: String,
    /// The server as all pollers of the fleet name it. `None`: not read on this connection.
    identity: Option<String>,
    /// The members of the fleet. `None`: there is no fleet, and this poller drains everything.
    members: watch::Receiver<Option<Arc<Members>>>,
    role: Role,
    /// The server's address. The channel is closed when the server is to be drained no longer.
    address: watch::Receiver<Server>,
    tables: watch::Receiver<Arc<RoutingTable>>,
    table: Arc<RoutingTable>,
    status: Shared<ServerStatus>,
    shutdown: Shutdown,
    reports: UnboundedReceiver<DeliveryStatus>,
    report_to: UnboundedSender<DeliveryStatus>,
    node_queues: Vec<NodeQueue>,
    /// The time of the next scan for nodes.
    next_scan: Instant,
    /// A permit that was waited for, reserved for the next fetch to that sink.
    reserved: Option<(Arc<SinkHandle>, Permit)>,
    /// The reserved permit did not help: the node queue is also blocked on another sink's budget.
    still_blocked: bool,
    /// The time at which the last round was planned.
    planned_at: Instant,
    /// The node queue with which the next round begins, so that each gets its turn.
    next_index: usize,
    ledger: Ledger,
    once: WarnOnce,
    last_warning: Option<String>,
}

/// The event that ended a wait.
enum Woken {
    /// There is something to do.
    Work,
    /// The server has another address.
    Moved,
    /// The server is to be drained no longer.
    End,
}

impl Drainer {
    /// Creates the task for a server. It records its progress in `status`.
    pub fn new(
        id: String,
        address: watch::Receiver<Server>,
        mut tables: watch::Receiver<Arc<RoutingTable>>,
        mut members: watch::Receiver<Option<Arc<Members>>>,
        status: Shared<ServerStatus>,
        shutdown: Shutdown,
    ) -> Self {
        let (report_to, reports) = unbounded_channel();
        let table = tables.borrow_and_update().clone();
        members.mark_changed();
        Drainer {
            identity: None,
            id,
            members,
            role: Role::default(),
            ledger: Ledger::new(table.lease),
            address,
            tables,
            table,
            status,
            shutdown,
            reports,
            report_to,
            node_queues: Vec::new(),
            next_scan: Instant::now(),
            reserved: None,
            still_blocked: false,
            planned_at: Instant::now(),
            next_index: 0,
            once: WarnOnce::default(),
            last_warning: None,
        }
    }

    /// Drains until shutdown is requested or the server is removed. Then waits for the sinks as long as the grace period
    /// allows, and releases what is still in flight.
    pub async fn run(mut self) {
        let mut backoff = Backoff::up_to(LONGEST_BACKOFF);
        let mut wire = None;
        loop {
            if self.is_ended() {
                break;
            }
            let result = match &mut wire {
                None => {
                    // A server that is down must not keep sinks of an earlier configuration alive.
                    self.take_table();
                    match self.connect().await {
                        Ok(open) => {
                            // It may be another server than before.
                            self.identity = None;
                            self.members.mark_changed();
                            wire = Some(open);
                            continue;
                        }
                        Err(failure) => Err(failure),
                    }
                }
                Some(open) => self.round(open).await,
            };
            match result {
                Ok(blocked_on) => {
                    self.note_success();
                    backoff = Backoff::up_to(LONGEST_BACKOFF);
                    match self.wait(&blocked_on).await {
                        Woken::Work => {}
                        Woken::Moved => wire = None,
                        Woken::End => break,
                    }
                }
                Err(failure) => {
                    wire = None;
                    self.note_failure(&failure);
                    let pause = backoff.next_pause();
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.shutdown.requested() => {}
                        moved = self.address.changed() => if moved.is_ok() {
                            backoff = Backoff::up_to(LONGEST_BACKOFF);
                        }
                    }
                }
            }
        }
        self.finish(wire).await;
    }

    fn is_ended(&self) -> bool {
        self.shutdown.is_requested() || self.address.has_changed().is_err()
    }

    async fn connect(&mut self) -> Result<Connection, ClientError> {
        let server = self.address.borrow_and_update().clone();
        server
            .endpoint()
            .clone_into(&mut self.status.lock().address);
        self.next_scan = Instant::now();
        let wire = server.connect().await?;
        self.status.lock().connects += 1;
        Ok(wire)
    }

    /// Takes the routing table in force, if it is another one.
    fn take_table(&mut self) {
        if self.tables.has_changed().unwrap_or(false) {
            self.table = self.tables.borrow_and_update().clone();
            self.ledger.set_lease(self.table.lease);
            self.node_queues.clear();
            self.next_scan = Instant::now();
        }
    }

    /// Notes that a round succeeded.
    fn note_success(&mut self) {
        let mut status = self.status.lock();
        if !status.up {
            status.up = true;
            status.since = SystemTime::now();
            status.error = None;
        }
        if self.last_warning.take().is_some() {
            tracing::info!("{} answers again", status.address);
        }
    }

    fn note_failure(&mut self, failure: &ClientError) {
        self.reserved = None;
        if self.is_ended() {
            return;
        }
        let text = failure.to_string();
        let mut status = self.status.lock();
        if status.up {
            status.up = false;
            status.since = SystemTime::now();
        }
        status.error = Some(text.clone());
        if self.last_warning.as_ref() != Some(&text) {
            tracing::warn!("{text}; trying again");
            self.last_warning = Some(text);
        }
    }

    /// Fetches once from every queue that is due. Returns the sinks on whose budget the round was blocked.
    async fn round(&mut self, wire: &mut Connection) -> Result<Vec<Destination>, ClientError> {
        self.settle(wire).await?;
        self.take_table();
        self.take_members(wire).await?;
        self.attend(wire).await?;
        if !self.role.drains() {
            return Ok(Vec::new());
        }
        if self.next_scan <= Instant::now() {
            self.scan(wire).await?;
        }
        let plan = self.plan();
        let commands: Vec<Cmd> = plan
            .fetches
            .iter()
            .map(|fetch| self.command(fetch))
            .collect();
        let start = Instant::now();
        let mut replies = Vec::with_capacity(commands.len());
        wire.pipeline_fetches(&commands, |_, reply| replies.push(reply))
            .await?;
        for (fetch, reply) in plan.fetches.into_iter().zip(replies) {
            self.received(wire, fetch, reply, start)?;
        }
        Ok(plan.blocked_on)
    }

    /// Scans for the nodes and reads their state. Queues that are known already keep their backoff.
    async fn scan(&mut self, wire: &mut Connection) -> Result<(), ClientError> {
        let start = Instant::now();
        let mut scan = NodeScan::default();
        while !scan.step(wire).await? && !self.shutdown.is_requested() {
            // A scan can take longer than a lease.
            self.take_reports();
            self.settle(wire).await?;
        }
        let names = scan.found();
        if names.is_empty() {
            let server = self.address.borrow().clone();
            nodes::check_module(&server, wire).await?;
        }
        let mut known: BTreeMap<(Vec<u8>, Queue), NodeQueue> =
            std::mem::take(&mut self.node_queues)
                .into_iter()
                .map(|queue| ((queue.node.0.clone(), queue.queue), queue))
                .collect();
        let now = Instant::now();
        for node in &names {
            for queue in Queue::ALL {
                let destinations = self.table.destinations(&node.0, queue);
                if destinations.is_empty() {
                    continue;
                }
                let known = known.remove(&(node.0.clone(), queue));
                self.node_queues.push(known.unwrap_or_else(|| NodeQueue {
                    node: node.clone(),
                    queue,
                    destinations,
                    due: now,
                    pause: MIN_PAUSE,
                    has_backlog: false,
                }));
            }
        }
        let nodes = node_stats::read(wire, &names).await?;
        self.status.lock().set_nodes(nodes, SystemTime::now());
        // Scanning must not keep a server with many other keys busy.
        self.next_scan = now + nodes::LIST_TTL.max(start.elapsed() * SCAN_SHARE);
        Ok(())
    }

    /// Waits until there is something to do, and takes the reports of the sinks.
    async fn wait(&mut self, blocked_on: &[Destination]) -> Woken {
        // Checked first, since there may always be something to do.
        if self.address.has_changed().unwrap_or(false) && self.has_moved() {
            return Woken::Moved;
        }
        if self.still_blocked {
            sleep(MIN_PAUSE).await;
        }
        let next = self.next_due(blocked_on.is_empty());
        let woken = if next <= Instant::now() {
            Woken::Work
        } else {
            let acquire = |to: &Destination| {
                let sink = to.sink.clone();
                async move {
                    let permit = sink.budget.acquire(REPLY_BYTES).await;
                    (sink, permit)
                }
            };
            let mut permits: FuturesUnordered<_> = blocked_on.iter().map(acquire).collect();
            tokio::select! {
                // The channel is never closed: the drainer has both ends.
                Some(status) = self.reports.recv() => {
                    self.ledger.record(status);
                    Woken::Work
                }
                () = sleep_until(next.into()) => Woken::Work,
                Some(permit) = permits.next() => {
                    self.reserved = Some(permit);
                    Woken::Work
                }
                changed = self.tables.changed() => match changed {
                    Ok(()) => {
                        // The next round checks whether the table has changed.
                        self.tables.mark_changed();
                        Woken::Work
                    }
                    Err(_) => Woken::End,
                },
                changed = self.members.changed() => match changed {
                    Ok(()) => {
                        // The next round checks what this poller has to do.
                        self.members.mark_changed();
                        Woken::Work
                    }
                    Err(_) => Woken::End,
                },
                moved = self.address.changed() => match moved {
                    Ok(()) if self.has_moved() => Woken::Moved,
                    Ok(()) => Woken::Work,
                    Err(_) => Woken::End,
                },
                () = self.shutdown.requested() => Woken::End,
            }
        };
        self.take_reports();
        woken
    }

    fn take_reports(&mut self) {
        while let Ok(status) = self.reports.try_recv() {
            self.ledger.record(status);
        }
    }

    /// Returns whether the server has another address than the one connected to. If only the password has changed, a
    /// connection that works is kept: the server may not know the new password yet.
    fn has_moved(&mut self) -> bool {
        let address = self.address.borrow_and_update();
        address.endpoint() != self.status.lock().address
    }

    /// Sends the unconfirmed acknowledgements, and extends leases.
    async fn settle(&mut self, wire: &mut Connection) -> Result<(), ClientError> {
        let due = self.ledger.due(Instant::now());
        let mut rejection = None;
        wire.pipeline(&due.commands, |index, reply| match reply {
            // A node that is gone has nothing to acknowledge. If it moved, its new server delivers the records again.
            Err(text) if index < due.acknowledgements && !text.is_elsewhere() => {
                rejection = Some(text)
            }
            _ => {}
        })
        .await?;
        match rejection {
            // Kept and sent again: without it every record would be written again and again. A server that was demoted
            // rejects it in this way.
            Some(text) => Err(wire.rejected("AGG.ACK", &text)),
            None => {
                self.ledger.confirm(due);
                Ok(())
            }
        }
    }

    /// Returns when something has to be done, if no sink reports before. Queues that were due and got no budget do not
    /// count.
    fn next_due(&self, all_sent: bool) -> Instant {
        let dues = self.node_queues.iter().map(|queue| queue.due);
        // By the clock of the plan: what became due since was not part of it.
        let dues = dues.filter(|due| all_sent || *due > self.planned_at);
        let next = dues.chain(self.ledger.next_extension());
        let scan = self.role.drains().then_some(self.next_scan);
        let next = next.chain(self.role.next_check()).chain(scan).min();
        next.unwrap_or_else(|| Instant::now() + IDLE_PAUSE)
    }

    /// Waits for the sinks until the grace period is over, then releases what they have not stored.
    async fn finish(mut self, mut wire: Option<Connection>) {
        self.reserved = None;
        const PAUSE: Duration = Duration::from_millis(200);
        let deadline = self.shutdown.requested_at().unwrap_or_else(Instant::now) + self.table.grace;
        loop {
            self.take_reports();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.ledger.release_all();
            }
            let extend = self
                .ledger
                .next_extension()
                .is_some_and(|at| at <= Instant::now());
            if self.ledger.has_unconfirmed() || extend {
                if wire.is_none() {
                    wire = self.connect().await.ok();
                }
                if let Some(open) = &mut wire
                    && self.settle(open).await.is_err()
                {
                    wire = None;
                }
            }
            if left.is_zero() || self.ledger.is_empty() {
                return;
            }
            let pause = left.min(PAUSE).max(Duration::from_millis(1));
            tokio::select! {
                Some(status) = self.reports.recv() => self.ledger.record(status),
                () = sleep(pause) => {}
            }
        }
    }
}
