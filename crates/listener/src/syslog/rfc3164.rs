//! Messages of RFC 3164 (<https://www.rfc-editor.org/rfc/rfc3164#section-4>), behind their priority.
//!
//! The RFC describes what senders did. They differ in whether they send a time and a host, and in the format of the time.
//! Each part is read if it is there:
//!
//! | sender | message |
//! | --- | --- |
//! | rsyslog, syslog-ng, logger to a server | `Oct 11 22:14:15 host app[17]: text` |
//! | syslog(3), systemd, busybox | `Oct 11 22:14:15 app[17]: text` |
//! | rsyslog's forward format | `2026-10-11T22:14:15.003+02:00 host app: text` |
//! | Cisco IOS | `29: host: *Oct 11 22:14:15.003 UTC: %SYS-5-CONFIG_I: text` |
//! | Cisco ASA | `Oct 11 2026 22:14:15 host : %ASA-6-302013: text` |

use super::parts::Parts;
use super::split::{split_while, split_word};
use super::time::Clock;

/// Maximum bytes of the name of a program and of a process id. RFC 3164 has 32 for the name.
const MAX_TAG: usize = 128;
/// Maximum bytes of the name of a host.
const MAX_HOST: usize = 255;

/// Reads a message. Any text is one.
pub fn parse(text: &[u8], clock: Clock) -> Parts<'_> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let mut parts = Parts::default();
    let (host, dated) = before_time(text, clock);
    let Some((at, rest)) = clock.read(dated) else {
        (parts.app, parts.pid, parts.message_id, parts.text) = tag(dated);
        return parts;
    };
    parts.at = Some(at);
    parts.host = host;
    let rest = match rest.strip_prefix(b":") {
        // A colon ends the time of a Cisco device: its name is before it, if at all.
        Some(rest) => rest.trim_ascii_start(),
        None => {
            let rest = rest.trim_ascii_start();
            match host_name(rest).filter(|_| host.is_empty()) {
                Some((name, rest)) => {
                    parts.host = name;
                    rest
                }
                None => rest,
            }
        }
    };
    (parts.app, parts.pid, parts.message_id, parts.text) = tag(rest);
    parts
}

/// Skips what Cisco devices write before a time: a sequence number, the name of the host, and a `*` or `.` if the clock
/// is not synchronized. Returns the host, and the text from the time or the mnemonic on; all text if neither follows.
fn before_time(text: &[u8], clock: Clock) -> (&[u8], &[u8]) {
    let mut host: &[u8] = b"";
    let mut rest = text;
    for _ in 0..3 {
        let unmarked = rest.strip_prefix(b"*").or_else(|| rest.strip_prefix(b"."));
        let unmarked = unmarked.unwrap_or(rest);
        if clock.read(unmarked).is_some() {
            return (host, unmarked);
        }
        let (word, after) = split_word(rest);
        if after.starts_with(b"%")
            && word
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b':')
        {
            return (host, after);
        }
        let Some(word) = word.strip_suffix(b":").filter(|word| is_host(word)) else {
            break;
        };
        if !word.iter().all(u8::is_ascii_digit) {
            host = word;
        }
        rest = after.trim_ascii_start();
    }
    (b"", text)
}

/// Splits the name of a host off: a word that is not the name of a program, and that text follows.
fn host_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = split_word(text);
    // A local syslogd writes no host in a message of its own.
    let is_repetition = word == b"last" && rest.starts_with(b"message repeated ");
    let is_tag = word.ends_with(b":") || word.contains(&b'[') || is_repetition;
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b": ").unwrap_or(rest);
    (is_host(word) && !is_tag && !rest.is_empty()).then_some((word, rest))
}

/// Returns whether a word may be the name of a host or an address.
fn is_host(word: &[u8]) -> bool {
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"._-:%/@".contains(byte) || !byte.is_ascii();
    let is_start = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b':' || !byte.is_ascii();
    (1..=MAX_HOST).contains(&word.len())
        && word.first().is_some_and(is_start)
        && word.iter().all(is_part)
}

/// Splits `app[pid]: text`, `app: text` or `%FACILITY-5-MNEMONIC: text`. Returns the program, the process, the mnemonic
/// and the text.
fn tag(text: &[u8]) -> (&[u8], &[u8], &[u8], &[u8]) {
    let none: &[u8] = b"";
    let is_name = |byte: &u8| !matches!(byte, 0..=b' ' | b'[' | b':' | b'"' | 0x7f);
    let (name, rest) = split_while(text, is_name);
    if !(1..=MAX_TAG).contains(&name.len()) {
        return (none, none, none, text);
    }
    let (pid, rest) = match rest.strip_prefix(b"[") {
        Some(inside) => match process(inside) {
            Some(found) => found,
            None => return (none, none, none, text),
        },
        None => (none, rest),
    };
    let after = match rest.strip_prefix(b":") {
        Some(after) if after.is_empty() || after.starts_with(b" ") => after,
        // Some programs write no colon behind the process, or no space behind the colon.
        Some(after) if !pid.is_empty() => after,
        None if !pid.is_empty() && rest.starts_with(b" ") => rest,
        _ => return (none, none, none, text),
    };
    let text = after.strip_prefix(b" ").unwrap_or(after);
    match name.first() {
        Some(b'%') => (none, pid, name, text),
        _ => (name, pid, none, text),
    }
}

/// Splits a process id and its closing bracket off.
fn process(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (pid, rest) = split_while(text, |byte| !matches!(byte, 0..=b' ' | b'[' | b']' | 0x7f));
    let is_valid = (1..=MAX_TAG).contains(&pid.len());
    Some((pid, rest.strip_prefix(b"]")?)).filter(|_| is_valid)
}
