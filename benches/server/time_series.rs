//! The comparison with RedisTimeSeries.

use crate::Result;
use crate::commands::{LARGE_LIMITS, any_wanted, measure};
use crate::host::{Host, folder, root};
use crate::load::{Clients, Requests};
use crate::measurement::Measurement;
use crate::options::Options;
use crate::rows::{Builder, line, metric, value};

/// Compares with RedisTimeSeries in one server, with rules for the average and the maximum of 300 s and 3600 s.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    const SECTION: &str = "timeseries";
    const RULES: &str = "TS.ADD with four rules";
    // A series with rules takes more than 20,000 bytes.
    let names = options.names()[0].min(10_000);
    let builder = Builder { options, names };
    let add = |name: &str, prefix: &'static str| {
        let mut row = builder.row(name, names, move |i| {
            line(&format!("TS.ADD {prefix}:{} * {}", metric(i), value(i)))
        });
        row.share = 4;
        row.expected = b":";
        row
    };
    let rows = vec![
        builder.set(),
        add("TS.ADD without rules", "plain"),
        add(RULES, "ruled"),
        builder
            .stat("AGG.STAT ABS", "abs", false, false)
            .beside(RULES)
            .at_most(1.0 / 3.0),
        builder
            .stat("AGG.STAT DIFF with TAGS", "diff", true, true)
            .beside(RULES)
            .at_most(1.0 / 3.0),
    ];
    if !any_wanted(options, SECTION, &rows) {
        return Ok(Vec::new());
    }
    let Some((program, module)) = time_series()? else {
        let why = "RedisTimeSeries is not available: see scripts/servers.sh";
        return Ok(vec![Measurement::missing(SECTION, RULES, why)]);
    };
    let host = Host::start_by(&program, &["--loadmodule", &module], LARGE_LIMITS)?;
    create_series(&host, options, names)?;
    let mut measurements = measure(&host, options, SECTION, names, rows)?;
    let version = host.ask::<String>("INFO modules")?;
    let version = (version.lines())
        .find(|line| line.contains("name=timeseries"))
        .and_then(|line| line.split(',').find_map(|part| part.strip_prefix("ver=")))
        .unwrap_or("?");
    for measurement in measurements.iter_mut().filter(|f| f.name == RULES) {
        measurement.note = format!("{names} names, version {version}")
            + if measurement.note.is_empty() {
                ""
            } else {
                "; "
            }
            + &measurement.note;
    }
    Ok(measurements)
}

fn create_series(host: &Host, options: &Options, names: usize) -> Result<()> {
    let mut commands = Vec::new();
    for i in 0..names {
        let name = metric(i);
        commands.push(format!("TS.CREATE plain:{name} DUPLICATE_POLICY LAST"));
        commands.push(format!("TS.CREATE ruled:{name} DUPLICATE_POLICY LAST"));
        for (kind, window) in [("avg", 300), ("max", 300), ("avg", 3600), ("max", 3600)] {
            let to = format!("ruled:{name}:{kind}:{window}");
            commands.push(format!("TS.CREATE {to}"));
            let ms = window * 1000;
            commands.push(format!(
                "TS.CREATERULE ruled:{name} {to} AGGREGATION {kind} {ms}"
            ));
        }
    }
    let mut requests = Requests::build(options.pipeline as usize, commands.len(), |i| {
        line(&commands[i])
    });
    // On one connection, to keep the order.
    let replies = Clients::connect(host.port(), 1)?.run(&mut requests, commands.len(), b"+OK")?;
    match replies.wrong {
        0 => Ok(()),
        _ => Err(format!("creating series failed: {}", replies.first_wrong).into()),
    }
}

/// Returns a program that starts the server with the libraries that RedisTimeSeries needs, and the path of its module.
fn time_series() -> Result<Option<(String, String)>> {
    let libraries = root().join("target/servers/lib");
    let module = libraries.join("redistimeseries.so");
    if !module.exists() {
        return Ok(None);
    }
    let program = folder()?.join("server-with-libraries");
    let server = crate::host::server_program()?;
    let text = format!(
        "#!/bin/sh\nexec env LD_LIBRARY_PATH='{}' '{server}' \"$@\"\n",
        libraries.display()
    );
    std::fs::write(&program, text)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(Some((
        program.display().to_string(),
        module.display().to_string(),
    )))
}
