//! Messages for people, as events of `tracing`. The subject of a message (a server, a node) is the span in which it is
//! written.

use std::collections::HashSet;

use tracing::Span;

use aggregator_protocol::NodeName;

/// The target of all messages of this module.
pub const TARGET: &str = module_path!();

/// Reports a state.
pub fn say(text: &str) {
    tracing::info!("{text}");
}

/// Reports a failure while work continues.
pub fn warn(text: &str) {
    tracing::warn!("{text}");
}

/// Reports the error that ends the program.
pub fn fail(text: &str) {
    tracing::error!("{text}");
}

// Spans of the level error: a higher level would leave out the names.

/// Returns the span of messages about a server.
pub fn of_server(id: &str) -> Span {
    tracing::error_span!("server", server = id)
}

/// Returns the span of messages about a node.
pub fn of_node(name: &NodeName) -> Span {
    tracing::error_span!("node", node = %name)
}

/// Warns of each failure once, so that what fails every second does not fill a log. It remembers up to a thousand
/// messages, and suppresses all further ones.
#[derive(Default)]
pub struct WarnOnce {
    written: HashSet<String>,
    is_full: bool,
}

impl WarnOnce {
    /// Maximum messages that are remembered.
    const LIMIT: usize = 1000;

    /// Warns unless this text was written before.
    pub fn say(&mut self, text: &str) {
        if let Some(message) = self.new_message(text) {
            warn(&message);
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
