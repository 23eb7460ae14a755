//! The result of a check of one part of the configuration.

/// The result of a check.
pub struct Check {
    /// The part of the configuration, such as `sink archive`.
    pub subject: String,
    /// A description of what was found, or the reason for which the poller could not work with it.
    pub result: Result<String, String>,
}
