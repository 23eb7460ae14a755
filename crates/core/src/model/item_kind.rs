//! The kinds of items of a node that have names.

/// A kind of items that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Metric,
    Error,
    Object,
}

impl ItemKind {
    /// All kinds.
    pub const ALL: [ItemKind; 3] = [ItemKind::Metric, ItemKind::Error, ItemKind::Object];

    /// Returns the keyword of the commands.
    pub const fn name(self) -> &'static str {
        match self {
            ItemKind::Metric => "METRIC",
            ItemKind::Error => "ERROR",
            ItemKind::Object => "REALITY",
        }
    }
}
