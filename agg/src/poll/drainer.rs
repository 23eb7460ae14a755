//! One thread for each server: fetches what the routes take, hands it to the sinks, and acknowledges what all of them
//! have.
//!
//! What holds: an entry is acknowledged only when each of its sinks said that it is stored. What a slow sink still
//! holds is leased anew when half of the lease is over; an entry that comes back all the same (the server was away) is
//! not handed to the sinks a second time while they still have it. Acknowledgements that were lost with a connection
//! are sent again before anything else is fetched. Nothing is fetched for which a sink has no room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use redis::Cmd;

use crate::args::NodeName;
use crate::connect::{Failure, Link, Server};
use crate::drain::fetch::{self, Entry, Format, Queue, Request};
use crate::drain::nodes;
use crate::reply::Reply;
use crate::retry::Reach;
use crate::say::Once;
use crate::shutdown::Stop;

use super::batch::{Batch, Delivery, Event, Record};
use super::config::Route;
use super::ledger::{Held, Ledger};
use super::room::{Room, Share};
use super::tags::Edits;

/// Entries of one fetch.
const COUNT: usize = 2000;
/// The bytes of one reply: about 1 MiB, and the item that went beyond it.
const REPLY: u64 = (1 << 20) + (256 << 10);
/// A reply of more than this is one that ended for its size.
const FULL: usize = (1 << 20) * 3 / 4;
/// Fetches in one pipeline.
const PIPELINE: usize = 64;
/// The shortest pause between two looks at a queue that is not full.
const SHORTEST: Duration = Duration::from_millis(20);

/// A sink, as those who send to it see it.
pub struct Outlet {
    /// How it wants its records.
    pub format: Format,
    /// The memory for it.
    pub share: Share,
    /// The way to it.
    pub inbox: Sender<Delivery>,
}

/// What all servers have in common.
pub struct Plan {
    /// What goes where.
    pub routes: Vec<Route>,
    /// The sinks, by the numbers of the routes.
    pub outlets: Vec<Outlet>,
    /// How many servers share the sinks' room.
    pub servers: usize,
    /// The longest pause between two looks at a queue.
    pub poll_interval: Duration,
    /// How long others do not get what was fetched.
    pub lease: Duration,
    /// How long the sinks may go on when the end is asked for.
    pub grace: Duration,
}

impl Plan {
    /// The sinks for a queue of a node, each once.
    fn sinks(&self, node: &[u8], queue: Queue) -> Vec<usize> {
        let routes = self.routes.iter().filter(|route| route.takes(node, queue));
        let mut sinks: Vec<usize> = routes.flat_map(|route| route.sinks.clone()).collect();
        sinks.sort_unstable();
        sinks.dedup();
        sinks
    }

    /// What is done to the tags of a queue of a node on the way to a sink: the first route that leads there says it.
    fn edits(&self, node: &[u8], queue: Queue, sink: usize) -> Option<Arc<Edits>> {
        let mut routes = self.routes.iter().filter(|route| route.takes(node, queue));
        let route = routes.find(|route| route.sinks.contains(&sink))?;
        route.edits.clone()
    }

    fn wants(&self, sinks: &[usize], format: Format) -> bool {
        sinks
            .iter()
            .any(|sink| self.outlets[*sink].format == format)
    }
}

/// A queue of a node.
struct Pair {
    node: NodeName,
    queue: Queue,
    sinks: Vec<usize>,
    /// When to look next, and the pause after that if nothing is there.
    due: Instant,
    pause: Duration,
}

/// A fetch that is under way: of which pair, and the room for what it brings, by sink.
struct Asked {
    pair: usize,
    rooms: Vec<Room>,
}

/// A server being drained.
pub struct Drainer<'a> {
    server: &'a Server,
    plan: &'a Plan,
    stop: &'a Stop,
    events: Receiver<Event>,
    back: Sender<Event>,
    pairs: Vec<Pair>,
    looked: Option<Instant>,
    /// Where the next pipeline begins, so that each queue has its turn.
    turn: usize,
    ledger: Ledger,
    once: Once,
}

impl<'a> Drainer<'a> {
    /// A server, what to do, and both ends of the way on which the sinks answer.
    pub fn new(
        server: &'a Server,
        plan: &'a Plan,
        stop: &'a Stop,
        (back, events): (Sender<Event>, Receiver<Event>),
    ) -> Self {
        Drainer {
            server,
            plan,
            stop,
            events,
            back,
            pairs: Vec::new(),
            looked: None,
            turn: 0,
            ledger: Ledger::new(plan.lease),
            once: Once::default(),
        }
    }

    /// Drains until the end is asked for, then waits for the sinks as long as it may and gives the rest back.
    pub fn run(mut self) {
        let mut reach = Reach::patient(self.server, self.stop);
        let mut link = None;
        while !self.stop.asked() {
            if link.is_none() {
                // One that is patient does not fail; without a link the end was asked for.
                link = reach.link().ok().flatten();
            }
            let Some(open) = &mut link else { break };
            match self.round(open) {
                Ok(pause) => {
                    reach.worked();
                    self.listen(pause);
                }
                Err(failure) => {
                    link = None;
                    self.looked = None;
                    if !self.stop.asked() {
                        let _ = reach.failed(failure);
                    }
                }
            }
        }
        self.finish(link);
    }

    /// Looks once at everything that is due; returns how long to wait for the next time.
    fn round(&mut self, link: &mut Link) -> Result<Duration, Failure> {
        self.settle(link)?;
        if self
            .looked
            .is_none_or(|looked| looked.elapsed() >= nodes::FRESH)
        {
            self.list(link)?;
        }
        let asked = self.ask();
        let commands: Vec<Cmd> = asked.iter().map(|asked| self.fetch(asked.pair)).collect();
        let start = Instant::now();
        let mut replies = Vec::with_capacity(commands.len());
        link.pipeline(&commands, |_, reply| replies.push(reply))?;
        for (asked, reply) in asked.into_iter().zip(replies) {
            self.received(link, asked, reply, start)?;
        }
        Ok(self.pause())
    }

    /// Finds the nodes. Queues that were known keep their pauses.
    fn list(&mut self, link: &mut Link) -> Result<(), Failure> {
        let names = nodes::scan(link, self.stop)?;
        if names.is_empty() {
            nodes::check_module(self.server, link)?;
        }
        let mut known: BTreeMap<(Vec<u8>, Queue), Pair> = std::mem::take(&mut self.pairs)
            .into_iter()
            .map(|pair| ((pair.node.0.clone(), pair.queue), pair))
            .collect();
        let now = Instant::now();
        for node in names {
            for queue in Queue::ALL {
                let sinks = self.plan.sinks(&node.0, queue);
                if sinks.is_empty() {
                    continue;
                }
                let pair = known.remove(&(node.0.clone(), queue));
                self.pairs.push(pair.unwrap_or_else(|| Pair {
                    node: node.clone(),
                    queue,
                    sinks,
                    due: now,
                    pause: SHORTEST,
                }));
            }
        }
        self.looked = Some(now);
        Ok(())
    }

    /// The fetches that are due and for which there is room.
    fn ask(&mut self) -> Vec<Asked> {
        let now = Instant::now();
        let mut asked = Vec::new();
        let mut last = None;
        // A server leaves the others their part of the room, but takes at least one reply's.
        let most = (PIPELINE / self.plan.servers).max(4);
        for step in 0..self.pairs.len() {
            let index = (self.turn + step) % self.pairs.len();
            let pair = &self.pairs[index];
            if pair.due > now {
                continue;
            }
            if asked.len() == most {
                break;
            }
            let both = [Format::Json, Format::Line].map(|form| self.plan.wants(&pair.sinks, form));
            let bytes = if both == [true, true] {
                2 * REPLY
            } else {
                REPLY
            };
            let room = |sink: &usize| self.plan.outlets[*sink].share.take(bytes);
            match pair.sinks.iter().map(room).collect() {
                Some(rooms) => {
                    asked.push(Asked { pair: index, rooms });
                    last = Some(index);
                }
                // Others may make room, of which nobody tells.
                None => self.pairs[index].due = now + SHORTEST,
            }
        }
        if let Some(last) = last {
            self.turn = last + 1;
        }
        asked
    }

    fn fetch(&self, pair: usize) -> Cmd {
        let pair = &self.pairs[pair];
        let json = self.plan.wants(&pair.sinks, Format::Json);
        let request = Request {
            queues: vec![pair.queue],
            format: if json { Format::Json } else { Format::Line },
            lease: self.plan.lease,
        };
        request.fetch(&pair.node, COUNT as u64, None)
    }

    /// Hands what a fetch brought to the sinks.
    fn received(
        &mut self,
        link: &mut Link,
        asked: Asked,
        reply: Reply,
        start: Instant,
    ) -> Result<(), Failure> {
        let entries = match reply {
            Ok(value) => fetch::entries(value).ok_or_else(|| link.strange("AGG.FETCH"))?,
            Err(text) => {
                let node = &self.pairs[asked.pair].node;
                // Not so a key that was a node when the nodes were looked up.
                if !text.starts_with("WRONGTYPE") {
                    let what = format!("to drain node {node}");
                    self.once.say(&link.refused(&what, &text).to_string());
                }
                self.pairs[asked.pair].due = start + nodes::FRESH.max(self.plan.poll_interval);
                return Ok(());
            }
        };
        let size: usize = entries.iter().map(|entry| entry.record.len()).sum();
        self.look_again(asked.pair, entries.len(), size);
        let pair = &self.pairs[asked.pair];
        let entries = self.ledger.news(&pair.node, pair.queue, entries);
        if entries.is_empty() {
            return Ok(());
        }
        if let Some(records) = self.records(link, asked.pair, entries)? {
            self.hand_over(asked, records, start);
        }
        Ok(())
    }

    /// Sets when to look at a queue again: at once while there is more, ever later while there is nothing.
    fn look_again(&mut self, pair: usize, count: usize, size: usize) {
        let (longest, now) = (self.plan.poll_interval, Instant::now());
        let pair = &mut self.pairs[pair];
        if count == COUNT || size >= FULL {
            (pair.due, pair.pause) = (now, SHORTEST);
            return;
        }
        if count > 0 {
            pair.pause = SHORTEST;
        }
        pair.due = now + pair.pause.min(longest);
        pair.pause = (pair.pause * 2).min(longest);
    }

    /// The records in the forms that the sinks want; none where the server refuses one. A fetch has one form: where
    /// both are wanted, the lines are looked up by AGG.PEEK. A record of MIN and HOUR never changes, so the two are
    /// the same.
    fn records(
        &mut self,
        link: &mut Link,
        pair: usize,
        entries: Vec<Entry>,
    ) -> Result<Option<Vec<Record>>, Failure> {
        let pair = &mut self.pairs[pair];
        let json = self.plan.wants(&pair.sinks, Format::Json);
        let mut lines = BTreeMap::new();
        if json && self.plan.wants(&pair.sinks, Format::Line) {
            match look_up(link, &pair.node, pair.queue, &entries)? {
                Ok(found) => lines = found,
                Err(text) => {
                    let what = format!("to look into node {}", pair.node);
                    self.once.say(&link.refused(&what, &text).to_string());
                    self.ledger.give_back(&pair.node, pair.queue, &entries);
                    pair.due = Instant::now() + nodes::FRESH.max(self.plan.poll_interval);
                    return Ok(None);
                }
            }
        }
        let record = |entry: Entry| {
            let (json, line) = match json {
                true => (Some(entry.record), lines.remove(&entry.id)),
                false => (None, Some(entry.record)),
            };
            Record {
                id: entry.id,
                json,
                line,
            }
        };
        Ok(Some(entries.into_iter().map(record).collect()))
    }

    fn hand_over(&mut self, asked: Asked, records: Vec<Record>, start: Instant) {
        let pair = &self.pairs[asked.pair];
        let bytes = records.iter().map(Record::bytes).sum();
        let number = self.ledger.hold(Held {
            node: pair.node.clone(),
            queue: pair.queue,
            ids: records.iter().map(|record| record.id).collect(),
            until: start + self.plan.lease,
            waiting: pair.sinks.len(),
            given_up: false,
        });
        let batch = Arc::new(Batch {
            node: pair.node.clone(),
            queue: pair.queue,
            records,
        });
        for (sink, mut room) in pair.sinks.iter().zip(asked.rooms) {
            room.set(bytes);
            let mut delivery = Delivery::new(batch.clone(), number, self.back.clone(), room);
            delivery.edits = self.plan.edits(&pair.node.0, pair.queue, *sink);
            // What a sink that has ended does not take is dropped, and so given back.
            let _ = self.plan.outlets[*sink].inbox.send(delivery);
        }
    }

    /// Waits for the sinks' news, at most for so long, and takes them.
    fn listen(&mut self, pause: Duration) {
        if !pause.is_zero() {
            // Both ends are ours, so it is never closed.
            if let Ok(event) = self.events.recv_timeout(pause) {
                self.ledger.take(event);
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.ledger.take(event);
        }
    }

    /// Sends what is owed, and leases anew what will be held for longer.
    fn settle(&mut self, link: &mut Link) -> Result<(), Failure> {
        let due = self.ledger.due(Instant::now());
        let mut refusal = None;
        link.pipeline(&due.commands, |index, reply| match reply {
            // A key that is no node any more has nothing to acknowledge.
            Err(text) if index < due.owed && !text.starts_with("WRONGTYPE") => refusal = Some(text),
            _ => {}
        })?;
        match refusal {
            // Not given up: fetching on would write everything again and again. A server that was demoted says so.
            Some(text) => Err(link.refused("AGG.ACK", &text)),
            None => {
                self.ledger.settled(due);
                Ok(())
            }
        }
    }

    /// How long until something has to be done, if no sink has news before.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let dues = self.pairs.iter().map(|pair| pair.due);
        let next = dues.chain(self.ledger.next()).min();
        let pause = next.map_or(nodes::FRESH, |next| next.saturating_duration_since(now));
        pause.min(nodes::FRESH)
    }

    /// Waits for the sinks while there is time, and gives back what they do not have by then.
    fn finish(mut self, mut link: Option<Link>) {
        const PAUSE: Duration = Duration::from_millis(200);
        let deadline = self.stop.since().unwrap_or_else(Instant::now) + self.plan.grace;
        self.listen(Duration::ZERO);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.ledger.give_back_all();
            }
            if !self.ledger.clear() {
                link = link.or_else(|| self.server.connect().ok());
                if let Some(open) = &mut link
                    && self.settle(open).is_err()
                {
                    link = None;
                }
            }
            if left.is_zero() || self.ledger.clear() {
                return;
            }
            self.listen(left.min(PAUSE).max(Duration::from_millis(1)));
        }
    }
}

/// The lines of entries that are leased to us, by id, or the server's refusal. One that is not among them was dropped.
fn look_up(
    link: &mut Link,
    node: &NodeName,
    queue: Queue,
    entries: &[Entry],
) -> Result<Result<BTreeMap<i64, Vec<u8>>, String>, Failure> {
    let mut lines = BTreeMap::new();
    let mut rest = entries;
    // Each reply brings at least the first of the rest or tells that it is gone, so this ends.
    while let Some(first) = rest.first() {
        let mut command = redis::cmd("AGG.PEEK");
        command.arg(&node.0).arg(queue.word());
        command.arg("COUNT").arg(COUNT).arg("FROM").arg(first.id);
        command.arg("FORMAT").arg("LINE");
        let found = match link.call(&command)? {
            Ok(value) => fetch::entries(value).ok_or_else(|| link.strange("AGG.PEEK"))?,
            Err(text) if text.starts_with("WRONGTYPE") => break,
            Err(text) => return Ok(Err(text)),
        };
        let last = found
            .last()
            .map_or(i64::MAX, |entry| entry.id)
            .max(first.id);
        let ours = |entry: &Entry| rest.binary_search_by_key(&entry.id, |e| e.id).is_ok();
        lines.extend(
            found
                .into_iter()
                .filter(|e| ours(e))
                .map(|e| (e.id, e.record)),
        );
        rest = &rest[rest.partition_point(|entry| entry.id <= last)..];
    }
    Ok(Ok(lines))
}
