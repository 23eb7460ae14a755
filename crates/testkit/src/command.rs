//! Sends commands, as lines of text or in words, and returns replies or errors as the server words them.

use redis::{FromRedisValue, Value};

/// Sends a command, its words separated by blanks.
///
/// # Panics
///
/// Panics if the command is rejected.
pub fn ask<T: FromRedisValue>(connection: &mut redis::Connection, line: &str) -> T {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    send(connection, &words).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Sends a command in words.
///
/// # Errors
///
/// The error that the server replies with, or that of the connection.
pub fn send<T: FromRedisValue>(
    connection: &mut redis::Connection,
    words: &[&[u8]],
) -> redis::RedisResult<T> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    command.query(connection)
}

/// Sends a command, its words separated by blanks, that the server rejects, and returns its error.
pub fn error(connection: &mut redis::Connection, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    rejection(connection, &words)
}

/// Sends a command in words that the server rejects, and returns its error.
pub fn rejection(connection: &mut redis::Connection, words: &[&[u8]]) -> String {
    match send::<Value>(connection, words) {
        Ok(reply) => panic!(
            "{} was not rejected: {reply:?}",
            String::from_utf8_lossy(&words.join(&b' '))
        ),
        Err(error) => match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ => error.to_string(),
        },
    }
}

/// Splits a line at blanks, except within single quotes.
pub fn words(line: &str) -> Vec<&[u8]> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(str::as_bytes).collect(),
            _ => vec![part.as_bytes()],
        })
        .collect()
}
