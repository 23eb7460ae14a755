//! Senders that flood, are slow, send garbage, or more than fits.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{
    Listener, NODE, Random, Server, address, amount, free_port, http, number, parse_answer, rss,
    seed, send_request, udp, until,
};

/// A listener of statsd, InfluxDB and OTLP.
struct Place {
    server: Server,
    listener: Listener,
    statsd: SocketAddr,
    influx: SocketAddr,
    otlp: SocketAddr,
}

impl Place {
    fn start(config: &str, receive_buffer: &str) -> Option<Place> {
        let server = Server::start()?;
        let [statsd, influx, otlp] = [(); 3].map(|()| address(free_port()));
        let config = format!(
            "{config}\n[statsd]\nlisten = \"{statsd}\"\nreceive-buffer = \"{receive_buffer}\"\n\
             [influxdb]\nlisten = \"{influx}\"\n[otlp]\nlisten = \"{otlp}\"\n"
        );
        let listener = Listener::start(&server.url(), &config);
        listener.until_up(true);
        Some(Place {
            server,
            listener,
            statsd,
            influx,
            otlp,
        })
    }

    fn is_usable(&self) -> bool {
        http(self.influx, "POST", "/write", &[], b"cpu value=2").0 == 204
    }
}

/// Asserts that a connection is closed within some seconds.
fn assert_closed(mut stream: &TcpStream, what: &str) {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    if let Err(error) = ended {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what}");
    }
}

#[test]
fn garbage_is_counted() {
    let Some(place) = Place::start("", "8mb") else {
        return;
    };
    let socket = udp(place.statsd);
    let mut random = Random(seed());
    let packets = amount(50_000, 1_000_000);
    let before = rss();
    let words = [
        "a:1|c", ":", "|", "#", "@", "\u{1}", "_e{1,1}:", "1e999", "|ms", "\n", "\u{fc}", "x",
    ];
    for sent in 1..=packets {
        // Invalid as a whole: no byte of a sample's syntax, so each is one input that is not used.
        let packet: Vec<u8> = match random.below(3) {
            0 => (0..1 + random.below(200))
                .map(|_| 0x80 | random.next() as u8)
                .collect(),
            1 => {
                let len = 1 + random.below(100);
                random.text(len).into_bytes()
            }
            _ => format!(
                "{}|{}",
                random.text(5),
                random.word(&words).replace(['\n', ':'], "-")
            )
            .into_bytes(),
        };
        socket.send(&packet).unwrap();
        if sent % 1000 == 0 {
            until("the packets are handled", || {
                let dropped = place.listener.count("statsd", "kernel_dropped");
                (place.listener.invalid("statsd") + dropped == sent as u64).then_some(())
            });
        }
    }
    assert_eq!(place.listener.count("statsd", "received"), 0);
    let grown = rss().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown}");
    // Anything at all, also what is valid.
    for _ in 0..packets {
        let packet: String = (0..random.below(12)).map(|_| random.word(&words)).collect();
        socket.send(packet.as_bytes()).unwrap();
    }
    socket.send(b"end:1|c").unwrap();
    place.listener.assert_counts_add_up();
    assert!(place.is_usable());
}

#[test]
fn series_beyond_the_limit_are_one() {
    let Some(place) = Place::start("max-instances = 100", "8mb") else {
        return;
    };
    let mut stream = TcpStream::connect(place.statsd).unwrap();
    let distinct = amount(20_000, 100_000);
    for value in 0..distinct {
        stream
            .write_all(format!("x:1|c|#user:{value}\n").as_bytes())
            .unwrap();
    }
    until("all are counted", || {
        (place.listener.count("statsd", "counted") == distinct as u64).then_some(())
    });
    let other = (distinct - 100) as u64;
    // It is updated at each flush.
    until("those beyond the limit are counted", || {
        (place.listener.count("statsd", "other") == other).then_some(())
    });
    assert_eq!(number(&place.server, "x@other", "total"), other as f64);
    let info: redis::Value = place.server.ask(&format!("AGG.INFO {NODE}"));
    let metrics = crate::support::at(&info, "metrics").cloned();
    assert_eq!(metrics, Some(redis::Value::Int(101)));
}

#[test]
fn datagrams_that_the_kernel_drops_are_counted() {
    let Some(mut place) = Place::start("", "1b") else {
        return;
    };
    let socket = udp(place.statsd);
    for _ in 0..20 {
        for _ in 0..2000 {
            socket.send(b"x:1|c").unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    until("all are known", || {
        let count = |name| place.listener.count("statsd", name);
        (count("received") + count("kernel_dropped") == 40_000).then_some(())
    });
    assert!(place.listener.count("statsd", "kernel_dropped") > 0);
    let received = place.listener.count("statsd", "received");
    assert_eq!(place.listener.end().unwrap(), 0);
    assert_eq!(number(&place.server, "x", "total"), received as f64);
}

#[test]
fn long_line_takes_little_memory() {
    let Some(place) = Place::start("", "8mb") else {
        return;
    };
    let mut stream = TcpStream::connect(place.statsd).unwrap();
    let before = rss();
    let part = vec![b'x'; 1 << 20];
    for _ in 0..amount(64, 1024) {
        stream.write_all(&part).unwrap();
    }
    stream.write_all(b"\nend:1|c\n").unwrap();
    until("the next line is counted", || {
        (number(&place.server, "end", "total") == 1.0).then_some(())
    });
    let grown = rss().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");
    assert_eq!(place.listener.invalid("statsd"), 1);
}

#[test]
fn silent_connections_are_closed() {
    let Some(place) = Place::start("idle-timeout = \"1s\"\nmax-connections = 4", "8mb") else {
        return;
    };
    // As many as may be open: further ones wait.
    for starts in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /write HTTP/1.1\r\nhost: ",
    ] {
        let open: Vec<_> = (0..4)
            .map(|_| {
                let mut stream = TcpStream::connect(place.influx).unwrap();
                stream.write_all(starts).unwrap();
                stream
            })
            .collect();
        let before = Instant::now();
        assert!(place.is_usable());
        assert!(before.elapsed() < Duration::from_secs(15), "{starts:?}");
        drop(open);
    }
    // Lines without an end, and nothing.
    for text in [&b"x:1"[..], b""] {
        let mut stream = TcpStream::connect(place.statsd).unwrap();
        stream.write_all(text).unwrap();
        assert_closed(&stream, "a connection for lines");
    }
}

#[test]
fn pings_do_not_keep_a_connection_open() {
    let Some(place) = Place::start("idle-timeout = \"1s\"", "8mb") else {
        return;
    };
    let mut stream = TcpStream::connect(place.influx).unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream.write_all(&frame(4, 0, 0, b"")).unwrap();
    let before = Instant::now();
    while stream.write_all(&frame(6, 0, 0, b"12345678")).is_ok() {
        assert!(before.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn connection_stays_open_between_requests() {
    let Some(place) = Place::start("idle-timeout = \"60s\"", "8mb") else {
        return;
    };
    let mut stream = TcpStream::connect(place.influx).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    for _ in 0..2 {
        let headers = [("connection", "keep-alive")];
        send_request(&mut stream, "POST", "/write", &headers, b"cpu value=1").unwrap();
        let mut answer = vec![0; 1000];
        let size = stream.read(&mut answer).unwrap();
        assert_eq!(parse_answer(&answer[..size]).0, 204);
        // Longer than a head may take. Many senders report every ten seconds.
        std::thread::sleep(Duration::from_secs(11));
    }
}

/// Returns a frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn floods_of_streams_take_little_memory() {
    let Some(place) = Place::start("", "8mb") else {
        return;
    };
    let before = rss();
    // :method POST, :scheme http, :path /, of the static table.
    let head = [0x83, 0x86, 0x84];
    for is_reset in [true, false] {
        let mut stream = TcpStream::connect(place.influx).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        stream.write_all(&frame(4, 0, 0, b"")).unwrap();
        for n in 0..amount(50_000, 1_000_000) as u32 {
            let id = 2 * n + 1;
            let mut frames = frame(1, 4, id, &head);
            if is_reset {
                frames.extend(frame(3, 0, id, &8u32.to_be_bytes()));
            }
            // The listener ends the connection.
            if stream.write_all(&frames).is_err() {
                break;
            }
        }
    }
    let grown = rss().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");
    assert!(place.is_usable());
}

#[test]
fn large_bodies_are_rejected() {
    let Some(place) = Place::start("max-body = \"1mb\"", "8mb") else {
        return;
    };
    let large = vec![b'x'; 2 << 20];
    assert_eq!(http(place.influx, "POST", "/write", &[], &large).0, 413);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..100 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let before = rss();
    for _ in 0..20 {
        let gzip = [("content-encoding", "gzip")];
        assert_eq!(http(place.influx, "POST", "/write", &gzip, &bomb).0, 413);
    }
    let grown = rss().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");
    // In chunks, without a length.
    for (count, expected) in [(1, 204), (40_000, 413)] {
        let mut stream = TcpStream::connect(place.influx).unwrap();
        let head = "POST /write HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let line = format!("cpu value=1{}\n", " ".repeat(52));
        for _ in 0..count {
            // The answer may come before the end.
            if write!(stream, "{:x}\r\n{line}\r\n", line.len()).is_err() {
                break;
            }
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(parse_answer(&answer).0, expected);
    }
    assert!(place.is_usable());
}

#[test]
fn requests_say_what_is_not_reported() {
    let Some(place) = Place::start("max-instances = 1", "8mb") else {
        return;
    };
    let (_, _, body) = http(
        place.influx,
        "POST",
        "/write",
        &[],
        b"cpu,host=a value=1\ncpu,host=b value=1",
    );
    assert_eq!(String::from_utf8_lossy(&body), "");
    let body = |host: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"hits","sum":{{"aggregationTemporality":2,
        "isMonotonic":true,"dataPoints":[{{"asInt":"3","attributes":[{{"key":"host","value":{{"stringValue":"{host}"}}}}]}}]}}}}]}}]}}]}}"#
        )
    };
    let json = [("content-type", "application/json")];
    for (host, expected) in [("a", "{}"), ("b", "too many instances of a counter")] {
        let (status, _, answer) = http(
            place.otlp,
            "POST",
            "/v1/metrics",
            &json,
            body(host).as_bytes(),
        );
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains(expected), "{answer}");
        assert_eq!(
            answer.contains("\"rejectedDataPoints\":1"),
            host == "b",
            "{answer}"
        );
    }
}

#[test]
fn repetitions_in_a_body_are_limited() {
    let Some(place) = Place::start("", "8mb") else {
        return;
    };
    // A tag of 1 MB, and a name with many points.
    let (tag, points) = ("x".repeat(1 << 20), r#"{"asInt":"3"},"#.repeat(100_000));
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"a","value":{{"stringValue":"{tag}"}}}}]}},
        "scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{points}{{"asInt":"3"}}]}}}}]}}]}}]}}"#
    );
    let logs = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"a","value":{{"stringValue":"{}"}}}}]}},
        "scopeLogs":[{{"logRecords":[{}{{"body":{{"stringValue":"m"}}}}]}}]}}]}}"#,
        "x".repeat(60_000),
        r#"{"body":{"stringValue":"m"}},"#.repeat(100_000)
    );
    let fields = vec!["f=1"; 100_000].join(",");
    let lines = format!("cpu,a={tag} {fields}\n");
    let before = rss();
    let json = [("content-type", "application/json")];
    for (to, path, body) in [
        (place.otlp, "/v1/metrics", &body),
        (place.otlp, "/v1/logs", &logs),
        (place.influx, "/write", &lines),
    ] {
        let begun = Instant::now();
        let (status, _, answer) = http(to, "POST", path, &json, body.as_bytes());
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("too m"), "{path}: {status} {answer}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{path}: {:?}",
            begun.elapsed()
        );
    }
    let grown = rss().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown}");
    assert!(place.is_usable());
    place.listener.assert_counts_add_up();
}

#[test]
fn web_pages_can_neither_report_nor_read() {
    let Some(place) = Place::start("allowed-hosts = [\"Grid.example\"]", "8mb") else {
        return;
    };
    let origin = [("origin", "http://evil.example")];
    let (status, _, _) = http(place.influx, "POST", "/write", &origin, b"cpu value=1");
    assert_eq!(status, 403);
    assert_eq!(number(&place.server, "cpu.value", "samples"), 0.0);
    for (host, expected) in [
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("grid.example:80", 200),
        ("localhost", 200),
    ] {
        let mut stream = TcpStream::connect(place.listener.status_address()).unwrap();
        let head =
            format!("GET /status.json HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(parse_answer(&answer).0, expected, "{host}");
    }
}
