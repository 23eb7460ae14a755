//! AGG.SCAN: iterates over the metrics, errors or objects of a node.

use crate::model::ItemKind;
use crate::node::Node;
use crate::node::read::Open;
use crate::node::table::{Named, Table};
use crate::reply::Reply;
use aggregator_protocol::glob::Glob;
use aggregator_protocol::tags;

/// The arguments of a scan.
pub(crate) struct Scan {
    pub item_kind: ItemKind,
    pub cursor: u64,
    pub pattern: Option<Glob>,
    pub count: usize,
    /// The values with each name.
    pub values: Option<ScanValues>,
    /// See [`Open`].
    pub open: Open,
}

/// The values that a scan returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanValues {
    /// All, as AGG.GET returns them.
    All,
    /// Only the latest values of metrics, which take a fifth of the bytes and of the time; all of errors and objects.
    Last,
}

impl ScanValues {
    /// Both, in the order of the grammar.
    pub(crate) const BOTH: [ScanValues; 2] = [ScanValues::All, ScanValues::Last];

    /// Returns the option of AGG.SCAN.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            ScanValues::All => "WITHVALUES",
            ScanValues::Last => "WITHLAST",
        }
    }
}

impl Node {
    /// AGG.SCAN: the next cursor and names. A scan goes from the last slot to the first, and the cursor counts the
    /// remaining slots. An item that fills the place of a removed one comes from a higher slot, so an item that exists
    /// throughout is never missed, and listed twice only if it was moved. A scan ends before `count` where the reply
    /// gets long or the pattern takes long.
    pub(crate) fn scan(&self, scan: &Scan, node_name: &[u8], reply: &mut dyn Reply) {
        let (slots, next) = match scan.item_kind {
            ItemKind::Metric => slots(&self.metrics.table, scan, |m| {
                // About twice the bytes of the latest values: a short value takes more time per byte than a long one.
                let rest = match scan.values {
                    Some(ScanValues::Last) if m.has_histograms() => 512,
                    Some(ScanValues::Last) => 256,
                    _ => 1024,
                };
                m.name.len() + shown_size(self.metrics.tags.text(m.tags)) + rest
            }),
            ItemKind::Error => slots(&self.errors.table, scan, |e| {
                e.size() + shown_size(e.latest().tags) + 512
            }),
            ItemKind::Object => slots(&self.objects.table, scan, |o| {
                o.size() + shown_size(&o.tags) + 512
            }),
        };
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(slots.len() * if scan.values.is_some() { 2 } else { 1 });
        for slot in slots {
            reply.bulk(self.name_of(scan.item_kind, slot));
            match scan.values {
                None => {}
                Some(ScanValues::Last) if scan.item_kind == ItemKind::Metric => {
                    match self.metrics.table.get(slot) {
                        Some(metric) => self.last_values(metric, scan.open, reply),
                        None => reply.null(),
                    }
                }
                Some(_) => self.value(scan.item_kind, slot, node_name, scan.open, reply),
            }
        }
    }

    fn name_of(&self, item_kind: ItemKind, slot: u32) -> &[u8] {
        match item_kind {
            ItemKind::Metric => self.metrics.table.get(slot).map_or(&[], Named::name),
            ItemKind::Error => self.errors.table.get(slot).map_or(&[], Named::name),
            ItemKind::Object => self.objects.table.get(slot).map_or(&[], Named::name),
        }
    }
}

/// The approximate limit of the bytes of a reply. A page of 1,000 metrics with all values takes 4 to 5 ms of the server,
/// and one of 3,300 with the latest 3 ms (Redis 7.0.15, 2026-12-03): in that time no other client is served.
const MAX_BYTES: usize = 1 << 20;

/// The approximate limit of the work on the pattern of a scan: some milliseconds.
const MAX_STEPS: u64 = 4 << 20;

/// Checks `count` items from the cursor on downwards; 0: the beginning and the end. `size`: the approximate bytes of an
/// item with its values.
fn slots<T: Named>(table: &Table<T>, scan: &Scan, size: impl Fn(&T) -> usize) -> (Vec<u32>, u64) {
    let mut found = Vec::new();
    let (mut seen, mut bytes, mut steps) = (0, 0, 0);
    let mut left = match u32::try_from(scan.cursor).unwrap_or(u32::MAX) {
        0 => table.len(),
        cursor => cursor.min(table.len()),
    };
    while left > 0 && seen < scan.count && bytes < MAX_BYTES && steps < MAX_STEPS {
        let slot = left - 1;
        let pattern = scan.pattern.as_ref();
        let mut matches = |name: &[u8]| pattern.is_none_or(|p| p.matches(name, &mut steps));
        if let Some(item) = table.get(slot).filter(|item| matches(item.name())) {
            found.push(slot);
            bytes += match scan.values {
                Some(_) => size(item),
                None => item.name().len(),
            };
        }
        seen += 1;
        left = slot;
    }
    (found, left.into())
}

/// Returns the approximate bytes of a map of tags: each has its name, its value and what is around them.
fn shown_size(tags: &[u8]) -> usize {
    tags.len() + 16 * tags::spaces(tags)
}
