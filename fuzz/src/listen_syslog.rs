//! Reads any bytes as a connection of syslog, and groups its messages.
//!
//! The messages are those that a naive splitter finds, however the bytes are divided. Each message that is not blank is
//! one log record, and its text is not lost. The memory is a multiple of the input. The key of an error has 1 to
//! [`MAX_KEY`] bytes, and does not depend on what varies.

use agg_listener::report::{LogRecord, ObjectReport, Receiver, Sample};
use agg_listener::syslog::{self, Frames, MAX_PARAMETERS};
use aggregator_protocol::grouping::{self, MAX_KEY};
use aggregator_protocol::level;

use crate::memory::measured;
use crate::received::Ignored;

/// 2026-12-01T15:04:01Z.
const NOW_MS: i64 = 1_796_137_441_000;
/// The bytes that are allocated per byte of input, at most: parameters of one byte take 48 for each of up to 32, and
/// the name of their element.
const MEMORY_PER_BYTE: usize = 64;
/// The bytes for the attributes of any message.
const MESSAGE: usize = 64 << 10;

/// Runs the target. The first byte selects the largest message, and how the bytes are divided.
pub fn run(data: &[u8]) {
    let Some((settings, bytes)) = data.split_first() else {
        return;
    };
    let max = match settings & 3 {
        0 => 16,
        1 => 64,
        _ => 8192,
    };
    let chunk = usize::from(settings >> 2) + 1;
    let messages = split(bytes, max, chunk);
    assert_eq!(messages, split(bytes, max, usize::MAX));
    assert_eq!(messages, naive(bytes, max));
    for message in &messages.messages {
        check(message);
    }
    check(bytes);
}

/// What a connection has.
#[derive(Debug, Default, PartialEq)]
struct Split {
    messages: Vec<Vec<u8>>,
    oversized: u64,
    incomplete: u64,
    is_invalid: bool,
}

fn split(bytes: &[u8], max: usize, chunk: usize) -> Split {
    let mut split = Split::default();
    let mut frames = Frames::new(max);
    let mut each = |message: &[u8]| split.messages.push(message.to_vec());
    for chunk in bytes.chunks(chunk) {
        split.is_invalid |= frames.push(chunk, &mut each).is_err();
    }
    frames.finish(&mut each);
    split.oversized = frames.oversized();
    split.incomplete = frames.incomplete();
    split
}

/// Splits all bytes of a connection at once.
fn naive(bytes: &[u8], max: usize) -> Split {
    let mut split = Split::default();
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let is_counted = (1..=10).contains(&digits) && bytes[0] != b'0';
    if !is_counted || !bytes[digits..].starts_with(b" <") {
        for line in bytes.split(|byte| matches!(byte, b'\n' | 0)) {
            match line.len() {
                0 => {}
                length if length > max => split.oversized += 1,
                _ => split.push(line),
            }
        }
        return split;
    }
    let mut rest = bytes;
    loop {
        let ends = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\n' | b'\r' | 0));
        rest = &rest[ends.count()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let Some(end) = rest.get(digits) else {
            split.is_invalid |= digits > 10 || rest.starts_with(b"0");
            return split;
        };
        let text = std::str::from_utf8(&rest[..digits]).expect("digits");
        if !(1..=10).contains(&digits) || rest[0] == b'0' || *end != b' ' {
            split.is_invalid = true;
            return split;
        }
        let length: usize = text.parse().expect("a number");
        rest = &rest[digits + 1..];
        let message = &rest[..length.min(rest.len())];
        rest = &rest[message.len()..];
        match () {
            () if length > max => split.oversized += 1,
            () => {
                split.incomplete += u64::from(message.len() < length);
                split.push(message);
            }
        }
        if message.len() < length {
            return split;
        }
    }
}

impl Split {
    fn push(&mut self, message: &[u8]) {
        if !matches!(message, b"" | b"\r") {
            self.messages.push(message.to_vec());
        }
    }
}

/// Parses a message.
fn check(message: &[u8]) {
    let mut record = Record::default();
    syslog::parse(message, NOW_MS, 0, &mut record);
    let is_blank = message
        .iter()
        .all(|byte| byte.is_ascii_whitespace() || *byte == 0);
    let Some(text) = &record.text else {
        assert!(is_blank && record.invalid == 1);
        return;
    };
    let all = String::from_utf8_lossy(message);
    assert!(all.contains(&**text) || text.contains('\u{fffd}'));
    if let Some((attributes, expected)) = with_header(message) {
        let found = &record.attributes;
        assert!(attributes.iter().all(|attribute| found.contains(attribute)));
        assert_eq!(*text, expected);
    }
    check_key(text);
    let most = (MEMORY_PER_BYTE * message.len() + MESSAGE) as isize;
    let (_, peak, kept) = measured(|| syslog::parse(message, NOW_MS, 0, &mut Ignored));
    assert!(peak <= most && kept == 0, "{peak} bytes");
    let (_, peak, _) = measured(|| grouping::key(text));
    assert!(peak <= most, "{peak} bytes");
}

/// The attributes and the text of `<PRIORITY>1 - HOST APP PID MSGID - TEXT`; none of other messages.
fn with_header(message: &[u8]) -> Option<(Vec<(String, String)>, String)> {
    let message = std::str::from_utf8(message).ok()?;
    let (priority, rest) = message.strip_prefix('<')?.split_once(">1 - ")?;
    let is_priority =
        (1..=3).contains(&priority.len()) && priority.bytes().all(|b| b.is_ascii_digit());
    priority
        .parse::<u8>()
        .ok()
        .filter(|n| is_priority && *n <= 191)?;
    let fields: Vec<&str> = rest.splitn(6, ' ').collect();
    let [header @ .., "-", text] = &fields[..] else {
        return None;
    };
    let is_field =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if header.len() != 4 || !header.iter().all(is_field) {
        return None;
    }
    let attributes = ["host", "app", "pid", "msgid"].into_iter().zip(header);
    let attributes = attributes.filter(|(_, value)| **value != "-");
    let attributes = attributes.map(|(name, value)| (name.to_owned(), (*value).to_owned()));
    let text = text.trim_end_matches(['\n', '\r', '\0']);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some((attributes.collect(), text.to_owned()))
}

/// Checks the key of an error.
fn check_key(text: &str) {
    let key = grouping::key(text);
    assert!((1..=MAX_KEY).contains(&key.len()));
    assert_eq!(grouping::key_with(text, &[b"", b""]), key);
    let with_code = grouping::key_with(text, &[b"E1"]);
    assert!(with_code.len() <= MAX_KEY && with_code != key);
    // A number between blanks is a number, whatever its digits are.
    let numbered = |number: &str| grouping::key(&format!("failed after {number} steps: {text}"));
    assert_eq!(numbered("17"), numbered("42"));
    assert_eq!(grouping::key(&format!("  {text}")), key);
}

/// Keeps a log record.
#[derive(Default)]
struct Record {
    text: Option<String>,
    attributes: Vec<(String, String)>,
    invalid: u64,
}

impl Receiver for Record {
    fn sample(&mut self, sample: &Sample<'_>) {
        panic!("{sample:?}");
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        assert!(self.text.is_none() && record.level <= level::MAX);
        assert!(record.attributes.len() <= MAX_PARAMETERS + 5);
        let owned = record.attributes.iter().map(|attribute| {
            assert!(!attribute.name.is_empty());
            (
                attribute.name.clone().into_owned(),
                attribute.value.clone().into_owned(),
            )
        });
        self.attributes = owned.collect();
        self.text = Some(record.message.clone().into_owned());
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        panic!("{object:?}");
    }

    fn invalid(&mut self, reason: &'static str, _: &[u8]) {
        assert!((1..=64).contains(&reason.len()) && reason.is_ascii());
        self.invalid += 1;
    }
}
