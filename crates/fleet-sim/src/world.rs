//! The simulated servers of a process, what was measured of them, and the orders that concern them. No I/O.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Clock;
use crate::orders::{Order, write};
use crate::server::{KINDS, Server, Shared};

/// The servers and all that they share.
pub struct World {
    pub clock: Clock,
    pub shared: Shared,
    pub servers: Vec<Server>,
    /// The rounds in which all nodes were to get samples, and those in which they did.
    pub rounds_asked: u64,
    pub rounds: u64,
    /// There are no samples any more, and no window closes.
    pub is_frozen: bool,
    /// The running time at which a poller was killed.
    killed_at_ms: u64,
}

impl World {
    /// Creates the world of these servers.
    pub fn new(clock: Clock, shared: Shared, servers: impl Iterator<Item = Server>) -> World {
        World {
            clock,
            shared,
            servers: servers.collect(),
            rounds_asked: 0,
            rounds: 0,
            is_frozen: false,
            killed_at_ms: 0,
        }
    }

    /// Answers a command sent to a server.
    pub fn answer(
        &mut self,
        index: usize,
        poller: &mut Option<usize>,
        words: &[&[u8]],
        output: &mut Vec<u8>,
    ) {
        let now = self.clock.now();
        self.servers[index].answer(&mut self.shared, poller, words, now, output);
    }
}

/// The state of the servers of a process.
#[derive(Serialize)]
pub struct Status {
    kind: &'static str,
    /// Unix milliseconds of the machine.
    real_ms: u64,
    /// Unix milliseconds of the servers.
    wall_ms: i64,
    /// Records that were queued so far.
    queued: u64,
    /// Records in the queues.
    backlog: u64,
    /// Records that were evicted.
    dropped: u64,
    /// The age of the oldest record, and of the oldest of a server whose poller was killed.
    oldest_ms: u64,
    oldest_orphan_ms: u64,
    /// Servers that no poller has drained since theirs was killed, and their records.
    orphans: usize,
    orphan_backlog: u64,
    /// Servers that were ever drained.
    drained: usize,
    /// Servers by the poller that drained them last.
    drained_by: BTreeMap<String, usize>,
    /// Pairs of a server and a poller that has sent a command since the mark.
    pairs: usize,
    /// The rounds of samples that were asked for and are done.
    rounds: u64,
}

/// What was measured since the mark.
#[derive(Serialize)]
struct Report {
    kind: &'static str,
    /// For the pollers that drained a server, and for the others: pairs of server and poller, and their commands.
    owners: Commands,
    others: Commands,
    /// After a poller was killed: the times after which its servers were drained by another, milliseconds.
    takeovers_ms: Vec<u64>,
}

#[derive(Default, Serialize)]
struct Commands {
    pairs: usize,
    by_kind: BTreeMap<&'static str, u64>,
    /// The most commands of one pair.
    max: u32,
}

impl Commands {
    fn add(&mut self, counts: &[u32; KINDS.len()]) {
        self.pairs += 1;
        self.max = self.max.max(counts.iter().sum());
        for (kind, count) in KINDS.into_iter().zip(counts) {
            *self.by_kind.entry(kind).or_default() += u64::from(*count);
        }
    }
}

impl World {
    /// Carries out an order.
    pub fn obey(&mut self, order: Order) {
        match order {
            Order::Advance(ms) => self.clock.advance(ms),
            Order::Jitter(ms) => self.shared.settings.flush_jitter_ms = ms as i64,
            Order::Freeze => self.is_frozen = true,
            Order::Samples => self.rounds_asked += 1,
            Order::Mark => {
                for server in &mut self.servers {
                    server.commands = Default::default();
                    server.adopted_at_ms = None;
                }
            }
            Order::Report => write(&self.report()),
            Order::Killed(name) => {
                self.killed_at_ms = self.clock.now().mono_ms;
                let killed = self
                    .shared
                    .pollers
                    .iter()
                    .position(|poller| *poller == name);
                for server in &mut self.servers {
                    server.is_orphan = killed.is_some() && server.drained_by == killed;
                    server.adopted_at_ms = None;
                }
            }
        }
    }

    /// Returns the state.
    pub fn status(&self) -> Status {
        let now = self.clock.now();
        let mut status = Status {
            kind: "status",
            real_ms: self.clock.real_ms(),
            wall_ms: now.ms(),
            queued: self.shared.queued,
            backlog: 0,
            dropped: self.shared.counters.dropped_from.iter().sum(),
            oldest_ms: 0,
            oldest_orphan_ms: 0,
            orphans: 0,
            orphan_backlog: 0,
            drained: 0,
            drained_by: BTreeMap::new(),
            pairs: 0,
            rounds: self.rounds,
        };
        for server in &self.servers {
            let (backlog, oldest_ms) = (server.backlog(), server.oldest_ms(now));
            status.backlog += backlog;
            status.oldest_ms = status.oldest_ms.max(oldest_ms);
            if server.is_orphan {
                status.orphans += 1;
                status.orphan_backlog += backlog;
                status.oldest_orphan_ms = status.oldest_orphan_ms.max(oldest_ms);
            }
            if let Some(poller) = server.drained_by {
                status.drained += 1;
                let name = self.shared.pollers[poller].clone();
                *status.drained_by.entry(name).or_default() += 1;
            }
            let spoke = |counts: &&[u32; KINDS.len()]| counts.iter().any(|count| *count > 0);
            status.pairs += server.commands.iter().filter(spoke).count();
        }
        status
    }

    fn report(&self) -> Report {
        let mut report = Report {
            kind: "report",
            owners: Commands::default(),
            others: Commands::default(),
            takeovers_ms: Vec::new(),
        };
        for server in &self.servers {
            for counts in &server.commands[..self.shared.pollers.len()] {
                // The first kind is AGG.FETCH.
                match counts[0] > 0 {
                    true => report.owners.add(counts),
                    false => report.others.add(counts),
                }
            }
            let adopted = server.adopted_at_ms;
            let after = adopted.map(|at| at.saturating_sub(self.killed_at_ms));
            report.takeovers_ms.extend(after);
        }
        report
    }
}
