//! The local time zone, for times without one.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

/// The time for which a zone is used: finding that of the system reads the environment and perhaps files.
const KEPT: Duration = Duration::from_secs(10);

/// Returns the seconds to add to UTC at a Unix time.
pub fn offset_s(unix_s: i64) -> i32 {
    let time = Timestamp::from_second(unix_s).unwrap_or(Timestamp::UNIX_EPOCH);
    system().to_offset(time).seconds()
}

/// Returns the zone of the system.
fn system() -> TimeZone {
    static ZONE: OnceLock<Mutex<Option<(Instant, TimeZone)>>> = OnceLock::new();
    let mut zone = ZONE.get_or_init(Mutex::default).lock();
    match &*zone {
        Some((since, zone)) if since.elapsed() < KEPT => zone.clone(),
        _ => {
            let (_, found) = zone.insert((Instant::now(), TimeZone::system()));
            found.clone()
        }
    }
}
