//! The result: a table on stdout, JSON and a plot in target/bench, and for those who read the README the table there.

use std::fs;

use serde_json::{Value, json};

use crate::Outcome;
use crate::figure::{Figure, Spread, Target, Unit};
use crate::host::{folder, root};
use crate::machine::Machine;
use crate::options::Options;
use crate::plot::plot;

/// Between these stands the table in the README.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Writes all that is asked for.
pub fn write(options: &Options, machine: &Machine, figures: &[Figure]) -> Outcome<()> {
    let folder = folder()?;
    let results = json(options, machine, figures);
    fs::write(
        folder.join("results.json"),
        serde_json::to_string_pretty(&results)?,
    )?;
    fs::write(folder.join("results.svg"), plot(figures, machine))?;
    println!("{}\n{}", machine.describe(), table(figures));
    println!("also in target/bench: results.json, results.svg");
    if options.publish {
        fs::write(root().join("benches/results.svg"), plot(figures, machine))?;
        publish(&markdown(options, machine, figures))?;
        println!("published in README.md and benches/results.svg");
    }
    Ok(())
}

/// A row in words: name, value, how far measurements lie apart, ratio, the same of it, target, whether it is met.
struct Words {
    name: String,
    value: String,
    ratio: String,
    apart: String,
    target: String,
    met: &'static str,
}

impl Words {
    fn of(figure: &Figure) -> Words {
        let value = figure.value.map_or("-".into(), |value| {
            format!(
                "{} {}",
                number(value.median, figure.unit),
                figure.unit.name()
            )
        });
        let apart = |spread: &Spread, write: &dyn Fn(f64) -> String| match spread.low < spread.high
        {
            true => format!("{}..{}", write(spread.low), write(spread.high)),
            false => String::new(),
        };
        let ratio = figure.ratio.as_ref();
        Words {
            name: figure.name.clone(),
            value,
            ratio: ratio.map_or(String::new(), |(base, ratio)| {
                format!("{:.2} x {base}", ratio.median)
            }),
            apart: match (ratio, figure.value) {
                (Some((_, ratio)), _) => apart(ratio, &|n| format!("{n:.2}")),
                (None, Some(value)) => apart(&value, &|n| number(n, figure.unit)),
                (None, None) => String::new(),
            },
            target: match figure.target {
                Some(Target::Ratio(most)) => format!("{most:.2} x"),
                Some(Target::Value(most)) => format!("{most:.0} {}", figure.unit.name()),
                None => String::new(),
            },
            met: match figure.is_met() {
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

/// The rows of a section together, in the order in which they came.
fn sections(figures: &[Figure]) -> impl Iterator<Item = &[Figure]> {
    figures.chunk_by(|a, b| a.section == b.section)
}

fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for section in sections(figures) {
        text += &format!("\n{}\n", section[0].section);
        let rows: Vec<Words> = section.iter().map(Words::of).collect();
        let width = |part: fn(&Words) -> &String| {
            rows.iter()
                .map(|row| part(row).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (name, value) = (width(|r| &r.name), width(|r| &r.value));
        let (ratio, apart) = (width(|r| &r.ratio), width(|r| &r.apart));
        for (row, figure) in rows.iter().zip(section) {
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
            if !figure.note.is_empty() {
                text += &format!("    ({})\n", figure.note);
            }
        }
    }
    text
}

fn json(options: &Options, machine: &Machine, figures: &[Figure]) -> Value {
    let spread =
        |spread: &Spread| json!({"median": spread.median, "min": spread.low, "max": spread.high});
    let rows: Vec<Value> = figures
        .iter()
        .map(|figure| {
            json!({
                "section": figure.section,
                "name": figure.name,
                "unit": figure.unit.name(),
                "value": figure.value.as_ref().map(spread),
                "base": figure.ratio.as_ref().map(|(base, _)| base),
                "ratio": figure.ratio.as_ref().map(|(_, ratio)| spread(ratio)),
                "target": figure.target.map(|target| match target {
                    Target::Value(most) => json!({"of": "value", "at_most": most}),
                    Target::Ratio(most) => json!({"of": "ratio", "at_most": most}),
                }),
                "met": figure.is_met(),
                "note": figure.note,
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

fn markdown(options: &Options, machine: &Machine, figures: &[Figure]) -> String {
    let mut text = format!(
        "Measured by `make bench` on {}: pipeline {}, {} clients, the median of {} rounds.\n\n\
         ![What commands cost in terms of SET](benches/results.svg)\n",
        machine.describe(),
        options.pipeline,
        options.clients,
        options.rounds()
    );
    for section in sections(figures) {
        text += &format!(
            "\n| {} | measured | beside | lowest..highest | at most | |\n| --- | --- | --- | --- | --- | --- |\n",
            section[0].section
        );
        for (row, figure) in section.iter().map(Words::of).zip(section) {
            // What could not be measured says why; other remarks are in the JSON.
            let value = match figure.value {
                Some(_) => &row.value,
                None => &figure.note,
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

fn publish(table: &str) -> Outcome<()> {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path)?;
    let (before, rest) = readme
        .split_once(BEGIN)
        .ok_or_else(|| format!("README.md has no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| format!("README.md has no {END} behind {BEGIN}"))?;
    fs::write(path, format!("{before}{BEGIN}\n{table}{END}{after}"))?;
    Ok(())
}
