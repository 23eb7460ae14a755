//! The stored name of a metric: a short one (that of most metrics) is inside the metric, which saves an allocation and,
//! in a lookup, a cache miss.

use std::ops::Deref;

/// The longest name that needs no allocation.
const SHORT: usize = 22;

/// A stored name.
pub(crate) enum Name {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Name {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..name.len()) {
            Some(place) => {
                place.copy_from_slice(name);
                Name::Short {
                    len: name.len() as u8,
                    bytes,
                }
            }
            None => Name::Long(name.into()),
        }
    }
}

impl Name {
    /// Returns the bytes that are allocated for a name of `len` bytes.
    pub fn allocated(len: usize) -> usize {
        if len > SHORT { len } else { 0 }
    }
}

impl Deref for Name {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Name::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Name::Long(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_any_length_is_kept() {
        assert_eq!(size_of::<Name>(), 24);
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 70_000] {
            let name = vec![b'x'; len];
            assert_eq!(*Name::from(&name[..]), name);
        }
    }
}
