//! The plaintext protocol of Graphite: `path value timestamp`, one sample of a gauge per line.
//!
//! Formats: <https://graphite.readthedocs.io/en/latest/feeding-carbon.html#the-plaintext-protocol> and, for tags,
//! <https://graphite.readthedocs.io/en/latest/tags.html> (Graphite 1.1).
//!
//! - Spaces and tabs separate the three fields. There may be several, and some before and after the fields.
//! - The timestamp is in Unix seconds, which may have decimals. `-1` and `N` mean now.
//! - Tags follow the path: `disk.used;rack=a1;host=web1`. A line with an invalid tag is not used, as its series is not
//!   known.
//! - A value that is infinite or not a number is invalid.

use std::borrow::Cow;

use memchr::memchr_iter;
use smallvec::SmallVec;

use crate::decimal;
use crate::report::{Attribute, Receiver, Sample, SampleValue};

/// Parses a datagram, or a part of a stream that consists of whole lines. Lines end with `\n` or `\r\n`; the last one
/// need not. Blank lines are skipped.
///
/// Takes linear time, and allocates nothing for lines with up to 16 tags in UTF-8.
pub fn parse(lines: &[u8], receiver: &mut impl Receiver) {
    let mut start = 0;
    for end in memchr_iter(b'\n', lines).chain([lines.len()]) {
        let line = lines.get(start..end).unwrap_or_default();
        start = end + 1;
        if let Err(reason) = parse_line(&String::from_utf8_lossy(line), receiver) {
            receiver.invalid(reason, line.strip_suffix(b"\r").unwrap_or(line));
        }
    }
}

fn parse_line(line: &str, receiver: &mut impl Receiver) -> Result<(), &'static str> {
    let mut fields = line.split_ascii_whitespace();
    let Some(series) = fields.next() else {
        return Ok(());
    };
    let value = fields.next().ok_or("no value")?;
    let time = fields.next().ok_or("no timestamp")?;
    if fields.next().is_some() {
        return Err("more than three fields");
    }
    let mut parts = series.split(';');
    let path = parts
        .next()
        .filter(|path| !path.is_empty())
        .ok_or("no path")?;
    let mut attributes = SmallVec::<[Attribute<'_>; 16]>::new();
    for tag in parts {
        match tag.split_once('=') {
            Some((name, value)) if !name.is_empty() => attributes.push(Attribute::new(name, value)),
            _ => return Err("an invalid tag"),
        }
    }
    let value = decimal::parse(value.as_bytes()).ok_or("an invalid value")?;
    receiver.sample(&Sample {
        name: Cow::Borrowed(path),
        attributes: &attributes,
        unit: "",
        at: parse_time(time)?,
        value: SampleValue::Abs(value),
    });
    Ok(())
}

/// Returns Unix milliseconds, none for now.
fn parse_time(text: &str) -> Result<Option<i64>, &'static str> {
    let is_now =
        text == "N" || decimal::parse(text.as_bytes()).is_some_and(|time| time.to_f64() == -1.0);
    if is_now {
        return Ok(None);
    }
    let time = decimal::unix_seconds(text.as_bytes());
    time.map(Some).ok_or("an invalid timestamp")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recorded::Recorded;

    fn received(lines: impl AsRef<[u8]>) -> Recorded {
        let mut recorded = Recorded::default();
        parse(lines.as_ref(), &mut recorded);
        recorded
    }

    #[track_caller]
    fn samples(lines: impl AsRef<[u8]>) -> Vec<String> {
        let received = received(lines);
        assert_eq!(received.invalid, [""; 0]);
        received.samples
    }

    #[test]
    fn samples_are_values_of_gauges() {
        for (line, expected) in [
            (
                "local.random.diceroll 4 1656581400",
                "local.random.diceroll ABS 4 at=1656581400000",
            ),
            (
                "a.b -1.5e3 1656581400.25\r",
                "a.b ABS -1500 at=1656581400250",
            ),
            ("a.b .5 -1", "a.b ABS 0.5"),
            ("a.b 5. -1.0", "a.b ABS 5"),
            ("a.b +7 N", "a.b ABS 7"),
            (" \ta.b \t7   0  ", "a.b ABS 7 at=0"),
            ("a:b|c@d 1 N", "a:b|c@d ABS 1"),
        ] {
            assert_eq!(samples(line), [expected]);
        }
    }

    #[test]
    fn tags_are_attributes() {
        assert_eq!(
            samples("disk.used;datacenter=dc1;rack=a1;server=web01 42 1656581400"),
            ["disk.used ABS 42 datacenter=dc1 rack=a1 server=web01 at=1656581400000"]
        );
        assert_eq!(samples("a;b=c=d;e= 1 N"), ["a ABS 1 b=c=d e="]);
        let tags: String = (0..40).map(|n| format!(";tag{n}={n}")).collect();
        assert_eq!(
            samples(format!("a{tags} 1 N")),
            [format!("a ABS 1{}", tags.replace(';', " "))]
        );
    }

    #[test]
    fn lines_end_with_a_newline() {
        assert_eq!(
            samples("a 1 N\nb 2 N\r\n\n \r\nc 3 N"),
            ["a ABS 1", "b ABS 2", "c ABS 3"]
        );
        assert_eq!(samples(""), [""; 0]);
    }

    #[test]
    fn invalid_lines_are_counted_with_a_reason() {
        for (line, reason) in [
            ("a", "no value"),
            ("a 1", "no timestamp"),
            ("a 1 N 2", "more than three fields"),
            ("a b 1 N", "more than three fields"),
            (";b=c 1 N", "no path"),
            ("a; 1 N", "an invalid tag"),
            ("a;b 1 N", "an invalid tag"),
            ("a;=b 1 N", "an invalid tag"),
            ("a x N", "an invalid value"),
            ("a nan N", "an invalid value"),
            ("a inf N", "an invalid value"),
            ("a -Infinity N", "an invalid value"),
            ("a 1e999 N", "an invalid value"),
            ("a 1 n", "an invalid timestamp"),
            ("a 1 -2", "an invalid timestamp"),
            ("a 1 nan", "an invalid timestamp"),
            ("a 1 99999999999999999999", "an invalid timestamp"),
        ] {
            let received = received(format!("b 1 N\n{line}\r\nc 2 N"));
            assert_eq!(received.invalid, [format!("{reason}: {line}")]);
            assert_eq!(received.samples, ["b ABS 1", "c ABS 2"]);
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_repaired() {
        assert_eq!(
            samples(b"caf\xe9;k\xff=\xfe 1 N\nsnow.\xe2\x98\x83 2 N"),
            [
                "caf\u{fffd} ABS 1 k\u{fffd}=\u{fffd}",
                "snow.\u{2603} ABS 2"
            ]
        );
        assert_eq!(
            received(b"a \xff N").invalid,
            ["an invalid value: a \u{fffd} N"]
        );
    }

    proptest! {
        #[test]
        fn any_line_is_used_or_counted(line in "([a-c.;=\u{2603}]{0,9}|[-+0-9.e]{1,5}|[ \t\r]|N|\\PC){0,9}") {
            let received = received(&line);
            let taken = received.samples.len() + received.invalid.len();
            let is_blank = line.bytes().all(|byte| byte.is_ascii_whitespace());
            prop_assert_eq!(taken, usize::from(!is_blank));
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let lines = bytes.split(|byte| *byte == b'\n');
            let filled = lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count();
            let received = received(&bytes);
            prop_assert_eq!(received.samples.len() + received.invalid.len(), filled);
        }

        #[test]
        fn written_samples_are_read(
            path in "[a-zA-Z0-9_.:-]{1,20}",
            tags in proptest::collection::vec(("[a-z]{1,5}", "[^;\\s]{0,5}"), 0..20),
            value in -1e15f64..1e15,
            time in 0i64..2_000_000_000_000,
        ) {
            let seconds = format!("{}.{:03}", time / 1000, time % 1000);
            let list: String = tags.iter().map(|(name, value)| format!(";{name}={value}")).collect();
            let attributes: String = tags.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let expected = format!("{path} ABS {value}{attributes} at={time}");
            prop_assert_eq!(samples(format!("{path}{list} {value} {seconds}")), [expected]);
        }
    }
}
