//! Attacks: many commands at once, and a process's memory seen from outside.

use std::time::{Duration, Instant};

use redis::{Connection, Value};

/// The words of a command.
pub type Words = Vec<Vec<u8>>;

/// Splits a line at blanks.
pub fn split(line: &str) -> Words {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Sends commands without waiting in between and returns their replies, errors as the server words them.
///
/// # Panics
///
/// Panics if the server closes the connection.
pub fn burst(connection: &mut Connection, commands: &[Words]) -> Vec<Result<Value, String>> {
    if commands.is_empty() {
        return Vec::new();
    }
    let mut packed = Vec::new();
    for words in commands {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_slice());
        }
        packed.extend(command.get_packed_command());
    }
    connection
        .send_packed_command(&packed)
        .unwrap_or_else(|error| panic!("the server is gone: {error}"));
    let answer = |_| {
        let answer = connection.recv_response();
        match answer.and_then(Value::extract_error) {
            Ok(value) => Ok(value),
            Err(error) if error.is_io_error() => panic!("the server does not answer: {error}"),
            Err(error) => match (error.code(), error.detail()) {
                (Some(code), Some(detail)) => Err(format!("{code} {detail}")),
                _ => Err(error.to_string()),
            },
        }
    };
    commands.iter().map(answer).collect()
}

/// Returns VmRSS and VmHWM of a process in bytes, if the system tells.
pub fn resident(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Returns how long the main thread of a process has run, if the kernel tells (schedstat). Unlike a clock it stands
/// still while other processes have the processor.
pub fn main_thread_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Runs `f` and returns its result with how long it took: of a clock, or of the main thread of the process where that
/// is shorter, so that a busy machine does not count.
pub fn timed<T>(pid: u32, f: impl FnOnce() -> T) -> (T, Duration) {
    let (start, before) = (Instant::now(), main_thread_time(pid));
    let result = f();
    let ran = main_thread_time(pid).zip(before);
    let clock = start.elapsed();
    let took = ran.map_or(clock, |(after, before)| clock.min(after - before));
    (result, took)
}

/// Parses the commands of an append-only file.
pub fn commands_of(aof: &[u8]) -> Vec<Words> {
    let mut rest = aof;
    let line = |rest: &mut &[u8]| -> usize {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let n = std::str::from_utf8(&rest[1..end - 1])
            .unwrap()
            .parse()
            .unwrap();
        *rest = &rest[end + 1..];
        n
    };
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let words = (0..line(&mut rest)).map(|_| {
            let len = line(&mut rest);
            let word = rest[..len].to_vec();
            rest = &rest[len + 2..];
            word
        });
        commands.push(words.collect());
    }
    commands
}
