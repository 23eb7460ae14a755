//! Warnings that are logged once.

use std::collections::HashSet;

/// Logs each warning once, so that what fails every second does not fill a log. It remembers up to a thousand warnings
/// and suppresses all further ones.
#[derive(Default)]
pub struct WarnOnce {
    written: HashSet<String>,
    is_full: bool,
}

impl WarnOnce {
    /// Maximum warnings that are remembered.
    const LIMIT: usize = 1000;

    /// Logs a warning unless this text was logged before.
    pub fn warn(&mut self, text: &str) {
        if let Some(message) = self.new_message(text) {
            tracing::warn!("{message}");
        }
    }

    fn new_message(&mut self, text: &str) -> Option<String> {
        if self.is_full || self.written.contains(text) {
            return None;
        }
        if self.written.len() == Self::LIMIT {
            self.is_full = true;
            self.written = HashSet::new();
            return Some("too many different warnings: further ones are suppressed".into());
        }
        self.written.insert(text.to_owned());
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_message_is_written_once() {
        let mut once = WarnOnce::default();
        assert_eq!(once.new_message("a").as_deref(), Some("a"));
        assert_eq!(once.new_message("a"), None);
        assert_eq!(once.new_message("b").as_deref(), Some("b"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut once = WarnOnce::default();
        for n in 0..WarnOnce::LIMIT {
            assert!(once.new_message(&n.to_string()).is_some());
        }
        assert!(once.new_message("last").unwrap().contains("suppressed"));
        assert_eq!(once.new_message("after"), None);
        assert!(once.written.is_empty());
    }
}
