//! Commands in MULTI, under WATCH, in scripts and in functions.

use std::time::Duration;

use super::*;

#[test]
fn transaction_runs_commands_of_every_family() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut c = server.connection();
    let () = ask(&mut c, "MULTI");
    for line in [
        "AGG.STAT n m 1",
        "AGG.LOG n hello",
        "AGG.ERROR n broken KEY e",
        "AGG.REALITY n k m {}",
        "AGG.STAT n m nonsense",
        "AGG.POP n LOG",
        "AGG.FETCH n ERROR REALITY",
        "AGG.GET n METRIC m",
        "AGG.FETCH n MIN BLOCK 0",
    ] {
        assert_eq!(ask::<String>(&mut c, line), "QUEUED");
    }
    assert!(!exists(&mut server.connection(), "n"));
    // Not by `ask`, which fails if one of the replies is an error.
    let replies = c.req_command(&redis::cmd("EXEC")).unwrap();
    let replies = list(&replies);
    assert_eq!(replies.len(), 9);
    assert_eq!(replies[0], Value::Int(1));
    assert!(matches!(replies[4], Value::ServerError(_)), "{replies:?}");
    assert_eq!(queued_records(&replies[5])[0].json()["message"], "hello");
    assert_eq!(queued_records(&replies[6]).len(), 2);
    assert_eq!(int(&replies[7], "samples"), 1);
    assert_eq!(queued_records(&replies[8]), []);
    let () = ask(&mut c, "MULTI");
    assert_eq!(ask::<String>(&mut c, "AGG.LOG discarded hello"), "QUEUED");
    let () = ask(&mut c, "DISCARD");
    assert!(!exists(&mut c, "discarded"));
}

/// Returns whether a transaction that watches the node is executed although `meanwhile` happens.
fn survives(server: &Server, meanwhile: impl FnOnce(&mut Connection)) -> bool {
    let mut c = server.connection();
    let () = ask(&mut c, "WATCH n");
    meanwhile(&mut server.connection());
    let () = ask(&mut c, "MULTI");
    let _: Value = ask(&mut c, "PING");
    ask::<Value>(&mut c, "EXEC") != Value::Nil
}

#[test]
fn watch_is_broken_by_a_write() {
    let Some(server) = Server::start() else {
        return;
    };
    for line in [
        "AGG.STAT n m 1",
        "AGG.MSTAT n VALUES m 1",
        "AGG.HIST n m VALUES 1 1",
        "AGG.LOG n hello",
        "AGG.ERROR n broken",
        "AGG.REALITY n k m {}",
        "AGG.FORGET n METRIC m",
        "AGG.POP n LOG ERROR",
        "AGG.REQUEUE n ERROR",
        "DEL n",
    ] {
        let broken = !survives(&server, |c| {
            ask::<Value>(c, line);
        });
        assert!(broken, "{line}");
    }
}

#[test]
fn watch_survives_a_read() {
    let Some(server) = Server::start() else {
        return;
    };
    fill(&mut server.connection(), "n");
    for line in [
        "AGG.PEEK n MIN LOG",
        "AGG.GET n METRIC temp",
        "AGG.RANGE n temp MIN",
        "AGG.SCAN n METRIC 0",
        "AGG.INFO n",
        "AGG.LOG other hello",
    ] {
        let survived = survives(&server, |c| {
            ask::<Value>(c, line);
        });
        assert!(survived, "{line}");
    }
}

#[test]
fn watch_survives_time_without_changes() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let _: i64 = ask(&mut c, "AGG.LOG n hello");
    let before = server.digest("n");
    let survived = survives(&server, |_| std::thread::sleep(Duration::from_millis(500)));
    assert_eq!(server.digest("n"), before);
    assert!(
        survived,
        "the timer broke the watch of a node that it left as it was"
    );
}

#[test]
fn watch_is_broken_by_a_closing_window() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    make_short(&mut c, "n");
    let _: i64 = ask(&mut c, "AGG.STAT n m 1");
    let broken = !survives(&server, |c| {
        let_windows_close(&server);
        closes(c, "n", "m");
    });
    assert!(broken);
}

/// The commands that a script calls.
const SCRIPT: &str = "
    local n = KEYS[1]
    redis.call('AGG.STAT', n, 'm', 1)
    redis.call('AGG.MSTAT', n, 'DIFF', 'VALUES', 'd', 1)
    local id = redis.call('AGG.LOG', n, 'hello')
    redis.call('AGG.ERROR', n, 'broken', 'KEY', 'e')
    redis.call('AGG.REALITY', n, 'k', 'model', '{}')
    local fetched = redis.call('AGG.FETCH', n, 'LOG', 'BLOCK', 0)
    local nothing = redis.call('AGG.FETCH', n, 'LOG', 'BLOCK', 0)
    redis.call('AGG.NACK', n, 'LOG', id)
    redis.call('AGG.FETCH', n, 'LOG')
    redis.call('AGG.EXTEND', n, 'LOG', 1000, id)
    local acknowledged = redis.call('AGG.ACK', n, 'LOG', id)
    local popped = redis.call('AGG.POP', n, 'ERROR', 'REALITY')
    redis.call('AGG.REQUEUE', n, 'ERROR')
    redis.call('AGG.FORGET', n, 'METRIC', 'd')
    local metric = redis.call('AGG.GET', n, 'METRIC', 'm')
    redis.call('AGG.RANGE', n, 'm', 'MIN')
    redis.call('AGG.SCAN', n, 'METRIC', 0)
    redis.call('AGG.INFO', n)
    local peeked = redis.call('AGG.PEEK', n, 'ERROR')
    local rejected = redis.pcall('AGG.STAT', n, 'm', 'nonsense')
    return {#fetched, #nothing, acknowledged, #popped, #peeked, metric[2], rejected.err}
";

const SCRIPT_ANSWERS: (i64, i64, i64, i64, i64, &str, &str) = (
    1,
    0,
    1,
    2,
    1,
    "m",
    "ERR AGG.STAT: invalid value 'nonsense': expected a decimal number",
);

fn answers(reply: &Value) -> (i64, i64, i64, i64, i64, String, String) {
    redis::from_redis_value(reply.clone()).unwrap()
}

fn expected() -> (i64, i64, i64, i64, i64, String, String) {
    let (a, b, c, d, e, f, g) = SCRIPT_ANSWERS;
    (a, b, c, d, e, f.into(), g.into())
}

#[test]
fn script_calls_commands_of_every_family() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let reply = server.send(&[b"EVAL", SCRIPT.as_bytes(), b"1", b"n"]);
    assert_eq!(answers(&reply), expected());
    let mut c = server.connection();
    closes(&mut c, "n", "m");
    assert_eq!(
        error(
            &mut c,
            "EVAL_RO return(redis.call('AGG.LOG',KEYS[1],'x')) 1 n"
        )
        .split(':')
        .next(),
        Some("ERR Write commands are not allowed from read-only scripts. script")
    );
}

#[test]
fn function_calls_commands_of_every_family() {
    let Some(server) = Server::with_settings(CLOSING) else {
        return;
    };
    let library = format!(
        "#!lua name=ours\nredis.register_function('all', function(KEYS, ARGV) {SCRIPT} end)"
    );
    let _: Value = server.send(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
    let reply = server.ask("FCALL all 1 n");
    assert_eq!(answers(&reply), expected());
    closes(&mut server.connection(), "n", "m");
}
