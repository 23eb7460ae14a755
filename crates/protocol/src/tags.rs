//! Tag lists: words `name:value` or `name=value`, separated by spaces.
//!
//! A word is split at its first `:` or `=`; one without either has no value. Only U+0020 separates words. In canonical
//! form the words are sorted by the bytes of their names, a `:` follows each name that has a value, only the last word
//! of each name is kept, and one space stands between two words. So lists that mean the same are the same bytes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::error::Error;
use std::fmt;

/// A word whose name is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagsError {
    /// The word.
    pub word: Vec<u8>,
}

/// Returns the canonical form; borrowed if the text is canonical.
///
/// # Errors
/// A word whose name is empty.
pub fn canonical(text: &[u8]) -> Result<Cow<'_, [u8]>, TagsError> {
    if is_canonical(text) {
        return Ok(Cow::Borrowed(text));
    }
    match words(text).find(|word| name(word).is_empty()) {
        Some(word) => Err(TagsError {
            word: word.to_vec(),
        }),
        None => Ok(Cow::Owned(sorted(text))),
    }
}

/// Returns the canonical form of a list that version 0.1.0 accepted; borrowed if nothing changes. A word without a name
/// is omitted: `=v` was a tag without a value then.
pub fn from_v1(text: &[u8]) -> Cow<'_, [u8]> {
    match is_canonical(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(sorted(text)),
    }
}

/// Sorts the words that have a name, and keeps the last of each name.
fn sorted(text: &[u8]) -> Vec<u8> {
    // Names and words.
    let mut words: Vec<(&[u8], &[u8])> = words(text)
        .map(|word| (name(word), word))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    // The sort is stable: of equal names the last given comes last.
    words.sort_by_key(|(name, _)| *name);
    let mut list = Vec::with_capacity(text.len());
    for (i, (name, word)) in words.iter().enumerate() {
        if words.get(i + 1).is_some_and(|(next, _)| next == name) {
            continue;
        }
        if !list.is_empty() {
            list.push(b' ');
        }
        list.extend_from_slice(name);
        if let Some(value) = word.get(name.len() + 1..) {
            list.push(b':');
            list.extend_from_slice(value);
        }
    }
    list
}

/// Returns whether a list is in canonical form.
pub fn is_canonical(text: &[u8]) -> bool {
    is_sorted(text, true)
}

/// Returns whether a list is in the canonical form of version 0.1.0, which split words at the first `:` only.
pub fn is_canonical_v1(text: &[u8]) -> bool {
    is_sorted(text, false)
}

/// Returns whether the names, which end at the first colon, are not empty and grow strictly, and one space stands
/// between two words. Names contain no `=` if `rejects_equals`.
fn is_sorted(text: &[u8], rejects_equals: bool) -> bool {
    let (mut rest, mut before): (_, &[u8]) = (text, &[]);
    // Every sample with tags comes here: names and values are passed by loops of their own.
    while !text.is_empty() {
        let ends_name = |byte: &u8| match byte {
            b':' | b' ' => true,
            b'=' => rejects_equals,
            _ => false,
        };
        let (name, behind) = rest.split_at(rest.iter().position(ends_name).unwrap_or(rest.len()));
        // Names mostly differ in their first bytes.
        let grows = match before.first().cmp(&name.first()) {
            Ordering::Less => true,
            Ordering::Equal => before < name,
            Ordering::Greater => false,
        };
        if !grows || behind.first() == Some(&b'=') {
            return false;
        }
        let Some(space) = behind.iter().position(|byte| *byte == b' ') else {
            return true;
        };
        (rest, before) = (&behind[space + 1..], name);
    }
    true
}

/// Returns the names and values of a list in canonical form.
pub fn iter(canonical: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    words(canonical).map(|word| {
        let name = name(word);
        (name, word.get(name.len() + 1..))
    })
}

/// Returns the number of tags in a list in canonical form, except for the last.
pub fn spaces(canonical: &[u8]) -> usize {
    canonical.iter().filter(|byte| **byte == b' ').count()
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b' ').filter(|word| !word.is_empty())
}

fn name(word: &[u8]) -> &[u8] {
    word.split(|b| matches!(b, b':' | b'='))
        .next()
        .unwrap_or_default()
}

/// Parses a tag of a command line: `name:value`, `name=value`, or a name without a value.
///
/// # Errors
/// The tag contains white space, or its name is empty.
pub fn tag(text: &str) -> Result<String, TagError> {
    if text.is_empty() || text.starts_with([':', '=']) {
        return Err(TagError::NoName);
    }
    if text.contains(|c: char| c.is_whitespace()) {
        return Err(TagError::WhiteSpace);
    }
    Ok(text.to_owned())
}

/// An error in a tag of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagError {
    /// The name is empty.
    NoName,
    /// The tag contains white space.
    WhiteSpace,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TagError::NoName => "expected name:value or name=value, the name not empty",
            TagError::WhiteSpace => "a tag contains no spaces: give --tag once for each",
        })
    }
}

impl Error for TagError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_sorted_and_the_last_of_a_name_counts() {
        for (text, list) in [
            ("", ""),
            (" ", ""),
            ("b:2  a:1 ", "a:1 b:2"),
            ("a:1 b a:2", "a:2 b"),
            ("a:x:y", "a:x:y"),
            ("ab:1 a:2", "a:2 ab:1"),
            ("a: b", "a: b"),
            ("rack=a1", "rack:a1"),
            ("rack=a1 unit:percent", "rack:a1 unit:percent"),
            ("rack=a1 rack:a2", "rack:a2"),
            ("rack:a1 rack=a2", "rack:a2"),
            ("a=b:c a:=", "a:="),
            ("a=b:c=d", "a:b:c=d"),
            ("a:b=c", "a:b=c"),
            ("a==", "a:="),
            ("a= b", "a: b"),
            ("a=1 a-b", "a:1 a-b"),
        ] {
            assert_eq!(
                canonical(text.as_bytes()).unwrap(),
                list.as_bytes(),
                "{text:?}"
            );
        }
        assert!(matches!(canonical(b"a:1 b:2 c"), Ok(Cow::Borrowed(_))));
        for word in [&b":x"[..], b"=x", b":", b"=", b"=:x", b":=x"] {
            let text = [b"a:1 ", word, b" b"].concat();
            let word = word.to_vec();
            assert_eq!(canonical(&text), Err(TagsError { word }));
        }
        let pairs: Vec<_> = iter(b"a: b c:x:y").collect();
        assert_eq!(
            pairs,
            [
                (&b"a"[..], Some(&b""[..])),
                (b"b", None),
                (b"c", Some(b"x:y"))
            ]
        );
    }

    proptest! {
        #[test]
        fn canonical_form_is_unique(text in "[abc:=1 ]{0,30}") {
            if let Ok(list) = canonical(text.as_bytes()) {
                let again = canonical(&list).unwrap();
                prop_assert!(matches!(again, Cow::Borrowed(_)), "{:?}", list);
                let names: Vec<_> = iter(&list).map(|(name, _)| name).collect();
                prop_assert!(names.windows(2).all(|w| w[0] < w[1]));
                for (name, value) in iter(&list) {
                    let last = text.as_bytes().split(|b| *b == b' ').rfind(|w| super::name(w) == name).unwrap();
                    prop_assert_eq!(value, last.get(name.len() + 1..));
                }
                // `:` and `=` mean the same where a name ends.
                let swapped: Vec<String> = text.split(' ').map(|word| match word.find([':', '=']) {
                    Some(at) if word.as_bytes()[at] == b':' => word.replacen(':', "=", 1),
                    Some(_) => word.replacen('=', ":", 1),
                    None => word.to_owned(),
                }).collect();
                let swapped = swapped.join(" ");
                prop_assert_eq!(canonical(swapped.as_bytes()).unwrap(), list);
            }
        }

        #[test]
        fn canonical_lists_are_those_that_sorting_leaves_as_they_are(text in "[ab:= ]{0,8}") {
            let expected = sorted(text.as_bytes()) == text.as_bytes();
            prop_assert_eq!(is_canonical(text.as_bytes()), expected);
        }

        #[test]
        fn lists_of_version_1_become_canonical(words in proptest::collection::vec("[ab=1]{1,3}(:[ab:=1]{0,3})?", 0..6)) {
            // The canonical form of version 1: sorted by what is before the first colon.
            let name = |word: &str| word.split(':').next().unwrap().to_owned();
            let old: std::collections::BTreeMap<String, &String> = words.iter().map(|word| (name(word), word)).collect();
            let old: Vec<&str> = old.values().map(|word| word.as_str()).collect();
            let old = old.join(" ");
            prop_assert!(is_canonical_v1(old.as_bytes()), "{}", old);
            let list = from_v1(old.as_bytes());
            prop_assert!(is_canonical(&list), "{:?}", list);
            if let Ok(expected) = canonical(old.as_bytes()) {
                prop_assert_eq!(list, expected);
            }
        }
    }

    #[test]
    fn lists_of_version_1_keep_what_has_a_name() {
        for (old, list) in [
            ("a:1 b", "a:1 b"),
            ("=v a=1 a=2 b:c", "a:2 b:c"),
            ("=v", ""),
        ] {
            assert!(is_canonical_v1(old.as_bytes()), "{old}");
            assert_eq!(from_v1(old.as_bytes()), list.as_bytes());
        }
        assert!(!is_canonical_v1(b"b a") && !is_canonical_v1(b"a  b") && !is_canonical_v1(b":v"));
    }

    #[test]
    fn tags_have_a_name_and_no_spaces() {
        assert_eq!(tag("rack:a1"), Ok("rack:a1".into()));
        assert_eq!(tag("rack=a1"), Ok("rack=a1".into()));
        assert_eq!(tag("prod"), Ok("prod".into()));
        assert_eq!(tag("a:"), Ok("a:".into()));
        assert!(tag("").is_err() && tag(":v").is_err() && tag("=v").is_err());
        let error = tag("a:b c").unwrap_err();
        assert!(error.to_string().contains("no spaces"));
        assert!(tag("a:b\nc:d").is_err());
    }
}
