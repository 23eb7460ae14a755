//! The server restarts, fails over, or is down for long.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::proxy::Proxy;
use crate::support::{
    Listener, NODE, SYNCED_AOF, Server, address, amount, free_port, now_ms, number, udp, until,
};

/// Keeps on sending increments over TCP.
struct Load {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Load {
    fn start(port: u16) -> Load {
        let done = Arc::new(AtomicBool::new(false));
        let ended = done.clone();
        let thread = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address(port)).unwrap();
            let mut sent = 0;
            while !ended.load(Ordering::SeqCst) {
                stream.write_all(&b"load:1|c\n".repeat(100)).unwrap();
                sent += 100;
                std::thread::sleep(Duration::from_millis(5));
            }
            sent
        });
        Load { done, thread }
    }

    fn end(self) -> u64 {
        self.done.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

#[test]
fn restarts_lose_nothing_and_count_nothing_twice() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, "") else {
        return;
    };
    let statsd = free_port();
    let config = format!("[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n");
    let mut listener = Listener::start(&server.url(), &config);
    let load = Load::start(statsd);
    for _ in 0..amount(4, 40) {
        std::thread::sleep(Duration::from_millis(300));
        server.restart();
    }
    let sent = load.end();
    listener.until_up(true);
    listener.assert_counts_add_up();
    assert_eq!(listener.end().unwrap(), 0);
    assert_eq!(number(&server, "load", "total"), sent as f64);
}

#[test]
fn failover_loses_nothing_that_was_replicated() {
    let quiet = ["--repl-diskless-sync-delay", "0"];
    let servers = [(); 2].map(|()| Server::with_module(&quiet, ""));
    let [Some(first), Some(second)] = servers else {
        return;
    };
    let (statsd, proxy) = (free_port(), Proxy::start(first.port));
    let config = format!("[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n");
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let mut listener = Listener::start(&url, &config);
    let load = Load::start(statsd);
    let (mut primary, mut replica) = (&first, &second);
    for _ in 0..amount(2, 20) {
        let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
        until("the replica follows", || {
            let info: String = replica.ask("INFO replication");
            info.contains("master_link_status:up").then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        // What the listener sends meanwhile fails, or waits.
        proxy.cut();
        until("the replica has all", || {
            let offset =
                |server: &Server| server.info_field::<u64>("replication", "master_repl_offset");
            (offset(primary) == offset(replica)).then_some(())
        });
        let () = replica.ask("REPLICAOF NO ONE");
        proxy.point(replica.port);
        proxy.repair();
        std::mem::swap(&mut primary, &mut replica);
        listener.until_up(true);
    }
    let sent = load.end();
    listener.until_up(true);
    assert_eq!(listener.end().unwrap(), 0);
    assert_eq!(number(primary, "load", "total"), sent as f64);
}

/// Starts a listener of syslog with a buffer, and cuts it off from the server. Returns it with what repairs the connection,
/// and a socket that sends to it.
fn without_server(server: &Server, buffer: &str) -> (Listener, Proxy, UdpSocket) {
    let (syslog, proxy) = (free_port(), Proxy::start(server.port));
    let config = format!("buffer = \"{buffer}\"\n[syslog]\nlisten = \"127.0.0.1:{syslog}\"\n");
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let listener = Listener::start(&url, &config);
    listener.until_up(true);
    proxy.cut();
    listener.until_up(false);
    (listener, proxy, udp(address(syslog)))
}

#[test]
fn buffer_is_bounded_and_drops_the_oldest() {
    const LIMIT: u64 = 256 << 10;
    let Some(server) = Server::with_module(&[], "max-memory 1gb queue-log 512mb") else {
        return;
    };
    let (mut listener, proxy, socket) = without_server(&server, "256kb");
    let mut sent = 0;
    while sent < 6000 {
        for _ in 0..200 {
            let text = format!("<13>1 - - app - - - record-{sent}");
            socket.send(text.as_bytes()).unwrap();
            sent += 1;
        }
        until("the records are received", || {
            (listener.count("syslog", "received") == sent).then_some(())
        });
        let bytes = listener.status()["buffered_bytes"].as_u64().unwrap();
        assert!(bytes <= LIMIT, "{bytes}");
    }
    let last_received = now_ms();
    let dropped = listener.count("syslog", "dropped");
    assert!(dropped > sent / 2, "{dropped}");
    // Reports of the last second get the time of the server.
    std::thread::sleep(Duration::from_millis(1500));
    proxy.repair();
    listener.until_up(true);
    listener.assert_counts_add_up();
    let counted = listener.count("syslog", "counted");
    assert_eq!(counted + dropped, sent);
    let queue = server.peek(NODE, "LOG");
    let messages: Vec<&str> = queue
        .iter()
        .map(|record| record["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages.len() as u64, counted);
    let numbers: Vec<u64> = messages
        .iter()
        .map(|message| message.strip_prefix("record-").unwrap().parse().unwrap())
        .collect();
    let newest: Vec<u64> = (dropped..sent).collect();
    assert_eq!(numbers, newest);
    for record in &queue {
        let at = record["epoch"].as_i64().unwrap();
        assert!(at <= last_received + 20, "{record}: {last_received}");
    }
    assert_eq!(listener.end().unwrap(), 0);
}

#[test]
fn large_report_does_not_empty_the_buffer() {
    let Some(server) = Server::start() else {
        return;
    };
    let (mut listener, proxy, socket) = without_server(&server, "16kb");
    let texts = ["small", &"x".repeat(20_000), "end"];
    for (received, text) in (1..).zip(texts) {
        socket
            .send(format!("<13>1 - - app - - - {text}").as_bytes())
            .unwrap();
        until("it is received", || {
            (listener.count("syslog", "received") == received).then_some(())
        });
    }
    assert_eq!(listener.count("syslog", "dropped"), 1);
    proxy.repair();
    listener.until_up(true);
    listener.until_sent();
    let queue = server.peek(NODE, "LOG");
    let messages: Vec<&str> = queue
        .iter()
        .filter_map(|record| record["message"].as_str())
        .collect();
    assert_eq!(messages, ["small", "end"]);
    assert_eq!(listener.end().unwrap(), 0);
}
