//! Each protocol with its transport.

pub mod graphite;
pub mod influxdb;
pub mod otlp;
pub mod prometheus;
pub mod statsd;
pub mod syslog;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;

use crate::collector::Collector;
use crate::intake::Intake;
use crate::lines::{Line, Lines};
use crate::net::stream::receive;
use crate::report::Receiver;

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    /// The longest message or line, bytes.
    pub max_message: usize,
    /// A connection without input is closed after this time.
    pub idle: Duration,
}

/// Reads lines of a stream until it ends, and passes those of each chunk on together.
pub(crate) async fn read_lines(
    intake: Arc<Intake>,
    mut connection: impl AsyncRead + Unpin,
    limits: StreamLimits,
    parse: fn(&[u8], &mut Collector),
) {
    let mut lines = Lines::new(limits.max_message);
    let each = |line: Line<'_>, collector: &mut Collector| match line {
        Line::Complete(line) => parse(line, collector),
        Line::TooLong(start) => collector.invalid("a line that is too long", start),
    };
    receive(&mut connection, limits.idle, |chunk| {
        intake.feed(|collector| lines.push(chunk, |line| each(line, collector)));
        true
    })
    .await;
    intake.feed(|collector| lines.finish(|line| each(line, collector)));
}
