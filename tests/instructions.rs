//! The guard of `make test` against commands that take more instructions: what `scripts/instructions.py` says of counts
//! that were measured before. `make test` also lets it measure.

use std::fs;
use std::process::{Command, Output};

use testkit::root;

/// The committed counts.
fn committed() -> String {
    fs::read_to_string(root().join("benches/instructions.txt")).unwrap()
}

/// Returns the committed counts with those of one row multiplied.
fn with_row(row: &str, factor: f64) -> String {
    let mut is_changed = false;
    let mut text = String::new();
    for line in committed().lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(key), Some(count)) if key == row => {
                let count: f64 = count.parse().unwrap();
                text += &format!("{key} {:.1}\n", count * factor);
                is_changed = true;
            }
            _ => text += &format!("{line}\n"),
        }
    }
    assert!(is_changed, "benches/instructions.txt has no row {row}");
    text
}

/// Runs the guard on these counts as if it had measured them.
fn judge(counts: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counts");
    fs::write(&path, counts).unwrap();
    Command::new("python3")
        .arg(root().join("scripts/instructions.py"))
        .arg("--counts")
        .arg(&path)
        .output()
        .expect("python3 is needed, scripts/deps.sh lint installs it")
}

#[test]
fn count_that_rises_by_six_percent_fails_and_is_named() {
    for row in ["stat", "mstat", "log", "error", "reality", "drain"] {
        let judged = judge(&with_row(row, 1.06));
        let message = String::from_utf8_lossy(&judged.stderr);
        assert_eq!(judged.status.code(), Some(1), "{row}: {message}");
        assert!(message.contains("(+6.0 %)"), "{message}");
        let look = format!("make instructions ARGS='--functions {row}'");
        assert!(message.contains(&look), "{message}");
        assert_eq!(message.matches(" rose from ").count(), 1, "{message}");
    }
}

#[test]
fn counts_within_the_tolerance_pass() {
    for factor in [0.5, 1.0, 1.04] {
        let judged = judge(&with_row("stat", factor));
        let message = String::from_utf8_lossy(&judged.stderr);
        assert_eq!((judged.status.code(), &*message), (Some(0), ""));
    }
    let fallen = judge(&with_row("stat", 0.5));
    let text = String::from_utf8_lossy(&fallen.stdout);
    assert!(
        text.contains("fallen by more than 5 %: AGG.STAT ABS"),
        "{text}"
    );
}

#[test]
fn another_compiler_is_compared_all_the_same_and_named() {
    let other = |text: String| {
        let (before, rest) = text.split_once("# compiler: ").unwrap();
        let rest = rest.split_once('\n').unwrap().1;
        format!("{before}# compiler: rustc 1.0.0\n{rest}")
    };
    let same = judge(&other(committed()));
    assert_eq!(same.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&same.stdout).contains("this is rustc 1.0.0"));
    let risen = judge(&other(with_row("log", 1.06)));
    assert_eq!(risen.status.code(), Some(1));
    let message = String::from_utf8_lossy(&risen.stderr);
    assert!(
        message.contains("this is rustc 1.0.0: if only the compiler changed"),
        "{message}"
    );
}

#[test]
fn row_that_is_missing_on_either_side_fails() {
    let shorter: String = committed()
        .lines()
        .filter(|line| !line.starts_with("log "))
        .map(|line| format!("{line}\n"))
        .collect();
    let judged = judge(&shorter);
    assert_eq!(judged.status.code(), Some(1));
    let message = String::from_utf8_lossy(&judged.stderr);
    assert!(
        message.contains("log is committed but was not counted"),
        "{message}"
    );
    let longer = judge(&(committed() + "stranger 1.0\n"));
    assert_eq!(longer.status.code(), Some(1));
    let message = String::from_utf8_lossy(&longer.stderr);
    assert!(
        message.contains("stranger has no committed count"),
        "{message}"
    );
}
