//! Each protocol with its transport.

pub mod graphite;
pub mod influxdb;
pub mod otlp;
pub mod prometheus;
pub mod statsd;
pub mod syslog;

use std::sync::Arc;

use tokio::io::AsyncRead;

use crate::collector::Collector;
use crate::intake::Intake;
use crate::lines::{Line, Lines};
use crate::net::stream::{ConnectionLimits, receive};
use crate::report::Receiver;

/// The longest line of a stream, bytes: as long as a datagram can be. All connections may have one.
const MAX_LINE: usize = 64 * 1024;

/// Reads lines of a stream until it ends, and passes those of each chunk on together.
pub(crate) async fn read_lines(
    intake: Arc<Intake>,
    mut connection: impl AsyncRead + Unpin,
    limits: ConnectionLimits,
    parse: fn(&[u8], &mut Collector),
) {
    let mut lines = Lines::new(MAX_LINE);
    let each = |line: Line<'_>, collector: &mut Collector| match line {
        Line::Complete(line) => parse(line, collector),
        Line::TooLong(start) => collector.invalid("a line that is too long", start),
    };
    receive(&mut connection, &limits, |chunk| {
        intake.feed(|collector| lines.push(chunk, |line| each(line, collector)));
        true
    })
    .await;
    intake.feed(|collector| lines.finish(|line| each(line, collector)));
}
