//! Patterns as in Redis's KEYS and SCAN: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, and `\` before a character that is meant
//! literally. Bytes, not characters, and case-sensitive.

/// Whether the whole text matches. Takes at most about pattern × text steps.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not match: only the last star matters.
    let mut star = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => text.get(t).and_then(|byte| one(&pattern[p..], *byte)),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, star) {
            (Some(len), _) => {
                p += len;
                t += 1;
            }
            (None, Some((star_p, star_t))) if star_t < text.len() => {
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the element at the pattern's start: the element's length, if it does.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', set @ ..] => {
            let (is_in, len) = in_set(set, byte);
            is_in.then_some(len + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Whether a byte is in the set, and the set's length with its closing bracket. As in Redis, a set that is not closed
/// ends with the pattern, and a range may be given in either order.
fn in_set(set: &[u8], byte: u8) -> (bool, usize) {
    let negated = set.first() == Some(&b'^');
    let mut i = usize::from(negated);
    let mut found = false;
    while let Some(&first) = set.get(i) {
        match (first, set.get(i + 1), set.get(i + 2)) {
            (b'\\', Some(&literal), _) => {
                found |= literal == byte;
                i += 2;
            }
            (b']', ..) => return (found != negated, i + 1),
            (low, Some(b'-'), Some(&high)) => {
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                i += 3;
            }
            (literal, ..) => {
                found |= literal == byte;
                i += 1;
            }
        }
    }
    (found != negated, i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, is) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[\\]]", "]", true),
            ("[abc", "b", true),
            ("\\", "\\", true),
            ("disk.*@sd?", "disk.iops@sda", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                is,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        assert!(!matches("a*".repeat(500).as_bytes(), &[b'a'; 400]));
        assert!(matches(&[b'*'; 10_000], &[b'a'; 10_000]));
    }

    /// The definition, by recursion.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|i| naive(rest, &text[i..])),
            (_, []) => false,
            (_, [byte, after @ ..]) => {
                one(pattern, *byte).is_some_and(|len| naive(&pattern[len..], after))
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[abc]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_pattern_comes_to_an_end(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text);
        }
    }
}
