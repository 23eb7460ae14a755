//! AGG.STAT beside SET in a Valkey with threads for I/O. The main thread runs all commands of the module.

use crate::Result;
use crate::commands::{LARGE_LIMITS, any_wanted, measure};
use crate::host::Host;
use crate::measurement::Measurement;
use crate::options::Options;
use crate::rows::Builder;

const SECTION: &str = "io-threads";
/// The server, as scripts/servers.sh names it.
const SERVER: &str = "valkey-9.1";

/// Measures the main thread with one thread, which is without threads for I/O, and with two.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    let names = options.names()[0];
    let builder = Builder { options, names };
    let rows = |threads: &str| {
        let row = builder.stat("AGG.STAT ABS", "abs", false, false);
        let mut rows = vec![builder.set(), row];
        for row in &mut rows {
            row.name += &format!(", io-threads {threads}");
        }
        rows
    };
    let program = testkit::fetched_servers().join(SERVER);
    let mut measurements = Vec::new();
    for (threads, base) in [("1", "SET, io-threads 1"), ("2", "SET, io-threads 2")] {
        let rows: Vec<_> = (rows(threads).into_iter())
            .map(|row| row.beside(base))
            .collect();
        if !any_wanted(options, SECTION, &rows) {
            continue;
        }
        if !program.is_file() {
            let why = "Valkey 9.1 is not available: see scripts/servers.sh";
            measurements.push(Measurement::missing(SECTION, &rows[1].name, why));
            continue;
        }
        let program = program.display().to_string();
        let arguments = ["--io-threads", threads];
        let host = Host::start_by(&program, &arguments, LARGE_LIMITS)?.main_thread();
        measurements.extend(measure(&host, options, SECTION, names, rows)?);
    }
    Ok(measurements)
}
