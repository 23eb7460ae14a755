//! `agg listen --check --connect`: what it says of the server, and that nothing is reported.

use crate::support::{Server, agg, err, free_port, out};

/// What the user of a listener may run.
const ALL: &str = "+agg.stat +agg.mstat +agg.hist +agg.log +agg.error +agg.reality +ping +time";

/// Runs the check for a node. Returns the exit code and its line.
fn connect(url: &str, node: &str) -> (Option<i32>, String) {
    let line = format!("listen --check --connect --timeout 5s --node {node}");
    let output = agg(url, &line).output().unwrap();
    let said = err(&output);
    assert!(said.contains("configuration valid: "), "{said}");
    (output.status.code(), out(&output).trim_end().to_owned())
}

#[test]
fn server_that_takes_reports_is_described_and_nothing_changes() {
    let Some(server) = Server::start() else {
        return;
    };
    let state = || {
        let offset: i64 = server.info_field("replication", "master_repl_offset");
        let refused: i64 = server.info_field("agg", "agg_refused_argument");
        (offset, refused, server.ask::<i64>("DBSIZE"))
    };
    let before = state();
    let (code, line) = connect(&server.url(), "web1");
    assert_eq!(code, Some(0), "{line}");
    let start = format!("ok     server {}: ", server.url());
    assert!(
        line.starts_with(&start) && line.contains(", module version "),
        "{line}"
    );
    assert!(line.ends_with(", takes reports for web1"), "{line}");
    assert_eq!(state(), before);
}

#[test]
fn missing_permissions_are_named() {
    let Some(server) = Server::start() else {
        return;
    };
    let url = format!("redis://node:s3cret@127.0.0.1:{}", server.port);
    for (rules, expected) in [
        (format!("%W~web1 {ALL}"), Ok(", takes reports for web1")),
        (
            format!("%W~web1 {ALL} +multi"),
            Ok(", takes reports for web1"),
        ),
        (
            format!("%W~web1 {ALL} -agg.hist -agg.error"),
            Err("the user may not run AGG.HIST, AGG.ERROR"),
        ),
        (
            format!("%W~web2 {ALL} +multi +discard"),
            Err("the user may not report for web1"),
        ),
        (
            format!("%R~web1 {ALL}"),
            Err("the user may not report for web1"),
        ),
    ] {
        let () = server.ask("ACL DELUSER node");
        let () = server.ask(&format!("ACL SETUSER node on >s3cret -@all {rules}"));
        let (code, line) = connect(&url, "web1");
        assert_eq!(code, Some(i32::from(expected.is_err())), "{rules}: {line}");
        let (word, end) = match expected {
            Ok(end) => ("ok    ", end),
            Err(end) => ("failed", end),
        };
        let start = format!("{word} server {}: ", server.url());
        assert!(
            line.starts_with(&start) && line.ends_with(end),
            "{rules}: {line}"
        );
    }
    assert_eq!(server.ask::<i64>("DBSIZE"), 0);
}

#[test]
fn servers_that_take_no_reports_are_named_with_the_reason() {
    let (Some(plain), Some(replica)) = (Server::with(&[]), Server::start()) else {
        return;
    };
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", plain.port));
    // Its user cannot know that it is a replica, but sees that it rejects writes.
    let () = replica.ask(&format!("ACL SETUSER node on >s3cret -@all ~* {ALL}"));
    let as_user = format!("redis://node:s3cret@127.0.0.1:{}", replica.port);
    let wrong = format!("redis://node:hunter2@127.0.0.1:{}", replica.port);
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    for (url, reason) in [
        (&plain.url(), "does not have the aggregator module"),
        (&replica.url(), "a replica: only its primary takes reports"),
        (&as_user, "rejects AGG.STAT: READONLY"),
        (&wrong, "does not accept the user or password"),
        (&nobody, "connection refused; is the server running?"),
    ] {
        let (code, line) = connect(url, "web1");
        assert_eq!(code, Some(1), "{line}");
        assert!(
            line.starts_with("failed server ") && line.contains(reason),
            "{line}\nexpected {reason}"
        );
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn only_a_check_connects() {
    for arguments in ["--connect", "--check --timeout 5s"] {
        let output = agg("redis://127.0.0.1:1", &format!("listen {arguments}")).output();
        assert_eq!(output.unwrap().status.code(), Some(2), "{arguments}");
    }
}
