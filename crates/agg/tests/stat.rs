//! `agg stat` and `agg pipe stat`: values count once, and mistakes are reported with their places.

use std::process::{Output, Stdio};

use redis::Value;

use crate::support::{Running, Server, agg, err, free_port, out, run};

/// Returns a field of a metric of n1 as text.
fn field(server: &Server, metric: &str, field: &str) -> String {
    let command = format!("AGG.GET n1 METRIC {metric}");
    match server.field(&command, field) {
        Some(Value::BulkString(text)) => {
            let text = String::from_utf8(text).unwrap();
            text.strip_suffix(".0").unwrap_or(&text).to_owned()
        }
        Some(Value::Int(number)) => number.to_string(),
        other => panic!("{metric} {field}: {other:?}"),
    }
}

/// Runs `agg stat` for n1.
fn stat(server: &Server, arguments: &str) -> Output {
    run(&server.url(), &format!("stat --node n1 {arguments}"), b"")
}

fn assert_ok(output: &Output) {
    let texts = (&*out(output), &*err(output));
    assert_eq!((output.status.code(), texts), (Some(0), ("", "")));
}

#[test]
fn value_is_reported_with_its_options() {
    let Some(server) = Server::start() else {
        return;
    };
    for value in ["5", "-2.5"] {
        assert_ok(&stat(
            &server,
            &format!("temperature {value} --tag unit:c --tag room:1"),
        ));
    }
    assert_eq!(field(&server, "temperature", "last"), "-2.5");
    assert_eq!(field(&server, "temperature", "type"), "ABS");
    assert_eq!(field(&server, "temperature", "samples"), "2");
    let tags = format!(
        "{:?}",
        server.field("AGG.GET n1 METRIC temperature", "tags")
    );
    assert!(
        ["room", "unit"].iter().all(|tag| tags.contains(tag)),
        "{tags}"
    );
    for _ in 0..3 {
        assert_ok(&stat(&server, "runs 2 --type inc"));
    }
    assert_eq!(field(&server, "runs", "total"), "6");
    assert_ok(&stat(&server, "level 2 --type ADD"));
    assert_ok(&stat(&server, "level -1.5 --type ADD"));
    assert_eq!(field(&server, "level", "last"), "0.5");
    assert_ok(&stat(
        &server,
        "bytes 18446744073709551615 --type diff --hist",
    ));
    assert_eq!(field(&server, "bytes", "type"), "DIFF");
}

#[test]
fn value_that_does_not_count_is_an_error() {
    let Some(server) = Server::start() else {
        return;
    };
    for (arguments, code, said) in [
        (
            "m 12,5",
            2,
            "invalid value '12,5': expected a decimal number",
        ),
        ("m", 2, "<VALUE>"),
        (
            "m 1 --type gauge",
            2,
            "possible values: abs, add, inc, diff",
        ),
        (
            "m 1 --at 12s",
            2,
            "invalid time '12s': expected Unix milliseconds",
        ),
        (
            "m 1 --at 1760000000",
            1,
            "looks like seconds: times are Unix milliseconds",
        ),
        ("m -1 --type inc", 1, "an increment must not be negative"),
    ] {
        let output = stat(&server, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert!(err(&output).contains(said), "{arguments}: {}", err(&output));
    }
    assert_ok(&stat(&server, "m 1"));
    let output = stat(&server, "m 1 --at 1500000000000");
    assert_eq!(output.status.code(), Some(1));
    let said = "agg: the value came too late: the window of its time is closed\n";
    assert_eq!(err(&output), said);
    assert_eq!(field(&server, "m", "samples"), "1");
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let output = run(&nobody, "stat m 1", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("connection refused"),
        "{}",
        err(&output)
    );
}

#[test]
fn piped_lines_become_samples() {
    let Some(server) = Server::start() else {
        return;
    };
    let input = b"a 17\n\nb\t-2.5 \na 18\r\nlast 1";
    assert_ok(&run(
        &server.url(),
        "pipe stat --node n1 --tag app:shop",
        input,
    ));
    assert_eq!(field(&server, "a", "last"), "18");
    assert_eq!(field(&server, "a", "samples"), "2");
    assert_eq!(field(&server, "b", "last"), "-2.5");
    assert_eq!(field(&server, "last", "last"), "1");
    let many: String = (0..5000)
        .map(|n| format!("n 1\nm{} {n}\n", n % 7))
        .collect();
    assert_ok(&run(
        &server.url(),
        "pipe stat --node n1 --type inc",
        many.as_bytes(),
    ));
    assert_eq!(field(&server, "n", "total"), "5000");
    assert_eq!(
        field(&server, "m6", "total"),
        (0..5000).filter(|n| n % 7 == 6).sum::<u32>().to_string()
    );
}

#[test]
fn piped_lines_that_are_no_samples_are_reported_with_their_numbers() {
    let Some(server) = Server::start() else {
        return;
    };
    let input = b"a 1\nb\n\na 1,5\na 2 1500000000000\na -1\na 3\n";
    let output = run(&server.url(), "pipe stat --node n1 --type inc", input);
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    for said in [
        "agg: line 2 rejected: expected a metric and its value, and perhaps a time\n",
        "agg: line 4 rejected: invalid value '1,5': expected a decimal number\n",
        "agg: line 6 rejected: ERR AGG.STAT: ",
        "agg: 3 of 6 lines were rejected\n",
        "agg: 1 of 6 lines came too late to count\n",
    ] {
        assert_eq!(text.matches(said).count(), 1, "{said}\n{text}");
    }
    assert_eq!(field(&server, "a", "total"), "4");
}

#[test]
fn interrupted_pipe_sends_what_it_has_read() {
    use std::io::Write;
    let Some(server) = Server::start() else {
        return;
    };
    let mut command = agg(&server.url(), "pipe stat --node n1");
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.0.stdin.take().unwrap();
    stdin.write_all(b"a 1\na 2").unwrap();
    crate::support::until("the first line arrives", || {
        server.field("AGG.GET n1 METRIC a", "samples").map(drop)
    });
    assert_eq!(running.end_by("INT").code(), Some(130));
    assert_eq!(field(&server, "a", "samples"), "2");
}
