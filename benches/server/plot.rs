//! The plot: a bar for each row of the first set of names, with the ratio to its base row, and a tick for the target.

use crate::machine::Machine;
use crate::measurement::{Measurement, Target};

const LABELS: f64 = 350.0;
const WIDTH: f64 = 960.0;
const ROW: f64 = 24.0;
const TOP: f64 = 56.0;

/// The largest ratio that is drawn in full. Longer bars are cut, with a gap.
const LONGEST: f64 = 4.0;

/// Returns the plot as SVG.
pub fn plot(measurements: &[Measurement], machine: &Machine) -> String {
    let section = measurements
        .iter()
        .find(|f| f.section.starts_with("commands"));
    let section = section.map_or("", |measurement| measurement.section.as_str());
    let rows: Vec<&Measurement> = (measurements.iter())
        .filter(|measurement| measurement.section == section && measurement.ratio.is_some())
        .collect();
    let height = TOP + rows.len() as f64 * ROW + 16.0;
    // The rest is for the numbers on the right.
    let scale = (WIDTH - LABELS - 250.0) / LONGEST;
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
        svg += &bar(measurement, TOP + i as f64 * ROW, scale);
    }
    // The line at ratio 1.
    let one = LABELS + scale;
    svg += &format!(
        "<line x1=\"{one}\" y1=\"{TOP}\" x2=\"{one}\" y2=\"{}\" stroke=\"#999999\" stroke-dasharray=\"3 3\"/>\n</svg>\n",
        height - 12.0
    );
    svg
}

fn bar(measurement: &Measurement, y: f64, scale: f64) -> String {
    let Some(((base, ratio), value)) = measurement.ratio.as_ref().zip(measurement.value) else {
        return String::new();
    };
    let width = ratio.median.min(LONGEST) * scale;
    let colour = match measurement.is_met() {
        Some(true) => "#3a8f5c",
        Some(false) => "#c8553d",
        None => "#8a9bb0",
    };
    let middle = y + ROW * 0.6;
    let beside = match base.as_str() {
        "SET" => String::new(),
        other => format!(" {}", escape(other)),
    };
    let mut svg = format!(
        "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\n\
         <rect x=\"{LABELS}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\n\
         <text x=\"{:.1}\" y=\"{middle}\" font-size=\"11\" fill=\"#222222\">{:.2} ×{beside}, {:.0} ns</text>\n",
        LABELS - 8.0,
        escape(&measurement.name),
        y + 2.0,
        ROW - 6.0,
        LABELS + width + 8.0,
        ratio.median,
        value.median
    );
    if ratio.median > LONGEST {
        let x = LABELS + width - 24.0;
        svg += &format!(
            "<path d=\"M{x:.1} {} l8 -{ROW} h6 l-8 {ROW} z\" fill=\"#ffffff\"/>\n",
            y + ROW - 2.0
        );
    }
    if let Some(Target::Ratio(most)) = measurement.target {
        let x = LABELS + most * scale;
        svg += &format!(
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#000000\" stroke-width=\"2\"/>\n",
            y,
            y + ROW - 4.0
        );
    }
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
