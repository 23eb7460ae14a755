//! The JSON form of a histogram, as in records.

use super::buckets::{Buckets, Side};
use super::{Histogram, State};
use std::io::Write;

impl Histogram {
    /// Appends `{"scale":5,"zero":0,"pos":[offset,[counts]],"neg":[offset,[counts]]}`, with the meaning of
    /// OpenTelemetry. Values that are kept as they are, are counted at the highest scale at which they fit.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            State::Raw(values) => {
                let raw = values.iter().map(|value| (*value, 1));
                write_buckets(out, &Buckets::of_values(raw));
            }
            State::Buckets(buckets) => write_buckets(out, buckets),
        }
    }
}

fn write_buckets(out: &mut Vec<u8>, buckets: &Buckets) {
    let counts = buckets.unpack();
    write(out, format_args!("{{\"scale\":{}", buckets.scale()));
    write(out, format_args!(",\"zero\":{}", buckets.zero()));
    for (name, is_negative) in [("pos", false), ("neg", true)] {
        let side = buckets.side(is_negative, &counts);
        write(out, format_args!(",\"{name}\":[{},[", side.first));
        write_counts(out, &side);
        out.extend_from_slice(b"]]");
    }
    out.push(b'}');
}

fn write_counts(out: &mut Vec<u8>, side: &Side<'_>) {
    for (i, count) in side.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, format_args!("{count}"));
    }
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector does not fail.
    let _ = out.write_fmt(text);
}
