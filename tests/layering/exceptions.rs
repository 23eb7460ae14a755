//! What the layers do not keep to yet. The lists only get shorter.

/// Files that are part of a cycle.
pub const CYCLIC: &[&str] = &[];

/// Folders of subcommands that import another.
pub const ACROSS_SUBCOMMANDS: &[(&str, &str)] = &[];
