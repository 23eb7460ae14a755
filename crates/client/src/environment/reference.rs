//! References to environment variables in one string: `${NAME}` and `${NAME:-default}`. `$$` stands for `$`. No I/O.

use std::env::VarError;

/// A reference that cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReferenceError {
    #[error(
        "the environment variable {0} is not set: set it, or write a default, as ${{{0}:-value}}"
    )]
    NotSet(String),
    #[error("the environment variable {0} is not UTF-8 text")]
    NotText(String),
    #[error("expected ${{NAME}} or ${{NAME:-default}}; write $${{ for ${{ itself")]
    Form,
}

/// The error of a reference, with the reference as it is written.
pub(super) type Failed = (String, ReferenceError);

/// A string whose references are replaced.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    /// The string.
    pub text: String,
    /// The references as they are written, each with the value of its variable.
    pub values: Vec<(String, String)>,
}

/// Replaces the references in a string. A value is not searched for references. `None` if nothing changes.
///
/// # Errors
///
/// Returns all references that cannot be replaced.
pub(super) fn expand(
    written: &str,
    variable: &impl Fn(&str) -> Result<String, VarError>,
) -> Result<Option<Expanded>, Vec<Failed>> {
    let (mut expanded, mut failed) = (Expanded::default(), Vec::new());
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.text.push('$');
            rest = after;
        } else if after.starts_with('{') {
            let end = after.find('}').map_or(after.len(), |end| end + 1);
            let reference = format!("${}", &after[..end]);
            match value(&reference, variable) {
                Ok((value, is_default)) => {
                    expanded.text.push_str(&value);
                    if !is_default {
                        expanded.values.push((reference, value));
                    }
                }
                Err(error) => failed.push((reference, error)),
            }
            rest = &after[end..];
        } else {
            expanded.text.push('$');
            rest = after;
        }
    }
    expanded.text.push_str(rest);
    match failed.is_empty() {
        true => Ok((expanded.text != written).then_some(expanded)),
        false => Err(failed),
    }
}

/// Returns the value of a reference, and whether it is the default. As in a shell, an empty variable has the default.
fn value(
    reference: &str,
    variable: &impl Fn(&str) -> Result<String, VarError>,
) -> Result<(String, bool), ReferenceError> {
    let inner = reference
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.ok_or(ReferenceError::Form)?;
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_letter);
    if name.is_empty() || !is_name {
        return Err(ReferenceError::Form);
    }
    match (variable(name), default) {
        (Ok(value), Some(default)) if value.is_empty() => Ok((default.to_owned(), true)),
        (Ok(value), _) => Ok((value, false)),
        (Err(VarError::NotUnicode(_)), _) => Err(ReferenceError::NotText(name.to_owned())),
        (Err(VarError::NotPresent), Some(default)) => Ok((default.to_owned(), true)),
        (Err(VarError::NotPresent), None) => Err(ReferenceError::NotSet(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Result<String, VarError> {
        match name {
            "HOST" => Ok("db1".into()),
            "EMPTY" => Ok(String::new()),
            "ODD" => Ok("${HOST}\"\nx = 1 $$".into()),
            _ => Err(VarError::NotPresent),
        }
    }

    fn text(written: &str) -> String {
        let expanded = expand(written, &variable).unwrap();
        expanded.map_or_else(|| written.to_owned(), |expanded| expanded.text)
    }

    #[test]
    fn references_are_replaced_once() {
        for (written, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("http://${HOST}:${PORT:-8086}/", "http://db1:8086/"),
            ("${HOST}${HOST}", "db1db1"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b$c}", "a:-b$c"),
            ("${ODD}", "${HOST}\"\nx = 1 $$"),
            ("$${HOST}", "${HOST}"),
            ("a$$b", "a$b"),
            ("$$$$", "$$"),
            ("$$${HOST}", "$db1"),
            ("a$b $", "a$b $"),
            ("$HOST", "$HOST"),
        ] {
            assert_eq!(text(written), expected, "{written}");
        }
        assert_eq!(expand("a$b", &variable), Ok(None));
    }

    #[test]
    fn reference_without_a_value_is_an_error() {
        let errors = |written| expand(written, &variable).unwrap_err();
        let not_set = |name: &str| ReferenceError::NotSet(name.into());
        assert_eq!(
            errors("${A} ${HOST} ${B}"),
            [("${A}".into(), not_set("A")), ("${B}".into(), not_set("B"))]
        );
        for written in ["${", "${}", "${1A}", "${A-b}", "${HOST", "${A B}", "${é}"] {
            assert_eq!(errors(written), [(written.into(), ReferenceError::Form)]);
        }
        assert_eq!(
            not_set("A").to_string(),
            "the environment variable A is not set: set it, or write a default, as ${A:-value}"
        );
    }
}
