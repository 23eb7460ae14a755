//! A pseudo terminal in which a program runs and the test plays the user.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::Running;

/// A terminal in which a program runs.
pub struct Terminal {
    keys: File,
    /// Kept open, so that the terminal outlives the program.
    inside: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    pub program: Running,
}

impl Terminal {
    /// Runs the command in a terminal of 80 by 24; `None`, with a message, if the machine has no pseudo terminals.
    pub fn start(command: &Command) -> Option<Terminal> {
        let missing = |what: &str| {
            assert!(std::env::var_os("CI").is_none(), "{what} is missing");
            eprintln!("skipped: {what} is missing");
        };
        let Ok(person) = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY) else {
            missing("a pseudo terminal");
            return None;
        };
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&person, size).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap();
        let inside = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let end = || Stdio::from(inside.try_clone().unwrap());
        // The controlling terminal has to be this one, not that of the test runner.
        let mut inner = Command::new("setsid");
        inner
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inner.env(name, value),
                None => inner.env_remove(name),
            };
        }
        inner
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let Ok(child) = inner.spawn() else {
            missing("setsid");
            return None;
        };
        let keys = File::from(person);
        let mut screen = keys.try_clone().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let into = written.clone();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // A terminal ends with an error.
            while let Ok(length @ 1..) = screen.read(&mut part) {
                into.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Some(Terminal {
            keys,
            inside,
            written,
            program: Running(child),
        })
    }

    /// Returns the modes of the terminal.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.inside).unwrap()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Returns everything that was written.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Returns the lines on the screen.
    pub fn screen(&self) -> Vec<String> {
        rendered(&self.written())
    }

    /// Waits until a text is on the screen.
    pub fn until_seen(&self, text: &str) {
        self.until(&format!("{text:?} is seen"), |screen| screen.contains(text));
    }

    /// Waits for a condition on the screen.
    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let start = std::time::Instant::now();
        while !is(&self.screen().join("\n")) {
            let waited = start.elapsed();
            assert!(
                waited.as_secs() < 300,
                "timed out waiting: {what}\n{}",
                self.screen().join("\n")
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Renders what was written: the program uses cursor positions, erasing, text and colours.
fn rendered(written: &str) -> Vec<String> {
    let blank = vec![vec![' '; 80]; 24];
    let (mut cells, mut x, mut y) = (blank.clone(), 0, 0);
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\x1b' if rest.starts_with('[') => {
                // Incomplete so far.
                let Some(end) = rest[1..].find(|c: char| c.is_ascii_alphabetic()) else {
                    break;
                };
                let (arguments, code) = (&rest[1..=end], &rest[end + 1..end + 2]);
                rest = &rest[end + 2..];
                match code {
                    "H" => {
                        let mut at = arguments.split(';').map(|n| n.parse().unwrap_or(1) - 1);
                        y = at.next().unwrap_or(0);
                        x = at.next().unwrap_or(0);
                    }
                    "J" => cells = blank.clone(),
                    _ => {}
                }
            }
            c if c.is_control() => {}
            c => {
                if let Some(cell) = cells
                    .get_mut(y)
                    .and_then(|line: &mut Vec<char>| line.get_mut(x))
                {
                    *cell = c;
                }
                x += 1;
            }
        }
    }
    let lines = cells
        .into_iter()
        .map(|line| line.into_iter().collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).collect()
}
