//! Values for required keys that a file lacks, so that the checks continue: a missing key hides no other mistake of its
//! table. Nothing uses them, since a file with a mistake is not used.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Returns a value for a key of a sink, or `None` if the key has no value that is always valid.
pub fn of_sink(key: &str, sink: &DeTable) -> Option<DeValue<'static>> {
    let kind = sink.get("type").and_then(|kind| kind.get_ref().as_str());
    // The keys of TLS are mistakes where nothing is encrypted.
    let is_encrypted = sink.keys().any(|key| key.get_ref().starts_with("tls-"));
    let s = if is_encrypted { "s" } else { "" };
    let text = match (key, kind?) {
        ("url", _) => format!("http{s}://localhost/x"),
        ("uri", "mongodb") => "mongodb://localhost".into(),
        ("uri", "kafka") => format!("kafka{s}://localhost:9092"),
        ("uri", "redis-stream") => format!("redis{s}://localhost"),
        ("uri", "postgresql") => "postgresql://localhost".into(),
        ("path" | "database" | "org" | "bucket" | "user", _) => "x".into(),
        // A variable that is set almost everywhere.
        ("token-env", _) => "PATH".into(),
        _ => return None,
    };
    Some(DeValue::String(text.into()))
}

/// Returns a value for a key of a route in a file with these sinks, or `None` if there is no sink.
pub fn of_route(key: &str, sinks: &DeTable, place: usize) -> Option<DeValue<'static>> {
    let text = match key {
        // Every sink takes it.
        "queues" => "MIN".into(),
        "sinks" => sinks.keys().next()?.get_ref().to_string(),
        _ => return None,
    };
    let mut list = DeArray::new();
    list.push(Spanned::new(place..place + 1, DeValue::String(text.into())));
    Some(DeValue::Array(list))
}
