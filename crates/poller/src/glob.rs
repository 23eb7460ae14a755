//! Patterns of node names with the syntax of Redis: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\` before a literal
//! character. A match takes at most (length of the pattern) x (length of the name) steps. No I/O.
//!
//! Unlike `aggregator_protocol::glob`, which accepts what Redis accepts, it rejects incomplete patterns and can be compared.

/// An invalid pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// The pattern is empty.
    #[error("a pattern is not empty; * matches every node")]
    Empty,
    /// The pattern ends within a set or after a backslash.
    #[error("the pattern {0:?} ends within a [...] or behind a backslash")]
    Incomplete(String),
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<u8>);

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Returns an error if the pattern is empty, a `[` is not closed, or the pattern ends with a `\`.
    pub fn parse(text: &str) -> Result<Glob, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        let pattern = text.as_bytes();
        let mut at = 0;
        while at < pattern.len() {
            match step(&pattern[at..], 0) {
                Some((length, _)) => at += length,
                None => return Err(GlobError::Incomplete(text.to_owned())),
            }
        }
        Ok(Glob(pattern.to_owned()))
    }

    /// Returns whether the whole name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        let (pattern, mut at, mut read) = (&self.0[..], 0, 0);
        // Where to resume after a mismatch: behind the last star, which then matches one byte more. Earlier stars need no
        // other attempt: what they could match the last one matches as well.
        let mut again: Option<(usize, usize)> = None;
        loop {
            if pattern.get(at) == Some(&b'*') {
                at += 1;
                again = Some((at, read));
                continue;
            }
            let next = match (at < pattern.len(), name.get(read)) {
                (true, Some(byte)) => step(&pattern[at..], *byte),
                (false, None) => return true,
                _ => None,
            };
            match (next, &mut again) {
                (Some((length, true)), _) => {
                    at += length;
                    read += 1;
                }
                (_, Some((behind, from))) if *from < name.len() => {
                    *from += 1;
                    (at, read) = (*behind, *from);
                }
                _ => return false,
            }
        }
    }
}

/// Returns the length of the first element of the pattern, and whether it matches the byte. Returns `None` if the element
/// is not complete.
fn step(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    match pattern {
        [b'\\'] => None,
        [b'\\', literal, ..] => Some((2, *literal == byte)),
        [b'?' | b'*', ..] => Some((1, true)),
        [b'[', ..] => class(pattern, byte),
        [literal, ..] => Some((1, *literal == byte)),
        [] => None,
    }
}

fn class(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = pattern.get(1) == Some(&b'^');
    let (mut at, mut hit) = (if negated { 2 } else { 1 }, false);
    loop {
        let low = match pattern.get(at)? {
            b']' => return Some((at + 1, hit != negated)),
            b'\\' => {
                at += 1;
                *pattern.get(at)?
            }
            literal => *literal,
        };
        at += 1;
        let mut high = low;
        if let [b'-', end, ..] = pattern[at..]
            && end != b']'
        {
            high = end;
            at += 2;
        }
        hit |= (low.min(high)..=low.max(high)).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("*", vec!["", "a", "a*b"], vec![]),
            ("web*", vec!["web", "web1"], vec!["we", "aweb"]),
            ("*.db", vec![".db", "a.db.db"], vec!["a.db2"]),
            ("a*b*c", vec!["abc", "axbxbxc"], vec!["ab", "acb"]),
            ("a?", vec!["ab"], vec!["a", "abc"]),
            ("n[0-35]", vec!["n0", "n3", "n5"], vec!["n4", "n"]),
            ("n[^0-3]", vec!["n4", "n-"], vec!["n0"]),
            ("[a-]", vec!["a", "-"], vec!["b"]),
            (r"\*[\]]", vec!["*]"], vec!["a]"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn incomplete_pattern_is_an_error() {
        for bad in ["[a", "a\\", "[a-", "[\\", ""] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_stars_take_bounded_time() {
        assert!(!matches(&"a*".repeat(100), &"a".repeat(99)));
        assert!(!matches(
            &format!("{}b", "*a".repeat(200)),
            &"a".repeat(20_000)
        ));
    }
}
