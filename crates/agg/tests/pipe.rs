//! `agg pipe`: lines arrive unchanged, each once, and lost ones are reported.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use testkit::proxy::Proxy;
use testkit::resp_stub::{Answer, RespStub};

use crate::support::{
    Random, Running, Server, agg, amount, calls, err, of_queue, run, seed, until,
};

fn messages(server: &Server, queue: &str) -> Vec<String> {
    let records = server.peek("n1", queue);
    records
        .iter()
        .map(|record| record["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lines_become_log_entries() {
    let Some(server) = Server::start() else {
        return;
    };
    let output = run(
        &server.url(),
        "pipe log --node n1 --level 3 --tag app:shop --tag prod",
        b"one\n\ntwo \r\nLEVEL\nlast",
    );
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "");
    assert_eq!(messages(&server, "LOG"), ["one", "two ", "LEVEL", "last"]);
    let record = &server.peek("n1", "LOG")[0];
    assert_eq!(record["level"], 3);
    assert_eq!(
        record["tags"],
        serde_json::json!({"app": "shop", "prod": true})
    );
}

#[test]
fn bytes_that_are_not_utf_8_are_sent() {
    let Some(server) = Server::start() else {
        return;
    };
    assert_eq!(
        run(&server.url(), "pipe log --node n1", b"a\xff\0b\n")
            .status
            .code(),
        Some(0)
    );
    let messages = messages(&server, "LOG");
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].starts_with('a') && messages[0].ends_with('b'),
        "{messages:?}"
    );
}

#[test]
fn many_lines_keep_their_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let lines: Vec<String> = (0..5000).map(|n| format!("line {n}")).collect();
    let output = run(
        &server.url(),
        "pipe log --node n1",
        lines.join("\n").as_bytes(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(messages(&server, "LOG"), lines);
}

#[test]
fn similar_lines_are_one_error() {
    let Some(server) = Server::start() else {
        return;
    };
    let arguments = "pipe error --node n1 --type ops --code c1 --func f --file p --public sorry";
    let output = run(&server.url(), arguments, b"broken\nbroken\nother\n");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let records = server.peek("n1", "ERROR");
    assert_eq!(records.len(), 2);
    let fields = ["message", "type", "code", "func", "file", "public"];
    assert_eq!(
        fields.map(|field| &records[0][field]),
        ["broken", "OPS", "c1", "f", "p", "sorry"]
    );
    assert_eq!(records[0]["occurrences"], 2);
}

#[test]
fn lines_that_differ_in_parts_that_vary_are_one_error() {
    let Some(server) = Server::start() else {
        return;
    };
    let lines = b"order 17 of user bob lost\norder 18 of user eve lost\nno price\n \n";
    let output = run(&server.url(), "pipe error --node n1", lines);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let records = server.peek("n1", "ERROR");
    let errors: Vec<_> = records
        .iter()
        .map(|record| (record["key"].as_str(), record["occurrences"].as_u64()))
        .collect();
    let expected = [
        (Some("order <*> of user <*> lost"), Some(2)),
        (Some("no price"), Some(1)),
        (Some("<empty>"), Some(1)),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn rejected_lines_are_counted_and_the_first_are_reported() {
    let Some(server) = Server::start() else {
        return;
    };
    let () = server.ask("SET n1 x");
    let output = run(
        &server.url(),
        "pipe log --node n1",
        b"\n1\n2\n3\n4\n5\n6\n7\n",
    );
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    assert!(
        text.starts_with("agg: line 2 rejected: WRONGTYPE"),
        "{text}"
    );
    assert_eq!(text.matches(" rejected: ").count(), 5, "{text}");
    assert!(
        text.ends_with("agg: 7 of 7 lines were rejected\n"),
        "{text}"
    );
}

#[test]
fn line_does_not_wait_for_the_next() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut command = agg(&server.url(), "pipe log --node n1");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    running
        .0
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"first\nhalf")
        .unwrap();
    until("the line arrives", || {
        (messages(&server, "LOG") == ["first"]).then_some(())
    });
    // A line without a newline is sent when a shutdown is requested.
    assert_eq!(running.end_by("INT").code(), Some(130));
    assert_eq!(messages(&server, "LOG"), ["first", "half"]);
}

#[test]
fn restarted_server_gets_the_lines() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut command = agg(&server.url(), "pipe log --node n1");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"before\n").unwrap();
    until("the line arrives", || {
        (messages(&server, "LOG") == ["before"]).then_some(())
    });
    server.stop();
    stdin.write_all(b"meanwhile\n").unwrap();
    let mut errors = running.errors();
    assert!(errors.next().unwrap().ends_with("trying again"));
    server.restart();
    until("the line arrives", || {
        messages(&server, "LOG")
            .contains(&"meanwhile".into())
            .then_some(())
    });
    drop(stdin);
    assert_eq!(running.wait().code(), Some(0));
    assert!(errors.any(|line| line.ends_with("answers again")));
}

/// Removes all log entries and returns their messages.
fn take_messages(server: &Server) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        let records: Vec<(String, i64, i64, String)> = server.ask("AGG.POP n1 LOG COUNT 10000");
        if records.is_empty() {
            return messages;
        }
        messages.extend(records.into_iter().map(|(.., record)| {
            let record: serde_json::Value = serde_json::from_str(&record).unwrap();
            record["message"].as_str().unwrap().to_owned()
        }));
    }
}

/// Runs `agg pipe` behind a proxy that breaks connections. Some break after the server has run a batch of lines, and
/// before it replies, others at any time. `count` returns the number of lines that have counted. Returns the lines.
fn pipe_with_losses(
    server: &Server,
    command: &str,
    line: fn(usize) -> String,
    count: fn(&Server) -> usize,
) -> Vec<String> {
    // More than a batch.
    const LINES: usize = 700;
    let proxy = Proxy::start(server.port);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let mut running = Running::start(agg(&url, command).stdin(Stdio::piped()));
    let mut stdin = running.0.stdin.take().unwrap();
    let (mut random, mut lines) = (Random(seed()), Vec::new());
    for round in 0..amount(8, 80) {
        until("all lines arrive", || {
            (count(server) == lines.len()).then_some(())
        });
        let new: Vec<String> = (0..LINES).map(|n| line(lines.len() + n)).collect();
        let text = new.join("\n") + "\n";
        let is_unanswered = round % 2 == 1;
        let (first, rest) = text.split_at(new[0].len() + 1);
        let lost = proxy.lost();
        stdin.write_all(first.as_bytes()).unwrap();
        if is_unanswered {
            // The connection is open again. Without replies none can be opened.
            until("the first line arrives", || {
                (count(server) > lines.len()).then_some(())
            });
            // Its reply should arrive too; the next lines are sent after it.
            std::thread::sleep(Duration::from_millis(50));
            proxy.lose_replies(true);
        }
        stdin.write_all(rest.as_bytes()).unwrap();
        match is_unanswered {
            true => until("some lines arrive", || {
                (count(server) > lines.len() + 1 || proxy.lost() > lost).then_some(())
            }),
            false => std::thread::sleep(Duration::from_micros(random.below(50_000) as u64)),
        }
        lines.extend(new);
        proxy.cut();
        proxy.lose_replies(false);
        proxy.repair();
    }
    drop(stdin);
    assert_eq!(running.wait().code(), Some(0));
    lines
}

#[test]
fn lines_count_once_although_connections_break() {
    let Some(server) = Server::start() else {
        return;
    };
    let command = "pipe log --node n1 --retry 60s";
    let _: i64 = server.ask("AGG.STAT n1 any 1");
    let count = |server: &Server| of_queue(server, "n1", "LOG", "length") as usize;
    let lines = pipe_with_losses(&server, command, |n| format!("line {n}"), count);
    assert_eq!(take_messages(&server), lines);
    let calls = calls(&server, "AGG.LOG");
    assert!(
        calls > lines.len() + 1000,
        "few lines were sent twice: {calls}"
    );
}

#[test]
fn errors_count_once_although_connections_break() {
    let Some(server) = Server::start() else {
        return;
    };
    let command = "pipe error --node n1 --retry 60s";
    let count = |server: &Server| {
        let records = server.peek("n1", "ERROR");
        let occurrences = records
            .iter()
            .map(|record| record["occurrences"].as_u64().unwrap());
        occurrences.sum::<u64>() as usize
    };
    let lines = pipe_with_losses(&server, command, |n| format!("error {}", n % 7), count);
    assert_eq!(count(&server), lines.len());
    let calls = calls(&server, "AGG.ERROR");
    assert!(
        calls > lines.len() + 1000,
        "few lines were sent twice: {calls}"
    );
}

#[test]
fn older_server_gets_lines_without_numbers() {
    let stub = RespStub::start(|command| match command.iter().any(|word| word == "SEQ") {
        true => Answer::text("-ERR AGG.LOG: unknown option 'SEQ'; usage: AGG.LOG node message\r\n"),
        false => Answer::text(":1\r\n"),
    });
    let output = run(&stub.url(), "pipe log --node n1", b"1\n2\n3\n");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let expected = "agg: the server rejects SEQ, reports that are sent again may count twice: ";
    assert!(err(&output).starts_with(expected), "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 1);
    let sent: Vec<usize> = stub.commands().iter().map(Vec::len).collect();
    assert_eq!(sent, [6, 3, 3, 3]);
}

#[test]
fn unreachable_server_is_given_up() {
    let url = format!("redis://127.0.0.1:{}", crate::support::free_port());
    let output = run(&url, "pipe log --node n1 --retry 500ms", b"1\n2\n3\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("agg: 3 lines were read but not sent\n"),
        "{}",
        err(&output)
    );
}
