//! A receiver for tests: it keeps all it takes as text.

use crate::report::{LogRecord, ObjectReport, Receiver, Sample, SampleValue};

/// The received reports, one line each.
#[derive(Debug, Default, PartialEq)]
pub struct Recorded {
    /// Such as `page.time HIST 320 x10 route=/pay unit=ms at=1760000000000`.
    pub samples: Vec<String>,
    /// Such as `7 the disk is full app=shop`.
    pub logs: Vec<String>,
    /// Such as `key model {"a":1} app=shop`.
    pub objects: Vec<String>,
    /// Such as `an invalid value: page.time:x|ms`.
    pub invalid: Vec<String>,
}

fn ending(attributes: &[crate::report::Attribute<'_>], unit: &str, at: Option<i64>) -> String {
    let mut text = String::new();
    for attribute in attributes {
        text += &format!(" {}={}", attribute.name, attribute.value);
    }
    if !unit.is_empty() {
        text += &format!(" unit={unit}");
    }
    if let Some(at) = at {
        text += &format!(" at={at}");
    }
    text
}

impl Receiver for Recorded {
    fn sample(&mut self, sample: &Sample<'_>) {
        let value = match sample.value {
            SampleValue::Abs(value) => format!("ABS {}", value.to_f64()),
            SampleValue::Add(value) => format!("ADD {}", value.to_f64()),
            SampleValue::Diff(value) => format!("DIFF {}", value.to_f64()),
            SampleValue::Inc(value) => format!("INC {}", value.to_f64()),
            SampleValue::Hist { value, times: 1 } => format!("HIST {}", value.to_f64()),
            SampleValue::Hist { value, times } => format!("HIST {} x{times}", value.to_f64()),
            SampleValue::Member(member) => format!("MEMBER {member}"),
            SampleValue::Distribution(d) => {
                let total = |name: &str, value: Option<f64>| {
                    value.map_or(String::new(), |value| format!(" {name} {value}"))
                };
                let totals = total("sum", d.sum) + &total("min", d.min) + &total("max", d.max);
                let values = d.values.iter().map(|(value, n)| format!(" {value}x{n}"));
                format!("DISTRIBUTION{totals}{}", values.collect::<String>())
            }
        };
        let ending = ending(sample.attributes, sample.unit, sample.at);
        self.samples
            .push(format!("{} {value}{ending}", sample.name));
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        let ending = ending(record.attributes, "", record.at);
        self.logs
            .push(format!("{} {}{ending}", record.level, record.message));
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        let ending = ending(object.attributes, "", None);
        self.objects.push(format!(
            "{} {} {}{ending}",
            object.key, object.model, object.json
        ));
    }

    fn invalid(&mut self, reason: &'static str, input: &[u8]) {
        let input = String::from_utf8_lossy(input);
        self.invalid.push(format!("{reason}: {input}"));
    }
}
