//! The keys of a route that edit tags, and their checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use crate::tags::Edits;
use aggregator_protocol::line_protocol::is_reserved;
use aggregator_protocol::percentile::percentage;

use super::error::ConfigError;

/// A table of names and values.
pub type Table = BTreeMap<Spanned<String>, Spanned<String>>;

/// Converts the keys. Returns `None` if they change nothing.
///
/// # Errors
///
/// Returns the first error.
pub fn edits(
    add: &Table,
    rename: &Table,
    dropped: &[Spanned<String>],
) -> Result<Option<Arc<Edits>>, ConfigError> {
    let mut edits = Edits::default();
    for name in dropped {
        edits.drop(valid(name, "tag name")?);
    }
    let mut targets: Vec<&str> = Vec::new();
    for (from, to) in rename {
        let (name, target) = (valid(from, "tag name")?, unreserved(to)?);
        if name == target {
            return Err(ConfigError::at(to, "the new name is the old one"));
        }
        if dropped.iter().any(|drop| drop.get_ref() == name) {
            return Err(ConfigError::at(from, format!("{name:?} is dropped too")));
        }
        if targets.contains(&target) {
            let text = format!("another tag is renamed to {target:?} too");
            return Err(ConfigError::at(to, text));
        }
        targets.push(target);
        edits.rename(name, target);
    }
    for (name, value) in add {
        edits.add(unreserved(name)?, valid(value, "tag value")?);
    }
    Ok((!edits.is_empty()).then(|| Arc::new(edits)))
}

/// Checks a text that both formats have to represent.
fn valid<'a>(text: &'a Spanned<String>, what: &str) -> Result<&'a str, ConfigError> {
    let words = text.get_ref();
    let problem = match words.as_str() {
        "" => "is empty",
        words if words.contains(|c: char| c.is_control()) => "has a control character",
        words => return Ok(words),
    };
    Err(ConfigError::at(text, format!("the {what} {problem}")))
}

/// Checks a name that the module does not use for a field or tag of its own. Which percentiles are fields is a setting of
/// the server, so none of them can be a tag.
fn unreserved(name: &Spanned<String>) -> Result<&str, ConfigError> {
    let words = valid(name, "tag name")?;
    if is_reserved(words.as_bytes()) || percentage(words).is_some() {
        let text = format!("{words:?} has another meaning in line protocol");
        return Err(ConfigError::at(name, text));
    }
    Ok(words)
}
