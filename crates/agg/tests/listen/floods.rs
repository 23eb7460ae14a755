//! Senders that flood the program, or are slow: its memory is bounded, everything is counted, and others are served.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};

use super::senders::python;
use super::*;
use crate::support::{Random, amount, resident, seed};

/// Returns the resident memory of the program, bytes.
fn memory(listener: &Listener) -> u64 {
    let (now, _) = resident(listener.pid()).unwrap();
    now
}

/// Asserts that memory has grown by less than so many MiB.
fn assert_grown(listener: &Listener, before: u64, most: u64) {
    let grown = memory(listener).saturating_sub(before) >> 20;
    assert!(grown < most, "{grown} MiB");
}

fn count(listener: &Listener, protocol: &str, name: &str) -> u64 {
    status(listener)["protocols"][protocol][name]
        .as_u64()
        .unwrap()
}

/// Returns the number of inputs that a protocol could not use.
fn invalid(listener: &Listener, protocol: &str) -> u64 {
    let status = status(listener);
    let reasons = status["protocols"][protocol]["invalid"]
        .as_object()
        .unwrap();
    reasons
        .values()
        .map(|of| of["count"].as_u64().unwrap())
        .sum()
}

fn connect(listener: &Listener, what: &str, kind: &str) -> TcpStream {
    let stream = TcpStream::connect(listener.address(what, kind)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

#[test]
fn packets_of_garbage_take_little_memory() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let protocols =
        ["statsd", "syslog", "graphite"].map(|what| (what, listener.address(what, "UDP")));
    let mut random = Random(seed());
    // What one run stores is not counted as growth.
    let mut before = 0;
    let packets = amount(60_000, 1_000_000);
    for sent in 0..packets {
        let size = 1 + random.below(200) as usize;
        // The first byte is none of a valid line, so that the packet has no sample.
        let mut packet: Vec<u8> = (0..size).map(|_| random.next() as u8 | 0x80).collect();
        packet[0] = b'|';
        for (_, address) in &protocols {
            socket.send_to(&packet, address).unwrap();
        }
        if sent % 500 == 0 {
            until("the packets are handled", || {
                let handled = protocols.iter().all(|(what, _)| {
                    let counts = &status(&listener)["protocols"][what];
                    let read = |name: &str| counts[name].as_u64().unwrap();
                    read("received") + read("kernel_dropped") + invalid(&listener, what)
                        > sent as u64
                });
                handled.then_some(())
            });
        }
        if sent == 5000 {
            before = memory(&listener);
        }
    }
    assert_grown(&listener, before, 64);
    assert_eq!(count(&listener, "statsd", "received"), 0);
    assert_eq!(count(&listener, "graphite", "received"), 0);
    // To syslog each is a message.
    assert_eq!(invalid(&listener, "syslog"), 0);
    statsd_sample(&listener, "end");
    until_counted(&server, "end", 1);
    assert_eq!(listener.end().0, Some(0));
}

fn statsd_sample(listener: &Listener, name: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = listener.address("statsd", "UDP");
    socket
        .send_to(format!("{name}:1|c").as_bytes(), address)
        .unwrap();
}

#[test]
fn names_without_end_take_little_memory() {
    let settings = "max-series 1000 min-window 3600 hour-window 3600";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let before = memory(&listener);
    let names = amount(150_000, 1_000_000) as u64;
    let mut stream = connect(&listener, "statsd", "TCP");
    for i in 0..names {
        writeln!(
            stream,
            "service.endpoint.{i}.of.a.long.name.that.varies:1|c"
        )
        .unwrap();
    }
    until("all are answered", || {
        let counts = status(&listener)["protocols"]["statsd"].clone();
        let read = |name: &str| counts[name].as_u64().unwrap();
        let all =
            read("counted") + read("rejected") + read("dropped") + invalid(&listener, "statsd");
        (all == names).then_some(())
    });
    assert_eq!(count(&listener, "statsd", "counted"), 1000);
    assert!(count(&listener, "statsd", "rejected") > 0);
    // 100,000 names of some hundred bytes.
    assert_grown(&listener, before, 150);
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn attributes_without_end_are_one_metric() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let (otlp, influx) = (
        listener.address("otlp", "HTTP"),
        listener.address("influxdb", "HTTP"),
    );
    let requests = amount(20, 200) as i64;
    let mut before = 0;
    for request in 0..requests {
        let ids = (0..1000).map(|i| format!("{request}-{i}-{}", "x".repeat(100)));
        let (mut points, mut lines) = (Vec::new(), String::new());
        for id in ids {
            points.push(format!(
                r#"{{"asInt":"2","attributes":[{{"key":"id","value":{{"stringValue":"{id}"}}}}]}}"#
            ));
            lines += &format!("m,id={id} v=3\n");
        }
        let body = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"orders","sum":{{"isMonotonic":true,
            "aggregationTemporality":1,"dataPoints":[{}]}}}}]}}]}}]}}"#,
            points.join(",")
        );
        let post = |url: String, kind: &str, body: &str| {
            ureq::post(&url)
                .content_type(kind)
                .send(body)
                .unwrap()
                .status()
                .as_u16()
        };
        assert_eq!(
            post(
                format!("http://{otlp}/v1/metrics"),
                "application/json",
                &body
            ),
            200
        );
        assert_eq!(
            post(format!("http://{influx}/write"), "text/plain", &lines),
            204
        );
        if request == 2 {
            before = memory(&listener);
        }
    }
    let other = (requests - 1) * 1000;
    let found = metric(&server, "orders@other").unwrap();
    assert_eq!((found.count, found.sum), (other, 2.0 * other as f64));
    let found = metric(&server, "m.v@other").unwrap();
    assert_eq!((found.count, found.sum), (other, 3.0 * other as f64));
    assert_eq!(names(&server).len(), 2002);
    assert_grown(&listener, before, 32);
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn slow_senders_do_not_delay_others() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let before = memory(&listener);
    let starts: [(&str, &str, &[u8], &[u8]); 4] = [
        ("statsd", "TCP", b"slow:", b"1|c\n"),
        ("syslog", "TCP", b"27 <13>1 - - app - - - ", b"0123456"),
        ("influxdb", "HTTP", b"POST /write HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\ns", b" v=1\n  "),
        (
            "otlp",
            "HTTP",
            b"POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
            b"{}",
        ),
    ];
    let mut slow: Vec<(TcpStream, &[u8])> = Vec::new();
    for (what, kind, start, rest) in starts {
        for _ in 0..100 {
            let mut stream = connect(&listener, what, kind);
            stream.write_all(start).unwrap();
            slow.push((stream, rest));
        }
    }
    let begun = Instant::now();
    for i in 1..=20 {
        statsd_sample(&listener, "fast");
        until_counted(&server, "fast", i);
        let url = format!("http://{}/write", listener.address("influxdb", "HTTP"));
        let status = ureq::post(&url).send("fast v=1").unwrap().status().as_u16();
        assert_eq!(status, 204);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    // One byte at a time, in turn: all of them succeed.
    for i in 0..7 {
        for (stream, rest) in &mut slow {
            if let Some(byte) = rest.get(i) {
                stream.write_all(&[*byte]).unwrap();
            }
        }
    }
    assert_grown(&listener, before, 64);
    until_counted(&server, "slow", 100);
    until("the slow messages", || {
        (server.peek("n1", "LOG").len() == 100).then_some(())
    });
    for (stream, _) in &mut slow[200..] {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }
    assert_eq!(until_counted(&server, "s.v", 100).count, 100);
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn bombs_are_rejected() {
    let Some(server) = Server::with_settings("max-series 1") else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..200 {
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let before = memory(&listener);
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build(),
    );
    for (what, path, kind) in [
        ("otlp", "/v1/metrics", "application/json"),
        ("otlp", "/v1/logs", "application/x-protobuf"),
        ("influxdb", "/write", "text/plain"),
        ("influxdb", "/api/v2/write", "text/plain"),
    ] {
        let url = format!("http://{}{path}", listener.address(what, "HTTP"));
        for _ in 0..2 {
            let request = agent
                .post(&url)
                .content_type(kind)
                .header("Content-Encoding", "gzip");
            assert_eq!(
                request.send(&bomb[..]).unwrap().status().as_u16(),
                413,
                "{url}"
            );
        }
    }
    let call = |what: &str| {
        let address = listener.address("otlp", "gRPC").to_string();
        let output = python("grpc_calls")
            .args([&*address, what])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    };
    let answer = call("200000000");
    assert!(answer.starts_with("RESOURCE_EXHAUSTED"), "{answer}");
    assert_grown(&listener, before, 100);
    // A server that is full: UNAVAILABLE is what senders repeat.
    statsd_sample(&listener, "first");
    until_counted(&server, "first", 1);
    let answer = call("metric");
    assert!(
        answer.starts_with("UNAVAILABLE") && answer.contains("agg.max-series"),
        "{answer}"
    );
    assert_eq!(listener.end().0, Some(0));
}
