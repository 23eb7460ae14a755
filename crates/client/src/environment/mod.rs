//! Environment variables in configuration files: `${NAME}` and `${NAME:-default}` in any string of a TOML file. `$$`
//! stands for `$`.
//!
//! # Invariants
//!
//! Only values that are strings change, after the file was parsed: no variable can add a key or a table. All positions in
//! the file stay as they are. A value is not searched for references. Messages about values show them as they are written
//! ([`Expansions::mask`]), since a variable may be a secret.

mod reference;

use std::borrow::Cow;
use std::env::VarError;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use reference::{Expanded, expand};

/// A reference to a variable without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpansionError {
    /// The first byte of the reference in the file.
    pub at: usize,
    /// The span of the string that contains it.
    pub value: Range<usize>,
    /// The reason.
    pub text: String,
}

/// The strings of a file whose references were replaced.
#[derive(Debug, Default)]
pub struct Expansions(Vec<(String, Expanded)>);

/// Replaces the references in all strings of a file that was parsed from `text`. Returns what was replaced, and an error
/// for each reference without a value, in no particular order.
pub fn expand_table(
    table: &mut DeTable<'_>,
    text: &str,
    variable: &impl Fn(&str) -> Result<String, VarError>,
) -> (Expansions, Vec<ExpansionError>) {
    let (mut expansions, mut errors) = (Expansions::default(), Vec::new());
    for (_, value) in table.iter_mut() {
        visit(value, &mut |value, span| {
            let written = value.to_string();
            match expand(&written, variable) {
                Ok(None) => {}
                Ok(Some(expanded)) => {
                    *value = expanded.text.clone().into();
                    expansions.0.push((written, expanded));
                }
                Err(failed) => {
                    let source = text.get(span.clone()).unwrap_or_default();
                    let mut from = 0;
                    for (reference, error) in failed {
                        // A reference with an escape sequence has no place of its own.
                        let found = source[from..].find(&reference);
                        let at = found.map_or(0, |at| from + at);
                        from = found.map_or(from, |_| at + reference.len());
                        errors.push(ExpansionError {
                            at: span.start + at,
                            value: span.clone(),
                            text: error.to_string(),
                        });
                    }
                }
            }
        });
    }
    (expansions, errors)
}

/// Calls a function for each string in a value.
fn visit<'t>(
    value: &mut Spanned<DeValue<'t>>,
    each: &mut impl FnMut(&mut Cow<'t, str>, Range<usize>),
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) => each(text, span),
        DeValue::Array(items) => items.iter_mut().for_each(|item| visit(item, each)),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| visit(value, each)),
        _ => {}
    }
}

impl Expansions {
    /// The least length of a value of a variable that is replaced wherever it is part of a message. A shorter one would be
    /// found in other words.
    const LEAST: usize = 4;

    /// Returns a message that shows the strings as they are written in the file, and no value of a variable.
    pub fn mask(&self, message: &str) -> String {
        let whole = self
            .0
            .iter()
            .map(|(written, expanded)| (&*expanded.text, &**written));
        let parts = self.0.iter().flat_map(|(_, expanded)| &expanded.values);
        let parts = parts
            .filter(|(_, value)| value.len() >= Self::LEAST)
            .map(|(reference, value)| (&**value, &**reference));
        let mut pairs: Vec<(&str, &str)> = whole.chain(parts).collect();
        // A value may be a part of another.
        pairs.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        pairs
            .into_iter()
            .filter(|(value, _)| !value.is_empty())
            .fold(message.to_owned(), |message, (value, written)| {
                let quoted = |text: &str| format!("{text:?}");
                let escaped = quoted(value).trim_matches('"').to_owned();
                let message = message.replace(&quoted(value), &quoted(written));
                match value.len() < Self::LEAST {
                    true => message.replace(&format!("`{value}`"), &format!("`{written}`")),
                    false => message.replace(&escaped, written).replace(value, written),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Result<String, VarError> {
        match name {
            "HOST" => Ok("db1.example".into()),
            "N" => Ok("5".into()),
            "ODD" => Ok("\"\n[x]\ny = 1".into()),
            _ => Err(VarError::NotPresent),
        }
    }

    #[test]
    fn strings_of_all_tables_and_lists_are_expanded_and_keys_are_not() {
        let text =
            "a = '${HOST}'\n\"${HOST}\" = 1\n[t]\nlist = ['x', '${N}', { b = \"${ODD}\" }]\n";
        let mut table = DeTable::parse(text).unwrap();
        let (_, errors) = expand_table(table.get_mut(), text, &variable);
        assert_eq!(errors, []);
        let table = table.get_ref();
        assert_eq!(table["a"].get_ref().as_str(), Some("db1.example"));
        assert_eq!(table["a"].span(), 4..13);
        assert!(table.contains_key("${HOST}") && !table.contains_key("x"));
        let list = table["t"].get_ref()["list"].get_ref();
        assert_eq!(list[1].get_ref().as_str(), Some("5"));
        let inner = list[2].get_ref()["b"].get_ref();
        assert_eq!(inner.as_str(), Some("\"\n[x]\ny = 1"));
    }

    #[test]
    fn each_reference_without_a_value_has_its_place() {
        let text = "a = 1\nb = \"\"\"x\n${A} ${HOST}\n${B}\"\"\"\n";
        let mut table = DeTable::parse(text).unwrap();
        let (_, errors) = expand_table(table.get_mut(), text, &variable);
        let found: Vec<_> = errors.iter().map(|error| &text[error.at..][..4]).collect();
        assert_eq!(found, ["${A}", "${B}"]);
        assert_eq!(errors[0].value, 10..text.len() - 1);
    }

    #[test]
    fn messages_show_what_is_written() {
        let text = "a = 'x://${HOST}:${N}'\nb = '${N}'\nc = '${ODD}'";
        let mut table = DeTable::parse(text).unwrap();
        let (expansions, _) = expand_table(table.get_mut(), text, &variable);
        for (message, expected) in [
            ("not \"x://db1.example:5\"", "not \"x://${HOST}:${N}\""),
            ("5 is no port of db1.example", "5 is no port of ${HOST}"),
            (
                "expected a word, not \"5\"",
                "expected a word, not \"${N}\"",
            ),
            ("string \"\\\"\\n[x]\\ny = 1\"", "string \"${ODD}\""),
            ("has \"\n[x]\ny = 1", "has ${ODD}"),
        ] {
            assert_eq!(expansions.mask(message), expected);
        }
    }
}
