//! The local time zone, for times without one.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns the seconds to add to UTC at a Unix time.
pub fn offset_s(unix_s: i64) -> i32 {
    let time = Timestamp::from_second(unix_s).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::system().to_offset(time).seconds()
}
