//! Messages and exit codes for invalid usage and unsuitable servers. The tests need no module.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::{Running, Server, agg, err, free_port, out, run};

const COMMANDS: [&str; 4] = [
    "host --once",
    "drain",
    "pipe log --retry 0s",
    "pipe error --retry 0s",
];

#[test]
fn refused_connection_is_reported_without_the_password() {
    let port = free_port();
    for command in COMMANDS {
        let output = run(
            &format!("redis://ann:s3cret@127.0.0.1:{port}"),
            command,
            b"x\n",
        );
        assert_eq!(output.status.code(), Some(1), "{command}");
        let expected = format!(
            "agg: cannot reach redis://127.0.0.1:{port}: connection refused; is the server running?\n"
        );
        assert!(
            err(&output).contains(&expected),
            "{command}: {}",
            err(&output)
        );
        assert!(!err(&output).contains("s3cret"));
    }
}

#[test]
fn invalid_usage_exits_with_code_2() {
    for line in [
        "",
        "nothing",
        "host --interval 5",
        "host --interval 100ms",
        "host --tag :x",
        "drain --format line --queue LOG",
        "drain --queue NONE",
        "drain --count 0",
        "pipe",
        "pipe log --level 10",
        "pipe log --type OPS",
        "poll",
        "check",
        "drain --redis http://u:s3cret@h",
        "drain --redis redis://u:s3cret@h:port",
    ] {
        let output = run("redis://127.0.0.1:1", line, b"");
        assert_eq!(output.status.code(), Some(2), "{line}: {}", err(&output));
        assert!(!err(&output).contains("s3cret"), "{}", err(&output));
    }
}

#[test]
fn help_has_examples_and_hides_the_environment() {
    for line in [
        "--help",
        "host --help",
        "drain --help",
        "poll --help",
        "check --help",
        "pipe log --help",
        "pipe error --help",
    ] {
        let output = run("redis://:s3cret@h", line, b"");
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("Examples:\n  "), "{line}");
        assert!(!out(&output).contains("s3cret"), "{line}");
    }
    assert!(out(&run("redis://h", "host --help", b"")).contains("net.rx.bytes@NIC"));
    assert!(out(&run("redis://h", "--version", b"")).starts_with("agg 0."));
}

#[test]
fn missing_module_is_reported() {
    let Some(server) = Server::with(&[]) else {
        return;
    };
    for command in COMMANDS {
        let output = run(&server.url(), command, b"x\n");
        assert_eq!(output.status.code(), Some(1), "{command}");
        let expected = format!(
            "agg: the server {} does not have the aggregator module: start it with --loadmodule \
             libaggregator.so\n",
            server.url()
        );
        assert!(
            err(&output).contains(&expected),
            "{command}: {}",
            err(&output)
        );
    }
}

#[test]
fn password_is_required_and_taken_from_the_environment() {
    let Some(server) = Server::with(&["--requirepass", "s3cret"]) else {
        return;
    };
    let output = run(&server.url(), "drain", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("requires a password: give it in AGG_PASSWORD"),
        "{}",
        err(&output)
    );
    let output = agg(&server.url(), "drain")
        .env("AGG_PASSWORD", "s3cret")
        .output()
        .unwrap();
    assert!(
        err(&output).contains("does not have the aggregator module"),
        "{}",
        err(&output)
    );
    let output = agg(&server.url(), "drain")
        .env("AGG_PASSWORD", "wr0ng")
        .output()
        .unwrap();
    assert!(
        err(&output).contains("does not accept the user or password"),
        "{}",
        err(&output)
    );
    assert!(!err(&output).contains("wr0ng"));
}

#[test]
fn silent_server_does_not_delay_the_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    for (line, signal, code) in [
        ("host", "INT", 0),
        ("drain --follow", "TERM", 0),
        ("drain", "INT", 130),
        ("pipe log", "TERM", 130),
    ] {
        let mut program = agg(&url, line);
        if line == "pipe log" {
            // `agg pipe` connects once it has a line to send.
            program.stdin(std::process::Stdio::piped());
        }
        let mut running = Running::start(&mut program);
        if let Some(stdin) = &mut running.0.stdin {
            std::io::Write::write_all(stdin, b"x\n").unwrap();
        }
        let (mut connection, _) = listener.accept().unwrap();
        connection.read_exact(&mut [0]).unwrap();
        let status = running.end_promptly_by(signal);
        assert_eq!(status.code(), Some(code), "{line}");
    }
}

#[test]
fn pause_before_a_retry_does_not_delay_the_shutdown() {
    let mut running = Running::start(&mut agg(
        &format!("redis://127.0.0.1:{}", free_port()),
        "host",
    ));
    let message = running.errors().next().unwrap();
    assert!(
        message.ends_with("is the server running?; trying again"),
        "{message}"
    );
    assert_eq!(running.end_by("INT").code(), Some(0));
}

/// Starts a server that replies to every command with this error, and returns its port.
fn hostile(error: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(size) = stream.read(&mut buffer) {
                    let commands = buffer[..size].iter().filter(|byte| **byte == b'*').count();
                    let answer = format!("-ERR {error}\r\n").repeat(commands);
                    if size == 0 || stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn hostile_error_text_adds_no_line_and_is_masked() {
    // RESP has no errors with a newline, so that the text of such a one is not shown.
    for (error, is_shown) in [
        ("no \x1b[2J\u{9b}31m\u{202e}\u{7f}such", true),
        ("no \x1b[2J\u{9b}31m\u{202e}\u{7f}such\nagg: forged", false),
    ] {
        let port = hostile(error);
        let url = format!("redis://127.0.0.1:{port}");
        for line in [
            "drain",
            "drain --node n1",
            "top --once",
            "report -o -",
            "report -o - --node n1",
            "host --once",
            "pipe log --retry 0s --node n1",
            &format!("scan 127.0.0.1 --port {port}"),
        ] {
            let output = run(&url, line, b"x\n");
            let text = err(&output) + &out(&output);
            let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(raw), "{line}: {text:?}");
            let forged = text.lines().any(|line| line.starts_with("agg: forged"));
            assert!(!forged, "{line}: {text}");
            // A scan shows that the server rejected a command, but not the reason.
            let shown = if line.starts_with("scan") {
                "refuses"
            } else {
                "such"
            };
            assert!(text.contains(shown) || !is_shown, "{line}: {text}");
        }
    }
}
