//! `INFO agg`: the server's sums and counters.
//!
//! The server also calls it for its crash report, when the heap may be damaged. Then it writes the atomics only, and
//! neither allocates nor waits.

use crate::ffi::{InfoWriter, MainThread};
use crate::memory::accounting;
use crate::{config, totals, transaction};
use aggregator_core::Now;
use aggregator_core::Queue;
use aggregator_core::ages::Ages;
use aggregator_core::counters::Dropped;
use aggregator_core::counters::RejectReason;
use aggregator_core::settings::Setting;
use aggregator_protocol::level;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The oldest id of each queue over all nodes, as the timer's last round saw it; 0: none.
static OLDEST: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// The ages of ids.
static AGES: MainThread<Ages> = MainThread::new(Ages::new());

/// Sets the oldest id of each queue.
pub fn set_oldest(oldest: [u64; 5]) {
    for (cell, id) in OLDEST.iter().zip(oldest) {
        cell.store(id, Relaxed);
    }
}

/// Reads the clocks at a tick, when `newest` is the largest id.
pub fn observe_clocks(newest: u64, now: Now) {
    AGES.with(|ages| ages.observe(newest, now));
}

/// Calls `f` with the ages of ids.
pub fn with_ages<R>(f: impl FnOnce(&Ages) -> R) -> Option<R> {
    AGES.with(|ages| f(ages))
}

/// Writes all sections.
pub fn write(info: &mut InfoWriter, for_crash_report: bool) {
    let contents = totals::contents();
    if info.section(c"nodes") {
        info.field(c"nodes", totals::nodes());
        info.field(c"metrics", contents.metrics);
        info.field(c"errors", contents.errors);
        info.field(c"realities", contents.objects);
        info.field(c"forgotten", contents.forgotten);
        info.field(c"sources", contents.sources);
    }
    if info.section(c"memory") {
        info.field(c"held", accounting::used());
        info.field(c"max_memory", config::value(Setting::MaxMemory) as u64);
        info.field(
            c"max_node_memory",
            config::value(Setting::MaxNodeMemory) as u64,
        );
    }
    if for_crash_report {
        return;
    }
    let Some(counters) = transaction::with_counters(|counters| counters.clone()) else {
        return;
    };
    if info.section(c"queues") {
        let now = transaction::now();
        for queue in Queue::ALL {
            let q = queue as usize;
            let age_ms = match OLDEST[q].load(Relaxed) {
                id if id == 0 || contents.length[q] == 0 => 0,
                id => with_ages(|ages| ages.age_ms(id, now)).unwrap_or(0),
            };
            let fields = [
                ("length", contents.length[q]),
                ("bytes", contents.bytes[q]),
                ("oldest", age_ms),
                ("leased", contents.leased[q]),
                ("dropped", counters.dropped_from[q]),
            ];
            for (name, value) in fields {
                info.field(&field(&[&queue.name().to_lowercase(), name]), value);
            }
        }
    }
    if info.section(c"samples") {
        info.field(c"late", counters.late);
        info.field(c"late_min", counters.late_min);
        info.field(c"late_hour", counters.late_hour);
        info.field(c"forgotten_dropped", counters.forgotten_dropped);
        info.field(c"sources_dropped", counters.sources_dropped);
        info.field(c"clock_back", counters.clock_back);
        info.field(c"suspect_diff", counters.suspect_diff);
        info.field(c"truncated", counters.truncated);
    }
    if info.section(c"new_errors") {
        for ((severity, _), count) in level::NAMES.iter().zip(counters.new_errors) {
            let name = field(&["new_errors", &severity.to_lowercase()]);
            info.field(&name, count.into());
        }
    }
    if info.section(c"imports") {
        info.field(c"imported", counters.imported);
        info.field(c"import_duplicates", counters.import_duplicates);
        info.field(c"import_refused", counters.import_refused);
    }
    if info.section(c"refused") {
        for reason in RejectReason::ALL {
            info.field(
                &field(&["refused", reason.name()]),
                counters.rejected[reason as usize],
            );
        }
    }
    if info.section(c"dropped") {
        for reason in Dropped::ALL {
            let count = counters.dropped[reason as usize];
            info.field(&field(&["dropped", reason.name()]), count.count);
            info.field(
                &field(&["dropped", reason.name(), "last"]),
                count.last_ms as u64,
            );
        }
    }
}

/// Returns the name of a field made of words, with `_` for `-` as in the fields of Redis.
fn field(words: &[&str]) -> CString {
    CString::new(words.join("_").replace('-', "_")).unwrap_or_else(|_| CStr::to_owned(c"field"))
}
