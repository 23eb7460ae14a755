//! statsd: datagrams and lines.

use crate::collector::Collector;
use crate::statsd;

/// The name of the protocol.
pub const NAME: &str = "statsd";

/// Parses a datagram, or a line.
pub fn parse(input: &[u8], collector: &mut Collector) {
    statsd::parse(input, collector);
}
