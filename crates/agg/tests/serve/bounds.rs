//! What is left out, and what a scrape may cost: limits, old nodes, servers that hang, many clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use redis::Value;

use super::{Serve, count, resume, suspend, value};
use crate::support::resp_stub::RespStub;
use crate::support::{Server, calls, err, run, until};

#[test]
fn series_limit_keeps_the_first_names_and_counts_the_others() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut report = String::from("AGG.MSTAT n1 VALUES");
    for n in 0..3000 {
        report += &format!(" m{n:04} {n}");
    }
    let _: Value = server.ask(&report);
    let serve = Serve::start(&format!("--server {} --max-series 1000", server.url()));
    let page = serve.scrape();
    // The series of the program itself come first: their names begin with an a.
    let own = count(&page, "agg_node_");
    assert_eq!(count(&page, "m"), 1000 - own, "{page}");
    for n in [0, 999 - own] {
        assert_eq!(
            value(&page, &format!("m{n:04}_last{{node=\"n1\"}}")),
            Some(n as f64)
        );
    }
    assert_eq!(value(&page, "agg_serve_series"), Some(1000.0));
    assert_eq!(
        value(&page, "agg_serve_series_left_out"),
        Some((2000 + own) as f64)
    );
    assert_eq!(value(&page, "agg_serve_series_limit"), Some(1000.0));
}

#[test]
fn patterns_select_nodes_and_metrics() {
    let Some(server) = Server::start() else {
        return;
    };
    for node in ["web1", "web2", "db1"] {
        let _: Value = server.ask(&format!(
            "AGG.MSTAT {node} VALUES cpu.load 1 cpu.idle 2 mem 3"
        ));
    }
    let arguments = "--nodes web* --nodes x --metrics cpu.l* --metrics mem";
    let serve = Serve::start(&format!("--server {} {arguments}", server.url()));
    let page = serve.scrape();
    for node in ["web1", "web2"] {
        for family in ["cpu_load_last", "mem_last"] {
            let key = format!("{family}{{node=\"{node}\"}}");
            assert!(value(&page, &key).is_some(), "{key}\n{page}");
        }
    }
    assert!(
        !page.contains("db1") && !page.contains("cpu_idle"),
        "{page}"
    );
}

#[test]
fn node_without_samples_is_left_out_after_a_while() {
    let Some(server) = Server::start() else {
        return;
    };
    let serve = Serve::start(&format!("--server {} --max-age 2s", server.url()));
    let _: Value = server.ask("AGG.STAT old x 1");
    let _: Value = server.ask("AGG.STAT new x 1");
    assert_eq!(value(&serve.scrape(), "x_last{node=\"old\"}"), Some(1.0));
    let page = until("the node is old", || {
        let _: Value = server.ask("AGG.STAT new x 2");
        Some(serve.scrape()).filter(|page| !page.contains("x_last{node=\"old\"}"))
    });
    assert_eq!(value(&page, "x_last{node=\"new\"}"), Some(2.0));
    let old = format!("agg_server_old_nodes{{server=\"{}\"}}", server.url());
    assert_eq!(value(&page, &old), Some(1.0));
    // What the server reports about the node stays, with the time of its last sample.
    let key = "agg_node_newest_sample_timestamp_seconds{node=\"old\"";
    assert_eq!(count(&page, key), 1, "{page}");
}

#[test]
fn server_that_hangs_is_down_and_the_others_are_served() {
    let (Some(one), Some(two)) = (Server::start(), Server::start()) else {
        return;
    };
    let _: Value = one.ask("AGG.STAT n1 x 1");
    let _: Value = two.ask("AGG.STAT n2 x 2");
    let never = RespStub::slow(Duration::from_millis(500));
    let serve = Serve::start(&format!(
        "--server {} --server {} --server {} --server redis://127.0.0.1:1",
        one.url(),
        two.url(),
        never.url()
    ));
    let up = |page: &str, url: &str| value(page, &format!("agg_server_up{{server=\"{url}\"}}"));
    // Each time again, and also with a connection that worked before.
    for _ in 0..2 {
        let start = Instant::now();
        let page = serve.scrape();
        assert!(
            start.elapsed() < Duration::from_secs(9),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(
            (up(&page, &one.url()), up(&page, &two.url())),
            (Some(1.0), Some(1.0))
        );
        assert_eq!(up(&page, &never.url()), Some(0.0));
        assert_eq!(up(&page, "redis://127.0.0.1:1"), Some(0.0));
    }
    suspend(two.pid());
    std::thread::sleep(Duration::from_millis(600));
    let page = serve.scrape();
    assert_eq!(up(&page, &two.url()), Some(0.0));
    assert_eq!(value(&page, "x_last{node=\"n1\"}"), Some(1.0));
    assert!(!page.contains("n2"), "{page}");
    resume(two.pid());
    until("the server is up again", || {
        (up(&serve.scrape(), &two.url()) == Some(1.0)).then_some(())
    });
}

#[test]
fn node_on_two_servers_is_served_once() {
    let (Some(one), Some(two)) = (Server::start(), Server::start()) else {
        return;
    };
    let first = one.port < two.port;
    let _: Value = one.ask("AGG.STAT n1 x 1");
    let _: Value = two.ask("AGG.STAT n1 x 2");
    let serve = Serve::start(&format!("--server {} --server {}", one.url(), two.url()));
    let page = serve.scrape();
    let expected = if first { 1.0 } else { 2.0 };
    assert_eq!(
        value(&page, "x_last{node=\"n1\"}"),
        Some(expected),
        "{page}"
    );
    assert_eq!(value(&page, "agg_serve_series_duplicates"), Some(1.0));
}

#[test]
fn scrapes_at_the_same_time_share_a_reading() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: Value = server.ask("AGG.STAT n1 x 1");
    let serve = Serve::start(&format!("--server {}", server.url()));
    let before = calls(&server, "AGG.INFO");
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert!(serve.scrape().contains("x_last")));
        }
    });
    let readings = calls(&server, "AGG.INFO") - before;
    assert!((1..10).contains(&readings), "{readings} readings");
}

/// Sends a request and returns all of the reply.
fn raw(address: &str, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    // A reset also ends it.
    let _ = stream.read_to_end(&mut reply);
    reply
}

#[test]
fn requests_are_checked() {
    let Some(server) = Server::start() else {
        return;
    };
    let serve = Serve::start(&format!("--server {}", server.url()));
    let end = "Connection: close\r\n\r\n";
    for (head, expected) in [
        (
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n",
            "405",
        ),
        ("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n", "405"),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n", "421"),
        ("GET /other HTTP/1.1\r\nHost: localhost\r\n", "404"),
        ("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "200"),
    ] {
        let reply = raw(&serve.address, &format!("{head}{end}"));
        let text = String::from_utf8_lossy(&reply);
        assert_eq!(&text[9..12], expected, "{head}: {text}");
        let names_option = text.contains("or allow the name with --allowed-host\n");
        assert_eq!(names_option, expected == "421", "{text}");
    }
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n{end}",
        "x".repeat(20_000)
    );
    assert!(!raw(&serve.address, &long).starts_with(b"HTTP/1.1 200"));
    // Compressed for clients that ask for it.
    let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n";
    let reply = raw(&serve.address, &format!("{head}{end}"));
    let at = reply
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap();
    assert!(String::from_utf8_lossy(&reply[..at]).contains("content-encoding: gzip"));
    let mut page = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&reply[at + 4..]);
    decoder.read_to_string(&mut page).unwrap();
    assert!(page.contains("agg_server_up{"), "{page}");
}

#[test]
fn invalid_arguments_are_named() {
    for (line, expected) in [
        (
            "serve --nodes web[",
            "--nodes: the pattern \"web[\" ends within",
        ),
        ("serve --metrics a\\", "--metrics: the pattern"),
        (
            "serve --max-series 0",
            "--max-series: expected 1 to 2000000 series",
        ),
        ("serve --max-age 0s", "expected more than 0"),
        ("serve --listen localhost", "invalid socket address"),
        ("serve --server http://x", "expected redis://"),
        (
            "serve --allowed-host a:80",
            "expected a host name without a port",
        ),
        ("serve --config /nothing", "cannot read /nothing"),
    ] {
        let output = run("", line, b"");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).contains(expected), "{line}: {}", err(&output));
    }
}
