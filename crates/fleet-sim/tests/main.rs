//! The simulation of a fleet, on a small scale: real pollers drain simulated servers, one of them is killed, and nothing
//! is lost. The measurement itself is `make fleet-sim`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the programs that this build has made.
fn programs() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_fleet-sim"));
    program.parent().expect("a program is in a folder").into()
}

fn run(ownership: bool) {
    let is_there = |path: &Path| path.exists();
    if !is_there(&programs().join("agg")) {
        eprintln!(
            "skipped: {}/agg is missing: cargo build -p agg",
            programs().display()
        );
        return;
    }
    let name = if ownership { "owned" } else { "shared" };
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet-sim");
    let mut command = Command::new("python3");
    command.arg(script).arg("--out").arg(&out);
    command.arg("--programs").arg(programs());
    let options = "--nodes 30 --metrics 20 --window 4 --flush-delay 0.5 --jitter 2 --interval 1 --idle 1 --processes 2 --limit 60 \
                   --poll-interval 125ms --lease 3s --takeover-after 1s";
    command.args(options.split_whitespace());
    if !ownership {
        command.arg("--no-ownership");
    }
    let output = command.output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains(": 0 lost,"), "{text}");
    let report = std::fs::read_to_string(out.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    // Three ends of windows at least; if the idle part needed one more, four.
    assert!(report["queued"].as_u64().unwrap() >= 3 * 30 * 20, "{text}");
    assert_eq!(report["lost"], 0);
    assert_eq!(report["dropped"], 0);
}

#[test]
fn pollers_that_drain_all_servers_lose_nothing() {
    run(false);
}

#[test]
fn pollers_that_own_servers_lose_nothing() {
    run(true);
}
