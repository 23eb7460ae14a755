//! Reads metrics from the reply of AGG.SCAN, and makes series of them. No I/O.

use agg_client::connect::{Token, Tokens};

use super::series::{SeriesSet, Suffix, labels};
use super::settings::Settings;
use crate::prometheus_name::{PrometheusName, text};

/// The longest name of a metric that is served, bytes. Each of its series has it.
const MAX_NAME: usize = 4096;
/// The most percentiles of a metric that are served: the module has at most 8.
const MAX_PERCENTILES: usize = 16;
/// The most tags of a metric that are served.
const MAX_TAGS: usize = 256;

/// A metric as AGG.SCAN describes it.
#[derive(Debug, Default, PartialEq)]
struct Metric<'a> {
    is_counter: bool,
    tags: Vec<(&'a [u8], &'a [u8])>,
    last: Option<f64>,
    total: Option<f64>,
    at: i64,
    /// The percentiles of the newest open short window that has any: their names after the `p`, and their values.
    /// WITHLAST has them beside the other fields, WITHVALUES in the windows.
    percentiles: Vec<(&'a str, f64)>,
}

impl<'a> Metric<'a> {
    /// Reads a map of a metric.
    fn read(tokens: &mut Tokens<'a>) -> Option<Metric<'a>> {
        let mut metric = Metric::default();
        for _ in 0..tokens.next()?.count()? / 2 {
            match tokens.next()?.text()? {
                b"type" => metric.is_counter = matches!(tokens.next()?.text()?, b"DIFF" | b"INC"),
                b"tags" => metric.read_tags(tokens)?,
                b"last" => metric.last = tokens.next()?.float(),
                b"total" => metric.total = tokens.next()?.float(),
                b"at" => metric.at = tokens.next()?.int()?,
                b"min" => metric.read_windows(tokens)?,
                name => metric.read_percentile(name, tokens)?,
            }
        }
        Some(metric)
    }

    /// Reads the value of a field if it is a percentile, and passes over it if it is not.
    fn read_percentile(&mut self, name: &'a [u8], tokens: &mut Tokens<'a>) -> Option<()> {
        let Some(percentile) = percentile(name) else {
            tokens.skip_value();
            return Some(());
        };
        if let Some(value) = tokens.next()?.float()
            && self.percentiles.len() < MAX_PERCENTILES
        {
            self.percentiles.push((percentile, value));
        }
        Some(())
    }

    fn read_tags(&mut self, tokens: &mut Tokens<'a>) -> Option<()> {
        for _ in 0..tokens.next()?.count()? / 2 {
            let tag = (tokens.next()?.text()?, tokens.next()?.text()?);
            if self.tags.len() < MAX_TAGS {
                self.tags.push(tag);
            }
        }
        Some(())
    }

    /// Reads the open windows, the oldest first.
    fn read_windows(&mut self, tokens: &mut Tokens<'a>) -> Option<()> {
        for _ in 0..tokens.next()?.count()? {
            let older = std::mem::take(&mut self.percentiles);
            for _ in 0..tokens.next()?.count()? / 2 {
                let name = tokens.next()?.text()?;
                self.read_percentile(name, tokens)?;
            }
            if self.percentiles.is_empty() {
                self.percentiles = older;
            }
        }
        Some(())
    }
}

/// Returns the digits of the name of a percentile, as `99_9` of `p99_9`.
fn percentile(name: &[u8]) -> Option<&str> {
    let digits = name.strip_prefix(b"p")?;
    let is_digits = digits.first()?.is_ascii_digit()
        && digits.len() <= 16
        && digits.iter().all(|b| b.is_ascii_digit() || *b == b'_');
    is_digits.then(|| std::str::from_utf8(digits).ok())?
}

/// Returns the quantile of the digits of a percentile: `0.999` of `99_9`. It is calculated in decimal, as the label has to
/// be exact.
fn quantile(digits: &str) -> String {
    let (whole, rest) = digits.split_once('_').unwrap_or((digits, ""));
    if whole.len() > 2 {
        return "1".to_owned();
    }
    let digits = format!("{whole:0>2}{rest}");
    match digits.trim_end_matches('0') {
        "" => "0".to_owned(),
        digits => format!("0.{digits}"),
    }
}

/// The series of a node.
pub struct NodeSeries<'a> {
    settings: &'a Settings,
    /// The label of the node.
    label: String,
    /// The series.
    pub set: SeriesSet,
    /// The time of the newest sample, Unix milliseconds.
    pub newest: i64,
}

impl<'a> NodeSeries<'a> {
    /// Creates an empty set of series of a node.
    pub fn new(node: &[u8], settings: &'a Settings) -> NodeSeries<'a> {
        NodeSeries {
            settings,
            label: labels([("node", &*text(node))]),
            set: SeriesSet::new(settings.max_series),
            newest: 0,
        }
    }

    /// Adds the series of a page of AGG.SCAN, of which the cursor is read already. Returns none if it is no such page.
    pub fn add_page(&mut self, mut tokens: Tokens<'_>) -> Option<()> {
        for _ in 0..tokens.next()?.count()? / 2 {
            let name = tokens.next()?.text()?;
            let metric = Metric::read(&mut tokens)?;
            self.newest = self.newest.max(metric.at);
            if name.len() <= MAX_NAME && self.settings.has_metric(name) {
                self.add(name, &metric);
            }
        }
        Some(())
    }

    fn add(&mut self, name: &[u8], metric: &Metric<'_>) {
        let tags = metric.tags.iter();
        let tags: Vec<_> = tags
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        let pairs = tags.iter().map(|(name, value)| (&**name, &**value));
        let name = PrometheusName::new(name, pairs, metric.is_counter);
        let pairs = name.labels.iter();
        let labels = labels(pairs.map(|(name, value)| (&**name, &**value)));
        let comma = if labels.is_empty() { "" } else { "," };
        let (stem, node) = (&name.stem, &self.label);
        let (suffix, value) = match metric.is_counter {
            true => (Suffix::Total, metric.total),
            false => (Suffix::Last, metric.last),
        };
        if let Some(value) = value {
            let suffix = suffix.as_str();
            let key = [stem, suffix, "{", node, comma, &labels, "}"].concat();
            self.set.add(key.into(), value);
        }
        for (digits, value) in &metric.percentiles {
            let (suffix, quantile) = (Suffix::Quantile.as_str(), quantile(digits));
            let quantile = format!(",quantile=\"{quantile}\"");
            let key = [stem, suffix, "{", node, comma, &labels, &quantile, "}"].concat();
            self.set.add(key.into(), *value);
        }
    }
}

/// Reads the cursor of a page. Returns none if it is no page.
pub fn cursor(tokens: &mut Tokens<'_>) -> Option<Vec<u8>> {
    /// A cursor is a number.
    const MAX_CURSOR: usize = 64;
    match (tokens.next()?, tokens.next()?) {
        (Token::Array(2), Token::Text(cursor)) if cursor.len() <= MAX_CURSOR => {
            Some(cursor.to_vec())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact() {
        for (name, expected) in [
            ("p50", "0.5"),
            ("p5", "0.05"),
            ("p99", "0.99"),
            ("p99_9", "0.999"),
            ("p0_1", "0.001"),
            ("p100", "1"),
            ("p99_99", "0.9999"),
        ] {
            let digits = percentile(name.as_bytes()).unwrap();
            assert_eq!(quantile(digits), expected, "{name}");
        }
        for name in ["p", "px", "start", "p_9", "p99x", ""] {
            assert_eq!(percentile(name.as_bytes()), None, "{name}");
        }
    }
}
