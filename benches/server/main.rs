//! The server benchmark: the server's CPU time per command compared with SET and with other solutions for the same job,
//! memory per metric, the highest latencies of a large node, and RDB.
//!
//! It uses the module's commands only. Each section starts its own servers. Rows that are compared with each other are
//! measured in turn in the same server.

mod commands;
mod drain;
mod fill;
mod host;
mod io_threads;
mod latency;
mod load;
mod machine;
mod measurement;
mod memory;
mod options;
mod plot;
mod probe;
mod rdb;
mod report;
mod rows;
mod time_series;
mod types;

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser;
use measurement::Measurement;
use options::Options;

/// The result of anything that may fail. The error is a text for the user.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A section, which returns its rows.
type Section<'a> = Box<dyn Fn() -> Result<Vec<Measurement>> + 'a>;

fn main() -> Result<()> {
    let options = Options::parse();
    host::kill_servers_on_interrupt()?;
    let machine = machine::Machine::here()?;
    let mut sections: Vec<(String, Section<'_>)> = Vec::new();
    for (i, names) in options.names().into_iter().enumerate() {
        let run = {
            let options = &options;
            move || commands::plain(options, names, i == 0)
        };
        sections.push((format!("commands, {names} names"), Box::new(run)));
    }
    sections.push(("types".into(), Box::new(|| types::run(&options))));
    sections.push(("aof".into(), Box::new(|| commands::with_aof(&options))));
    sections.push(("io-threads".into(), Box::new(|| io_threads::run(&options))));
    sections.push(("timeseries".into(), Box::new(|| time_series::run(&options))));
    sections.push(("drain".into(), Box::new(|| drain::run(&options))));
    sections.push(("memory".into(), Box::new(|| memory::run(&options))));
    sections.push(("latency".into(), Box::new(|| latency::run(&options))));
    sections.push(("rdb".into(), Box::new(|| rdb::run(&options))));

    let mut measurements = Vec::new();
    for (name, section) in &sections {
        // A section that fails, by an error or by a panic in the test kit, does not stop the others.
        let measured = catch_unwind(AssertUnwindSafe(section));
        match measured.unwrap_or_else(|_| Err("panicked, see above".into())) {
            Ok(measured) => measurements.extend(measured),
            Err(error) => {
                measurements.push(Measurement::missing(name, "all rows", &error.to_string()))
            }
        }
    }
    say("");
    if measurements.is_empty() {
        return Err("no row matches --only; see --help".into());
    }
    report::write(&options, &machine, &measurements)
}

/// Shows progress on stderr: in one changing line on a terminal, in a line each otherwise.
fn say(text: &str) {
    let mut stderr = std::io::stderr();
    // Stderr may be closed.
    let _ = match stderr.is_terminal() {
        true => write!(stderr, "\r\x1b[K{text}"),
        false if text.is_empty() => Ok(()),
        false => writeln!(stderr, "{text}"),
    };
}
