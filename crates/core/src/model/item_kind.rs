//! The kinds of items of a node that have names.

/// The three kinds of things in a node that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Metric,
    Error,
    Object,
}
