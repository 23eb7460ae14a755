//! The commands that report, on a real server: AGG.STAT, AGG.MSTAT, AGG.HIST, AGG.LOG, AGG.ERROR, AGG.REALITY, and
//! AGG.FORGET and AGG.REQUEUE. Every option, every reply, and every error with its text, after which nothing may have changed.

mod aggregated;
mod errors;
mod every_command;
mod forget;
mod limits;
mod logs;
mod many_samples;
mod realities;
mod requeue;
mod samples;

use redis::Value;
use testkit::*;

/// Starts a server whose node `n` has something of everything.
fn stocked(settings: &str) -> Option<Server> {
    let server = Server::with_settings(&format!("{CALM} {settings}"))?;
    for line in [
        "AGG.STAT n gauge 1 TAGS a:1",
        "AGG.STAT n counter 1 DIFF",
        "AGG.LOG n line",
        "AGG.ERROR n failed KEY known",
        "AGG.REALITY n sda system.Disk {}",
    ] {
        server.ask::<Value>(line);
    }
    Some(server)
}

/// Returns all keys with the digests of their values.
fn state(server: &Server) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut keys: Vec<Vec<u8>> = server.ask("KEYS *");
    keys.sort();
    let mut digest: Vec<&[u8]> = words("DEBUG DIGEST-VALUE");
    digest.extend(keys.iter().map(Vec::as_slice));
    let digests = server.send(&digest);
    (keys, digests)
}

/// Asserts that a command is rejected with this text, and that nothing was changed.
fn assert_rejected_once(server: &Server, command: &[&[u8]], text: &str) {
    let before = state(server);
    assert_eq!(rejection(&mut server.connection(), command), text);
    assert_eq!(state(server), before, "changed by what gave: {text}");
}

/// Asserts that a command is rejected, once for the node that it names and once for a missing node.
fn assert_words_rejected(server: &Server, command: &[&[u8]], text: &str) {
    assert_rejected_once(server, command, text);
    let mut elsewhere = command.to_vec();
    elsewhere[1] = b"new";
    assert_rejected_once(server, &elsewhere, text);
}

/// Asserts that a command, given as a line, is rejected.
fn assert_rejected(server: &Server, line: &str, text: &str) {
    assert_words_rejected(server, &words(line), text);
}

/// Sends a command in which quotes keep words together.
fn tell<T: redis::FromRedisValue>(server: &Server, line: &str) -> T {
    server.send(&words(line))
}

/// Returns a field that AGG.GET shows for a metric, as text.
fn metric(server: &Server, name: &str, field: &str) -> String {
    text(&tell(server, &format!("AGG.GET n METRIC '{name}'")), field)
}

/// Returns the names in a map, in order.
fn names(map: &Value) -> Vec<String> {
    list(map)
        .iter()
        .step_by(2)
        .map(|name| redis::from_redis_value(name.clone()).unwrap())
        .collect()
}

/// Returns a number of `INFO agg`.
fn server_count(server: &Server, name: &str) -> i64 {
    server.info_field("agg", name)
}

/// Returns how often a reason is counted in the AGG.INFO of the node.
fn node_rejections(server: &Server, reason: &str) -> i64 {
    let info: Value = server.ask("AGG.INFO n");
    int(at(&info, "refused").unwrap(), reason)
}

/// Returns the records of a queue without consuming them.
fn look(server: &Server, queue: &str) -> Vec<QueuedRecord> {
    queued_records(&server.ask(&format!("AGG.PEEK n {queue}")))
}

/// Returns the only record of a queue.
fn only(server: &Server, queue: &str) -> QueuedRecord {
    let all = look(server, queue);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// Parses the reply of AGG.MSTAT.
fn mstat(taken: i64, late: i64, rejected: &[(i64, &str)]) -> Value {
    let rejected = rejected.iter().map(|(i, why)| {
        Value::Array(vec![
            Value::Int(*i),
            Value::BulkString(why.as_bytes().to_vec()),
        ])
    });
    Value::Array(vec![
        Value::Int(taken),
        Value::Int(late),
        Value::Array(rejected.collect()),
    ])
}

/// A level is one digit or a name, in any case.
fn bad_levels(server: &Server, command: &str) {
    let name = command.split(' ').next().unwrap();
    let expected = "0 to 9 or one of TRACE, DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL";
    for level in [
        "10",
        "-1",
        "+5",
        "05",
        "5.0",
        "",
        "high",
        "WARN",
        "INFO ",
        "99999999999999999999",
    ] {
        assert_rejected(
            server,
            &format!("{command} LEVEL '{level}'"),
            &format!("ERR {name}: invalid LEVEL '{level}': expected {expected}"),
        );
    }
}

/// Returns a text of 75 bytes of which 64 may be kept, with a character across that boundary; and what is kept of it.
fn too_long() -> (String, String) {
    let kept = "a".repeat(63);
    (
        format!("{kept}ü{}", "b".repeat(10)),
        format!("{kept}…[+12 bytes]"),
    )
}
