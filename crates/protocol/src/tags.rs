//! Tag lists: words `name:value`, separated by spaces.
//!
//! A word is split at its first colon; one without a colon has no value. Only U+0020 separates. In canonical form the
//! words are sorted by the bytes of their names, only the last word of each name is kept, and one space stands between
//! two words: so lists that mean the same are the same bytes.

use std::borrow::Cow;
use std::ops::Range;

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
    // Names and words.
    let mut words: Vec<(&[u8], &[u8])> = Vec::new();
    for word in text.split(|b| *b == b' ').filter(|word| !word.is_empty()) {
        if word.starts_with(b":") {
            return Err(TagsError {
                word: word.to_vec(),
            });
        }
        words.push((name(word), word));
    }
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
        list.extend_from_slice(word);
    }
    Ok(Cow::Owned(list))
}

/// Whether a list is in canonical form: names that are not empty and grow strictly, one space between two words.
pub fn is_canonical(text: &[u8]) -> bool {
    let mut before = 0..0;
    let mut grows = |name: Range<usize>| {
        let grows = text[before.clone()] < text[name.clone()];
        before = name;
        grows
    };
    // One pass, as every sample with tags comes here.
    let (mut start, mut end) = (0, None);
    for (i, byte) in text.iter().enumerate() {
        match byte {
            b':' => end = end.or(Some(i)),
            b' ' => {
                if !grows(start..end.unwrap_or(i)) {
                    return false;
                }
                (start, end) = (i + 1, None);
            }
            _ => {}
        }
    }
    text.is_empty() || grows(start..end.unwrap_or(text.len()))
}

/// Returns the names and values of a list in canonical form; a word without a colon has no value.
pub fn iter(canonical: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    canonical
        .split(|b| *b == b' ')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let name = name(word);
            (name, word.get(name.len() + 1..))
        })
}

/// Returns the number of tags in a list in canonical form, except for the last.
pub fn spaces(canonical: &[u8]) -> usize {
    canonical.iter().filter(|byte| **byte == b' ').count()
}

fn name(word: &[u8]) -> &[u8] {
    word.split(|b| *b == b':').next().unwrap_or_default()
}

/// Parses a tag: `name:value`, or a name without a value.
///
/// # Errors
/// The tag contains white space, or its name is empty.
pub fn tag(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with(':') {
        return Err("expected name:value, the name not empty".into());
    }
    if text.contains(|c: char| c.is_whitespace()) {
        return Err("a tag contains no spaces: give --tag once for each".into());
    }
    Ok(text.to_owned())
}

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
        ] {
            assert_eq!(
                canonical(text.as_bytes()).unwrap(),
                list.as_bytes(),
                "{text:?}"
            );
        }
        assert!(matches!(canonical(b"a:1 b:2 c"), Ok(Cow::Borrowed(_))));
        assert_eq!(
            canonical(b"a:1 :x"),
            Err(TagsError {
                word: b":x".to_vec()
            })
        );
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
        fn canonical_form_is_unique(text in "[abc:1 ]{0,30}") {
            if let Ok(list) = canonical(text.as_bytes()) {
                let again = canonical(&list).unwrap();
                prop_assert!(matches!(again, Cow::Borrowed(_)), "{:?}", list);
                let names: Vec<_> = iter(&list).map(|(name, _)| name).collect();
                prop_assert!(names.windows(2).all(|w| w[0] < w[1]));
                for (name, value) in iter(&list) {
                    let last = text.as_bytes().split(|b| *b == b' ').rfind(|w| super::name(w) == name).unwrap();
                    prop_assert_eq!(value, last.get(name.len() + 1..));
                }
            }
        }
    }

    #[test]
    fn tags_have_a_name_and_no_spaces() {
        assert_eq!(tag("rack:a1"), Ok("rack:a1".into()));
        assert_eq!(tag("prod"), Ok("prod".into()));
        assert_eq!(tag("a:"), Ok("a:".into()));
        assert!(tag("").is_err() && tag(":v").is_err());
        assert!(tag("a:b c").unwrap_err().contains("no spaces"));
        assert!(tag("a:b\nc:d").is_err());
    }
}
