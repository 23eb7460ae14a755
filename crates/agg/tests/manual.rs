//! Manual pages and shell completions, read by man and by shells.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{err, out, run};

/// Returns whether a program is installed.
fn have(program: &str) -> bool {
    let looked = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    looked.is_ok_and(|status| status.success())
}

/// Returns what a program prints for an input.
fn answer(program: &mut Command, text: &str) -> String {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    out(&output)
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let output = run("", &format!("man --dir {}", dir.path().display()), b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let help = out(&run("", "help", b""));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut pages = 0;
    for line in commands.take_while(|line| !line.is_empty()) {
        let Some(name) = line.strip_prefix("  ").and_then(|l| l.split(' ').next()) else {
            continue;
        };
        // The help command, and continued lines.
        if name == "help" || name.is_empty() {
            continue;
        }
        assert!(
            page(&format!("agg-{name}.1")).contains(".SH NAME"),
            "{name}"
        );
        pages += 1;
    }
    assert!(pages > 10, "{help}");
    assert!(page("agg-pipe-log.1").contains(".SH EXAMPLES"));
    let poll = page("agg-poll.1");
    assert!(poll.contains(".SH \"EXIT STATUS\"") && !poll.contains("EXTRA"));
    assert!(poll.contains("[sink.records]") && poll.contains("agg check"));

    let nowhere = run("", "man --dir /nonexistent", b"");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(err(&nowhere).starts_with("agg: cannot write to /nonexistent: "));
}

#[test]
fn page_of_agg_is_read_by_man() {
    let page = out(&run("", "man", b""));
    if !have("man") {
        eprintln!("no man: skipped");
        return;
    }
    let read = answer(
        Command::new("man")
            .args(["--warnings", "-l", "-"])
            .env("MANPAGER", "cat"),
        &page,
    );
    assert!(
        read.contains("agg(1)") && read.contains("SYNOPSIS"),
        "{read}"
    );
}

#[test]
fn bash_completes_commands_and_options() {
    let script = out(&run("", "completions bash", b""));
    let completed = |words: &str, at: usize| {
        let asks = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _agg agg \"${{COMP_WORDS[{at}]}}\" \
             \"${{COMP_WORDS[{}]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            at - 1
        );
        answer(&mut Command::new("bash"), &asks)
    };
    assert_eq!(completed("agg dra", 1), "drain\n");
    assert_eq!(completed("agg pipe l", 2), "log\n");
    assert!(completed("agg poll --con", 2).contains("--config"));
}

#[test]
fn other_shells_parse_their_scripts() {
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = out(&run("", &format!("completions {shell}"), b""));
        assert!(script.contains("drain"));
        if have(shell) {
            answer(Command::new(shell).arg(check), &script);
        } else {
            eprintln!("no {shell}: its script was not read");
        }
    }
    let wrong = run("", "completions tcsh", b"");
    assert_eq!(wrong.status.code(), Some(2));
}
