//! `agg drain`: printed records leave their queue, the others stay, and no lease is left behind.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Running, Server, agg, err, out, run, until};

fn log(server: &Server, node: &str, count: usize) {
    for n in 0..count {
        let _: i64 = server.ask(&format!("AGG.LOG {node} m{n}"));
    }
}

fn messages(text: &str) -> Vec<String> {
    let record = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect(line) };
    text.lines()
        .map(|line| record(line)["message"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns how many records another consumer would get now; leased records are not among them.
fn fetchable(server: &Server, node: &str, queue: &str) -> usize {
    let records: Vec<redis::Value> =
        server.ask(&format!("AGG.FETCH {node} {queue} COUNT 10000 LEASE 1"));
    records.len()
}

#[test]
fn drain_prints_all_queues_and_empties_them() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n1", 3);
    let _: redis::Value = server.ask("AGG.ERROR n1 broken");
    let _: i64 = server.ask("AGG.REALITY n1 k m {}");
    let output = run(&server.url(), "drain --node n1", b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let queues: Vec<serde_json::Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["queue"].clone())
        .collect();
    assert_eq!(queues, ["LOG", "LOG", "LOG", "ERROR", "REALITY"]);
    assert_eq!(err(&output), "agg: 5 records: LOG 3, ERROR 1, REALITY 1\n");
    for queue in ["LOG", "ERROR", "REALITY"] {
        assert_eq!(server.peek("n1", queue).len(), 0, "{queue}");
    }
    let output = run(&server.url(), "drain --node n1 --quiet", b"");
    assert_eq!(
        (output.status.code(), out(&output), err(&output)),
        (Some(0), "".into(), "".into())
    );
}

#[test]
fn drain_finds_all_nodes_of_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    let output = run(&server.url(), "drain", b"");
    assert_eq!(
        (output.status.code(), err(&output)),
        (Some(0), "agg: 0 records\n".into())
    );
    log(&server, "n1", 1);
    log(&server, "n2", 1);
    let () = server.ask("SET other x");
    let output = run(&server.url(), "drain", b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output).lines().count(), 2);
}

#[test]
fn named_key_that_is_no_node_is_reported() {
    let Some(server) = Server::start() else {
        return;
    };
    let () = server.ask("SET n1 x");
    let output = run(&server.url(), "drain --node n1", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("rejects AGG.FETCH from node n1: WRONGTYPE"),
        "{}",
        err(&output)
    );
}

#[test]
fn statistics_are_printed_as_line_protocol() {
    let Some(server) = Server::start() else {
        return;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let old = now - 7_200_000;
    let _: i64 = server.ask(&format!(
        "AGG.STAT n1 disk.iops@sda 5 TAGS unit:ops AT {old}"
    ));
    let _: i64 = server.ask(&format!("AGG.STAT n1 disk.iops@sda 7 AT {now}"));
    log(&server, "n1", 1);
    let output = until("the window closes", || {
        let output = run(&server.url(), "drain --node n1 --format line", b"");
        (!output.stdout.is_empty()).then_some(output)
    });
    let text = out(&output);
    let line = text.lines().next().unwrap();
    assert!(
        line.starts_with("disk.iops,") && line.contains("instance=sda"),
        "{line}"
    );
    assert!(
        line.contains("node=n1") && line.contains("count=1i"),
        "{line}"
    );
    assert_eq!(server.peek("n1", "LOG").len(), 1);
}

#[test]
fn records_beyond_the_count_stay_unleased() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n1", 10);
    let output = run(&server.url(), "drain --node n1 --count 3", b"");
    assert_eq!(messages(&out(&output)), ["m0", "m1", "m2"]);
    assert_eq!(fetchable(&server, "n1", "LOG"), 7);
}

#[test]
fn followed_node_is_printed_until_a_signal() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut running = Running::start(&mut agg(
        &server.url(),
        "drain --follow --node n1 --queue LOG",
    ));
    let mut lines = running.lines();
    for message in ["a", "b", "c"] {
        let _: i64 = server.ask(&format!("AGG.LOG n1 {message}"));
        assert_eq!(messages(&lines.next().unwrap()), [message]);
    }
    assert_eq!(running.end_by("INT").code(), Some(0));
    assert_eq!(running.errors().last().unwrap(), "agg: 3 records: LOG 3");
    assert_eq!(server.peek("n1", "LOG").len(), 0);
}

#[test]
fn follow_finds_new_nodes() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n1", 1);
    log(&server, "n2", 1);
    let mut running = Running::start(&mut agg(&server.url(), "drain --follow"));
    let mut lines = running.lines();
    assert!(lines.next().is_some() && lines.next().is_some());
    log(&server, "n3", 1);
    assert!(lines.next().unwrap().contains("\"n3\""));
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn closed_pipe_is_no_failure_and_leaves_no_lease() {
    let Some(server) = Server::start() else {
        return;
    };
    // Less than the 1 MiB at which a reply ends.
    let text = "x".repeat(700);
    for _ in 0..1000 {
        let _: i64 = server.ask(&format!("AGG.LOG n1 {text}"));
    }
    let mut running = Running::start(&mut agg(&server.url(), "drain --node n1"));
    let mut lines = running.lines();
    assert!(lines.next().is_some());
    drop(lines);
    assert_eq!(running.wait().code(), Some(0));
    // A pipe holds 64 KiB, so that most records were not written.
    let left = server.peek("n1", "LOG").len();
    assert!((500..1000).contains(&left), "{left}");
    assert_eq!(fetchable(&server, "n1", "LOG"), left);
}

#[test]
fn stalled_reader_does_not_delay_the_shutdown() {
    let Some(server) = Server::start() else {
        return;
    };
    let text = "x".repeat(1000);
    for _ in 0..500 {
        let _: i64 = server.ask(&format!("AGG.LOG n1 {text}"));
    }
    let mut running = Running::start(&mut agg(&server.url(), "drain --node n1 --lease 2s"));
    until("records are leased", || {
        let deliveries: Vec<(String, i64, i64, String)> = server.ask("AGG.PEEK n1 LOG REV COUNT 1");
        (deliveries[0].2 > 0).then_some(())
    });
    // Earlier, a signal would arrive between two chunks, and the printed records would be acknowledged.
    let pipe = running.0.stdout.as_ref().unwrap();
    until("the pipe is full", || {
        // More than three chunks; the fourth does not fit.
        (rustix::io::ioctl_fionread(pipe).unwrap() > 55_000).then_some(())
    });
    assert_eq!(running.end_by("INT").code(), Some(130));
    // The leases expire.
    until("the records are available again", || {
        (fetchable(&server, "n1", "LOG") == 500).then_some(())
    });
}

#[test]
fn drain_continues_after_a_restart_of_the_server() {
    let Some(mut server) = Server::start() else {
        return;
    };
    log(&server, "n1", 1);
    let mut running = Running::start(&mut agg(&server.url(), "drain --follow --node n1"));
    let mut lines = running.lines();
    assert!(lines.next().is_some());
    server.restart();
    log(&server, "n1", 1);
    assert!(lines.next().is_some());
    assert_eq!(running.end_by("INT").code(), Some(0));
    assert_eq!(server.peek("n1", "LOG").len(), 0);
}

#[test]
fn hostile_record_is_printed_as_equal_json_without_control_characters() {
    let Some(server) = Server::start() else {
        return;
    };
    let message = "a\u{9b}31m\u{7f}\u{202e}\u{2066}\x1b[2J\nz é";
    let words: [&[u8]; 3] = [b"AGG.LOG", b"n1", message.as_bytes()];
    let _: i64 = server.send(&words);
    let before = server.peek("n1", "LOG");
    let output = run(&server.url(), "drain --node n1", b"");
    let text = out(&output);
    let (line, end) = text.split_at(text.len() - 1);
    assert_eq!(end, "\n");
    let raw = |c: char| c.is_control() || "\u{202e}\u{2066}".contains(c);
    assert!(!line.contains(raw), "{line:?}");
    assert!(
        line.contains("\\u009b31m\\u007f\\u202e\\u2066\\u001b[2J\\nz é"),
        "{line}"
    );
    let after: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(after["message"], message);
    assert_eq!([after], before[..]);
}

#[test]
fn file_of_records_is_readable_by_owner_and_group_only() {
    use std::os::unix::fs::PermissionsExt;
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n1", 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records");
    let line = format!("drain --node n1 --to-file {}", path.display());
    let output = run(&server.url(), &line, b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn follow_waits_while_the_server_has_no_memory_for_leases() {
    let Some(server) = Server::start() else {
        return;
    };
    let metrics: String = (0..10_000).map(|i| format!(" m{i} 1")).collect();
    let _: redis::Value = server.ask(&format!("AGG.MSTAT n1 VALUES{metrics}"));
    for i in 0..120 {
        let _: redis::Value = server.ask(&format!("AGG.ERROR n1 e{i}"));
    }
    let () = server.ask("CONFIG SET agg.max-memory 1mb");
    // Another client has all leases that are granted without memory.
    let leased: Vec<(String, i64, i64, String)> =
        server.ask("AGG.FETCH n1 ERROR COUNT 1000 LEASE 600000");
    assert_eq!(leased.len(), 100);
    let rejected = || -> u64 {
        let info: String = server.ask("INFO agg");
        let line = info
            .lines()
            .find_map(|l| l.strip_prefix("agg_refused_max_memory:"));
        line.unwrap().trim().parse().unwrap()
    };
    let before = rejected();
    let mut running = Running::start(&mut agg(
        &server.url(),
        "drain --follow --node n1 --queue ERROR",
    ));
    let mut lines = running.lines();
    until("the program was rejected twice", || {
        (rejected() > before + 1).then_some(())
    });
    for (_, id, ..) in &leased {
        let _: i64 = server.ask(&format!("AGG.ACK n1 ERROR {id}"));
    }
    for _ in 0..20 {
        assert!(lines.next().is_some());
    }
    assert_eq!(running.end_by("INT").code(), Some(0));
    let messages: Vec<String> = running.errors().collect();
    let full: Vec<_> = messages
        .iter()
        .filter(|line| line.contains("AGGFULL"))
        .collect();
    assert!(
        full.len() == 1 && full[0].ends_with("; trying again"),
        "{messages:?}"
    );
    assert_eq!(messages.last().unwrap(), "agg: 20 records: ERROR 20");
}

/// Runs the program in a shell that redirects its standard output.
fn redirected(server: &Server, line: &str, redirection: &str) -> std::process::Output {
    std::process::Command::new("sh")
        .args(["-c", &format!("exec \"$0\" {line} {redirection}")])
        .arg(env!("CARGO_BIN_EXE_agg"))
        .env("AGG_REDIS", server.url())
        .output()
        .unwrap()
}

#[test]
fn closed_output_removes_no_records() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, "n1", 3);
    for redirection in [">&-", ">&- <&-", ">&- <&- 2>&-", "1</dev/null"] {
        let output = redirected(&server, "drain", redirection);
        assert_eq!(output.status.code(), Some(1), "{redirection}");
        assert!(
            redirection.contains("2>") || err(&output).contains("standard output is closed"),
            "{redirection}: {}",
            err(&output)
        );
    }
    // The records were not leased either.
    let first: Vec<(String, i64, i64, String)> = server.ask("AGG.FETCH n1 LOG COUNT 3 LEASE 1");
    let deliveries: Vec<i64> = first.iter().map(|entry| entry.2).collect();
    assert_eq!(deliveries, [1, 1, 1]);
}

#[test]
fn null_device_is_a_valid_output() {
    let Some(server) = Server::start() else {
        return;
    };
    for redirection in [">/dev/null", ">>/dev/null", "| cat >&2"] {
        log(&server, "n1", 1);
        let output = redirected(&server, "drain", redirection);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{redirection}: {}",
            err(&output)
        );
        assert_eq!(server.peek("n1", "LOG").len(), 0, "{redirection}");
    }
    // A file is written whatever standard output is.
    log(&server, "n1", 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records");
    let output = redirected(
        &server,
        &format!("drain --to-file {}", file.display()),
        ">&-",
    );
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
}
