//! The settings of the identity of series.

/// The settings of the mapping of series to metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// Globs of the names of attributes that distinguish series.
    pub identity: Vec<String>,
    /// Globs of the names of attributes that are neither part of the metric's name nor tags.
    pub drop: Vec<String>,
    /// Tags of all reports: `name:value`, `name=value` or a name. They override attributes.
    pub tags: Vec<String>,
    /// Maximum metrics of a name.
    pub max_instances: u32,
    /// Maximum metrics of all names.
    pub max_series: usize,
    /// Maximum names.
    pub max_names: usize,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        IdentitySettings {
            identity: vec!["*".to_owned()],
            drop: Vec::new(),
            tags: Vec::new(),
            max_instances: 1000,
            max_series: 100_000,
            max_names: 100_000,
        }
    }
}
