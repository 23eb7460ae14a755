//! The result: a table on stdout, JSON and a plot in target/bench, and the table in docs/benchmarks.md.

use std::fs;

use serde_json::{Value, json};

use crate::Result;
use crate::host::{folder, root};
use crate::machine::Machine;
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::options::Options;
use crate::plot::plot;

/// Between these stands the table in docs/benchmarks.md.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Writes all that is asked for.
pub fn write(options: &Options, machine: &Machine, measurements: &[Measurement]) -> Result<()> {
    let folder = folder()?;
    let results = json(options, machine, measurements);
    fs::write(
        folder.join("results.json"),
        serde_json::to_string_pretty(&results)?,
    )?;
    fs::write(folder.join("results.svg"), plot(measurements, machine))?;
    println!("{}\n{}", machine.describe(), table(measurements));
    println!("also in target/bench: results.json, results.svg");
    if options.publish {
        fs::write(
            root().join("benches/results.svg"),
            plot(measurements, machine),
        )?;
        publish(&markdown(options, machine, measurements))?;
        println!("published in docs/benchmarks.md and benches/results.svg");
    }
    Ok(())
}

/// A row as text: name, value, ratio, range, target, whether it is met.
struct TextRow {
    name: String,
    value: String,
    ratio: String,
    apart: String,
    target: String,
    met: &'static str,
}

impl TextRow {
    fn of(measurement: &Measurement) -> TextRow {
        let value = measurement.value.map_or("-".into(), |value| {
            format!(
                "{} {}",
                number(value.median, measurement.unit),
                measurement.unit.name()
            )
        });
        let apart = |spread: &Spread, write: &dyn Fn(f64) -> String| match spread.low < spread.high
        {
            true => format!("{}..{}", write(spread.low), write(spread.high)),
            false => String::new(),
        };
        let ratio = measurement.ratio.as_ref();
        TextRow {
            name: measurement.name.clone(),
            value,
            ratio: ratio.map_or(String::new(), |(base, ratio)| {
                format!("{:.2} x {base}", ratio.median)
            }),
            apart: match (ratio, measurement.value) {
                (Some((_, ratio)), _) => apart(ratio, &|n| format!("{n:.2}")),
                (None, Some(value)) => apart(&value, &|n| number(n, measurement.unit)),
                (None, None) => String::new(),
            },
            target: match measurement.target {
                Some(Target::Ratio(most)) => format!("{most:.2} x"),
                Some(Target::Value(most)) => format!("{most:.0} {}", measurement.unit.name()),
                None => String::new(),
            },
            met: match measurement.is_met() {
                Some(true) => "OK",
                Some(false) => "missed",
                None => "",
            },
        }
    }
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds if value < 100.0 => format!("{value:.2}"),
        _ if value < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Returns the rows by section, in their order.
fn sections(measurements: &[Measurement]) -> impl Iterator<Item = &[Measurement]> {
    measurements.chunk_by(|a, b| a.section == b.section)
}

fn table(measurements: &[Measurement]) -> String {
    let mut text = String::new();
    for section in sections(measurements) {
        text += &format!("\n{}\n", section[0].section);
        let rows: Vec<TextRow> = section.iter().map(TextRow::of).collect();
        let width = |part: fn(&TextRow) -> &String| {
            rows.iter()
                .map(|row| part(row).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (name, value) = (width(|r| &r.name), width(|r| &r.value));
        let (ratio, apart) = (width(|r| &r.ratio), width(|r| &r.apart));
        for (row, measurement) in rows.iter().zip(section) {
            let target = match row.target.as_str() {
                "" => String::new(),
                most => format!("at most {most}"),
            };
            let line = format!(
                "  {:name$}  {:>value$}  {:ratio$}  {:apart$}  {target:18} {}",
                row.name, row.value, row.ratio, row.apart, row.met
            );
            text += line.trim_end();
            text += "\n";
            if !measurement.note.is_empty() {
                text += &format!("    ({})\n", measurement.note);
            }
        }
    }
    text
}

fn json(options: &Options, machine: &Machine, measurements: &[Measurement]) -> Value {
    let spread =
        |spread: &Spread| json!({"median": spread.median, "min": spread.low, "max": spread.high});
    let rows: Vec<Value> = measurements
        .iter()
        .map(|measurement| {
            json!({
                "section": measurement.section,
                "name": measurement.name,
                "unit": measurement.unit.name(),
                "value": measurement.value.as_ref().map(spread),
                "base": measurement.ratio.as_ref().map(|(base, _)| base),
                "ratio": measurement.ratio.as_ref().map(|(_, ratio)| spread(ratio)),
                "target": measurement.target.map(|target| match target {
                    Target::Value(most) => json!({"of": "value", "at_most": most}),
                    Target::Ratio(most) => json!({"of": "ratio", "at_most": most}),
                }),
                "met": measurement.is_met(),
                "note": measurement.note,
            })
        })
        .collect();
    json!({
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "memory_gb": machine.memory_gb,
            "kernel": machine.kernel,
            "server": machine.server,
            "commit": machine.commit,
            "date": machine.date,
        },
        "rounds": options.rounds(),
        "requests": options.requests(),
        "pipeline": options.pipeline,
        "clients": options.clients,
        "rows": rows,
    })
}

fn markdown(options: &Options, machine: &Machine, measurements: &[Measurement]) -> String {
    let mut text = format!(
        "Measured by `make bench` on {}: pipeline {}, {} clients, the median of {} rounds.\n\n\
         ![What commands cost in terms of SET](../benches/results.svg)\n",
        machine.describe(),
        options.pipeline,
        options.clients,
        options.rounds()
    );
    for section in sections(measurements) {
        text += &format!(
            "\n| {} | measured | beside | lowest..highest | at most | |\n| --- | --- | --- | --- | --- | --- |\n",
            section[0].section
        );
        for (row, measurement) in section.iter().map(TextRow::of).zip(section) {
            // What could not be measured says why; other remarks are in the JSON.
            let value = match measurement.value {
                Some(_) => &row.value,
                None => &measurement.note,
            };
            text += &format!(
                "| {} | {value} | {} | {} | {} | {} |\n",
                row.name,
                row.ratio.replace(" x ", " × "),
                row.apart,
                row.target.replace(" x", " ×"),
                row.met
            );
        }
    }
    text
}

fn publish(table: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let readme = fs::read_to_string(&path)?;
    let (before, rest) = readme
        .split_once(BEGIN)
        .ok_or_else(|| format!("docs/benchmarks.md has no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| format!("docs/benchmarks.md has no {END} behind {BEGIN}"))?;
    fs::write(path, format!("{before}{BEGIN}\n{table}{END}{after}"))?;
    Ok(())
}
