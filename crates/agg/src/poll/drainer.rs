//! One task for each server: fetches what the routes take, hands it to the sinks, and acknowledges what all of them
//! have.
//!
//! What holds: an entry is acknowledged only when each of its sinks said that it is stored. What a slow sink still
//! holds is leased anew when half of the lease is over; an entry that comes back all the same (the server was away) is
//! not handed to the sinks a second time while they still have it. Acknowledgements that were lost with a connection
//! are sent again before anything else is fetched, wherever the server is by then. Nothing is fetched for which a sink
//! has no room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Cmd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};

use crate::line;
use agg_client::Backoff;
use agg_client::Shutdown;
use agg_client::connect::{ClientError, Connection, Server, ServerError};
use agg_client::fetch::{self, FetchRequest, FetchedRecord};
use agg_client::messages::{WarnOnce, of_node, say, warn};
use agg_client::nodes;
use agg_client::reply::Reply;
use aggregator_protocol::NodeName;
use aggregator_protocol::{Queue, RecordFormat};

use super::batch::{Batch, Delivery, Event, Record};
use super::gauge;
use super::ledger::{Held, Ledger};
use super::plan::{Outlet, Plan, To};
use super::room::Room;
use super::status::{ServerStatus, Shared, lock};

/// Entries of one fetch.
const COUNT: usize = 2000;
/// The bytes of one reply: about 1 MiB, and the item that went beyond it.
const REPLY: u64 = (1 << 20) + (256 << 10);
/// A reply of more than this is one that ended for its size.
const FULL: usize = (1 << 20) * 3 / 4;
/// Fetches in one pipeline.
const PIPELINE: usize = 8;
/// The shortest pause between two looks at a queue that is not full.
const SHORTEST: Duration = Duration::from_millis(20);
/// The part of the time that may go into looking for nodes: one in so many.
const LOOKING: u32 = 20;

/// A queue of a node.
struct Pair {
    node: NodeName,
    queue: Queue,
    to: Vec<To>,
    /// When to look next, and the pause after that if nothing is there.
    due: Instant,
    pause: Duration,
    /// The last reply was full: there is more, for which several fetches go out at once, so that the server is at work
    /// while what it sent is read.
    more: bool,
}

impl Pair {
    fn wants(&self, format: RecordFormat) -> bool {
        self.to.iter().any(|to| to.outlet.format == format)
    }
}

/// A fetch that is under way: of which pair, and the room for what it brings, by sink.
struct Asked {
    pair: usize,
    rooms: Vec<Room>,
}

/// What is due and what it has to wait for.
#[derive(Default)]
struct Asking {
    asked: Vec<Asked>,
    /// Pairs that wait for the room of these sinks.
    full: Vec<To>,
}

/// A server being drained.
pub struct Drainer {
    /// Where it is; closed when it is no more.
    address: watch::Receiver<Server>,
    plans: watch::Receiver<Arc<Plan>>,
    plan: Arc<Plan>,
    status: Shared<ServerStatus>,
    stop: Shutdown,
    events: UnboundedReceiver<Event>,
    back: UnboundedSender<Event>,
    pairs: Vec<Pair>,
    /// When the nodes are to be looked for.
    look: Instant,
    /// Room that was waited for, for the next fetch to that sink.
    kept: Option<(Arc<Outlet>, Room)>,
    /// It was of no use: a pair wants the room of another sink, too.
    in_vain: bool,
    /// When it was looked last what is due.
    asked: Instant,
    /// Where the next pipeline begins, so that each queue has its turn.
    turn: usize,
    ledger: Ledger,
    once: WarnOnce,
    told: Option<String>,
}

/// Why the waiting ended.
enum Woken {
    /// There is something to do.
    Work,
    /// The server is elsewhere.
    Moved,
    /// It is to be drained no longer.
    End,
}

impl Drainer {
    /// A server, what to do, and where to note how it goes.
    pub fn new(
        address: watch::Receiver<Server>,
        mut plans: watch::Receiver<Arc<Plan>>,
        status: Shared<ServerStatus>,
        stop: Shutdown,
    ) -> Self {
        let (back, events) = unbounded_channel();
        let plan = plans.borrow_and_update().clone();
        Drainer {
            ledger: Ledger::new(plan.lease),
            address,
            plans,
            plan,
            status,
            stop,
            events,
            back,
            pairs: Vec::new(),
            look: Instant::now(),
            kept: None,
            in_vain: false,
            asked: Instant::now(),
            turn: 0,
            once: WarnOnce::default(),
            told: None,
        }
    }

    /// Drains until the end is asked for or the server is no more, then waits for the sinks as long as it may and gives
    /// the rest back.
    pub async fn run(mut self) {
        let mut pauses = Backoff::default();
        let mut wire = None;
        loop {
            if self.ended() {
                break;
            }
            let done = match &mut wire {
                None => match self.connect().await {
                    Ok(open) => {
                        wire = Some(open);
                        continue;
                    }
                    Err(failure) => Err(failure),
                },
                Some(open) => self.round(open).await,
            };
            match done {
                Ok(full) => {
                    self.answers();
                    pauses = Backoff::default();
                    match self.listen(&full).await {
                        Woken::Work => {}
                        Woken::Moved => wire = None,
                        Woken::End => break,
                    }
                }
                Err(failure) => {
                    wire = None;
                    self.failed(&failure);
                    let pause = pauses.next_pause();
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.requested() => {}
                        moved = self.address.changed() => if moved.is_ok() {
                            pauses = Backoff::default();
                        }
                    }
                }
            }
        }
        self.finish(wire).await;
    }

    fn ended(&self) -> bool {
        self.stop.is_requested() || self.address.has_changed().is_err()
    }

    async fn connect(&mut self) -> Result<Connection, ClientError> {
        let server = self.address.borrow_and_update().clone();
        server.endpoint().clone_into(&mut lock(&self.status).place);
        self.look = Instant::now();
        let wire = server.connect().await?;
        lock(&self.status).connects += 1;
        Ok(wire)
    }

    /// Notes that a round went well.
    fn answers(&mut self) {
        let mut status = lock(&self.status);
        if !status.up {
            status.up = true;
            status.since = SystemTime::now();
            status.trouble = None;
        }
        if self.told.take().is_some() {
            say(&format!("{} answers again", status.place));
        }
    }

    fn failed(&mut self, failure: &ClientError) {
        self.kept = None;
        if self.ended() {
            return;
        }
        let text = failure.to_string();
        let mut status = lock(&self.status);
        if status.up {
            status.up = false;
            status.since = SystemTime::now();
        }
        status.trouble = Some(text.clone());
        if self.told.as_ref() != Some(&text) {
            warn(&format!("{text}; trying again"));
            self.told = Some(text);
        }
    }

    /// Looks once at everything that is due; returns the sinks for whose room something waits.
    async fn round(&mut self, wire: &mut Connection) -> Result<Vec<To>, ClientError> {
        self.settle(wire).await?;
        if self.plans.has_changed().unwrap_or(false) {
            self.plan = self.plans.borrow_and_update().clone();
            self.ledger.set_lease(self.plan.lease);
            self.pairs.clear();
            self.look = Instant::now();
        }
        if self.look <= Instant::now() {
            self.list(wire).await?;
        }
        let Asking { asked, full } = self.ask();
        let commands: Vec<Cmd> = asked.iter().map(|asked| self.fetch(asked.pair)).collect();
        let start = Instant::now();
        let mut replies = Vec::with_capacity(commands.len());
        wire.pipeline(&commands, |_, reply| replies.push(reply))
            .await?;
        for (asked, reply) in asked.into_iter().zip(replies) {
            self.received(wire, asked, reply, start)?;
        }
        Ok(full)
    }

    /// Finds the nodes, and looks how they are. Queues that were known keep their pauses.
    async fn list(&mut self, wire: &mut Connection) -> Result<(), ClientError> {
        let start = Instant::now();
        let mut scan = nodes::NodeScan::default();
        while !scan.step(wire).await? && !self.stop.is_requested() {
            // What the sinks have by now, and what they go on holding.
            while let Ok(event) = self.events.try_recv() {
                self.ledger.take(event);
            }
            self.settle(wire).await?;
        }
        let names = scan.found();
        if names.is_empty() {
            let server = self.address.borrow().clone();
            nodes::check_module(&server, wire).await?;
        }
        let mut known: BTreeMap<(Vec<u8>, Queue), Pair> = std::mem::take(&mut self.pairs)
            .into_iter()
            .map(|pair| ((pair.node.0.clone(), pair.queue), pair))
            .collect();
        let now = Instant::now();
        for node in &names {
            for queue in Queue::ALL {
                let to = self.plan.to(&node.0, queue);
                if to.is_empty() {
                    continue;
                }
                let pair = known.remove(&(node.0.clone(), queue));
                self.pairs.push(pair.unwrap_or_else(|| Pair {
                    node: node.clone(),
                    queue,
                    to,
                    due: now,
                    pause: SHORTEST,
                    more: false,
                }));
            }
        }
        let nodes = gauge::look(wire, &names).await?;
        lock(&self.status).looked(nodes, SystemTime::now());
        // A server with many other keys is not to be kept busy by the looking.
        self.look = now + nodes::LIST_TTL.max(start.elapsed() * LOOKING);
        Ok(())
    }

    /// The fetches that are due and for which there is room.
    fn ask(&mut self) -> Asking {
        let now = Instant::now();
        self.asked = now;
        let mut kept = self.kept.take();
        let waited = kept.is_some();
        let mut asking = Asking::default();
        let due = |pair: &Pair| pair.due <= now;
        let all = self.pairs.len();
        let order = (0..all).map(|step| (self.turn + step) % all);
        let first: Vec<usize> = order.filter(|index| due(&self.pairs[*index])).collect();
        let more = first.iter().filter(|index| self.pairs[**index].more);
        // First each once; what is left goes round those that have more.
        let more: Vec<usize> = more.copied().collect();
        let rounds = first
            .iter()
            .copied()
            .chain(more.iter().cycle().copied().take(PIPELINE));
        let mut last = None;
        for index in rounds {
            if asking.asked.len() == PIPELINE {
                break;
            }
            let pair = &self.pairs[index];
            let mut rooms = Vec::with_capacity(pair.to.len());
            for to in &pair.to {
                let ours = kept.take_if(|(outlet, _)| Arc::ptr_eq(outlet, &to.outlet));
                let room = ours.map(|(_, room)| room);
                match room.or_else(|| to.outlet.share.take(REPLY)) {
                    Some(room) => rooms.push(room),
                    None => {
                        let same = |full: &To| Arc::ptr_eq(&full.outlet, &to.outlet);
                        if !asking.full.iter().any(same) {
                            asking.full.push(to.clone());
                        }
                        break;
                    }
                }
            }
            if rooms.len() == pair.to.len() {
                asking.asked.push(Asked { pair: index, rooms });
                last = Some(index);
            }
        }
        self.in_vain = waited && asking.asked.is_empty();
        // Those for which more went out already are not waited for.
        let asked = &asking.asked;
        asking.full.retain(|_| asked.is_empty());
        if let Some(last) = last {
            self.turn = last + 1;
        }
        asking
    }

    fn fetch(&self, pair: usize) -> Cmd {
        let pair = &self.pairs[pair];
        let json = pair.wants(RecordFormat::Json);
        let request = FetchRequest {
            queues: vec![pair.queue],
            format: if json {
                RecordFormat::Json
            } else {
                RecordFormat::Line
            },
            lease: self.plan.lease,
        };
        request.fetch(&pair.node, COUNT as u64, None)
    }

    /// Hands what a fetch brought to the sinks.
    fn received(
        &mut self,
        wire: &Connection,
        asked: Asked,
        reply: Reply,
        start: Instant,
    ) -> Result<(), ClientError> {
        let entries = match reply {
            Ok(value) => fetch::entries(value).ok_or_else(|| wire.unexpected_reply("AGG.FETCH"))?,
            Err(text) => {
                let node = &self.pairs[asked.pair].node;
                if text.code == "READONLY" {
                    return Err(wire.refused("AGG.FETCH", &text));
                }
                // Not so a key that was a node, here, when the nodes were looked up.
                if !gone(&text) {
                    let what = format!("to drain node {node}");
                    let text = wire.refused(&what, &text).to_string();
                    of_node(node).in_scope(|| self.once.say(&text));
                }
                self.pairs[asked.pair].due = start + nodes::LIST_TTL.max(self.plan.poll_interval);
                return Ok(());
            }
        };
        let size: usize = entries.iter().map(|entry| entry.record.len()).sum();
        self.look_again(asked.pair, entries.len(), size);
        {
            let mut status = lock(&self.status);
            status.records += entries.len() as u64;
            status.bytes += size as u64;
        }
        let pair = &self.pairs[asked.pair];
        let entries = self.ledger.news(&pair.node, pair.queue, entries);
        if entries.is_empty() {
            return Ok(());
        }
        let records = self.records(asked.pair, entries);
        self.hand_over(asked, records, start);
        Ok(())
    }

    /// Sets when to look at a queue again: at once while there is more, ever later while there is nothing.
    fn look_again(&mut self, pair: usize, count: usize, size: usize) {
        let (longest, now) = (self.plan.poll_interval, Instant::now());
        let pair = &mut self.pairs[pair];
        pair.more = count == COUNT || size >= FULL;
        if pair.more {
            (pair.due, pair.pause) = (now, SHORTEST);
            return;
        }
        if count > 0 {
            pair.pause = SHORTEST;
        }
        pair.due = now + pair.pause.min(longest);
        pair.pause = (pair.pause * 2).min(longest);
    }

    /// The records in the forms that the sinks want.
    fn records(&self, pair: usize, entries: Vec<FetchedRecord>) -> Vec<Record> {
        let pair = &self.pairs[pair];
        let (json, line) = (
            pair.wants(RecordFormat::Json),
            pair.wants(RecordFormat::Line),
        );
        let record = |entry: FetchedRecord| {
            let (json, line) = match (json, line) {
                (false, _) => (None, Some(entry.record)),
                (true, false) => (Some(entry.record), None),
                // A fetch has one form.
                (true, true) => {
                    let line = line::from_json(&entry.record).ok();
                    (Some(entry.record), line)
                }
            };
            Record {
                id: entry.id,
                deliveries: entry.deliveries,
                json,
                line,
            }
        };
        entries.into_iter().map(record).collect()
    }

    fn hand_over(&mut self, asked: Asked, records: Vec<Record>, start: Instant) {
        let pair = &self.pairs[asked.pair];
        let bytes = records.iter().map(Record::bytes).sum();
        let number = self.ledger.hold(Held {
            node: pair.node.clone(),
            queue: pair.queue,
            ids: records.iter().map(|record| record.id).collect(),
            until: start + self.plan.lease,
            waiting: pair.to.len(),
            given_up: false,
        });
        let batch = Arc::new(Batch {
            node: pair.node.clone(),
            queue: pair.queue,
            records,
        });
        for (to, mut room) in pair.to.iter().zip(asked.rooms) {
            room.set(bytes);
            let mut delivery = Delivery::new(batch.clone(), number, self.back.clone(), room);
            delivery.edits = to.edits.clone();
            // What a sink that has ended does not take is dropped, and so given back.
            let _ = to.outlet.inbox.send(delivery);
        }
    }

    /// Waits until there is something to do, and takes the sinks' news.
    async fn listen(&mut self, full: &[To]) -> Woken {
        // Also where there is always something to do.
        if self.address.has_changed().unwrap_or(false) && self.is_elsewhere() {
            return Woken::Moved;
        }
        if self.in_vain {
            sleep(SHORTEST).await;
        }
        let next = self.next(full.is_empty());
        let woken = if next <= Instant::now() {
            Woken::Work
        } else {
            let wait = |to: &To| {
                let outlet = to.outlet.clone();
                async move {
                    let room = outlet.share.wait(REPLY).await;
                    (outlet, room)
                }
            };
            let mut rooms: FuturesUnordered<_> = full.iter().map(wait).collect();
            tokio::select! {
                // Both ends are ours, so it is never closed.
                Some(event) = self.events.recv() => {
                    self.ledger.take(event);
                    Woken::Work
                }
                () = sleep_until(next.into()) => Woken::Work,
                Some(room) = rooms.next() => {
                    self.kept = Some(room);
                    Woken::Work
                }
                changed = self.plans.changed() => match changed {
                    Ok(()) => {
                        // The next round looks whether it has changed.
                        self.plans.mark_changed();
                        Woken::Work
                    }
                    Err(_) => Woken::End,
                },
                moved = self.address.changed() => match moved {
                    Ok(()) if self.is_elsewhere() => Woken::Moved,
                    Ok(()) => Woken::Work,
                    Err(_) => Woken::End,
                },
                () = self.stop.requested() => Woken::End,
            }
        };
        while let Ok(event) = self.events.try_recv() {
            self.ledger.take(event);
        }
        woken
    }

    /// Whether the server is at another place than it was connected to. Where only the password is another, a connection
    /// that works is kept: the server may not know the new one yet.
    fn is_elsewhere(&mut self) -> bool {
        let address = self.address.borrow_and_update();
        address.endpoint() != lock(&self.status).place
    }

    /// Sends what is owed, and leases anew what will be held for longer.
    async fn settle(&mut self, wire: &mut Connection) -> Result<(), ClientError> {
        let due = self.ledger.due(Instant::now());
        let mut refusal = None;
        wire.pipeline(&due.commands, |index, reply| match reply {
            // What is not here any more has nothing to acknowledge; where it is now gives it again.
            Err(text) if index < due.owed && !gone(&text) => refusal = Some(text),
            _ => {}
        })
        .await?;
        match refusal {
            // Not given up: fetching on would write everything again and again. A server that was demoted says so.
            Some(text) => Err(wire.refused("AGG.ACK", &text)),
            None => {
                self.ledger.settled(due);
                Ok(())
            }
        }
    }

    /// When something has to be done, if no sink has news before; what was due and did not get room does not count.
    fn next(&self, all_asked: bool) -> Instant {
        let dues = self.pairs.iter().map(|pair| pair.due);
        // By the clock of the asking: what became due since was not asked for either.
        let dues = dues.filter(|due| all_asked || *due > self.asked);
        let next = dues.chain(self.ledger.next()).min();
        next.map_or(self.look, |next| next.min(self.look))
    }

    /// Waits for the sinks while there is time, and gives back what they do not have by then.
    async fn finish(mut self, mut wire: Option<Connection>) {
        self.kept = None;
        const PAUSE: Duration = Duration::from_millis(200);
        let deadline = self.stop.requested_at().unwrap_or_else(Instant::now) + self.plan.grace;
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.ledger.take(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.ledger.give_back_all();
            }
            let extend = self.ledger.next().is_some_and(|at| at <= Instant::now());
            if self.ledger.owes() || extend {
                if wire.is_none() {
                    wire = self.connect().await.ok();
                }
                if let Some(open) = &mut wire
                    && self.settle(open).await.is_err()
                {
                    wire = None;
                }
            }
            if left.is_zero() || self.ledger.clear() {
                return;
            }
            let pause = left.min(PAUSE).max(Duration::from_millis(1));
            tokio::select! {
                Some(event) = self.events.recv() => self.ledger.take(event),
                () = sleep(pause) => {}
            }
        }
    }
}

/// Whether an error says that the node is not here, or no longer.
fn gone(error: &ServerError) -> bool {
    ["WRONGTYPE", "MOVED", "ASK"].contains(&error.code.as_str())
}
