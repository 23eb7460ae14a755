//! A record of MIN or HOUR.

use std::borrow::Cow;

use aggregator_protocol::percentile::percentage;

use super::error::RecordError;
use super::fields::{Fields, number};
use super::histogram::Histogram;
use super::tags::Tags;

/// A closed window of a metric.
#[derive(Debug, PartialEq)]
pub struct Window<'a> {
    /// The name of the metric, with its instance.
    pub metric: Cow<'a, str>,
    /// The type: ABS, ADD, DIFF or INC.
    pub kind: Cow<'a, str>,
    /// Its length, s.
    pub seconds: u64,
    /// Its start, ms since 1970.
    pub start: i64,
    /// Its end, ms since 1970. It belongs to the next window.
    pub end: i64,
    /// The number of samples.
    pub count: u64,
    /// The sum of the samples; of DIFF and INC metrics the increase.
    pub sum: f64,
    /// The mean; of DIFF and INC metrics, as all that follow, a rate per second.
    pub avg: f64,
    /// The smallest value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The last value.
    pub last: f64,
    /// The percentiles, each with the name of its field, such as `p99_9`, in the order of the record.
    pub percentiles: Vec<(Cow<'a, str>, f64)>,
    /// The histogram, if the server sends it.
    pub histogram: Option<Histogram<'a>>,
    /// The tags.
    pub tags: Tags<'a>,
}

impl<'a> Window<'a> {
    pub(super) fn of(fields: &Fields<'a>) -> Result<Window<'a>, RecordError> {
        let is_percentile = |name: &Cow<'a, str>| percentage(name).is_some();
        let percentiles = (fields.iter().filter(|(name, _)| is_percentile(name)))
            .map(|(name, raw)| {
                let value = number(raw).ok_or(RecordError::Invalid("percentile"))?;
                Ok((name.clone(), value))
            })
            .collect::<Result<_, RecordError>>()?;
        Ok(Window {
            metric: fields.text("metric")?,
            kind: fields.text("type")?,
            seconds: fields.integer("window")?,
            start: fields.integer("start")?,
            end: fields.integer("end")?,
            count: fields.integer("count")?,
            sum: fields.number("sum")?,
            avg: fields.number("avg")?,
            min: fields.number("min")?,
            max: fields.number("max")?,
            last: fields.number("last")?,
            percentiles,
            histogram: fields.find("hist").map(Histogram::parse).transpose()?,
            tags: Tags::of(fields)?,
        })
    }

    /// Returns the name of the metric without its instance, and the instance, which is empty if there is none.
    pub fn measurement_and_instance(&self) -> (&str, &str) {
        self.metric.split_once('@').unwrap_or((&self.metric, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Content, Record};

    const MIN: &str = r#"{"node":"n","queue":"MIN","id":7,"metric":"m@a@b","type":"ABS","window":300,"start":300000,
        "end":600000,"count":2,"sum":3,"avg":1.5,"min":-1,"max":2e3,"last":2,"p50":1.5,"p99_9":2,
        "hist":{"scale":5,"zero":1,"pos":[-7,[1,2]],"neg":[0,[]]},"tags":{"a":"x","w":true}}"#;

    #[test]
    fn window_has_its_fields() {
        let record = Record::parse(MIN.as_bytes()).unwrap();
        let Content::Window(window) = record.content else {
            panic!("{record:?}")
        };
        assert_eq!(window.measurement_and_instance(), ("m", "a@b"));
        assert_eq!(
            (window.seconds, window.start, window.end),
            (300, 300_000, 600_000)
        );
        assert_eq!((window.count, window.sum, window.avg), (2, 3.0, 1.5));
        assert_eq!((window.min, window.max, window.last), (-1.0, 2000.0, 2.0));
        let percentiles: Vec<_> = window
            .percentiles
            .iter()
            .map(|(name, value)| (&**name, *value))
            .collect();
        assert_eq!(percentiles, [("p50", 1.5), ("p99_9", 2.0)]);
        assert_eq!(window.tags.get("w"), Some("true"));
        let histogram = window.histogram.unwrap();
        assert_eq!((histogram.scale, histogram.zero), (5, 1));
        assert_eq!(
            (histogram.positive.offset, &*histogram.positive.counts),
            (-7, &[1, 2][..])
        );
        assert!(histogram.negative.counts.is_empty());
    }

    #[test]
    fn number_beyond_a_double_is_invalid() {
        for (from, to, expected) in [
            ("\"sum\":3", "\"sum\":1e999", "the record's sum is invalid"),
            ("\"sum\":3", "\"sum\":true", "the record's sum is invalid"),
            (
                "\"p50\":1.5",
                "\"p50\":\"1.5\"",
                "the record's percentile is invalid",
            ),
            (
                "\"count\":2",
                "\"count\":-2",
                "the record's count is invalid",
            ),
            ("\"zero\":1", "\"zero\":-1", "the record's hist is invalid"),
            ("\"a\":\"x\"", "\"a\":5", "the record's tags is invalid"),
        ] {
            let text = MIN.replace(from, to);
            let error = Record::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
