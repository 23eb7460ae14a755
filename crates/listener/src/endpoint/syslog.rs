//! Syslog: datagrams, and streams with either framing of RFC 6587.

use std::sync::Arc;

use tokio::io::AsyncRead;

use crate::collector::Collector;
use crate::intake::Intake;
use crate::net::stream::{ConnectionLimits, receive};
use crate::report::Receiver;
use crate::reporter::unix_ms;
use crate::syslog::{self, Frames};
use crate::time_zone;

/// The name of the protocol.
pub const NAME: &str = "syslog";

/// The longest message of a stream, bytes. All connections may have one.
const MAX_MESSAGE: usize = 256 * 1024;

/// Parses a message. Times without a zone are local.
pub fn parse(message: &[u8], collector: &mut Collector) {
    let now_ms = unix_ms();
    let utc_offset_s = time_zone::offset_s(now_ms / 1000);
    syslog::parse(message, now_ms, utc_offset_s, collector);
}

/// Reads the messages of a stream until it ends.
pub(crate) async fn read(
    intake: Arc<Intake>,
    mut connection: impl AsyncRead + Unpin,
    limits: ConnectionLimits,
) {
    let mut frames = Frames::new(MAX_MESSAGE);
    receive(&mut connection, &limits, |chunk| {
        let oversized = frames.oversized();
        let mut is_valid = true;
        intake.feed(|collector| {
            let each = &mut |message: &[u8]| parse(message, collector);
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
        frames.finish(&mut |message: &[u8]| parse(message, collector));
    });
}
