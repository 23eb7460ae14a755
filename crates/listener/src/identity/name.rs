//! The name of a metric: the name that a sender gave, and the attributes that distinguish its series.
//!
//! `http.requests` with the attributes `method` and `route` is `http.requests@method=GET,route=/pay`. The attributes
//! are sorted by the bytes of their names.
//!
//! # Invariants
//!
//! - Different names, or different sets of attributes, never have the same metric. `%XX` stands for a byte that would
//!   be ambiguous:
//!   - everywhere `%` and control characters;
//!   - in the name `=`, so that the first `=` of a metric ends the name of the first attribute;
//!   - in the names of attributes `@`, `,` and `=`, so that the last `@` before the first `=` ends the name;
//!   - in the values of attributes `,`.
//! - `NAME@other` is the metric of the instances beyond the limit. The `@` of a name that ends so is `%40`.
//! - A metric has at most [`MAX_METRIC`] bytes. A longer one is cut, and ends with `%~` and a hash of the whole. `%~` is
//!   in no other metric. The hash is the same in each version of the program.

use super::text::{cut_len, fnv};

/// Maximum bytes of a metric's name. The module accepts `agg.max-item-size`, 64 KiB by default.
pub const MAX_METRIC: usize = 512;

/// The ending of the metric of all instances beyond the limit.
const OTHER: &str = "@other";

/// Appends the metric of a name without attributes.
pub(super) fn push_plain(out: &mut String, name: &str) {
    let start = out.len();
    match name.strip_suffix(OTHER) {
        Some(name) => {
            push_name(out, name);
            out.push_str("%40other");
        }
        None => push_name(out, name),
    }
    limit(out, start);
}

/// Appends the metric of a name with attributes. Their names are sorted, each is there once, and there is at least one.
pub(super) fn push_instance<'a>(
    out: &mut String,
    name: &str,
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let start = out.len();
    push_name(out, name);
    let mut separator = '@';
    for (name, value) in attributes {
        out.push(separator);
        push_escaped(out, name, b"@,=");
        out.push('=');
        push_escaped(out, value, b",");
        separator = ',';
    }
    limit(out, start);
}

/// Appends the metric of the instances of a name that are beyond the limit.
pub(super) fn push_other(out: &mut String, name: &str) {
    let start = out.len();
    push_name(out, name);
    out.push_str(OTHER);
    limit(out, start);
}

fn push_name(out: &mut String, name: &str) {
    push_escaped(out, name, b"=");
}

/// Appends a text; `%`, control characters and these bytes are escaped.
fn push_escaped(out: &mut String, text: &str, escaped: &[u8]) {
    let is_escaped =
        |byte: u8| byte == b'%' || byte < b' ' || byte == 0x7f || escaped.contains(&byte);
    let mut rest = text;
    // All escaped bytes are characters of their own.
    while let Some(at) = rest.bytes().position(is_escaped) {
        let (before, from) = rest.split_at(at);
        let (byte, behind) = from.split_at(1);
        out.push_str(before);
        for byte in byte.bytes() {
            const DIGITS: [char; 16] = [
                '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
            ];
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
        rest = behind;
    }
    out.push_str(rest);
}

/// Cuts the metric that begins at `start` if it is too long.
fn limit(out: &mut String, start: usize) {
    let metric = out.get(start..).unwrap_or_default();
    if metric.len() <= MAX_METRIC {
        return;
    }
    let ending = format!("%~{:016x}", fnv(metric.as_bytes()));
    let kept = cut_len(metric, MAX_METRIC - ending.len());
    out.truncate(start + kept);
    out.push_str(&ending);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, attributes: &[(&str, &str)]) -> String {
        let mut out = String::new();
        push_instance(&mut out, name, attributes.iter().copied());
        out
    }

    fn plain(name: &str) -> String {
        let mut out = String::new();
        push_plain(&mut out, name);
        out
    }

    fn other(name: &str) -> String {
        let mut out = String::new();
        push_other(&mut out, name);
        out
    }

    #[test]
    fn attributes_follow_the_name() {
        assert_eq!(
            instance("http.requests", &[("method", "GET"), ("route", "/pay")]),
            "http.requests@method=GET,route=/pay"
        );
        assert_eq!(instance("a", &[("k", "")]), "a@k=");
        assert_eq!(plain("cpu.load@0"), "cpu.load@0");
        assert_eq!(plain("größe in m²"), "größe in m²");
    }

    #[test]
    fn ambiguous_bytes_are_escaped() {
        assert_eq!(
            instance("a=b%@c", &[("k,@=", "v,@=%\n")]),
            "a%3Db%25@c@k%2C%40%3D=v%2C@=%25%0A"
        );
        assert_eq!(plain("a@k=v"), "a@k%3Dv");
        assert_ne!(plain("a@k=v"), instance("a", &[("k", "v")]));
        assert_eq!(plain("a@other"), "a%40other");
        assert_eq!(other("a"), "a@other");
        assert_eq!(instance("a@other", &[("k", "v")]), "a@other@k=v");
    }

    #[test]
    fn long_metric_is_cut_and_has_a_hash() {
        let name = "é".repeat(400);
        let (first, second) = (
            instance(&name, &[("k", "1")]),
            instance(&name, &[("k", "2")]),
        );
        assert_ne!(first, second);
        for metric in [&first, &second, &other(&name), &plain(&name)] {
            assert!(metric.len() <= MAX_METRIC && metric.len() > MAX_METRIC - 4);
            assert_eq!(metric.find("%~"), Some(metric.len() - 18));
        }
        assert_ne!(plain(&first), first);
        // The hash is part of names that are stored, and never changes.
        let long = plain(&"a".repeat(513));
        assert!(long.ends_with("a%~9eafab1467cb0a8c"), "{long}");
        assert_eq!(plain(&"a".repeat(512)).len(), 512);
    }
}
