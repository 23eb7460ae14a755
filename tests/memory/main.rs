//! The memory limit under attack: whatever clients report, keep and leave undrained, `agg.max-memory` bounds the memory
//! used by the module, as the `used_memory` of the server shows. Known metrics continue to be counted exactly, and
//! every rejection and every drop is counted.
//!
//! Attacks last seconds, with AGG_HEAVY=1 a minute each.

mod alone;
mod attackers;
mod closings;
mod drained;
mod draining;
mod handed_in;
mod histograms;
mod imports;
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
