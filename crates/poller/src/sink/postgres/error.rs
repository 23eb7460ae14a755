//! Which errors of a server are about records. No I/O.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::sink::interface::shorten;

/// Classes of SQLSTATE that are about the values of a row
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): data exceptions, constraints, a value too large for
/// the program, and an exception that a trigger raised.
const ROW_CLASSES: [&str; 4] = ["22", "23", "54", "P0"];

/// The class of errors that are about names, types and keys of a table.
const TABLE_CLASS: &str = "42";

/// An error of a statement.
#[derive(Debug, PartialEq, Eq)]
pub struct StatementError {
    /// The reason in the words of the server.
    pub reason: String,
    /// True if the server rejects a row for its content.
    pub is_about_rows: bool,
    /// True if a column or a key of a table is missing or another one.
    pub is_about_table: bool,
}

impl StatementError {
    /// Creates an error that is not about rows.
    pub fn new(reason: impl Into<String>) -> StatementError {
        StatementError {
            reason: reason.into(),
            is_about_rows: false,
            is_about_table: false,
        }
    }

    /// Returns the error of a statement without rows, with what it was about.
    pub fn within(self, context: &str) -> StatementError {
        StatementError::new(format!("{context}: {}", self.reason))
    }
}

impl From<Error> for StatementError {
    fn from(error: Error) -> StatementError {
        let Some(found) = error.as_db_error() else {
            // The client's own words do not name the cause.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            return StatementError::new(shorten(&format!("{error}{cause}")));
        };
        let code = found.code();
        let detail = found.detail().map(|detail| format!(": {detail}"));
        let detail = detail.unwrap_or_default();
        let reason = format!("{}{detail} ({})", found.message(), code.code());
        // A row without a partition violates no constraint that has a name. Once the partition exists, it fits.
        let no_partition = *code == SqlState::CHECK_VIOLATION && found.constraint().is_none();
        StatementError {
            reason: shorten(&reason),
            is_about_rows: ROW_CLASSES
                .iter()
                .any(|class| code.code().starts_with(class))
                && !no_partition,
            is_about_table: code.code().starts_with(TABLE_CLASS),
        }
    }
}
