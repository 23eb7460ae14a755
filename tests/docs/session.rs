//! The shell of a reader: runs the commands of a page in one bash, in a directory that looks like the repository.
//!
//! Ports in pages are replaced by free ones in commands, and back in outputs. Port 7777 is that of a server with the
//! module. All that was started ends with the session.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::page::{Step, root};
use testkit::*;

/// Ports that pages may name besides 7777.
const PORTS: &[u16] = &[
    2003, 4317, 4318, 5140, 6379, 7778, 7779, 7781, 7782, 8086, 8088, 8125, 9090, 9100, 9200, 9777,
    9778, 9779,
];

/// Longer than any step takes.
const LONG: Duration = Duration::from_secs(300);

pub struct Session {
    dir: tempfile::TempDir,
    /// Ports as pages name them, and the actual ones.
    ports: Vec<(u16, u16)>,
}

/// A running shell; killed with everything that it started.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

impl Session {
    /// Creates a session whose port 7777 is this one; `None` if something is missing.
    pub fn new(port: u16) -> Option<Session> {
        let dir = tempfile::tempdir().unwrap();
        // `cargo test --workspace` builds it: what pages show does not need an optimised program.
        let agg = root().join("target/debug/agg");
        if !agg.exists() {
            return missing("target/debug/agg");
        }
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("target/release")).unwrap();
        std::fs::create_dir_all(at("bin")).unwrap();
        std::fs::create_dir_all(at("out")).unwrap();
        symlink(agg, at("target/release/agg")).unwrap();
        symlink(module(), at("target/release/libaggregator.so")).unwrap();
        symlink(root().join("target/servers"), at("target/servers")).unwrap();
        for name in ["redis.conf.example", "crates", "benches"] {
            symlink(root().join(name), at(name)).unwrap();
        }
        // To pipes redis-cli writes another form than to the terminal of a reader.
        let cli = which("redis-cli");
        shim(
            &at("bin/redis-cli"),
            &format!(
                "[ /dev/stdout -ef \"$DOCS_OUT\" ] && exec {cli} --no-raw \"$@\"\nexec {cli} \"$@\""
            ),
        );
        let server = which(&program()?);
        shim(&at("bin/redis-server"), &format!("exec {server} \"$@\""));
        // The libraries that programs send with; without them, programs of these pages fail.
        let python = root().join("target/senders/python/bin/python");
        if python.exists() {
            shim(
                &at("bin/python3"),
                &format!("exec {} \"$@\"", python.display()),
            );
        }
        let mut ports = vec![(7777, port)];
        ports.extend(PORTS.iter().map(|named| (*named, free_port())));
        Some(Session { dir, ports })
    }

    /// Returns the directory of its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the actual port for one that pages name.
    pub fn port(&self, named: u16) -> u16 {
        self.ports.iter().find(|(n, _)| *n == named).unwrap().1
    }

    /// Runs commands one after the other and compares what they print.
    pub fn run(&self, page: &str, steps: &[Step]) {
        self.run_and(page, steps, || {});
    }

    /// Runs commands like [`Session::run`], and then `then` while the programs that they started still run.
    pub fn run_and(&self, page: &str, steps: &[Step], then: impl FnOnce()) {
        let mut known = Transcript::default();
        let out = self.dir.path().join("out");
        for (i, _) in steps.iter().enumerate() {
            let _ = std::fs::remove_file(out.join(i.to_string()));
        }
        let mut shell = self.shell();
        for (i, step) in steps.iter().enumerate() {
            let mut command = self.there(&known.translate(&step.command));
            if step.shown.is_some() {
                // The output counts, not the exit code.
                command.insert_str(0, "set +e\n");
            }
            std::fs::write(out.join(format!("{i}.sh")), command).unwrap();
            std::fs::rename(out.join(format!("{i}.sh")), out.join(format!("{i}.go"))).unwrap();
            let code = self.wait(&mut shell, &out.join(format!("{i}.code")), page, step);
            let got = std::fs::read(out.join(i.to_string())).unwrap_or_default();
            // The lines of INFO end with CR LF.
            let got = self.back(&String::from_utf8_lossy(&got).replace('\r', ""));
            let place = format!("{page}:{}: {}", step.line, step.command.trim_end());
            match &step.shown {
                None => assert!(code == "0", "{place}\nended with {code}:\n{got}"),
                Some(shown) => assert!(
                    known.compare(shown, &got),
                    "{place}\nthe page shows:\n{shown}\nit prints:\n{got}"
                ),
            }
        }
        then();
        drop(shell);
        for i in 0..steps.len() {
            for end in ["", ".go", ".code"] {
                let _ = std::fs::remove_file(out.join(format!("{i}{end}")));
            }
        }
    }

    /// Starts a bash that runs files with growing numbers as they appear. A failing command ends only its file.
    fn shell(&self) -> Shell {
        let script = r#"
DOCS_STEP=0
while :; do
    until [ -e "out/$DOCS_STEP.go" ]; do sleep 0.02; done
    DOCS_OUT=$DOCS_DIR/out/$DOCS_STEP
    export DOCS_OUT
    trap 'echo "$?" >"$DOCS_DIR/out/$DOCS_STEP.code.new"; mv "$DOCS_DIR/out/$DOCS_STEP.code.new" "$DOCS_DIR/out/$DOCS_STEP.code"' EXIT
    set -e
    . "$DOCS_DIR/out/$DOCS_STEP.go" >"$DOCS_OUT" 2>&1
    set +e
    echo 0 >"$DOCS_DIR/out/$DOCS_STEP.code.new"
    mv "$DOCS_DIR/out/$DOCS_STEP.code.new" "$DOCS_DIR/out/$DOCS_STEP.code"
    DOCS_STEP=$((DOCS_STEP + 1))
done
"#;
        let path = std::env::var("PATH").unwrap_or_default();
        let dir = self.dir.path();
        let child = Command::new("bash")
            .args(["-o", "pipefail", "-c", script])
            .env("PATH", format!("{}:{path}", dir.join("bin").display()))
            .env("DOCS_DIR", dir)
            .env(
                "AGG_REDIS",
                format!("redis://127.0.0.1:{}", self.port(7777)),
            )
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash is needed");
        Shell(child)
    }

    fn wait(&self, shell: &mut Shell, code: &Path, page: &str, step: &Step) -> String {
        let start = Instant::now();
        loop {
            if let Ok(code) = std::fs::read_to_string(code) {
                return code.trim().to_owned();
            }
            let place = format!("{page}:{}: {}", step.line, step.command);
            if let Some(status) = shell.0.try_wait().unwrap() {
                assert!(code.exists(), "{place}\nthe shell ended: {status}");
            }
            assert!(start.elapsed() < LONG, "{place}\ndoes not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Replaces the ports that pages name by the actual ones.
    fn there(&self, text: &str) -> String {
        let change = |text: String, (named, real): &(u16, u16)| number(&text, *named, *real);
        self.ports.iter().fold(text.to_owned(), change)
    }

    /// Replaces the actual ports by those that pages name.
    fn back(&self, text: &str) -> String {
        let change = |text: String, (named, real): &(u16, u16)| number(&text, *real, *named);
        self.ports.iter().fold(text.to_owned(), change)
    }
}

/// Replaces a number where it stands alone.
fn number(text: &str, from: u16, to: u16) -> String {
    let (from, to) = (from.to_string(), to.to_string());
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(&from) {
        let behind = &rest[at + from.len()..];
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let before = rest[..at].chars().next_back();
        let is_alone = !is_digit(before) && !is_digit(behind.chars().next());
        result.push_str(&rest[..at]);
        result.push_str(if is_alone { &to } else { &from });
        rest = behind;
    }
    result + rest
}

fn which(program: &str) -> String {
    let found = Command::new("sh")
        .args(["-c", "command -v -- \"$1\"", "sh", program])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    assert!(!found.is_empty(), "{program} is missing");
    found
}

fn shim(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
