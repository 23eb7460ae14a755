//! The value of a key: a node with the module's bookkeeping.

use crate::ffi::alloc::main_thread_bytes;
use crate::memory::accounting::NodeUsage;
use crate::{key_registry, replication, totals};
use aggregator_core::Node;
use aggregator_core::node::NodeContents;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// A node as a key stores it.
pub struct StoredNode {
    /// The node.
    pub node: Node,
    /// Bytes that the node has allocated, measured around every change.
    bytes: i64,
    /// The key registry knows where the node is.
    is_registered: AtomicBool,
    /// The client that sent the last AGG.APPLY; 0: none did, or a primary or a file.
    pub replay_client: u64,
    /// An import of slots brings the node. The old owner decides for it until the import has ended, or until a client
    /// asks for the node here.
    pub is_imported: bool,
    /// The node's share in the totals.
    published: NodeContents,
    /// The epoch in which the node was last changed.
    epoch: u32,
}

// A size class of allocators. With the next one, each node would take 256 bytes more.
const _: () = assert!(size_of::<StoredNode>() <= 1792);

/// Raised at every load and promotion. A node of an older epoch restarts its quiet times before anything else happens
/// to it.
static EPOCH: AtomicU32 = AtomicU32::new(0);

/// Starts a new epoch.
pub fn start_epoch() {
    EPOCH.fetch_add(1, Relaxed);
}

impl StoredNode {
    /// Wraps a node that was made since [`main_thread_bytes`] was `bytes_before`.
    pub fn new(node: Node, bytes_before: i64) -> Box<StoredNode> {
        let mut stored = Box::new(StoredNode {
            node,
            bytes: 0,
            is_registered: AtomicBool::new(false),
            replay_client: 0,
            is_imported: false,
            published: NodeContents::default(),
            epoch: EPOCH.load(Relaxed),
        });
        totals::add_node();
        stored.measure(bytes_before);
        stored
    }

    /// Returns the bytes that the node has allocated.
    #[inline]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(0)
    }

    /// Returns what memory accounting knows of the node.
    #[inline]
    pub fn usage(&self) -> NodeUsage {
        NodeUsage {
            bytes: self.bytes(),
            metrics: self.published.metrics,
            hist_metrics: self.published.hist_metrics,
        }
    }

    /// Marks the node as not registered, because it has left its name.
    pub fn unregister(&self) {
        self.is_registered.store(false, Relaxed);
    }

    /// Registers the node under its name, if it is not. Returns false if the name does not fit below the memory limit.
    #[inline]
    pub fn register(&self, db: impl FnOnce() -> i32, name: &[u8]) -> bool {
        self.is_registered.load(Relaxed) || {
            let is_registered = key_registry::insert(db(), name);
            self.is_registered.store(is_registered, Relaxed);
            is_registered
        }
    }

    /// Counts everything that was allocated since `bytes_before`, and is not free again by now, as the node's.
    pub fn set_allocated_since(&mut self, bytes_before: i64) {
        self.bytes = main_thread_bytes() - bytes_before;
    }

    /// Returns whether the node is being imported, and no client has asked for it here yet.
    pub fn is_importing(&self) -> bool {
        self.is_imported && replication::is_importing_slots()
    }

    /// Returns whether another server decides for the node: its old owner, while slots are being imported, or the
    /// server whose file a client is replaying.
    pub fn is_decided_elsewhere(&self, mono_ms: u64) -> bool {
        self.is_importing() || replication::is_replaying(self.replay_client, mono_ms)
    }

    /// Makes an imported node this server's own, as after a promotion.
    #[inline]
    pub fn take_ownership(&mut self, mono_ms: u64) {
        if self.is_imported {
            self.is_imported = false;
            self.node.restart(mono_ms);
        }
    }

    /// Runs a change of the node and measures it. Memory that a rejected change allocates belongs to its reply,
    /// not to the node.
    #[inline]
    pub fn change<R, E>(
        &mut self,
        mono_ms: u64,
        f: impl FnOnce(&mut Node) -> Result<R, E>,
    ) -> Result<R, E> {
        let bytes_before = main_thread_bytes();
        let epoch = EPOCH.load(Relaxed);
        if self.epoch != epoch {
            self.epoch = epoch;
            self.node.restart(mono_ms);
        }
        let result = f(&mut self.node);
        match &result {
            Ok(_) => self.measure(bytes_before),
            Err(_) => self.measure(main_thread_bytes()),
        }
        result
    }

    #[inline]
    fn measure(&mut self, bytes_before: i64) {
        self.bytes += main_thread_bytes() - bytes_before;
        if self.node.differs(&self.published) {
            self.publish();
        }
    }

    #[inline(never)]
    fn publish(&mut self) {
        let now = self.node.contents();
        totals::update(&self.published, &now);
        self.published = now;
    }
}

impl Drop for StoredNode {
    fn drop(&mut self) {
        totals::update(&self.published, &NodeContents::default());
        totals::remove_node();
    }
}
