//! Patterns of names, as a setting has them.

use aggregator_protocol::glob::Glob;
use std::sync::Arc;

/// The longest text of patterns, bytes: each new metric is compared with all of them.
pub const MAX_BYTES: usize = 1024;

/// Glob patterns separated by blanks.
#[derive(Clone, Default)]
pub struct NamePatterns {
    text: Arc<str>,
    globs: Arc<[Glob]>,
}

impl NamePatterns {
    /// Compiles the patterns of a text.
    ///
    /// # Errors
    /// The text is longer than [`MAX_BYTES`].
    pub fn parse(text: &str) -> Result<NamePatterns, String> {
        if text.len() > MAX_BYTES {
            let len = text.len();
            return Err(format!(
                "{len} bytes of patterns: the maximum is {MAX_BYTES}"
            ));
        }
        let words = text.split_ascii_whitespace();
        Ok(NamePatterns {
            text: text.into(),
            globs: words.map(|word| Glob::new(word.as_bytes())).collect(),
        })
    }

    /// Returns `true` if there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// Returns `true` if a pattern matches the name.
    pub fn matches(&self, name: &[u8]) -> bool {
        // The work is limited by the lengths of patterns and names.
        let mut steps = 0;
        self.globs.iter().any(|glob| glob.matches(name, &mut steps))
    }
}

impl PartialEq for NamePatterns {
    fn eq(&self, other: &NamePatterns) -> bool {
        self.text == other.text
    }
}

impl Eq for NamePatterns {}

impl std::fmt::Debug for NamePatterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_pattern_of_the_text_matches() {
        let patterns = NamePatterns::parse(" http.*  *.ms\t").unwrap();
        let matches = |name: &str| patterns.matches(name.as_bytes());
        assert!(matches("http.requests") && matches("db.ms"));
        assert!(!matches("db.bytes") && !matches(""));
        for text in ["", " "] {
            let none = NamePatterns::parse(text).unwrap();
            assert!(none.is_empty() && !none.matches(b"a"));
        }
        let long = NamePatterns::parse(&"a".repeat(1025)).unwrap_err();
        assert_eq!(long, "1025 bytes of patterns: the maximum is 1024");
    }
}
