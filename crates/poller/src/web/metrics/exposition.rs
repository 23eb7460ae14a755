//! Writes the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

/// The media type.
pub const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text written so far.
#[derive(Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a metric. Its samples have to follow.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Writes a sample of the metric begun last.
    pub fn sample(&mut self, name: &str, labels: Labels, value: f64) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            escape(value, &mut self.0);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Rust formats floats without an exponent, and integers without a point.
        let _ = writeln!(self.0, " {value}");
    }

    /// Writes a sample of the metric begun last, whose name and labels are written already.
    pub fn line(&mut self, key: &str, value: f64) {
        self.0.push_str(key);
        // Whole numbers need no point, and with an exponent large and small ones do not have hundreds of digits.
        let _ = match value.fract() == 0.0 && value.abs() < 1e15 {
            true => writeln!(self.0, " {value}"),
            false => writeln!(self.0, " {value:?}"),
        };
    }

    /// Writes a metric with one sample and no labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Writes a metric with one sample per item. `read` returns the value of the label and of the sample.
    pub fn each<'a, T: 'a>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        items: impl IntoIterator<Item = &'a T>,
        read: impl Fn(&'a T) -> (&'a str, f64),
    ) {
        self.metric(name, kind, help);
        for item in items {
            let (value, number) = read(item);
            self.sample(name, &[(label, value)], number);
        }
    }

    /// Returns the text.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Appends the value of a label as it is written between quotes.
pub fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
