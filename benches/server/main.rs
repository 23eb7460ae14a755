//! What the module costs through a server: the server's CPU time for each command beside SET's and those of others that
//! do the same job, memory for each metric, the slowest moments of a large node, and RDB.
//!
//! Nothing here knows the inside of the module. Each section starts servers of its own; what stands side by side was
//! measured in one of them, in turn.

mod commands;
mod drain;
mod figure;
mod fill;
mod host;
mod load;
mod machine;
mod memory;
mod moments;
mod options;
mod plot;
mod probe;
mod rdb;
mod report;

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser;
use figure::Figure;
use options::Options;

/// What may fail; the error says why in words.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Measures a section.
type Section<'a> = Box<dyn Fn() -> Outcome<Vec<Figure>> + 'a>;

fn main() -> Outcome<()> {
    let options = Options::parse();
    host::end_when_interrupted()?;
    let machine = machine::Machine::here()?;
    let mut sections: Vec<(String, Section<'_>)> = Vec::new();
    for (i, names) in options.names().into_iter().enumerate() {
        let run = {
            let options = &options;
            move || commands::plain(options, names, i == 0)
        };
        sections.push((format!("commands, {names} names"), Box::new(run)));
    }
    sections.push(("aof".into(), Box::new(|| commands::with_aof(&options))));
    sections.push((
        "timeseries".into(),
        Box::new(|| commands::beside_time_series(&options)),
    ));
    sections.push(("drain".into(), Box::new(|| drain::run(&options))));
    sections.push(("memory".into(), Box::new(|| memory::run(&options))));
    sections.push(("moments".into(), Box::new(|| moments::run(&options))));
    sections.push(("rdb".into(), Box::new(|| rdb::run(&options))));

    let mut figures = Vec::new();
    for (name, section) in &sections {
        // One that fails does not take the others along: by its error, or by a panic in what the tests use.
        let measured = catch_unwind(AssertUnwindSafe(section));
        match measured.unwrap_or_else(|_| Err("it panicked, see above".into())) {
            Ok(measured) => figures.extend(measured),
            Err(error) => figures.push(Figure::missing(name, "all of it", &error.to_string())),
        }
    }
    say("");
    if figures.is_empty() {
        return Err("no row has that in its name; see --help".into());
    }
    report::write(&options, &machine, &figures)
}

/// Progress, on stderr: one line that changes where somebody looks, else a line each.
fn say(text: &str) {
    let mut stderr = std::io::stderr();
    // Nobody may read it.
    let _ = match stderr.is_terminal() {
        true => write!(stderr, "\r\x1b[K{text}"),
        false if text.is_empty() => Ok(()),
        false => writeln!(stderr, "{text}"),
    };
}
