//! The kinds of items of a node that have names.

/// A kind of items that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Metric,
    Error,
    Object,
}
