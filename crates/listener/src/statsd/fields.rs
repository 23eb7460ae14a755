//! The parts that samples, events and service checks share: fields between bars, and tags.

use memchr::memchr;
use smallvec::SmallVec;

use crate::report::{Attribute, Receiver};

/// The attributes of one line. Up to 16, which nearly all lines have, are not allocated.
pub(super) type Attributes<'a> = SmallVec<[Attribute<'a>; 16]>;

/// Splits at the first `separator`, an ASCII character, which belongs to neither part.
#[inline]
pub(super) fn split(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = memchr(separator, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Splits at the first `separator`; without one all belongs to the first part.
#[inline]
pub(super) fn split_or_all(text: &str, separator: u8) -> (&str, &str) {
    split(text, separator).unwrap_or((text, ""))
}

/// The fields of a text, which are separated by bars. Empty fields are skipped.
pub(super) fn fields(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        while !text.is_empty() {
            let (field, rest) = split_or_all(text, b'|');
            text = rest;
            if !field.is_empty() {
                return Some(field);
            }
        }
        None
    })
}

/// Adds the tags of `#name:value,name,...`, without the `#`. A tag without a value has an empty one.
#[inline]
pub(super) fn add_tags<'a>(
    mut tags: &'a str,
    attributes: &mut Attributes<'a>,
    receiver: &mut impl Receiver,
) {
    while !tags.is_empty() {
        let (tag, rest) = split_or_all(tags, b',');
        tags = rest;
        let (name, value) = split_or_all(tag, b':');
        if !name.is_empty() {
            attributes.push(Attribute::new(name, value));
        } else if !tag.is_empty() {
            receiver.invalid("a tag without a name", tag.as_bytes());
        }
    }
}

/// Returns whether a field says where the sender runs: a container (`c:`, DogStatsD 1.2), external data (`e:`, 1.5) or
/// the cardinality of the tags that an agent adds for these (`card:`, 1.6). Such fields are not used.
pub(super) fn is_origin(field: &str) -> bool {
    field.starts_with("c:") || field.starts_with("e:") || field.starts_with("card:")
}
