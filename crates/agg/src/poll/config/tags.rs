//! A route's keys that edit tags, and their checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use crate::line::RESERVED;
use crate::poll::tags::Edits;

use super::Mistake;

/// Names and what belongs to each.
pub type Table = BTreeMap<Spanned<String>, Spanned<String>>;

/// What these keys do to tags; none where that is nothing.
///
/// Returns the first mistake.
pub fn edits(
    add: &Table,
    rename: &Table,
    dropped: &[Spanned<String>],
) -> Result<Option<Arc<Edits>>, Mistake> {
    let mut edits = Edits::default();
    for name in dropped {
        edits.drop(some(name, "name of a tag")?);
    }
    let mut targets: Vec<&str> = Vec::new();
    for (from, to) in rename {
        let (name, target) = (some(from, "name of a tag")?, free(to)?);
        if name == target {
            return Err(Mistake::at(to, "expected another name than before"));
        }
        if dropped.iter().any(|drop| drop.get_ref() == name) {
            return Err(Mistake::at(from, format!("{name:?} is to be dropped")));
        }
        if targets.contains(&target) {
            let text = format!("another tag is to be named {target:?} already");
            return Err(Mistake::at(to, text));
        }
        targets.push(target);
        edits.rename(name, target);
    }
    for (name, value) in add {
        edits.add(free(name)?, some(value, "value")?);
    }
    Ok((!edits.is_empty()).then(|| Arc::new(edits)))
}

/// A text that every form can hold.
fn some<'a>(text: &'a Spanned<String>, what: &str) -> Result<&'a str, Mistake> {
    let words = text.get_ref();
    let fault = match words.as_str() {
        "" => "empty",
        words if words.contains(|c: char| c.is_control()) => "one with a control character",
        words => return Ok(words),
    };
    Err(Mistake::at(text, format!("expected a {what}, not {fault}")))
}

/// A name that no field or tag of the module has.
fn free(name: &Spanned<String>) -> Result<&str, Mistake> {
    let words = some(name, "name of a tag")?;
    if RESERVED.contains(&words) {
        let text = format!("{words:?} is a name that line protocol has for something else");
        return Err(Mistake::at(name, text));
    }
    Ok(words)
}
