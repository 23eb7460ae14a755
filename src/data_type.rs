//! The data type `aggr-node`: how stored nodes are saved, loaded and copied.
//!
//! Values that a primary sends, or that a file holds at start, are accepted whatever the memory limit is. RESTORE and
//! COPY on a primary are subject to it.

use crate::ffi::alloc::main_thread_bytes;
use crate::ffi::{Ctx, DataType, Level, LoadInput, TypeHandle};
use crate::memory::accounting;
use crate::stored_node::StoredNode;
use crate::{config, replication, transaction};
use aggregator_core::node::{SnapshotLoader, max_histogram_bytes};
use std::ffi::{CStr, c_int};

/// The version of the encoding in RDB files.
const ENCODING: c_int = 1;

impl DataType for StoredNode {
    const NAME: &'static CStr = c"aggr-node";
    const ENCODING: c_int = ENCODING;
    const LOAD_COMMAND: &'static CStr = replication::APPLY;

    fn handle() -> &'static TypeHandle<StoredNode> {
        static HANDLE: TypeHandle<StoredNode> = TypeHandle::new();
        &HANDLE
    }

    fn save(&self, mut emit: &mut dyn FnMut(&[u8])) {
        self.node.snapshot(&mut emit);
    }

    fn load(input: &mut LoadInput<'_>) -> Option<Box<StoredNode>> {
        match load(input) {
            Ok(stored) => Some(stored),
            Err(why) => {
                let text = format!("agg: a node was not loaded: {why}");
                input.ctx().log(Level::Warning, &text);
                None
            }
        }
    }

    fn copy(&self, ctx: Ctx<'_>, db: c_int, name: &[u8]) -> Option<Box<StoredNode>> {
        let limit = config::settings().max_memory;
        let is_limited = ctx.flags().is_active_primary();
        if is_limited && accounting::used() + self.bytes() > limit {
            return None;
        }
        let bytes_before = main_thread_bytes();
        let copy = match self
            .node
            .duplicate(transaction::seed(), transaction::now().mono_ms)
        {
            Ok(node) => StoredNode::new(node, bytes_before),
            Err(error) => {
                let text = format!("agg: internal error: a copied node cannot be decoded: {error}");
                ctx.log(Level::Warning, &text);
                return None;
            }
        };
        let is_registered = copy.register(|| db, name);
        let fits = !is_limited || is_registered && accounting::used() <= limit;
        fits.then_some(copy)
    }

    fn digest(&self, mut add: &mut dyn FnMut(&[u8])) {
        self.node.digest(&mut add);
    }

    fn memory_usage(&self) -> usize {
        usize::try_from(self.bytes()).unwrap_or(usize::MAX)
    }

    fn free_effort(&self) -> usize {
        self.node.free_effort()
    }

    fn unlinked(&self) {
        self.unregister();
    }
}

/// Reads a node frame by frame.
///
/// # Errors
/// The reason for the log.
fn load(input: &mut LoadInput<'_>) -> Result<Box<StoredNode>, String> {
    let encoding = input.encoding();
    if encoding > ENCODING {
        return Err(format!(
            "encoding {encoding} is from a newer version of the module"
        ));
    }
    let flags = input.ctx().flags();
    let is_limited = flags.is_active_primary() && !flags.is_replicated();
    let limit = config::settings().max_memory;
    let too_large = || format!("it does not fit agg.max-memory ({limit} bytes)");
    let now = transaction::now();
    let bytes_before = main_thread_bytes();
    let max_id = replication::max_id(is_limited, now);
    let mut loader = SnapshotLoader::new(transaction::seed(), now.mono_ms, max_id);
    loop {
        let loaded = input.next_chunk(|frame| {
            // The content of a frame takes about as many bytes as the frame, or more; histograms may take many more.
            let cost = frame.len() as u64 + max_histogram_bytes(frame);
            let fits = !is_limited || accounting::used().saturating_add(cost) <= limit;
            fits.then(|| loader.frame(frame))
        });
        let loaded = loaded.ok_or("truncated data")?.ok_or_else(too_large)?;
        if loaded.map_err(|error| error.to_string())? {
            break;
        }
        if is_limited && accounting::used() > limit {
            return Err(too_large());
        }
    }
    let node = loader.finish().map_err(|error| error.to_string())?;
    transaction::observe_id(node.last_id(), now);
    let stored = StoredNode::new(node, bytes_before);
    let (db, name) = input.key();
    let is_registered = name.is_empty() || stored.register(|| db, name);
    if is_limited && (!is_registered || accounting::used() > limit) {
        return Err(too_large());
    }
    Ok(stored)
}
