//! Families of samples: their types and units, and what a sample is by its name.

use std::borrow::Cow;
use std::collections::HashMap;

use super::line::Words;

/// The type of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    #[default]
    Unknown,
}

impl Kind {
    fn parse(word: &str) -> Option<Kind> {
        Some(match word {
            "counter" => Kind::Counter,
            "gauge" | "stateset" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "gaugehistogram" => Kind::GaugeHistogram,
            "summary" => Kind::Summary,
            "info" => Kind::Info,
            "unknown" | "untyped" => Kind::Unknown,
            _ => return None,
        })
    }

    /// Returns what a sample of this family is by the end of its name.
    fn role(self, suffix: &str) -> Option<Role> {
        Some(match (self, suffix) {
            (Kind::Counter, "" | "_total") => Role::Counter,
            (Kind::Histogram, "_bucket") => Role::Bucket,
            (Kind::Histogram, "_count") => Role::HistogramCount,
            (Kind::Histogram, "_sum") => Role::HistogramSum,
            (Kind::GaugeHistogram, "_bucket") => Role::GaugeBucket,
            (Kind::GaugeHistogram, "_gcount" | "_count") => Role::Gauge,
            (Kind::GaugeHistogram, "_gsum" | "_sum") => Role::GaugeSum,
            (Kind::Summary, "_count" | "_sum") => Role::Counter,
            (Kind::Info, "_info") => Role::Gauge,
            (Kind::Counter | Kind::Summary, "_created") => Role::Created,
            (Kind::Histogram, "_created") => Role::HistogramCreated,
            (Kind::Gauge | Kind::Unknown | Kind::Summary | Kind::Info, "") => Role::Gauge,
            _ => return None,
        })
    }
}

/// The role of a sample in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The value of a gauge, or of unknown type, or a quantile.
    Gauge,
    Counter,
    Bucket,
    HistogramCount,
    HistogramSum,
    HistogramCreated,
    GaugeBucket,
    GaugeSum,
    /// The time since which a counter counts.
    Created,
}

/// Ends of names that may follow the name of a family.
const SUFFIXES: [&str; 8] = [
    "_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info",
];

#[derive(Clone, Copy, Debug, Default)]
struct Family<'t> {
    kind: Kind,
    unit: &'t str,
}

/// The properties of a sample that follow from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described<'t> {
    pub(super) role: Role,
    /// The unit; empty if it is not known, or the sample is a number of events.
    pub(super) unit: &'t str,
    /// The length of the name of the family.
    pub(super) family_len: usize,
}

/// The families of a scrape.
#[derive(Debug, Default)]
pub(super) struct Families<'t> {
    families: HashMap<Cow<'t, str>, Family<'t>>,
    /// The family of the last comment: nearly all samples follow the comments of their family.
    current: Option<(Cow<'t, str>, Family<'t>)>,
}

/// A comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment {
    /// A type, a unit, a description or any text.
    Text,
    /// The end of the scrape.
    End,
}

impl<'t> Families<'t> {
    /// Reads a line that begins with `#`.
    pub(super) fn comment(&mut self, line: &'t str) -> Result<Comment, &'static str> {
        let mut words = Words::new(line.get(1..).unwrap_or_default());
        words.skip_blanks();
        let keyword = words.word();
        words.skip_blanks();
        match keyword {
            "EOF" if words.is_at_end() => return Ok(Comment::End),
            "TYPE" | "UNIT" => {}
            _ => return Ok(Comment::Text),
        }
        let name = match words.quoted()? {
            Some(name) => name,
            None => words.word().into(),
        };
        words.skip_blanks();
        let rest = words.rest().trim_end_matches([' ', '\t']);
        if name.is_empty() {
            return Err("a comment without a name");
        }
        let family = self.families.entry(name.clone()).or_default();
        let mut result = Ok(Comment::Text);
        if keyword == "UNIT" {
            family.unit = rest;
        } else {
            family.kind = Kind::parse(rest).unwrap_or_else(|| {
                result = Err("an unknown type");
                Kind::Unknown
            });
        }
        self.current = Some((name, *family));
        result
    }

    /// Returns what a sample is. An error: its family has no such samples.
    pub(super) fn describe(&self, name: &str) -> Result<Described<'t>, &'static str> {
        if let Some((family_name, family)) = &self.current
            && let Some(suffix) = name.strip_prefix(family_name.as_ref())
            && let Some(role) = family.kind.role(suffix)
        {
            return Ok(family.describe(role, suffix, family_name.len()));
        }
        if let Some(family) = self.families.get(name) {
            let role = family.kind.role("");
            let role = role.ok_or("a sample that its type does not have")?;
            return Ok(family.describe(role, "", name.len()));
        }
        let of_family = SUFFIXES.iter().find_map(|suffix| {
            let family_name = name.strip_suffix(suffix)?;
            let family = self.families.get(family_name)?;
            let role = family.kind.role(suffix)?;
            Some(family.describe(role, suffix, family_name.len()))
        });
        let unknown = || Family::default().describe(Role::Gauge, "", name.len());
        Ok(of_family.unwrap_or_else(unknown))
    }
}

impl<'t> Family<'t> {
    fn describe(self, role: Role, suffix: &str, family_len: usize) -> Described<'t> {
        let is_number_of_events = matches!(suffix, "_count" | "_gcount");
        Described {
            role,
            unit: if is_number_of_events { "" } else { self.unit },
            family_len,
        }
    }
}
