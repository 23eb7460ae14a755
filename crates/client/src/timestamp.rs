//! Timestamps of messages and pages: RFC 3339 in UTC, with milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The last second of the year 9999: later years have more digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// Returns a time as `2026-01-31T09:05:00.123Z`. Times before 1970 are shown as its start, times after the year 9999 as
/// its last second.
pub fn utc(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_epoch = since_epoch.min(std::time::Duration::from_secs(LAST_SECOND));
    let time = OffsetDateTime::UNIX_EPOCH + since_epoch;
    // Fails for components that a format needs and the time lacks; it has all of them.
    time.format(FORMAT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_with_milliseconds() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        let half = UNIX_EPOCH + Duration::from_millis(1500);
        assert!(utc(half).ends_with("01.500Z"));
    }

    #[test]
    fn times_out_of_range_are_clamped() {
        let early = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(utc(early), "1970-01-01T00:00:00.000Z");
        let late = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(utc(late), "9999-12-31T23:59:59.000Z");
    }
}
