//! A node as a key holds it: with what the shell knows of it.
//!
//! The server's totals are kept in atomics: each node adds what changed since it was last looked at, and takes its
//! share back when it is freed, on whatever thread that is.

use crate::ffi::alloc::main_bytes;
use crate::{key_registry, replication};
use aggregator_core::Node;
use aggregator_core::node::Gauges;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// See the file's header.
pub struct StoredNode {
    /// The node.
    pub node: Node,
    /// Bytes that it holds, measured around every change.
    pub bytes: i64,
    /// The registry knows where it is.
    is_registered: AtomicBool,
    /// The client that sent the last AGG.APPLY; 0: none did, or a primary or a file.
    pub replay_client: u64,
    /// An import of slots brings it; its old owner decides for it until that has ended, or a client asks for it here.
    pub is_imported: bool,
    published: Gauges,
    /// The server's era when it was last looked at.
    epoch: u64,
}

/// Raised at every load and promotion: each node starts its quiet times anew before anything else happens to it.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Nodes in this server.
static NODES: AtomicI64 = AtomicI64::new(0);
static METRICS: AtomicI64 = AtomicI64::new(0);
static FORGOTTEN: AtomicI64 = AtomicI64::new(0);
static ERRORS: AtomicI64 = AtomicI64::new(0);
static REALITIES: AtomicI64 = AtomicI64::new(0);
static LENGTH: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];
static BYTES: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];
static LEASED: [AtomicI64; 5] = [const { AtomicI64::new(0) }; 5];

/// A new era begins.
pub fn start_epoch() {
    EPOCH.fetch_add(1, Relaxed);
}

/// Nodes in this server.
#[inline]
pub fn nodes() -> u64 {
    u64::try_from(NODES.load(Relaxed)).unwrap_or(0)
}

/// Metrics in this server.
#[inline]
pub fn metrics() -> u64 {
    u64::try_from(METRICS.load(Relaxed)).unwrap_or(0)
}

/// The sums over all nodes of this server, and their number.
pub fn totals() -> (u64, Gauges) {
    let get = |n: &AtomicI64| u64::try_from(n.load(Relaxed)).unwrap_or(0);
    let gauges = Gauges {
        metrics: get(&METRICS),
        forgotten: get(&FORGOTTEN),
        errors: get(&ERRORS),
        realities: get(&REALITIES),
        length: [0, 1, 2, 3, 4].map(|q| get(&LENGTH[q])),
        bytes: [0, 1, 2, 3, 4].map(|q| get(&BYTES[q])),
        leased: [0, 1, 2, 3, 4].map(|q| get(&LEASED[q])),
    };
    (get(&NODES), gauges)
}

impl StoredNode {
    /// Takes a node in; `before`: [`main_bytes`] before it was made.
    pub fn new(node: Node, before: i64) -> Box<StoredNode> {
        let published = Gauges::default();
        let mut stored = Box::new(StoredNode {
            node,
            bytes: 0,
            is_registered: AtomicBool::new(false),
            replay_client: 0,
            is_imported: false,
            published,
            epoch: EPOCH.load(Relaxed),
        });
        NODES.fetch_add(1, Relaxed);
        stored.measure(before);
        stored
    }

    /// It left the name that the registry knows.
    pub fn unlinked(&self) {
        self.is_registered.store(false, Relaxed);
    }

    /// Whether the registry has to be told where it is.
    #[inline]
    pub fn needs_registration(&self) -> bool {
        !self.is_registered.load(Relaxed)
    }

    /// Tells the registry where it is; false: there is no room for its name.
    pub fn place(&self, db: i32, name: &[u8]) -> bool {
        let is_registered = key_registry::insert(db, name);
        self.is_registered.store(is_registered, Relaxed);
        is_registered
    }

    /// Metrics in it.
    #[inline]
    pub fn metrics(&self) -> u64 {
        self.published.metrics
    }

    /// Counts what was allocated since `before`, and is not free again by now, as the node's.
    pub fn set_allocated_since(&mut self, before: i64) {
        self.bytes = main_bytes() - before;
    }

    /// It is being imported, and nobody has asked for it here yet.
    pub fn is_importing(&self) -> bool {
        self.is_imported && replication::imports()
    }

    /// An imported node is this server's from now on, as after a promotion.
    #[inline]
    pub fn take_ownership(&mut self, mono_ms: u64) {
        if self.is_imported {
            self.is_imported = false;
            self.node.restart(mono_ms);
        }
    }

    /// Runs a change of the node and measures it. What is allocated by one that is refused is its answer's, not the
    /// node's.
    #[inline]
    pub fn change<R, E>(
        &mut self,
        mono_ms: u64,
        f: impl FnOnce(&mut Node) -> Result<R, E>,
    ) -> Result<R, E> {
        let before = main_bytes();
        let epoch = EPOCH.load(Relaxed);
        if self.epoch != epoch {
            self.epoch = epoch;
            self.node.restart(mono_ms);
        }
        let result = f(&mut self.node);
        match &result {
            Ok(_) => self.measure(before),
            Err(_) => self.measure(main_bytes()),
        }
        result
    }

    #[inline]
    fn measure(&mut self, before: i64) {
        self.bytes += main_bytes() - before;
        if self.node.differs(&self.published) {
            let now = self.node.gauges();
            publish(&self.published, &now);
            self.published = now;
        }
    }
}

impl Drop for StoredNode {
    fn drop(&mut self) {
        publish(&self.published, &Gauges::default());
        NODES.fetch_sub(1, Relaxed);
    }
}

fn publish(before: &Gauges, now: &Gauges) {
    let add = |total: &AtomicI64, before: u64, now: u64| {
        if before != now {
            total.fetch_add(now as i64 - before as i64, Relaxed);
        }
    };
    add(&METRICS, before.metrics, now.metrics);
    add(&FORGOTTEN, before.forgotten, now.forgotten);
    add(&ERRORS, before.errors, now.errors);
    add(&REALITIES, before.realities, now.realities);
    for q in 0..5 {
        add(&LENGTH[q], before.length[q], now.length[q]);
        add(&BYTES[q], before.bytes[q], now.bytes[q]);
        add(&LEASED[q], before.leased[q], now.leased[q]);
    }
}
