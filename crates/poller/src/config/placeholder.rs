//! Values for required keys that a file lacks, so that the checks continue: a missing key hides no other mistake of its
//! table. Nothing uses them, since a file with a mistake is not used.

use std::cmp::Reverse;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{sink, source};

/// Returns a value for a key of a sink, or `None` if the key has no value that is always valid.
pub fn of_sink(key: &str, sink: &DeTable) -> Option<DeValue<'static>> {
    if key == "type" {
        let kind = most_likely(&sink::TYPES, sink, |kind| {
            sink::keys(kind).unwrap_or_default()
        });
        return Some(DeValue::String(kind.into()));
    }
    let kind = sink.get("type").and_then(|kind| kind.get_ref().as_str());
    // The keys of TLS are mistakes where nothing is encrypted.
    let is_encrypted = sink.keys().any(|key| key.get_ref().starts_with("tls-"));
    let s = if is_encrypted { "s" } else { "" };
    let text = match (key, kind?) {
        ("url", _) => format!("http{s}://localhost/x"),
        ("uri", "mongodb") => "mongodb://localhost".into(),
        ("uri", "kafka") => format!("kafka{s}://localhost:9092"),
        ("uri", "redis-stream" | "aggregator") => format!("redis{s}://localhost"),
        ("uri", "postgresql") if is_encrypted => "postgresql://localhost/x?sslmode=require".into(),
        ("uri", "postgresql") => "postgresql://localhost/x".into(),
        ("path" | "database" | "org" | "bucket" | "user", _) => "x".into(),
        ("proxy", _) => "none".into(),
        // A variable that is set almost everywhere.
        ("token-env", _) => "PATH".into(),
        _ => return None,
    };
    Some(DeValue::String(text.into()))
}

/// Returns the candidate that has most of the keys of a table, the first of several.
fn most_likely(
    candidates: &[&'static str],
    table: &DeTable,
    keys: impl Fn(&str) -> Vec<&'static str>,
) -> &'static str {
    let matching = |candidate: &&&str| {
        let known = keys(candidate);
        let given = table.keys().filter(|key| known.contains(&&**key.get_ref()));
        Reverse(given.count())
    };
    candidates.iter().min_by_key(matching).unwrap_or(&"")
}

/// Returns a key of a source and a value, or `None` if the key has no value that is always valid. Instead of the missing
/// kind it may be another one, to which the other keys belong.
pub fn of_source(
    key: &str,
    table: &DeTable,
    place: usize,
) -> Option<(&'static str, DeValue<'static>)> {
    if key == "service" {
        return Some(("service", DeValue::String("x".into())));
    }
    let kind = most_likely(&source::KINDS, table, source::keys);
    // The keys of TLS are mistakes where nothing is encrypted. No address may be listed twice.
    let is_encrypted = kind != "range" && table.keys().any(|key| key.get_ref().starts_with("tls-"));
    let s = if is_encrypted { "s" } else { "" };
    let value = match kind {
        "range" => DeValue::String("192.0.2.0/24".into()),
        _ => list(format!("redis{s}://missing-{place}"), place),
    };
    source::KINDS.contains(&key).then_some((kind, value))
}

fn list(text: String, place: usize) -> DeValue<'static> {
    let mut list = DeArray::new();
    list.push(Spanned::new(place..place + 1, DeValue::String(text.into())));
    DeValue::Array(list)
}

/// Returns a value for a key of a route in a file with these sinks, or `None` if there is no sink.
pub fn of_route(key: &str, sinks: &DeTable, place: usize) -> Option<DeValue<'static>> {
    let text = match key {
        // Every sink takes it.
        "queues" => "MIN".into(),
        "sinks" => sinks.keys().next()?.get_ref().to_string(),
        _ => return None,
    };
    Some(list(text, place))
}
