//! kill -9 under load, repeatedly: acknowledged writes survive as far as the AOF promises.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::calls::Find;
use crate::load::{Load, When};
use crate::programs::{main_program, say};
use crate::support::*;
use crate::tally::{Fate, check};
use testkit::*;

/// Returns the incremental file of the AOF.
fn growing_part(server_dir: &std::path::Path) -> Option<(PathBuf, u64)> {
    let files = std::fs::read_dir(server_dir.join("appendonlydir")).ok()?;
    files
        .filter_map(|file| {
            let path = file.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            let number: u64 = name
                .strip_suffix(".incr.aof")?
                .rsplit('.')
                .next()?
                .parse()
                .ok()?;
            Some((number, path))
        })
        .max()
        .and_then(|(_, path)| Some((path.clone(), path.metadata().ok()?.len())))
}

/// Records the growth of the AOF, to cut it as a power failure would: where it was a while before.
struct Watch {
    sizes: Arc<Mutex<Vec<(Instant, PathBuf, u64)>>>,
    goes_on: Arc<AtomicBool>,
}

impl Watch {
    fn start(dir: PathBuf) -> Watch {
        let sizes: Arc<Mutex<Vec<_>>> = Arc::default();
        let goes_on = Arc::new(AtomicBool::new(true));
        let watch = Watch {
            sizes: sizes.clone(),
            goes_on: goes_on.clone(),
        };
        std::thread::spawn(move || {
            while goes_on.load(Relaxed) {
                // The time before the look: what was acknowledged by then is in the file, or may be lost.
                let now = Instant::now();
                if let Some((path, size)) = growing_part(&dir) {
                    sizes.lock().unwrap().push((now, path, size));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        watch
    }

    /// Truncates the file as it was up to a second before, perhaps within a command. Returns that time and what was cut
    /// off.
    fn cut(&self, random: &mut Random) -> (Instant, u64) {
        let sizes = self.sizes.lock().unwrap();
        let now = Instant::now();
        let back = now - Duration::from_millis(random.below(1000) as u64);
        let Some((_, last, _)) = sizes.last() else {
            return (now, 0);
        };
        // Only of this file; one that a rewrite has closed is on the disk.
        let Some((when, path, size)) = sizes
            .iter()
            .rfind(|(t, path, _)| *t <= back && path == last)
        else {
            return (now, 0);
        };
        let whole = path.metadata().unwrap().len();
        let size = (size + random.below(200) as u64).min(whole);
        let content = std::fs::read(path).unwrap();
        let size = outside_of_transactions(&content[..size as usize]) as u64;
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(size).unwrap();
        (*when, whole - size)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.goes_on.store(false, Relaxed);
    }
}

/// Returns the length to which an AOF may be cut: its own, or up to the MULTI of a transaction that is not complete.
///
/// A server that finds a command cut off within a transaction removes that command alone, appends to the open
/// transaction, and fails at the start after the next one: "MULTI calls can not be nested". This is a fault of the
/// server (fixed in Valkey by <https://github.com/valkey-io/valkey/pull/4342>), and `redis-check-aof --fix` cuts as
/// this does.
fn outside_of_transactions(aof: &[u8]) -> usize {
    let mut transaction = None;
    let mut at = 0;
    while let Some((length, name)) = command(&aof[at..]) {
        match name {
            b"MULTI" | b"multi" => transaction = Some(at),
            b"EXEC" | b"exec" => transaction = None,
            _ => {}
        }
        at += length;
    }
    transaction.unwrap_or(aof.len())
}

/// Returns the length of the command or annotation at the start of an AOF, and its name; none if it is not complete.
fn command(aof: &[u8]) -> Option<(usize, &[u8])> {
    let line = |from: usize| {
        let rest = aof.get(from..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        Some((&rest[..end], from + end + 2))
    };
    let number = |text: &[u8]| -> usize {
        let text = std::str::from_utf8(&text[1..]).unwrap();
        text.parse().unwrap()
    };
    let (first, mut at) = line(0)?;
    if first.starts_with(b"#") {
        return Some((at, b""));
    }
    let mut name: Option<&[u8]> = None;
    for _ in 0..number(first) {
        let (length, start) = line(at)?;
        let argument = aof.get(start..start + number(length))?;
        name.get_or_insert(argument);
        at = start + argument.len() + 2;
        if at > aof.len() {
            return None;
        }
    }
    Some((at, name?))
}

#[test]
fn cut_leaves_no_open_transaction() {
    let set = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n";
    let multi = "*1\r\n$5\r\nMULTI\r\n";
    let exec = "*1\r\n$4\r\nEXEC\r\n";
    let stamp = "#TS:1790000000\r\n";
    let aof = [stamp, set, multi, set, exec, set].concat();
    let begin = stamp.len() + set.len();
    let end = begin + multi.len() + set.len() + exec.len();
    for cut in 0..=aof.len() {
        let inside = cut >= begin + multi.len() && cut < end;
        let expected = if inside { begin } else { cut };
        assert_eq!(
            outside_of_transactions(&aof.as_bytes()[..cut]),
            expected,
            "{cut}"
        );
    }
}

/// What happens to the end of the AOF when the server is killed.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stays,
    IsCut,
}

/// Kills a server under load several times, with this fsync policy of the AOF.
fn crashes(policy: &str, end: End, kills: usize, seed: u64) {
    let Some(program) = main_program() else {
        return;
    };
    let arguments = ["--appendonly", "yes", "--appendfsync", policy];
    let mut server = program.start(&arguments, BRISK);
    let port = server.port;
    let find: Find = Arc::new(move |_: &str| Some(port));
    let load = Load::start(find.clone(), &["a", "b"], 2, 0);
    let watch = Watch::start(server.dir().to_owned());
    let mut random = Random(seed);
    // The periods in which acknowledged writes may be lost.
    let mut lost: Vec<(Instant, Instant)> = Vec::new();
    let mut cut_off = 0;
    let started = Instant::now();
    if policy != "always" {
        // So that no metric is lost as a whole: otherwise nobody could tell where its total started.
        let_pass(3500);
    }
    for kill in 0..kills {
        let done = load.done();
        // Long enough for many writes that must not be lost.
        let least = if policy == "always" { 700 } else { 2500 };
        let_pass(least + random.below(900) as u64);
        until("the load continues", || {
            (load.done() > done + 50).then_some(())
        });
        if kill % 3 == 2 {
            // A rewrite of the AOF is running, or has just ended.
            let _ = server.ask::<String>("BGREWRITEAOF");
            let_pass(random.below(60) as u64);
        }
        server.stop();
        let killed = Instant::now();
        let (cut, bytes) = match end {
            End::Stays => (killed, 0),
            End::IsCut => watch.cut(&mut random),
        };
        cut_off += bytes;
        let allowed = match policy {
            "always" => Duration::ZERO,
            _ => Duration::from_secs(2),
        };
        lost.push((cut.checked_sub(allowed).unwrap_or(started), killed));
        server.restart();
    }
    let_pass(300);
    let (books, seen) = load.finish();
    let (fate, what) = match (policy, end) {
        ("always", End::Stays) => (Fate::Exact, "nothing may be lost"),
        _ => (Fate::Lossy, "two seconds may be lost"),
    };
    let must = |when: &When| {
        let may_be_lost =
            |(from, to): &(Instant, Instant)| *from < when.answered && when.sent < *to;
        policy == "always" || !lost.iter().any(may_be_lost)
    };
    let when = format!("appendfsync {policy}, seed {seed}, {what}");
    let sums = check(&when, &find, &books, &seen, fate, &must);
    assert!(end == End::Stays || cut_off > 0, "nothing was cut off");
    say(&format!(
        "{when}: {kills} kills, {cut_off} bytes cut off, {sums:?}"
    ));
}

#[test]
fn killed_server_with_appendfsync_always_loses_no_acknowledged_write() {
    crashes("always", End::Stays, amount(3, 20), 3);
}

#[test]
fn killed_server_with_appendfsync_everysec_loses_at_most_two_seconds() {
    crashes("everysec", End::Stays, amount(3, 20), 5);
}

#[test]
fn lost_last_second_of_writes_repeats_no_id() {
    crashes("everysec", End::IsCut, amount(4, 20), 7);
}
