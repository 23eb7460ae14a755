//! Tag lists of saved nodes and effects: in canonical form, or in that of version 1 (0.1.0), which is converted.

use crate::error::DecodeError;
use aggregator_protocol::tags;
use std::borrow::Cow;

/// Checks the form of a list.
///
/// # Errors
/// The list is not in the canonical form of its version.
pub(crate) fn check_tags(list: &[u8], is_version_1: bool) -> Result<(), DecodeError> {
    let is_canonical = match is_version_1 {
        true => tags::is_canonical_v1(list),
        false => tags::is_canonical(list),
    };
    match is_canonical {
        true => Ok(()),
        false => Err(DecodeError("a list of tags is not in canonical form")),
    }
}

/// Returns a list in canonical form; borrowed if it was.
///
/// # Errors
/// See [`check_tags`].
pub(crate) fn loaded_tags(list: &[u8], is_version_1: bool) -> Result<Cow<'_, [u8]>, DecodeError> {
    check_tags(list, is_version_1)?;
    Ok(match is_version_1 {
        true => tags::from_v1(list),
        false => Cow::Borrowed(list),
    })
}
