//! Sends requests over connections that stay open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::load::{Trial, own_cpu};
use crate::subject::Subject;

/// Connections, each with a thread.
pub const CONNECTIONS: usize = 4;

/// Requests that are sent again and again.
pub struct Requests {
    /// The path.
    pub path: &'static str,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body of each connection.
    pub bodies: Vec<Vec<u8>>,
    /// The points or lines of a request.
    pub count: u64,
    /// The samples of each.
    pub samples: u64,
}

/// Sends requests for some time.
pub fn measure(subject: &Subject, requests: &Requests, seconds: f64) -> Trial {
    // In the first requests series are new, and resources, which count as objects.
    run(subject, requests, 0.5);
    let before = subject.received().counted;
    let trial = run(subject, requests, seconds);
    let counted = subject.received().counted - before;
    assert_eq!(
        counted,
        trial.count * requests.samples,
        "samples that the server has counted"
    );
    trial
}

fn run(subject: &Subject, requests: &Requests, seconds: f64) -> Trial {
    let (cpu, server_cpu) = subject.cpu();
    let (start, length) = (Instant::now(), Duration::from_secs_f64(seconds));
    let done: Vec<(u64, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = requests
            .bodies
            .iter()
            .map(|body| {
                scope.spawn(move || connection(subject.port, requests, body, start, length))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .collect()
    });
    let (cpu_after, server_after) = subject.cpu();
    let count = done.iter().map(|(count, _)| count).sum::<u64>() * requests.count;
    Trial {
        count,
        seconds: start.elapsed().as_secs_f64(),
        subject: cpu_after - cpu,
        server: server_after - server_cpu,
        sender: done.iter().map(|(_, cpu)| cpu).sum(),
        lost: 0,
        failure: None,
    }
}

/// Returns the number of requests that were answered, and the CPU time of the thread.
fn connection(
    port: u16,
    requests: &Requests,
    body: &[u8],
    start: Instant,
    length: Duration,
) -> (u64, f64) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        requests.path,
        requests.content_type,
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let mut count = 0;
    while start.elapsed() < length {
        stream.write_all(&request).expect("it is sent");
        read_answer(&mut answers);
        count += 1;
    }
    (count, own_cpu())
}

/// Reads an answer, which has to be a success.
fn read_answer(answers: &mut BufReader<TcpStream>) {
    let (mut line, mut length) = (String::new(), 0);
    answers.read_line(&mut line).expect("an answer");
    assert!(line.starts_with("HTTP/1.1 20"), "{line}");
    while line != "\r\n" {
        line.clear();
        answers.read_line(&mut line).expect("a header");
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).expect("a body");
    // Points that are rejected are in it.
    assert!(body.is_empty(), "{}", String::from_utf8_lossy(&body));
}
