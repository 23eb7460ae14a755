//! The selection of what is served, and its bounds.

use std::time::Duration;

use crate::glob::{Glob, GlobError};

/// The selection of what is served, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The patterns of the names of nodes, one of which has to match. Without any all nodes are served.
    pub nodes: Vec<Glob>,
    /// The patterns of the names of metrics, one of which has to match. Without any all metrics are served.
    pub metrics: Vec<Glob>,
    /// The maximum number of series of nodes.
    pub max_series: usize,
    /// The metrics of a node without a sample for this long are left out.
    pub max_age: Duration,
    /// The time after which a server that is still being read counts as down.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nodes: Vec::new(),
            metrics: Vec::new(),
            max_series: 100_000,
            max_age: Duration::from_secs(3600),
            timeout: Duration::from_secs(8),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A pattern is invalid.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// The limit of series is out of range.
    #[error("expected 1 to {} series", Settings::MOST_SERIES)]
    Series,
}

impl Settings {
    /// The largest limit of series: a scrape of as many has hundreds of megabytes.
    pub const MOST_SERIES: usize = 2_000_000;

    /// Parses patterns.
    ///
    /// # Errors
    ///
    /// A pattern is invalid.
    pub fn globs(patterns: &[String]) -> Result<Vec<Glob>, SettingsError> {
        let globs = patterns.iter().map(|pattern| Glob::parse(pattern));
        Ok(globs.collect::<Result<_, GlobError>>()?)
    }

    /// Checks a limit of series.
    ///
    /// # Errors
    ///
    /// The limit is out of range.
    pub fn series(limit: u64) -> Result<usize, SettingsError> {
        match usize::try_from(limit) {
            Ok(limit) if (1..=Settings::MOST_SERIES).contains(&limit) => Ok(limit),
            _ => Err(SettingsError::Series),
        }
    }

    /// Returns whether a node is served.
    pub(super) fn has_node(&self, name: &[u8]) -> bool {
        any(&self.nodes, name)
    }

    /// Returns whether a metric is served.
    pub(super) fn has_metric(&self, name: &[u8]) -> bool {
        any(&self.metrics, name)
    }
}

fn any(globs: &[Glob], name: &[u8]) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_select_nodes_and_metrics() {
        let globs = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Settings::globs(&texts)
        };
        let settings = Settings {
            nodes: globs(&["web*", "db1"]).unwrap(),
            ..Settings::default()
        };
        assert!(settings.has_node(b"web1") && settings.has_node(b"db1"));
        assert!(!settings.has_node(b"db2") && settings.has_metric(b"anything"));
        assert!(globs(&["web["]).is_err() && globs(&[""]).is_err());
    }

    #[test]
    fn limit_of_series_has_a_range() {
        assert_eq!(Settings::series(1), Ok(1));
        assert_eq!(Settings::series(2_000_000), Ok(2_000_000));
        for limit in [0, 2_000_001, u64::MAX] {
            let error = Settings::series(limit).unwrap_err().to_string();
            assert_eq!(error, "expected 1 to 2000000 series");
        }
    }
}
