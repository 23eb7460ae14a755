//! Lost connections, servers that are down, hostile senders, and the end.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use testkit::proxy::Proxy;

use super::*;
use crate::support::{Random, free_port, now_ms, seed};

fn statsd(listener: &Listener) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(listener.address("statsd", "UDP")).unwrap();
    socket
}

#[test]
fn totals_are_exact_although_connections_are_lost() {
    let Some(server) = server() else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let listener = Listener::start(&url, "");
    let socket = statsd(&listener);
    let mut random = Random(seed());
    let (mut hits, mut cuts) = (0, 0);
    for round in 0..400 {
        for i in 0..5 {
            let n = random.below(10) + 1;
            hits += n;
            socket
                .send(format!("hits:{n}|c\nms:{i}|ms").as_bytes())
                .unwrap();
        }
        match round % 8 {
            1 => proxy.lose_replies(true),
            3 => proxy.cut(),
            5 => {
                cuts += 1;
                proxy.lose_replies(false);
                proxy.repair();
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.lose_replies(false);
    proxy.repair();
    assert!(cuts >= 50);
    let found = until_counted(&server, "hits", 2000);
    assert_eq!((found.count, found.sum), (2000, hits as f64));
    let found = until_counted(&server, "ms", 2000);
    assert_eq!((found.count, found.sum), (2000, 4000.0));
    // The replies to the last reports may be missing.
    let counts = until("all replies", || {
        let counts = status(&listener)["protocols"]["statsd"].clone();
        (counts["counted"] == 4000).then_some(counts)
    });
    assert_eq!(
        (&counts["dropped"], &counts["rejected"]),
        (&0.into(), &0.into()),
        "{counts}"
    );
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn reports_that_had_to_wait_have_the_time_of_their_arrival() {
    let Some(server) = server() else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let listener = Listener::start(&format!("redis://127.0.0.1:{}", proxy.port), "");
    let socket = statsd(&listener);
    socket.send(b"before:1|g").unwrap();
    until_counted(&server, "before", 1);
    proxy.cut();
    let sent = now_ms();
    socket.send(b"waited:1|g").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    proxy.repair();
    until_counted(&server, "waited", 1);
    let reply: Value = server.ask("AGG.GET n1 METRIC waited");
    let at = int(&reply, "at");
    assert!((sent - 100..sent + 1500).contains(&at), "{at} of {sent}");
}

#[test]
fn senders_cannot_exhaust_names_or_lines() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let socket = statsd(&listener);
    for i in 0..3000 {
        socket.send(format!("m:1|c|#id:{i}").as_bytes()).unwrap();
        if i % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    until_counted(&server, "m@other", 2000);
    assert_eq!(names(&server).len(), 1001);
    listener.until_logged("has too many instances");
    // A line without an end.
    let mut stream = TcpStream::connect(listener.address("statsd", "TCP")).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        stream.write_all(&chunk).unwrap();
    }
    stream.write_all(b"\ngood:1|c\n").unwrap();
    until_counted(&server, "good", 1);
    let mut random = Random(seed());
    for i in 0..20_000 {
        let bytes: Vec<u8> = (0..random.below(80))
            .map(|_| random.below(256) as u8)
            .collect();
        socket.send(&bytes).unwrap();
        if i % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    socket.send(b"good:1|c").unwrap();
    until_counted(&server, "good", 2);
    let counts = &status(&listener)["protocols"]["statsd"];
    assert_eq!(
        counts["invalid"]["a line that is too long"]["count"], 1,
        "{counts}"
    );
    assert_eq!(counts["other"], 2000);
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn what_was_received_is_sent_before_the_end() {
    let Some(mut server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let socket = statsd(&listener);
    socket.send(b"first:1|c").unwrap();
    until_counted(&server, "first", 1);
    // A set is sent at the end of its interval, or at the end.
    socket.send(b"users:a|s").unwrap();
    until("the set is received", || {
        socket.send(b"next:1|c").unwrap();
        metric(&server, "next")
    });
    assert_eq!(listener.end().0, Some(0));
    assert_eq!(metric(&server, "users").unwrap().last, 1.0);
    let listener = Listener::start(&server.url(), "");
    let socket = statsd(&listener);
    server.stop();
    socket.send(b"late:1|c").unwrap();
    listener.until_logged("trying again");
    let (code, messages) = listener.end();
    assert_eq!(code, Some(1));
    let last = messages.last().unwrap();
    assert!(last.ends_with("1 report not sent"), "{messages:?}");
}

#[test]
fn reload_keeps_sockets_and_rejects_a_wrong_file() {
    let Some(server) = server() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("listen.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let port = free_port();
    write(&format!(
        "node = \"n1\"\n[statsd]\nlisten = \"127.0.0.1:{port}\"\n"
    ));
    let mut running = Running::start(&mut agg(
        &server.url(),
        &format!("listen --config {}", file.display()),
    ));
    let lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.next().unwrap().contains("listening on"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.send(b"hits:1|c").unwrap();
    until_counted(&server, "hits", 1);
    write("[statsd]\nlisten = 1\n");
    running.signal("HUP");
    let error = lines.next().unwrap();
    assert!(
        error.contains("listen.toml:2:10: expected an address"),
        "{error}"
    );
    socket.send(b"hits:1|c").unwrap();
    until_counted(&server, "hits", 2);
    write(&format!(
        "node = \"n1\"\ntags = [\"a:b\"]\n[statsd]\nlisten = \"127.0.0.1:{port}\"\n"
    ));
    running.signal("HUP");
    assert!(lines.any(|line| line.contains("listen.toml reloaded")));
    socket.send(b"hits:1|c").unwrap();
    assert_eq!(until_counted(&server, "hits", 3).tags, "a:b");
    assert_eq!(running.end_by("TERM").code(), Some(0));
}
