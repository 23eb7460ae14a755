//! The machine and the programs that results belong to.

use std::process::Command;

/// Returns them as a line, with the date.
pub fn description() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let server = testkit::program().map_or_else(String::new, |program| {
        let version = output(&program, &["--version"]);
        let version = version.split(" sha").next().unwrap_or_default();
        version.replace(" server v=", " ")
    });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{model}, {cores} cores, Linux {}, {server}, Node.js {}, commit {}, {}, load before {}",
        kernel.trim(),
        output("node", &["--version"]),
        output("git", &["rev-parse", "--short", "HEAD"]),
        output("date", &["-u", "+%F"]),
        load.split(' ').next().unwrap_or_default(),
    )
}

/// Returns what a program prints; nothing if it is missing.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
