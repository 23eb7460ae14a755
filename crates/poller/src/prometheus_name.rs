//! Names of metrics as Prometheus spells them: the stem of a family, and the labels of a series. The Grafana dashboards
//! for Prometheus query these names. No I/O.
//!
//! A metric `disk.iops@sda` has the stem `disk_iops` and the label `instance="sda"`. The stem gets a suffix for what the
//! value is: `_last`, `_total`, `_avg`.
//!
//! # Invariants
//!
//! - Two metrics of a node never have the same stem and the same labels: the label `metric` has the original name of
//!   each metric whose name does not follow from the stem, the instance and the unit. Of `disk.iops` and `disk_iops` it
//!   is the second.
//! - The spelling depends on the metric alone, and not on other metrics, so a series never changes its name because
//!   another one appears.
//! - A stem begins with a letter or `_`, and consists of letters, digits and `_`. It begins with `agg_` only for no
//!   metric: these names are the program's own. No label has an invalid name or occurs twice.

use std::borrow::Cow;
use std::fmt::Write;

/// Labels that have a meaning of their own. A tag of such a name gets the prefix `tag_`.
const RESERVED: [&str; 8] = [
    "node", "instance", "metric", "quantile", "le", "window", "server", "queue",
];

/// The base units that a stem ends with, each with the spellings of the tag `unit`. Other units, such as `ms` and
/// `percent`, stay in the label `unit`: values are never converted, so that they are the same everywhere.
const BASE_UNITS: [(&str, &[&str]); 9] = [
    ("seconds", &["seconds", "second", "secs", "sec", "s"]),
    ("bytes", &["bytes", "byte", "B", "By"]),
    ("celsius", &["celsius", "Cel"]),
    ("volts", &["volts", "volt", "V"]),
    ("amperes", &["amperes", "ampere", "A"]),
    ("joules", &["joules", "joule", "J"]),
    ("watts", &["watts", "watt", "W"]),
    ("hertz", &["hertz", "Hz"]),
    ("ratio", &["ratio"]),
];

/// The suffix of counters. A counter whose name has it already gets no second one.
const TOTAL: &str = "_total";

/// The beginning of the names of the program itself.
const OWN: &str = "agg_";

/// A metric as Prometheus names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusName {
    /// The name of the family without the suffix for the kind of value.
    pub stem: String,
    /// Names and values of the labels, sorted by name: the instance, the tags, and `metric` if the name of the metric
    /// does not follow from them. The label `node` is the caller's.
    pub labels: Vec<(String, String)>,
}

impl PrometheusName {
    /// Returns the name of a metric with these tags. A metric of type DIFF or INC is a counter.
    pub fn new<'a>(
        metric: &[u8],
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
        is_counter: bool,
    ) -> PrometheusName {
        let metric = text(metric);
        let (base, instance) = match metric.split_once('@') {
            Some((base, instance)) => (base, instance),
            None => (&*metric, ""),
        };
        let mut tags: Vec<(&str, &str)> = tags.into_iter().collect();
        // Valid names come first, so that they stay as they are.
        tags.sort_by_key(|(name, _)| (!is_plain_label(name), *name));
        tags.dedup_by_key(|(name, _)| *name);
        let mut stem = sanitized(base);
        if is_counter && stem.len() > TOTAL.len() && stem.ends_with(TOTAL) {
            stem.truncate(stem.len() - TOTAL.len());
        }
        let suffix = tags.iter().find(|(name, _)| *name == "unit");
        let suffix = suffix.and_then(|(_, unit)| base_unit(unit));
        let mut canonical = stem.replace('_', ".");
        if let Some(suffix) = suffix {
            match ends_with_word(&stem, suffix) {
                // The unit is part of the metric's name. Without the label the series differs from that of a metric to
                // whose name the unit was added.
                true => tags.retain(|(name, _)| *name != "unit"),
                false => {
                    stem.push('_');
                    stem.push_str(suffix);
                }
            }
        }
        if stem.starts_with(OWN) {
            stem.insert_str(0, "metric_");
            canonical.clear();
        }
        if !instance.is_empty() {
            canonical.push('@');
            canonical.push_str(instance);
        }
        let mut labels: Vec<(String, String)> = Vec::with_capacity(tags.len() + 2);
        if !instance.is_empty() {
            labels.push(("instance".to_owned(), instance.to_owned()));
        }
        if canonical != metric {
            // An empty label would be none.
            let original = match &*metric {
                "" => "\u{fffd}",
                metric => metric,
            };
            labels.push(("metric".to_owned(), original.to_owned()));
        }
        for (name, value) in tags {
            let name = free_name(label(name), &labels);
            labels.push((name, value.to_owned()));
        }
        labels.sort();
        PrometheusName { stem, labels }
    }
}

/// Returns a name of any bytes as text, different names as different texts. Bytes that are not UTF-8 become U+FFFD and
/// two hexadecimal digits, and so do those of a U+FFFD in the name.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    const REPLACEMENT: char = '\u{fffd}';
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(REPLACEMENT)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    let hex = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "{REPLACEMENT}{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                REPLACEMENT => hex(&mut text, "\u{fffd}".as_bytes()),
                other => text.push(other),
            }
        }
        hex(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

/// Returns the base unit that a value of the tag `unit` names.
fn base_unit(unit: &str) -> Option<&'static str> {
    let known = BASE_UNITS
        .iter()
        .find(|(_, spellings)| spellings.contains(&unit));
    known.map(|(name, _)| *name)
}

fn ends_with_word(stem: &str, word: &str) -> bool {
    let before = stem.strip_suffix(word);
    before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
}

/// Returns a text whose characters are letters, digits and `_`, and that does not begin with a digit.
fn sanitized(text: &str) -> String {
    let mut name = String::with_capacity(text.len() + 24);
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.extend(text.chars().map(plain));
    name
}

/// Returns whether a tag's name can be the name of its label.
fn is_plain_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && name.bytes().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("__")
        && !RESERVED.contains(&name)
}

fn label(tag: &str) -> String {
    let mut name = sanitized(tag);
    // Prometheus itself uses the names that begin with two of them.
    if name.starts_with("__") || RESERVED.contains(&&*name) {
        name.insert_str(0, "tag_");
    }
    name
}

/// Appends a number to a name that is taken already.
fn free_name(name: String, taken: &[(String, String)]) -> String {
    let is_taken = |name: &str| taken.iter().any(|(other, _)| other == name);
    if !is_taken(&name) {
        return name;
    }
    let mut names = (2..).map(|n| format!("{name}_{n}"));
    names.find(|name| !is_taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Returns the name as text.
    fn shown(metric: &str, tags: &[(&str, &str)], is_counter: bool) -> String {
        let name = PrometheusName::new(metric.as_bytes(), tags.iter().copied(), is_counter);
        let labels = name
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        format!("{} {}", name.stem, labels.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn usual_names_stay_readable() {
        for (metric, tags, is_counter, expected) in [
            ("disk.iops@sda", &[][..], false, "disk_iops instance=sda"),
            (
                "cpu.load",
                &[("unit", "percent")],
                false,
                "cpu_load unit=percent",
            ),
            (
                "mem.used",
                &[("unit", "bytes")],
                false,
                "mem_used_bytes unit=bytes",
            ),
            (
                "net.rx.bytes@eth0",
                &[("unit", "bytes")],
                true,
                "net_rx_bytes instance=eth0",
            ),
            (
                "uptime",
                &[("unit", "s"), ("rack", "a1")],
                false,
                "uptime_seconds rack=a1 unit=s",
            ),
            ("page.time", &[("unit", "ms")], false, "page_time unit=ms"),
            ("requests", &[], true, "requests "),
            (
                "http_requests_total",
                &[],
                true,
                "http_requests metric=http_requests_total",
            ),
            ("mem.total", &[], false, "mem_total "),
        ] {
            assert_eq!(shown(metric, tags, is_counter), expected);
        }
    }

    #[test]
    fn unusual_names_keep_the_original_in_a_label() {
        for (metric, expected) in [
            ("", "_ metric=\u{fffd}"),
            ("@", "_ metric=@"),
            ("x@", "x metric=x@"),
            ("1m.load", "_1m_load metric=1m.load"),
            ("größe", "gr__e metric=größe"),
            ("a b", "a_b metric=a b"),
            ("a:b@c@d", "a_b instance=c@d metric=a:b@c@d"),
            ("agg.server.up", "metric_agg_server_up metric=agg.server.up"),
        ] {
            assert_eq!(shown(metric, &[], false), expected);
        }
    }

    #[test]
    fn labels_are_valid_and_different() {
        let tags = [
            ("node", "1"),
            ("a.b", "2"),
            ("a_b", "3"),
            ("a-b", "4"),
            ("__name__", "5"),
            ("1", "6"),
            ("a_b_2", "7"),
        ];
        let expected = "x _1=6 a_b=3 a_b_2=7 a_b_3=4 a_b_4=2 tag___name__=5 tag_node=1";
        assert_eq!(shown("x", &tags, false), expected);
    }

    #[test]
    fn names_of_any_bytes_differ() {
        let all: [&[u8]; 5] = [
            b"a",
            b"\xff",
            b"\xfe",
            "\u{fffd}".as_bytes(),
            "\u{fffd}ff".as_bytes(),
        ];
        let texts: BTreeSet<_> = all.iter().map(|name| text(name)).collect();
        assert_eq!(texts.len(), all.len(), "{texts:?}");
        assert_eq!(text(b"a\xff"), "a\u{fffd}ff");
    }

    fn parts() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "a", "b", ".", "_", "@", "total", "bytes", "seconds", "last", "agg", "1", "é",
            "\u{fffd}", ":", " ", "metric",
        ]);
        prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    fn tag() -> impl Strategy<Value = Option<(String, String)>> {
        let names =
            prop::sample::select(vec!["unit", "metric", "instance", "a.b", "a_b", "__x", "9"]);
        let values = prop::sample::select(vec!["bytes", "s", "ms", "B", "", "x"]);
        prop::option::of(
            (names, values).prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
    }

    type Described = (String, Option<(String, String)>, bool);

    fn name((metric, tag, is_counter): &Described) -> PrometheusName {
        let tags = tag.iter().map(|(name, value)| (&**name, &**value));
        PrometheusName::new(metric.as_bytes(), tags, *is_counter)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn different_metrics_have_different_series(all in prop::collection::vec((parts(), tag(), any::<bool>()), 1..60)) {
            let mut seen: BTreeMap<(String, Vec<(String, String)>), String> = BTreeMap::new();
            for metric in &all {
                let name = name(metric);
                prop_assert!(name.stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
                prop_assert!(!name.stem.starts_with(|c: char| c.is_ascii_digit()) && !name.stem.is_empty());
                prop_assert!(!name.stem.starts_with(OWN));
                prop_assert!(name.labels.windows(2).all(|pair| pair[0].0 < pair[1].0));
                // An empty value is the same as no label.
                let labels = name.labels.iter().filter(|(_, value)| !value.is_empty());
                let series = (name.stem.clone(), labels.cloned().collect());
                if let Some(other) = seen.insert(series, metric.0.clone()) {
                    prop_assert_eq!(&other, &metric.0);
                }
            }
        }
    }
}
