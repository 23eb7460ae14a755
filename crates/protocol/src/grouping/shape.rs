//! What chunks and their parts look like: numbers, paths, names of hosts, dates.

use super::words::{is_month, is_root_folder, is_top_domain, is_weekday, precedes_address};

/// A path with this many parts below its first folder is one of the file system.
const FOLDERS: usize = 3;

/// Returns whether a character is punctuation within a segment.
pub fn is_other(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_alphanumeric()
}

pub fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Returns whether a segment with a digit is a number, a time, an address or an id: hex digits and punctuation.
pub fn is_hex_segment(segment: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'-');
    let is_port = segment.starts_with(':') && !segment.starts_with("::");
    segment.bytes().all(is_hex)
        && !is_port
        && (segment.len() >= 8
            || segment.contains(':')
            || !segment.starts_with(|first: char| first.is_ascii_alphabetic()))
}

/// Returns whether a chunk has 32 or more digits of base64, which may follow the name of a hash.
pub fn is_base64(chunk: &str) -> bool {
    let digits = chunk.rsplit(':').next().unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let has = |kind: fn(&u8) -> bool| digits.as_bytes().iter().any(kind);
    digits.len() >= 32
        && digits.bytes().all(is_digit)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

/// Returns whether a word is the name of the host whose address follows in brackets.
pub fn is_name_of_address(word: &str, rest: &str) -> bool {
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let is_address = |address: &str| is_ipv4(address.get(..16).unwrap_or(address));
    rest.strip_prefix('[').is_some_and(is_address) && !precedes_address(word)
}

/// Returns whether a text begins with four numbers of one to three digits, with dots between them.
fn is_ipv4(text: &str) -> bool {
    let mut rest = text;
    for part in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=3).contains(&digits) {
            return false;
        }
        rest = rest.get(digits..).unwrap_or_default();
        if part < 3 {
            let Some(next) = rest.strip_prefix('.') else {
                return false;
            };
            rest = next;
        }
    }
    true
}

/// Returns whether a chunk is a path of the file system, or the name of a host with its address. A path after an HTTP
/// method is one of a service.
pub fn is_file_path(chunk: &str, is_of_service: bool) -> bool {
    let mut bytes = chunk.bytes();
    match [bytes.next(), bytes.next(), bytes.next()] {
        [Some(b'\\'), Some(b'\\'), Some(_)] | [Some(b'~'), Some(b'/'), _] => true,
        [Some(drive), Some(b':'), Some(b'\\' | b'/')] => drive.is_ascii_alphabetic(),
        [Some(b'/'), Some(_), _] => {
            let path = chunk.trim_start_matches('/');
            let (folder, rest) = path.split_once('/').unwrap_or((path, ""));
            !is_of_service && (is_root_folder(folder) || has_extension(rest) || is_deep(rest))
        }
        _ => chunk
            .split_once('/')
            .is_some_and(|(name, address)| !name.is_empty() && is_ipv4(address)),
    }
}

/// Returns whether a path has many parts, and none that is a number: services have ids between the other parts.
fn is_deep(path: &str) -> bool {
    let is_id = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    path.split('/').nth(FOLDERS - 1).is_some() && !path.split('/').any(is_id)
}

/// Returns whether a path ends with an extension of one to five letters and digits, which begins with a letter.
fn has_extension(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((name, extension)) = name.rsplit_once('.') else {
        return false;
    };
    !name.is_empty()
        && (1..=5).contains(&extension.len())
        && extension.starts_with(|first: char| first.is_ascii_alphabetic())
        && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns whether a chunk is the name of a host in a known domain, with or without a port.
pub fn is_host_name(chunk: &str) -> bool {
    let port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = chunk
        .rsplit_once(':')
        .filter(port)
        .map_or(chunk, |(name, _)| name);
    let is_part = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
    };
    let Some((first, domain)) = name.rsplit_once('.') else {
        return name == "localhost";
    };
    is_top_domain(domain) && !first.is_empty() && first.bytes().all(is_part)
}

/// Returns whether a word begins a date: the name of a month or of a day before a number.
pub fn begins_date(word: &str, rest: &str) -> bool {
    let is_day = is_weekday(word);
    if !is_day && !is_month(word) {
        return false;
    }
    let spaces = rest.strip_prefix(',').filter(|_| is_day).unwrap_or(rest);
    let next = spaces.trim_start_matches(' ');
    let is_number = next.starts_with(|first: char| first.is_ascii_digit());
    next.len() < spaces.len() && (is_number || is_day && next.get(..3).is_some_and(is_month))
}
