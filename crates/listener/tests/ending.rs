//! The end and reloads: what was received is sent or counted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::proxy::Proxy;
use crate::support::{
    Listener, Server, address, amount, free_port, http, number, parse_answer, udp, until,
};

#[test]
fn what_was_received_is_sent_before_the_end() {
    let Some(server) = Server::start() else {
        return;
    };
    let statsd = free_port();
    let config = format!("flush-interval = \"1h\"\n[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n");
    for round in 1..=amount(5, 100) {
        let mut listener = Listener::start(&server.url(), &config);
        let mut stream = TcpStream::connect(address(statsd)).unwrap();
        stream.write_all(&b"tcp:1|c\n".repeat(1000)).unwrap();
        stream.write_all(b"tcp:1|c").unwrap();
        let socket = udp(address(statsd));
        for _ in 0..1000 {
            socket.send(b"udp:1|c").unwrap();
        }
        socket.send(b"set:a|s").unwrap();
        assert_eq!(listener.end().unwrap(), 0);
        assert_eq!(number(&server, "udp", "total"), 1000.0 * round as f64);
        assert_eq!(number(&server, "tcp", "total"), 1001.0 * round as f64);
        assert_eq!(number(&server, "set", "samples"), round as f64);
    }
}

#[test]
fn reports_that_cannot_be_sent_are_counted_at_the_end() {
    let Some(server) = Server::start() else {
        return;
    };
    let statsd = free_port();
    let config = format!("[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n");
    // Down, and one that accepts connections and does not answer.
    for is_silent in [false, true] {
        let proxy = Proxy::start(server.port);
        let url = format!("redis://127.0.0.1:{}", proxy.port);
        let mut listener = Listener::start(&url, &config);
        listener.until_up(true);
        match is_silent {
            false => proxy.cut(),
            true => proxy.lose_replies(true),
        }
        let socket = udp(address(statsd));
        for _ in 0..100 {
            socket.send(b"x:1|c").unwrap();
        }
        until("they are received", || {
            (listener.count("statsd", "received") == 100).then_some(())
        });
        let before = Instant::now();
        assert_eq!(listener.end().unwrap(), 100);
        assert!(
            before.elapsed() < agg_listener::listen::GRACE,
            "{:?}",
            before.elapsed()
        );
    }
}

#[test]
fn reloads_lose_no_datagram() {
    let Some(server) = Server::start() else {
        return;
    };
    let (statsd, syslog) = (free_port(), free_port());
    let config = |rest: &str| {
        format!("flush-interval = \"20ms\"\n{rest}\n[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n")
    };
    let mut listener = Listener::start(&server.url(), &config(""));
    let socket = udp(address(statsd));
    let mut sent = 0;
    for round in 0..amount(20, 500) {
        let rest = match round % 4 {
            0 => "tags = [\"site:a\"]",
            // Nothing changes by these.
            1 => "tags = 5",
            2 => "[syslog]\nlisten = \"1.2.3.4:1\"",
            _ => &format!("[syslog]\nlisten = \"127.0.0.1:{syslog}\""),
        };
        listener.reload(&config(rest));
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until {
            for _ in 0..20 {
                socket.send(b"x:1|c").unwrap();
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(listener.count("statsd", "kernel_dropped"), 0);
    assert_eq!(listener.end().unwrap(), 0);
    assert_eq!(number(&server, "x", "total"), f64::from(sent));
}

#[test]
fn reloads_keep_connections_and_state() {
    let Some(server) = Server::start() else {
        return;
    };
    let (statsd, otlp) = (free_port(), free_port());
    let config = |more: &str| {
        format!(
            "flush-interval = \"20ms\"\n{more}\n[statsd]\nlisten = \"127.0.0.1:{statsd}\"\nset-interval = \"1h\"\n\
             [otlp]\nlisten = \"127.0.0.1:{otlp}\"\ngrpc = []\n"
        )
    };
    let mut listener = Listener::start(&server.url(), &config(""));
    let mut stream = TcpStream::connect(address(statsd)).unwrap();
    let total = |count: u64| {
        let body = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","histogram":{{
            "aggregationTemporality":2,"dataPoints":[{{"startTimeUnixNano":"1","timeUnixNano":"{}","count":"{count}",
            "bucketCounts":["{count}","0"],"explicitBounds":[1],"sum":{count}}}]}}}}]}}]}}]}}"#,
            1_700_000_000_000_000_000 + count
        );
        let json = [("content-type", "application/json")];
        let answer = http(address(otlp), "POST", "/v1/metrics", &json, body.as_bytes());
        assert_eq!(answer.0, 200, "{}", String::from_utf8_lossy(&answer.2));
    };
    let rounds = 6;
    for round in 0..rounds {
        stream.write_all(b"tcp:1|c\nset:a|s\nha").unwrap();
        stream
            .write_all(format!("lf.{round}:1|c\n").as_bytes())
            .unwrap();
        stream.write_all(b"half").unwrap();
        total(round + 1);
        // Every other time a setting changes.
        let level = ["error", "warning"][round as usize % 2];
        let graphite = free_port();
        listener.reload(&config(&format!(
            "errors-from = \"{level}\"\ngraphite = {{ listen = \"127.0.0.1:{graphite}\" }}"
        )));
        until("the new configuration is in use", || {
            TcpStream::connect(address(graphite)).is_ok().then_some(())
        });
        stream.write_all(b"ed:1|c\n").unwrap();
    }
    drop(stream);
    assert_eq!(listener.end().unwrap(), 0);
    assert_eq!(number(&server, "tcp", "total"), rounds as f64);
    assert_eq!(number(&server, "halfed", "total"), rounds as f64);
    // One set over all reloads, and totals that continue.
    assert_eq!(number(&server, "set", "samples"), 1.0);
    assert_eq!(number(&server, "h", "samples"), (rounds - 1) as f64);
}

#[test]
fn reloads_close_no_connection_of_http() {
    let Some(server) = Server::start() else {
        return;
    };
    let syslog = format!("[syslog]\nlisten = \"127.0.0.1:{}\"\n", free_port());
    let listener = Listener::start(&server.url(), &syslog);
    let get = |stream: &mut TcpStream| {
        let request = b"HEAD /status.json HTTP/1.1\r\nhost: grid.example\r\n\r\n";
        stream.write_all(request).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        parse_answer(&head).0
    };
    let connect = || {
        let stream = TcpStream::connect(listener.status_address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    };
    let (mut idle, mut silent) = (connect(), connect());
    assert_eq!(get(&mut idle), 421);
    let statsd = free_port();
    listener.reload(&format!(
        "allowed-hosts = [\"grid.example\"]\n{syslog}[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n"
    ));
    until("the new configuration is in use", || {
        TcpStream::connect(address(statsd)).is_ok().then_some(())
    });
    // One between two requests, and one before its first: both have the new settings.
    until("the new routes are in use", || {
        (get(&mut idle) == 200).then_some(())
    });
    assert_eq!(get(&mut silent), 200);
}

#[test]
fn reload_changes_the_receive_buffer() {
    let Some(server) = Server::start() else {
        return;
    };
    let statsd = free_port();
    let config = |buffer: &str, more: &str| {
        format!("[statsd]\nlisten = \"127.0.0.1:{statsd}\"\nreceive-buffer = \"{buffer}\"\n{more}")
    };
    let listener = Listener::start(&server.url(), &config("8mb", ""));
    let graphite = free_port();
    listener.reload(&config(
        "4mb",
        &format!("[graphite]\nlisten = \"127.0.0.1:{graphite}\"\n"),
    ));
    until("the new configuration is in use", || {
        TcpStream::connect(address(graphite)).is_ok().then_some(())
    });
}
