//! A plot of what commands cost in terms of SET: a bar for each row of the first set of names, the target as a tick.

use crate::figure::{Figure, Target};
use crate::machine::Machine;

const LABELS: f64 = 350.0;
const WIDTH: f64 = 960.0;
const ROW: f64 = 24.0;
const TOP: f64 = 56.0;

/// Bars longer than so many times SET are cut, which a gap shows.
const LONGEST: f64 = 4.0;

/// An SVG.
pub fn plot(figures: &[Figure], machine: &Machine) -> String {
    let section = figures.iter().find(|f| f.section.starts_with("commands"));
    let section = section.map_or("", |figure| figure.section.as_str());
    let rows: Vec<&Figure> = (figures.iter())
        .filter(|figure| figure.section == section && figure.ratio.is_some())
        .collect();
    let height = TOP + rows.len() as f64 * ROW + 16.0;
    // Room on the right for the numbers.
    let scale = (WIDTH - LABELS - 250.0) / LONGEST;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="12" y="20" font-size="15" fill="#222222">CPU time of the server for each command, in terms of the row it stands beside ({})</text>
<text x="12" y="40" font-size="11" fill="#666666">{}; the tick is the target</text>
"##,
        escape(section),
        escape(&machine.describe())
    );
    for (i, figure) in rows.iter().enumerate() {
        svg += &bar(figure, TOP + i as f64 * ROW, scale);
    }
    // What all are measured by.
    let one = LABELS + scale;
    svg += &format!(
        "<line x1=\"{one}\" y1=\"{TOP}\" x2=\"{one}\" y2=\"{}\" stroke=\"#999999\" stroke-dasharray=\"3 3\"/>\n</svg>\n",
        height - 12.0
    );
    svg
}

fn bar(figure: &Figure, y: f64, scale: f64) -> String {
    let Some(((base, ratio), value)) = figure.ratio.as_ref().zip(figure.value) else {
        return String::new();
    };
    let width = ratio.median.min(LONGEST) * scale;
    let colour = match figure.is_met() {
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
        escape(&figure.name),
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
    if let Some(Target::Ratio(most)) = figure.target {
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
