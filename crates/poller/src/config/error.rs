//! An error in the configuration, with its place in the file.

use toml::Spanned;

/// An error in the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConfigError {
    /// The byte in the file. `None` if the file as a whole lacks something.
    pub at: Option<usize>,
    /// A description of the error.
    pub text: String,
    /// The required key that the table at `at` lacks, if that is the error.
    pub missing_key: Option<&'static str>,
}

impl ConfigError {
    /// Creates an error about a value in the file.
    pub fn at<T>(value: &Spanned<T>, text: impl Into<String>) -> ConfigError {
        ConfigError::at_byte(value.span().start, text)
    }

    /// Creates an error about a byte in the file.
    pub fn at_byte(at: usize, text: impl Into<String>) -> ConfigError {
        ConfigError {
            at: Some(at),
            text: text.into(),
            missing_key: None,
        }
    }

    /// Creates an error about a required key that a table lacks.
    pub fn missing_key<T>(
        table: &Spanned<T>,
        key: &'static str,
        text: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            missing_key: Some(key),
            ..ConfigError::at(table, text)
        }
    }

    /// Creates an error about something that the file as a whole lacks.
    pub fn missing(text: impl Into<String>) -> ConfigError {
        ConfigError {
            at: None,
            text: text.into(),
            missing_key: None,
        }
    }
}

/// Returns the line and the column of a byte. Both begin with 1, and the column counts characters.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[start..].chars().count() + 1)
}
