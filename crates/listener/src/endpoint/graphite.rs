//! Graphite: lines and datagrams.

use crate::collector::Collector;
use crate::graphite;

/// The name of the protocol.
pub const NAME: &str = "graphite";

/// Parses a datagram, or a line.
pub fn parse(input: &[u8], collector: &mut Collector) {
    graphite::parse(input, collector);
}
