//! The times of syslog messages: ISO 8601, and those of RFC 3164 without a year and a zone.

use super::split::split_while;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Maximum digits of a number.
const MAX_DIGITS: usize = 9;
/// Years before and after the current one in which a date without a year may be: 29 February may be missing for 8.
const YEARS: i64 = 8;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The clock of the receiver.
#[derive(Clone, Copy)]
pub struct Clock {
    /// Unix milliseconds.
    pub now_ms: i64,
    /// The local offset from UTC, seconds east.
    pub utc_offset_s: i32,
}

impl Clock {
    fn offset_ms(self) -> i64 {
        i64::from(self.utc_offset_s) * 1000
    }

    /// Reads the time at the start of a text, and returns it with the rest: ISO 8601, or as RFC 3164 has it, also with a
    /// year, a fraction and a zone. None if there is no valid time.
    pub fn read(self, text: &[u8]) -> Option<(i64, &[u8])> {
        let old = || self.rfc3164(text);
        self.local_iso(text).or_else(old)
    }

    fn local_iso(self, text: &[u8]) -> Option<(i64, &[u8])> {
        let (time, zone, rest) = iso(text)?;
        let at = time - zone.unwrap_or(self.offset_ms());
        is_end(rest).then_some((at, rest))
    }

    /// Reads `Oct 11 22:14:15`, `Oct 11 2026 22:14:15.003 UTC`, `1990 Oct 22 10:52:01 TZ-6` or
    /// `Aug 24 05:34:00 CST 1987`.
    fn rfc3164(self, text: &[u8]) -> Option<(i64, &[u8])> {
        let (year_before, text) = year(text).unwrap_or((0, text));
        let month = MONTHS.iter().position(|name| text.starts_with(*name))?;
        let (_, day) = split_while(text.get(3..)?.strip_prefix(b" ")?, |byte| *byte == b' ');
        let (day, rest) = number(day, 1..=2)?;
        let rest = rest.strip_prefix(b" ")?;
        let (year_within, rest) = year(rest).unwrap_or((0, rest));
        let (time, rest) = time_of_day(rest)?;
        let (zone, year_after, rest) = zone_and_year(rest);
        if !is_end(rest) {
            return None;
        }
        let month = month as i64 + 1;
        let offset = zone.unwrap_or(self.offset_ms());
        let at = |year: i64| Some(days(year, month, day)? * DAY_MS + time - offset);
        let year = [year_before, year_within, year_after]
            .into_iter()
            .find(|year| *year > 0);
        let at = match year {
            Some(year) => at(year)?,
            None => self.nearest(at)?,
        };
        Some((at, rest))
    }

    /// Returns the time that is nearest to now, of one in each year.
    fn nearest(self, in_year: impl Fn(i64) -> Option<i64>) -> Option<i64> {
        let today = self.now_ms.div_euclid(DAY_MS);
        // 400 years have 146,097 days. The error is less than a year.
        let now = 1970 + today.saturating_mul(400) / 146_097;
        let years = now.saturating_sub(YEARS)..=now.saturating_add(YEARS);
        years
            .filter_map(in_year)
            .min_by_key(|at| at.abs_diff(self.now_ms))
    }
}

/// Returns whether a time may end here.
fn is_end(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b' ' | b':'))
}

/// Reads a time of RFC 3339 as milliseconds in its zone, and the offset of the zone in milliseconds. The zone may be
/// missing.
pub fn iso(text: &[u8]) -> Option<(i64, Option<i64>, &[u8])> {
    let (year, rest) = number(text, 4..=4)?;
    let (month, rest) = number(rest.strip_prefix(b"-")?, 2..=2)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?, 2..=2)?;
    let rest = rest
        .strip_prefix(b"T")
        .or_else(|| rest.strip_prefix(b" "))?;
    let (time, rest) = time_of_day(rest)?;
    let (zone, rest) = match zone(rest) {
        Some((zone, rest)) => (Some(zone), rest),
        None => (None, rest),
    };
    Some((days(year, month, day)? * DAY_MS + time, zone, rest))
}

/// Reads `22:14:15` or `22:14:15.003` as milliseconds. The fraction has up to nine digits.
fn time_of_day(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, rest) = number(text, 2..=2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 2..=2)?;
    let (second, rest) = number(rest.strip_prefix(b":")?, 2..=2)?;
    // A leap second is the first one of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let ms = ((hour * 60 + minute) * 60 + second) * 1000;
    let fraction = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b","));
    let Some((digits, after)) = fraction.map(|text| split_while(text, u8::is_ascii_digit)) else {
        return Some((ms, rest));
    };
    if !(1..=MAX_DIGITS).contains(&digits.len()) {
        return None;
    }
    let digit = |place: usize| digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    Some((ms + digit(0) * 100 + digit(1) * 10 + digit(2), after))
}

/// Reads `Z`, `+01:00` or `-0700` as milliseconds.
fn zone(text: &[u8]) -> Option<(i64, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"Z").or_else(|| text.strip_prefix(b"z")) {
        return Some((0, rest));
    }
    let (sign, rest) = sign(text)?;
    let (digits, after) = number(rest, 2..=4)?;
    let (hours, minutes, rest) = match (rest.len() - after.len(), after.strip_prefix(b":")) {
        (2, Some(rest)) => {
            let (minutes, rest) = number(rest, 2..=2)?;
            (digits, minutes, rest)
        }
        (4, _) => (digits / 100, digits % 100, after),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some((sign * (hours * 60 + minutes) * 60_000, rest))
}

fn sign(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, rest) = text.split_first()?;
    match sign {
        b'+' => Some((1, rest)),
        b'-' => Some((-1, rest)),
        _ => None,
    }
}

/// Reads the zone, the year, or both behind a time of RFC 3164. A zone without a meaning is skipped if a year follows:
/// the name of a host may look like one.
fn zone_and_year(text: &[u8]) -> (Option<i64>, i64, &[u8]) {
    let Some(rest) = text.strip_prefix(b" ") else {
        return (None, 0, text);
    };
    let (name, after) = split_while(rest, u8::is_ascii_uppercase);
    let (zone, rest_of_zone) = match name {
        b"UTC" | b"GMT" if is_end(after) => (Some(0), after),
        b"TZ" => match sign(after).and_then(|(sign, hours)| Some((sign, number(hours, 1..=2)?))) {
            Some((sign, (hours, rest))) if hours <= 23 => (Some(sign * hours * 3_600_000), rest),
            _ => (None, text),
        },
        _ => (None, text),
    };
    let skipped = if (2..=5).contains(&name.len()) && zone.is_none() {
        after
    } else {
        rest_of_zone
    };
    match skipped.strip_prefix(b" ").and_then(year_at_end) {
        Some((year, rest)) => (zone, year, rest),
        None => (zone, 0, rest_of_zone),
    }
}

/// Reads a year that a space follows, and the space.
fn year(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = number(text, 4..=4)?;
    Some((year, rest.strip_prefix(b" ")?)).filter(|_| year > 0)
}

/// Reads a year behind a time.
fn year_at_end(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = number(text, 4..=4)?;
    ((1970..=2199).contains(&year) && is_end(rest)).then_some((year, rest))
}

/// Reads a number with that many digits, at most nine.
fn number(text: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<(i64, &[u8])> {
    let (found, rest) = split_while(text, u8::is_ascii_digit);
    if !digits.contains(&found.len()) {
        return None;
    }
    let number = found
        .iter()
        .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Some((number, rest))
}

/// Returns the days from 1970-01-01 to a date of the Gregorian calendar, or none if there is no such date.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(-9999..=9999).contains(&year) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leap_days + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-12-01T15:04:01Z.
    const NOW: i64 = 1_796_137_441_000;

    fn at(text: &str, utc_offset_s: i32) -> Option<(i64, String)> {
        let clock = Clock {
            now_ms: NOW,
            utc_offset_s,
        };
        let (at, rest) = clock.read(text.as_bytes())?;
        Some((at, String::from_utf8(rest.to_vec()).unwrap()))
    }

    fn is(text: &str, utc_offset_s: i32, expected: &str) {
        let (time, zone, _) = iso(expected.as_bytes()).unwrap();
        let found = at(text, utc_offset_s).map(|(at, _)| at);
        assert_eq!(found, Some(time - zone.unwrap()), "{text}");
    }

    #[test]
    fn iso_times_have_a_zone_or_the_local_one() {
        assert_eq!(
            at("2026-12-01T15:04:01Z x", 0),
            Some((NOW, " x".to_owned()))
        );
        is(
            "2026-12-01T15:04:01.123456+01:00",
            0,
            "2026-12-01T14:04:01.123Z",
        );
        is("2026-12-01T15:04:01,9-0730", 0, "2026-12-01T22:34:01.900Z");
        is("2026-12-01 15:04:01", 3600, "2026-12-01T14:04:01Z");
        is("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z");
        assert_eq!(at("1970-01-01T00:00:00Z", 0).unwrap().0, 0);
        assert_eq!(at("2000-02-29T00:00:00Z", 0).unwrap().0, 951_782_400_000);
        assert_eq!(
            at("0000-01-01T00:00:00Z", 0).unwrap().0,
            -62_167_219_200_000
        );
        assert_eq!(
            at("9999-12-31T23:59:60Z", 0).unwrap().0,
            253_402_300_800_000
        );
    }

    #[test]
    fn time_without_a_year_is_in_the_nearest_one() {
        is("Dec  1 15:04:01", 0, "2026-12-01T15:04:01Z");
        is("Dec 01 15:04:01", 3600, "2026-12-01T14:04:01Z");
        is("Jan 1 00:00:00", -3600, "2027-01-01T01:00:00Z");
        is("Jun  5 00:00:00", 0, "2026-06-05T00:00:00Z");
        is("May 31 00:00:00", 0, "2027-05-31T00:00:00Z");
        is("Feb 29 12:00:00", 0, "2028-02-29T12:00:00Z");
        let clock = Clock {
            now_ms: 4_102_444_800_000,
            utc_offset_s: 0,
        }; // 2100-01-01
        assert_eq!(
            clock.read(b"Dec 31 23:59:59").unwrap().0,
            clock.now_ms - 1000
        );
        assert!(clock.read(b"Feb 29 23:59:59").is_some());
    }

    #[test]
    fn old_times_may_have_a_year_a_fraction_and_a_zone() {
        is("Oct 11 2003 22:14:15", 0, "2003-10-11T22:14:15Z");
        is("Oct 11 22:14:15 2003", 0, "2003-10-11T22:14:15Z");
        is("Oct 11 22:14:15.250 UTC", 3600, "2026-10-11T22:14:15.250Z");
        is("Aug 24 05:34:00 CST 1987", -21_600, "1987-08-24T11:34:00Z");
        is("1990 Oct 22 10:52:01 TZ-6", 0, "1990-10-22T16:52:01Z");
        // Not a zone but a host, and not a year but the number of a port.
        assert_eq!(at("Oct 11 22:14:15 CST 8080", 0).unwrap().1, " CST 8080");
        assert_eq!(at("Oct 11 22:14:15 TZ x", 0).unwrap().1, " TZ x");
    }

    #[test]
    fn invalid_times_are_none() {
        for text in [
            "",
            "Oct",
            "Oct ",
            "Oct 11",
            "Oct 32 22:14:15",
            "Feb 30 22:14:15",
            "Oct 11 24:14:15",
            "Oct 11 22:60:15",
            "Oct 11 22:14:61",
            "Oct 11 22:14:15x",
            "oct 11 22:14:15",
            "Oct 011 22:14:15",
            "2026-13-01T15:04:01Z",
            "2026-12-01T15:04:01Zx",
            "2026-12-01T15:04:01.Z",
            "2026-12-01T15:04:01.1234567890Z",
            "2026-12-01",
            "2026-12-01T15:04:01+24:00",
            "2026-12-01T15:04",
            "20026-12-01T15:04:01Z",
            "Oct 11 22:14:15.x",
        ] {
            assert_eq!(at(text, 0), None, "{text}");
        }
    }

    #[test]
    fn extreme_clocks_do_no_harm() {
        for now_ms in [i64::MIN, i64::MAX, 0] {
            for utc_offset_s in [i32::MIN, i32::MAX] {
                let clock = Clock {
                    now_ms,
                    utc_offset_s,
                };
                clock.read(b"Oct 11 22:14:15");
                clock.read(b"2026-12-01T15:04:01");
            }
        }
    }
}
