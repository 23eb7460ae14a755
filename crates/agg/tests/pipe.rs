//! `agg pipe`: lines arrive unchanged, and lost ones are reported.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Running, Server, agg, err, run, until};

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
