//! Clients that read slowly: what they have not received is bounded, and the others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::Value;

use super::{Serve, value};
use crate::support::{Server, until};

/// The limit of responses that are held, bytes.
const LIMIT: usize = 64 << 20;
/// The number of clients: without the limit their pages would have far more.
const CLIENTS: usize = 12;

/// Connects with a small buffer: by itself the kernel would receive megabytes that nobody reads.
fn connect(address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        stream.into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Requests the page and reads the status alone. Returns the status, and the connection that stays open.
fn request(serve: &Serve) -> (String, TcpStream) {
    let mut stream = connect(&serve.address);
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", serve.address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    (String::from_utf8_lossy(&start[9..]).into_owned(), stream)
}

#[test]
fn memory_of_pages_that_slow_clients_read_is_bounded() {
    let Some(server) = Server::start() else {
        return;
    };
    // Few series that are long, so that a page takes little time.
    let tags = ["a", "b", "c", "d", "e"].map(|name| format!("{name}={}", "x".repeat(1000)));
    let tags = tags.join(" ");
    for node in ["n1", "n2", "n3"] {
        let mut words: Vec<String> = ["AGG.MSTAT", node, "TAGS", &tags, "VALUES"]
            .map(str::to_owned)
            .to_vec();
        words.extend((0..1000).flat_map(|n| [format!("m{n}"), n.to_string()]));
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let _: Value = server.send(&words);
    }
    let serve = Serve::start(&format!("--server {}", server.url()));
    let page = serve.scrape();
    assert!(page.len() > 10_000_000, "{}", page.len());
    assert!(page.len() * CLIENTS > 2 * LIMIT + page.len());
    let before = serve.process.peak_memory();
    let mut slow = Vec::new();
    let mut rejected = 0;
    for _ in 0..CLIENTS {
        let (status, stream) = request(&serve);
        match &*status {
            "200" => slow.push((Instant::now(), stream)),
            "503" => rejected += 1,
            other => panic!("{other}"),
        }
        // The next one gets a page of its own.
        sleep(Duration::from_millis(600));
    }
    let most = LIMIT / page.len();
    // On a slow machine the first connections have reached the end of their time.
    let is_open = |(since, _): &&(Instant, TcpStream)| since.elapsed() < Duration::from_secs(59);
    let open = slow.iter().filter(is_open).count();
    assert!(open <= most && slow.len() >= 2, "{open} of {most}");
    assert_eq!(slow.len() + rejected, CLIENTS);
    // What is held, and the replies, series and text of the page that is made, and the one before.
    let peak = serve.process.peak_memory() - before;
    let bound = (LIMIT + 6 * page.len()) as u64;
    assert!(peak < bound, "{} MiB more", peak >> 20);
    assert_eq!(serve.get("/healthz"), (200, "ok\n".to_owned()));
    let (status, text) = serve.get("/metrics");
    if status == 503 {
        let expected = "too many responses are still being sent to slow clients: retry later\n";
        assert_eq!(text, expected);
    }
    drop(slow);
    let page = until("pages are served again", || {
        Some(serve.get("/metrics")).filter(|(status, _)| *status == 200)
    });
    let counted = value(&page.1, "agg_serve_rejected_requests_total").unwrap();
    assert!(counted >= rejected as f64, "{counted} of {rejected}");
}
