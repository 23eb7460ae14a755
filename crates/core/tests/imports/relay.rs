//! Relays over three servers that deliver late, twice and out of order, and die, while servers are restarted, replaced
//! by their replicas, and restored from a backup: the last server delivers everything, and everything once.

use super::{fetch, ids, import};
use crate::support::{World, reload};
use aggregator_core::Node;
use proptest::prelude::*;
use std::collections::BTreeSet;

const QUEUES: [&str; 4] = ["LOG", "MIN", "ERROR", "REALITY"];

/// The servers between which records go: the leaf, its hub, and the hub of that.
const TIERS: usize = 3;

/// Records that a relay has fetched from a server, to bring them to the next.
#[derive(Clone)]
struct Batch {
    from: usize,
    queue: &'static str,
    /// Ids, texts and floors.
    records: Vec<(u64, Vec<u8>, u64)>,
}

struct Relays {
    tiers: Vec<World>,
    batches: Vec<Batch>,
    /// The ids of the log that must arrive, and those that may.
    logged: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    /// What the last server has delivered.
    arrived: BTreeSet<(&'static str, u64)>,
    backup: Option<Node>,
    /// Imports that were partial.
    partial: usize,
}

impl Relays {
    fn new() -> Relays {
        let mut tiers: Vec<World> = (0..TIERS).map(|_| World::new()).collect();
        tiers[1].settings.queue_import = 2_500;
        tiers[2].settings.queue_import = 1_500;
        Relays {
            tiers,
            batches: Vec::new(),
            logged: BTreeSet::new(),
            lost: BTreeSet::new(),
            arrived: BTreeSet::new(),
            backup: None,
            partial: 0,
        }
    }

    fn act(&mut self, op: u8, a: usize, b: usize) {
        let queue = QUEUES[a % QUEUES.len()];
        match op {
            0..4 => {
                let id = self.tiers[0].run(&format!("LOG {a}")).int() as u64;
                self.logged.insert(id);
            }
            4 => {
                let w = &mut self.tiers[0];
                w.run(&format!("ERROR e{}", a % 3));
                w.run(&format!("REALITY o{} M {b}", a % 3));
            }
            5 => {
                let w = &mut self.tiers[0];
                w.run(&format!("STAT m{} {b}", a % 3));
                w.run(&format!("FORGET METRIC m{}", a % 3));
            }
            6..11 => self.fetch(b % (TIERS - 1), queue, 1 + a % 5),
            11..16 => {
                if !self.batches.is_empty() {
                    let batch = self.batches.swap_remove(a % self.batches.len());
                    self.deliver(batch, b % 4);
                }
            }
            16 => {
                if !self.batches.is_empty() {
                    // The relay dies; nobody ends its leases.
                    self.batches.swap_remove(a % self.batches.len());
                }
            }
            17..20 => self.consume(queue, 1 + b % 4),
            20 => self
                .tiers
                .iter_mut()
                .for_each(|w| w.pass(1 + (b * b) as i64)),
            21 => {
                let w = &mut self.tiers[a % TIERS];
                if let Some(node) = &w.node {
                    let mut node = reload(node);
                    node.restart(w.now.mono_ms);
                    w.replica = Some(reload(&node));
                    w.node = Some(node);
                }
            }
            22 => {
                let w = &mut self.tiers[a % TIERS];
                if let Some(mut promoted) = w.replica.take() {
                    promoted.restart(w.now.mono_ms);
                    w.replica = Some(reload(&promoted));
                    w.node = Some(promoted);
                }
            }
            23 => self.backup = self.tiers[0].node.as_ref().map(reload),
            _ => self.restore(),
        }
    }

    fn fetch(&mut self, from: usize, queue: &'static str, count: usize) {
        let options = format!("COUNT {count} LEASE 500");
        let fetched = fetch(&mut self.tiers[from], queue, &options);
        if fetched.is_empty() {
            return;
        }
        let mut records = fetched;
        records.sort();
        self.batches.push(Batch {
            from,
            queue,
            records,
        });
    }

    /// Imports records, those together between which the leaf had no others. Returns how many are stored.
    fn import(&mut self, batch: &Batch, has_floors: bool) -> usize {
        let hub = &mut self.tiers[batch.from + 1];
        let mut stored = 0;
        let follows = |a: &(u64, Vec<u8>, u64), b: &(u64, Vec<u8>, u64)| b.2 <= a.0 + 1;
        for run in batch.records.chunk_by(follows) {
            let texts: Vec<(u64, &[u8])> = run.iter().map(|(id, t, _)| (*id, &t[..])).collect();
            let floor = if has_floors { run[0].2 } else { 0 };
            let count = match import(hub, batch.queue, floor, &texts) {
                Ok(count) => count as usize,
                Err(error) => {
                    assert!(error.to_string().starts_with("AGGFULL"), "{error}");
                    0
                }
            };
            stored += count;
            if count < run.len() {
                break;
            }
        }
        stored
    }

    /// `how`: what happens after it was imported.
    fn deliver(&mut self, batch: Batch, how: usize) {
        let stored = self.import(&batch, how != 1);
        self.partial += usize::from(stored > 0 && stored < batch.records.len());
        let (done, rest) = batch.records.split_at(stored);
        if how != 2 && !done.is_empty() {
            let ids: Vec<String> = done.iter().map(|(id, ..)| id.to_string()).collect();
            let from = &mut self.tiers[batch.from];
            from.run(&format!("ACK {} {}", batch.queue, ids.join(" ")));
        }
        match how {
            // Brought again later, some of it acknowledged.
            3 => self.batches.push(batch),
            _ if !rest.is_empty() => {
                let records = rest.to_vec();
                self.batches.push(Batch { records, ..batch });
            }
            _ => {}
        }
    }

    fn consume(&mut self, queue: &'static str, count: usize) {
        let popped = self.tiers[TIERS - 1].run(&format!("POP {queue} COUNT {count}"));
        for record in popped.list() {
            let id = record.list()[1].int() as u64;
            assert!(self.arrived.insert((queue, id)), "{queue} {id} twice");
        }
    }

    fn restore(&mut self) {
        let Some(node) = self.backup.as_ref().map(reload) else {
            return;
        };
        let w = &mut self.tiers[0];
        w.pass(1);
        let now = ids(w, "LOG");
        w.replica = Some(reload(&node));
        w.node = Some(node);
        let kept: BTreeSet<u64> = ids(w, "LOG").into_iter().collect();
        self.lost.extend(now.iter().filter(|id| !kept.contains(id)));
    }

    /// Relays that work bring the rest.
    fn finish(&mut self) {
        for _ in 0..1_000 {
            self.tiers.iter_mut().for_each(|w| w.pass(1_000));
            for from in 0..TIERS - 1 {
                QUEUES.iter().for_each(|queue| self.fetch(from, queue, 50));
            }
            while let Some(batch) = self.batches.pop() {
                let before = self.batches.len();
                self.deliver(batch, 0);
                if self.batches.len() > before {
                    // It did not fit: the next server has to be drained first.
                    self.batches.pop();
                }
            }
            QUEUES.iter().for_each(|queue| self.consume(queue, 50));
            let is_empty = |w: &mut World| QUEUES.iter().all(|queue| w.peek(queue).is_empty());
            if self.tiers.iter_mut().all(is_empty) {
                return;
            }
        }
        panic!("records are stuck");
    }

    fn check(&mut self) {
        let of = |queue| {
            let arrived = self.arrived.iter();
            let of_queue = arrived.filter(move |(q, _)| *q == queue);
            of_queue.map(|(_, id)| *id).collect::<BTreeSet<u64>>()
        };
        let log = of("LOG");
        assert!(log.is_subset(&self.logged));
        let missing: Vec<_> = self.logged.difference(&log).collect();
        assert!(
            missing.iter().all(|id| self.lost.contains(id)),
            "{missing:?}"
        );
        for w in &mut self.tiers {
            w.check_copies();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives_once(
        ops in prop::collection::vec((0u8..24, 0usize..100, 0usize..40), 1..250),
        restores: bool,
    ) {
        let mut relays = Relays::new();
        for (i, (op, a, b)) in ops.into_iter().enumerate() {
            // A backup is seldom restored.
            let op = if restores && i % 40 == 39 { 24 } else { op };
            relays.act(op, a, b);
        }
        relays.finish();
        relays.check();
    }
}

/// A burst that does not fit the hub, brought by two relays in turns.
#[test]
fn leaf_keeps_what_does_not_fit_and_it_arrives_later() {
    let mut relays = Relays::new();
    for i in 0..200 {
        relays.act(0, i, 0);
    }
    for i in 0..400 {
        relays.fetch(0, "LOG", 7);
        relays.fetch(1, "LOG", 3);
        if let Some(batch) = relays.batches.pop() {
            relays.deliver(batch, i % 4);
        }
        if i % 3 == 0 {
            relays.consume("LOG", 2);
        }
        relays.tiers.iter_mut().for_each(|w| w.pass(40));
    }
    assert!(relays.partial > 0);
    assert!(relays.arrived.len() > 50, "{}", relays.arrived.len());
    relays.finish();
    relays.check();
    assert_eq!(relays.arrived.len(), 200);
}
