//! Live values of all nodes for Prometheus and for scripts: what `agg serve` serves, and `agg poll` with `[serve]`.
//!
//! - `/metrics`, of `agg poll` `/live`, has the last values of gauges, the totals of counters and percentiles of all metrics, and what servers
//!   and nodes report about themselves: memory, queues, refusals, drops.
//! - `/api/range` has the windows of a metric as JSON (range.rs).
//!
//! A scrape reads all servers at the same time (collector.rs, reader.rs). What it reads becomes text (series.rs,
//! page.rs); web.rs serves it.
//!
//! # Invariants
//!
//! - Servers are only read: nothing is drained, and nothing changes.
//! - What a scrape may take is bounded: its series, its time, its memory. Scrapes at the same time share one reading, so
//!   many or slow clients do not multiply the load of the servers.
//! - A server that does not answer delays nothing but itself, by [`SILENCE`]: it is down, and the others are served.
//! - No series occurs twice. Which series are left out at the limit depends on their names alone, so it is the same from
//!   scrape to scrape.

mod collector;
mod info;
mod metric;
mod page;
mod range;
mod reader;
mod series;
mod settings;
mod targets;
mod web;

use std::time::Duration;

pub use settings::{Settings, SettingsError};
pub use targets::Targets;
pub use web::serve;
pub(crate) use web::{Families, Live};

/// The time for which a server may be silent before it counts as down.
const SILENCE: Duration = Duration::from_secs(3);
