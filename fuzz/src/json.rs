//! Compares `codec::json::scan` with serde_json.
//!
//! A text is valid if serde_json accepts it, except for a byte order mark, names given twice and nesting deeper than
//! 128. The compact form is the same value without white space. A restyled text (white space, order of members,
//! escapes) keeps its identity, and the identities of two texts (separated by a zero byte, which no valid text has) are
//! equal if the values are.

use aggregator_core::codec::json::{self, Scanned};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// A value, its numbers as written, its members sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Json {
    /// `null`, `true`, `false`, or a number.
    Plain(String),
    /// A string, without escapes.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

/// The reason why a text is not a [`Json`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// serde_json rejects it.
    Invalid,
    /// An object has a name twice.
    Twice,
    /// More than 128 levels.
    Deep,
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Returns the members of an object, in order.
pub fn members(text: &str) -> Result<Vec<(String, &str)>, serde_json::Error> {
    let Members(members) = serde_json::from_str(text)?;
    Ok(members.into_iter().map(|(n, v)| (n, v.get())).collect())
}

impl Json {
    /// Reads a text with serde_json.
    pub fn read(text: &[u8]) -> Result<Json, Wrong> {
        let text = std::str::from_utf8(text).map_err(|_| Wrong::Invalid)?;
        // Only this accepts any depth without recursion, but it does not check surrogates; those are checked with the
        // strings.
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| Wrong::Invalid)?;
        Json::of(raw.get(), 0)
    }

    fn of(text: &str, depth: usize) -> Result<Json, Wrong> {
        let invalid = |_| Wrong::Invalid;
        match text.as_bytes().first() {
            Some(b'{' | b'[') if depth == 128 => Err(Wrong::Deep),
            Some(b'{') => {
                let mut all = members(text)
                    .map_err(invalid)?
                    .into_iter()
                    .map(|(name, value)| Ok((name, Json::of(value, depth + 1)?)))
                    .collect::<Result<Vec<_>, _>>()?;
                all.sort_by(|a, b| a.0.cmp(&b.0));
                if all.windows(2).any(|w| w[0].0 == w[1].0) {
                    return Err(Wrong::Twice);
                }
                Ok(Json::Object(all))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(invalid)?;
                let items = items.into_iter().map(|v| Json::of(v.get(), depth + 1));
                Ok(Json::Array(items.collect::<Result<_, _>>()?))
            }
            Some(b'"') => Ok(Json::Text(serde_json::from_str(text).map_err(invalid)?)),
            _ => Ok(Json::Plain(text.to_owned())),
        }
    }

    /// Returns a text of this value, with white space, members reversed and as many escapes as possible.
    pub fn restyled(&self) -> String {
        let escaped = |text: &str| -> String {
            let units = text.encode_utf16().map(|u| format!("\\u{u:04X}"));
            format!("\"{}\"", units.collect::<String>())
        };
        match self {
            Json::Plain(text) => text.clone(),
            Json::Text(text) => escaped(text),
            Json::Array(items) => {
                let items: Vec<_> = items.iter().map(Json::restyled).collect();
                format!("[ {} ]", items.join("\r,\n"))
            }
            Json::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .rev()
                    .map(|(name, value)| format!("{} :\t{}", escaped(name), value.restyled()))
                    .collect();
                format!("{{ {}\n}}", members.join(" , "))
            }
        }
    }
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |b| *b == 0);
    let first = check(parts.next().unwrap_or_default());
    let second = check(parts.next().unwrap_or_default());
    if let (Some((a, a_scanned)), Some((b, b_scanned))) = (first, second) {
        assert_eq!(
            a_scanned.identity == b_scanned.identity,
            a == b,
            "{a:?} {b:?}"
        );
    }
}

fn check(text: &[u8]) -> Option<(Json, Scanned)> {
    let ours = json::scan(text);
    let value = match (Json::read(text), &ours) {
        (Ok(value), Ok(_)) => value,
        (Err(_), Err(e)) => {
            assert!(e.at <= text.len(), "{e}");
            return None;
        }
        (theirs, ours) => panic!("{theirs:?} but {ours:?}"),
    };
    let ours = ours.ok()?;
    assert_eq!(Json::read(&ours.compact).as_ref(), Ok(&value));
    assert_eq!(json::scan(&ours.compact).as_ref(), Ok(&ours));
    assert!(ours.compact.len() <= text.len());
    let restyled = json::scan(value.restyled().as_bytes()).expect("a restyled text");
    assert_eq!(restyled.identity, ours.identity, "{}", value.restyled());
    // As a member of a record it must be one line.
    assert!(!ours.compact.iter().any(u8::is_ascii_control) || ours.compact.contains(&0x7f));
    Some((value, ours))
}
