//! The kinds of metrics, by patterns of their names.

use aggregator_protocol::glob::Glob;

/// The type by which the numbers of a field are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "service", derive(serde::Deserialize))]
#[cfg_attr(feature = "service", serde(rename_all = "UPPERCASE"))]
pub enum Kind {
    /// As the values of a gauge.
    #[default]
    Abs,
    /// As the totals of a counter.
    Diff,
    /// As increments of a counter.
    Inc,
    /// As values of which percentiles are wanted.
    Hist,
}

/// Patterns with kinds. The first pattern that matches the name `measurement.field` holds; without one, it is
/// [`Kind::Abs`].
#[derive(Default)]
pub struct Rules {
    rules: Vec<(Glob, Kind)>,
}

impl Rules {
    /// Compiles patterns: see [`Glob`].
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a str, Kind)>) -> Rules {
        let compile = |(pattern, kind): (&str, Kind)| (Glob::new(pattern.as_bytes()), kind);
        Rules {
            rules: rules.into_iter().map(compile).collect(),
        }
    }

    /// Returns the kind of a metric.
    pub fn kind(&self, name: &str) -> Kind {
        let mut rules = self.rules.iter();
        let matching = rules.find(|(glob, _)| glob.matches(name.as_bytes(), &mut 0));
        matching.map_or(Kind::Abs, |(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_rule_holds() {
        let rules = Rules::new([
            ("net.bytes_*", Kind::Diff),
            ("net.*", Kind::Inc),
            ("*.time", Kind::Hist),
        ]);
        assert_eq!(rules.kind("net.bytes_sent"), Kind::Diff);
        assert_eq!(rules.kind("net.time"), Kind::Inc);
        assert_eq!(rules.kind("page.time"), Kind::Hist);
        assert_eq!(rules.kind("page.times"), Kind::Abs);
        assert_eq!(Rules::default().kind("page.time"), Kind::Abs);
    }
}
