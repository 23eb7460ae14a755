//! The parts of a message.

use crate::report::Attribute;

/// Maximum parameters of structured data that become attributes. The rest is counted as invalid.
pub const MAX_PARAMETERS: usize = 32;

/// The parts of a message. Empty parts are missing.
#[derive(Default)]
pub struct Parts<'a> {
    pub at: Option<i64>,
    pub host: &'a [u8],
    pub app: &'a [u8],
    pub pid: &'a [u8],
    pub message_id: &'a [u8],
    /// Attributes of the structured data.
    pub parameters: Vec<Attribute<'a>>,
    pub text: &'a [u8],
}
