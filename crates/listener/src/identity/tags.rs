//! The tag list of a report, in the canonical form of [`aggregator_protocol::tags`].
//!
//! # Invariants
//!
//! - Blanks and control characters are `_`, and so are `:` and `=` in names. A name that is empty is `_`. An attribute
//!   without a value is a tag without a value.
//! - The tags are sorted by the bytes of their names. Of equal names the last counts, and configured tags come last.
//! - A list has at most [`MAX_TAGS`] bytes. The tags that do not fit, and the ends of long names and values, are left
//!   out and counted.

use std::borrow::Cow;

use super::text::cut_len;

/// Maximum bytes of a tag list. The module accepts `agg.max-item-size`, 64 KiB by default.
pub const MAX_TAGS: usize = 4096;

/// Maximum bytes of the name of a tag.
const MAX_NAME: usize = 256;

/// Maximum bytes of the value of a tag.
const MAX_VALUE: usize = 1024;

/// A tag that is configured, such as `site:a`.
#[derive(Clone, Debug)]
pub(super) struct FixedTag {
    name: String,
    value: String,
}

impl FixedTag {
    /// Reads `name:value`, `name=value`, or a name alone.
    pub fn new(tag: &str) -> FixedTag {
        let (name, value) = tag.split_once([':', '=']).unwrap_or((tag, ""));
        FixedTag {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }
}

/// Returns the list of these tags, and the number of those that are cut or left out.
pub(super) fn list<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
    fixed: &'a [FixedTag],
) -> (String, u64) {
    let fixed = fixed
        .iter()
        .map(|tag| (tag.name.as_str(), tag.value.as_str()));
    let mut cut = 0;
    let mut tags: Vec<(Cow<'_, str>, Cow<'_, str>)> = attributes
        .chain(fixed)
        .map(|(name, value)| {
            let (kept_name, kept_value) = (limited(name, MAX_NAME), limited(value, MAX_VALUE));
            let is_cut = kept_name.len() < name.len() || kept_value.len() < value.len();
            cut += u64::from(is_cut);
            (clean_name(kept_name), clean(kept_value, &[]))
        })
        .collect();
    // Stable: of equal names the last given comes last.
    tags.sort_by(|a, b| a.0.cmp(&b.0));
    let mut list = String::new();
    for (i, (name, value)) in tags.iter().enumerate() {
        if tags.get(i + 1).is_some_and(|(next, _)| next == name) {
            continue;
        }
        if list.len() + name.len() + value.len() + 2 > MAX_TAGS {
            cut += 1;
            continue;
        }
        if !list.is_empty() {
            list.push(' ');
        }
        list.push_str(name);
        if !value.is_empty() {
            list.push(':');
            list.push_str(value);
        }
    }
    (list, cut)
}

fn limited(text: &str, most: usize) -> &str {
    text.get(..cut_len(text, most)).unwrap_or(text)
}

fn clean_name(name: &str) -> Cow<'_, str> {
    match name {
        "" => Cow::Borrowed("_"),
        name => clean(name, &[':', '=']),
    }
}

/// Replaces blanks, control characters and these characters.
fn clean<'a>(text: &'a str, replaced: &[char]) -> Cow<'a, str> {
    let is_replaced = |c: char| c.is_whitespace() || c.is_control() || replaced.contains(&c);
    match text.contains(is_replaced) {
        true => Cow::Owned(text.replace(is_replaced, "_")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tags(attributes: &[(&str, &str)], fixed: &[&str]) -> String {
        let fixed: Vec<_> = fixed.iter().map(|tag| FixedTag::new(tag)).collect();
        list(attributes.iter().copied(), &fixed).0
    }

    #[test]
    fn list_is_canonical() {
        assert_eq!(
            tags(&[("b", "2"), ("a", "1"), ("b", "3")], &["site:x", "prod"]),
            "a:1 b:3 prod site:x"
        );
        assert_eq!(tags(&[("a", "1")], &["a=2"]), "a:2");
        assert_eq!(
            tags(&[("a b:c=d", "e f\tg:h=i"), ("", "x"), ("k", "")], &[]),
            "_:x a_b_c_d:e_f_g:h=i k"
        );
        assert_eq!(tags(&[], &[]), "");
    }

    #[test]
    fn long_tags_are_cut_and_counted() {
        let long = "é".repeat(1000);
        let (text, cut) = list([("a", long.as_str()), ("b", "1")].into_iter(), &[]);
        assert_eq!((text.len(), cut), (2 + MAX_VALUE + 4, 1));
        let many: Vec<String> = (0..100).map(|i| format!("{i:0100}")).collect();
        let (text, cut) = list(many.iter().map(|name| (name.as_str(), "v")), &[]);
        assert!(text.len() <= MAX_TAGS && text.len() > MAX_TAGS - 110);
        assert_eq!(cut, 100 - text.split(' ').count() as u64);
    }

    proptest! {
        #[test]
        fn any_attributes_are_a_canonical_list(attributes: Vec<(String, String)>, fixed: Vec<String>) {
            let fixed: Vec<_> = fixed.iter().map(|tag| FixedTag::new(tag)).collect();
            let pairs = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let (list, _) = list(pairs, &fixed);
            prop_assert!(aggregator_protocol::tags::is_canonical(list.as_bytes()), "{:?}", list);
        }
    }
}
