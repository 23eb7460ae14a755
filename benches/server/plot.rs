//! The plot of the report: a bar for each row of the first set of names. Its length is the ratio to the base row; a
//! tick marks the target.

use crate::machine::Machine;
use crate::measurement::{Measurement, Target};

/// The width of the labels on the left, and of the numbers on the right.
const LABELS_WIDTH: f64 = 350.0;
const NUMBERS_WIDTH: f64 = 250.0;
const WIDTH: f64 = 960.0;
const ROW_HEIGHT: f64 = 24.0;
const HEADER_HEIGHT: f64 = 56.0;

/// The largest ratio that is drawn in full. Longer bars are cut, with a gap.
const MAX_RATIO: f64 = 4.0;

/// Returns the plot as SVG.
pub fn plot(measurements: &[Measurement], machine: &Machine) -> String {
    let section = measurements
        .iter()
        .find(|measurement| measurement.section.starts_with("commands"));
    let section = section.map_or("", |measurement| measurement.section.as_str());
    let rows: Vec<&Measurement> = (measurements.iter())
        .filter(|measurement| measurement.section == section && measurement.ratio.is_some())
        .collect();
    let height = HEADER_HEIGHT + rows.len() as f64 * ROW_HEIGHT + 16.0;
    let scale = (WIDTH - LABELS_WIDTH - NUMBERS_WIDTH) / MAX_RATIO;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="12" y="20" font-size="15" fill="#222222">CPU time of the server per command, relative to the base row ({})</text>
<text x="12" y="40" font-size="11" fill="#666666">{}; the tick is the target</text>
"##,
        escape(section),
        escape(&machine.describe())
    );
    for (i, measurement) in rows.iter().enumerate() {
        svg += &bar(measurement, HEADER_HEIGHT + i as f64 * ROW_HEIGHT, scale);
    }
    // The line at ratio 1.
    let unit_x = LABELS_WIDTH + scale;
    svg += &format!(
        "<line x1=\"{unit_x}\" y1=\"{HEADER_HEIGHT}\" x2=\"{unit_x}\" y2=\"{}\" stroke=\"#999999\" stroke-dasharray=\"3 3\"/>\n</svg>\n",
        height - 12.0
    );
    svg
}

/// Returns the bar of a row with its label and numbers, its upper edge at `y`. `scale` is the width of the ratio 1.
fn bar(measurement: &Measurement, y: f64, scale: f64) -> String {
    let Some(((base, ratio), value)) = measurement.ratio.as_ref().zip(measurement.value) else {
        return String::new();
    };
    let width = ratio.median.min(MAX_RATIO) * scale;
    let colour = match measurement.is_met() {
        Some(true) => "#3a8f5c",
        Some(false) => "#c8553d",
        None => "#8a9bb0",
    };
    let middle = y + ROW_HEIGHT * 0.6;
    let base_name = match base.as_str() {
        "SET" => String::new(),
        other => format!(" {}", escape(other)),
    };
    let mut svg = format!(
        "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\n\
         <rect x=\"{LABELS_WIDTH}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
         <text x=\"{:.1}\" y=\"{middle}\" font-size=\"11\" fill=\"#222222\">{:.2} ×{base_name}, {:.0} ns</text>\n",
        LABELS_WIDTH - 8.0,
        escape(&measurement.name),
        y + 2.0,
        ROW_HEIGHT - 6.0,
        LABELS_WIDTH + width + 8.0,
        ratio.median,
        value.median
    );
    if ratio.median > MAX_RATIO {
        let gap_x = LABELS_WIDTH + width - 24.0;
        svg += &format!(
            "<path d=\"M{gap_x:.1} {} l8 -{ROW_HEIGHT} h6 l-8 {ROW_HEIGHT} z\" fill=\"#ffffff\"/>\n",
            y + ROW_HEIGHT - 2.0
        );
    }
    if let Some(Target::Ratio(max)) = measurement.target {
        let x = LABELS_WIDTH + max * scale;
        svg += &format!(
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#000000\" stroke-width=\"2\"/>\n",
            y,
            y + ROW_HEIGHT - 4.0
        );
    }
    svg
}

/// Escapes a text for XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
