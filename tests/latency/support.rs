//! Contents that are as expensive as permitted, and the time that a command takes.

use redis::{Connection, Value};

use testkit::*;

/// The longest item that the default settings allow.
pub const LONG: usize = 64 << 10;

/// The longest that a command may take that is not asked for many items, and one that is, in microseconds.
pub const ONE: i64 = 5_000;
pub const MANY: i64 = 50_000;

/// How often a command is tried.
const TRIES: usize = 7;

/// A server that logs the time of every command, and a connection to it.
pub struct Timed {
    _slot: Slot,
    server: Server,
    pub connection: Connection,
}

impl Timed {
    pub fn start(settings: &str) -> Option<Timed> {
        let slot = slot();
        let server = Server::with_module(&["--slowlog-log-slower-than", "0"], settings)?;
        let connection = server.connection();
        Some(Timed {
            _slot: slot,
            server,
            connection,
        })
    }

    /// Sends a command, its words separated by blanks.
    pub fn ask(&mut self, line: &str) -> Value {
        ask(&mut self.connection, line)
    }

    /// Sends commands, some thousand at once, and asserts that none is rejected.
    pub fn send(&mut self, commands: impl IntoIterator<Item = Words>) {
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let mut pipe = redis::pipe();
            let mut bytes = 0;
            while let Some(words) = commands.next_if(|_| bytes < 4 << 20) {
                bytes += words.iter().map(Vec::len).sum::<usize>() + 100;
                pipe.add_command(command(&words));
            }
            pipe.query::<()>(&mut self.connection).unwrap();
        }
    }

    /// Makes contents by `prepare` and runs the command that it returns. Returns the shortest time of some tries in
    /// microseconds and the last reply, which may be an error. Stops early if a try was shorter than `limit`.
    pub fn shortest(
        &mut self,
        limit: i64,
        mut prepare: impl FnMut(&mut Timed) -> Words,
    ) -> (i64, redis::RedisResult<Value>) {
        let mut shortest = i64::MAX;
        let mut reply = Ok(Value::Nil);
        for _ in 0..TRIES {
            let words = prepare(self);
            self.ask("SLOWLOG RESET");
            let before = self.ran();
            reply = command(&words).query(&mut self.connection);
            let ran = self.ran().zip(before).map(|(after, before)| after - before);
            let took = self.took(&words[0]);
            shortest = shortest.min(ran.map_or(took, |ran| ran.min(took)));
            if shortest < limit {
                break;
            }
        }
        (shortest, reply)
    }

    /// Asserts that a command takes less than `limit` and returns its reply.
    pub fn takes_less(
        &mut self,
        what: &str,
        limit: i64,
        prepare: impl FnMut(&mut Timed) -> Words,
    ) -> Value {
        let (took, reply) = self.shortest(limit, prepare);
        // Shown by --nocapture.
        eprintln!("{what}: {took} us");
        assert!(took < limit, "{what} took {took} us, at most {limit}");
        reply.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Asserts that a rejected command takes less than `limit` and returns its error.
    pub fn rejects_within(
        &mut self,
        what: &str,
        limit: i64,
        prepare: impl FnMut(&mut Timed) -> Words,
    ) -> String {
        let (took, reply) = self.shortest(limit, prepare);
        eprintln!("{what}: {took} us");
        assert!(took < limit, "{what} took {took} us, at most {limit}");
        match reply {
            Ok(reply) => panic!("{what} was not rejected: {reply:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Runs commands in one MULTI, so that no tick of the timer comes in between, and asserts that the last of them
    /// takes less than `limit`: by SLOWLOG, or by the time that the server's thread ran for all of them where that is
    /// less.
    pub fn last_takes_less(
        &mut self,
        what: &str,
        limit: i64,
        mut prepare: impl FnMut(&mut Timed) -> Vec<Words>,
    ) {
        let mut shortest = i64::MAX;
        for _ in 0..TRIES {
            let commands = prepare(self);
            self.ask("SLOWLOG RESET");
            let mut pipe = redis::pipe();
            pipe.atomic();
            for words in &commands {
                pipe.add_command(command(words));
            }
            let before = self.ran();
            pipe.query::<Value>(&mut self.connection).unwrap();
            let ran = self.ran().zip(before).map(|(after, before)| after - before);
            let took = self.took(&commands[commands.len() - 1][0]);
            shortest = shortest.min(ran.map_or(took, |ran| ran.min(took)));
            if shortest < limit {
                break;
            }
        }
        eprintln!("{what}: {shortest} us");
        assert!(
            shortest < limit,
            "{what} took {shortest} us, at most {limit}"
        );
    }

    /// Returns how long the main thread of the server has run so far, in microseconds.
    pub fn ran(&self) -> Option<i64> {
        main_thread_time(self.server.pid()).map(|time| time.as_micros() as i64)
    }

    /// Returns how long the last command of this name took, in microseconds.
    pub fn took(&mut self, name: &[u8]) -> i64 {
        let log = self.ask("SLOWLOG GET 128");
        let entry = list(&log).iter().find(|entry| {
            matches!(&list(entry)[3], Value::Array(words)
                if matches!(&words[0], Value::BulkString(word) if word.eq_ignore_ascii_case(name)))
        });
        match entry.map(|entry| &list(entry)[2]) {
            Some(Value::Int(micros)) => *micros,
            _ => panic!("SLOWLOG lacks {}", String::from_utf8_lossy(name)),
        }
    }
}

fn command(words: &Words) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(word.as_slice());
    });
    command
}

/// Splits a line and adds words.
pub fn with<W: AsRef<[u8]>>(head: &str, more: impl IntoIterator<Item = W>) -> Words {
    let mut words = split(head);
    words.extend(more.into_iter().map(|word| word.as_ref().to_vec()));
    words
}

/// Returns as many names of two bytes as a tag list may have, unsorted; they are not UTF-8.
pub fn many_tags() -> Vec<u8> {
    let letters: Vec<u8> = (0x21..=0xff)
        .filter(|byte| ![b':', b'='].contains(byte))
        .collect();
    let n = letters.len();
    let names = (0..n * n).map(|i| i * 7919 % (n * n));
    let words = names.map(|i| [letters[i / n], letters[i % n]]);
    let list: Vec<[u8; 2]> = words.take((LONG + 1) / 3).collect();
    list.join(&b' ')
}

/// Returns such a list in UTF-8, with names of three letters.
pub fn many_plain_tags() -> Vec<u8> {
    let letter = |i: usize| b'a' + (i % 26) as u8;
    let names = (0..26 * 26 * 26).map(|i| i * 7919 % (26 * 26 * 26));
    let words = names.map(|i| [letter(i / 676), letter(i / 26), letter(i)]);
    let list: Vec<[u8; 3]> = words.take((LONG + 1) / 4).collect();
    list.join(&b' ')
}

/// Returns a text of the maximum length that becomes as long as possible when escaped.
pub fn escaped_text() -> Vec<u8> {
    vec![1; LONG]
}

/// Returns a name of the maximum length; all are equal except for their ends.
pub fn long_name(i: usize) -> Vec<u8> {
    let mut name = vec![b'a'; LONG - 8];
    name.extend(format!("{i:08}").bytes());
    name
}
