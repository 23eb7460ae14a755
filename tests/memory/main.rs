//! The ceiling under attack: whatever clients report, hold and leave undrained, `agg.max-memory` bounds what the module
//! holds, as the server's own `used_memory` shows it; what was there before goes on being counted exactly; every refusal
//! and every drop is told.
//!
//! Attacks go on for seconds, with AGG_HEAVY=1 for a minute each.

mod alone;
mod attackers;
mod closings;
mod drained;
mod draining;
mod handed_in;
mod lowered;
mod node_limit;
mod one_command;
mod reporter;
mod sideways;
mod steps;
mod support;
mod together;
mod unlinked;
mod usage;
