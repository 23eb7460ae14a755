//! Syslog: datagrams, and streams with either framing of RFC 6587.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;

use crate::collector::Collector;
use crate::intake::Intake;
use crate::net::stream::receive;
use crate::report::Receiver;
use crate::reporter::unix_ms;
use crate::syslog::{self, Frames};

/// The name of the protocol.
pub const NAME: &str = "syslog";

/// Parses a message. `utc_offset_s` is the local time zone, of times without one.
pub fn parse(message: &[u8], utc_offset_s: i32, collector: &mut Collector) {
    syslog::parse(message, unix_ms(), utc_offset_s, collector);
}

/// Reads the messages of a stream until it ends.
pub async fn read(
    intake: Arc<Intake>,
    mut connection: impl AsyncRead + Unpin,
    utc_offset_s: i32,
    max_message: usize,
    idle: Duration,
) {
    let mut frames = Frames::new(max_message);
    receive(&mut connection, idle, |chunk| {
        let oversized = frames.oversized();
        let mut is_valid = true;
        intake.feed(|collector| {
            let each = &mut |message: &[u8]| parse(message, utc_offset_s, collector);
            is_valid = frames.push(chunk, each).is_ok();
            for _ in oversized..frames.oversized() {
                collector.invalid("a message that is too long", b"");
            }
            if !is_valid {
                collector.invalid("a frame without its length", chunk);
            }
        });
        is_valid
    })
    .await;
    intake.feed(|collector| {
        frames.finish(&mut |message: &[u8]| parse(message, utc_offset_s, collector));
    });
}
