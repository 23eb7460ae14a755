//! What the tests that attack a server share: amounts, random choices from a seed, many commands at once, and a look at
//! a process's memory from the outside.

use redis::{Connection, Value};

/// Whether the long version runs.
pub fn is_heavy() -> bool {
    std::env::var("AGG_HEAVY").as_deref() == Ok("1")
}

/// How much of something: quick, and in the long version.
pub fn amount(quick: usize, heavy: usize) -> usize {
    if is_heavy() { heavy } else { quick }
}

/// A number of the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed of AGG_SEED, else a fixed one. What fails prints it.
pub fn seed() -> u64 {
    number("AGG_SEED").unwrap_or(20_260_115)
}

/// Numbers that a seed fixes.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    /// Letters, which no compression makes small.
    pub fn text(&mut self, len: usize) -> String {
        let mut text = String::with_capacity(len + 8);
        while text.len() < len {
            let n = self.next();
            text.extend((0..8).map(|i| char::from(b'a' + (n >> (8 * i) & 0xff) as u8 % 26)));
        }
        text.truncate(len);
        text
    }
}

/// A command's words.
pub type Words = Vec<Vec<u8>>;

/// The words of a line that are separated by blanks.
pub fn split(line: &str) -> Words {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Sends commands at once, without waiting in between; their answers, an error as its line.
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

/// VmRSS and VmHWM of a process, bytes; none where the system does not tell.
pub fn resident(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// The commands of an AOF.
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
