//! A stub of an HTTP server, for faults that a real database does not have on demand. It answers as the test says and
//! keeps the requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A received request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path with its parameters.
    pub path: String,
    /// The value of the header Authorization.
    pub authorization: String,
    /// The uncompressed body. What is not UTF-8 is replaced.
    pub body: String,
    /// The same as it is.
    pub bytes: Vec<u8>,
    /// The whole head, a line each.
    pub head: Vec<String>,
    pub at: Instant,
}

impl Request {
    pub fn lines(&self) -> Vec<&str> {
        self.body.lines().collect()
    }
}

/// A status, more headers (each with its newline), and a body. Status 0 cuts the connection instead.
pub type Answer = (u16, &'static str, String);

/// A running stub; its threads end with the test's process.
pub struct Stub {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Starts a stub that answers each request by `answer`, which gets the number of previous requests.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Stub {
        Stub::listen(None, answer)
    }

    /// Starts a stub with https.
    pub fn start_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Stub {
        Stub::listen(Some(config), answer)
    }

    fn listen(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answer, tls) = (kept.clone(), answer.clone(), tls.clone());
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    let limit = Some(Duration::from_secs(30));
                    stream.set_read_timeout(limit).unwrap();
                    match tls {
                        None => serve(stream, &kept, &*answer),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            serve(StreamOwned::new(connection, stream), &kept, &*answer);
                        }
                    }
                });
            }
        });
        Stub { url, requests }
    }

    /// Returns all requests.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: impl Read + Write,
    kept: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(usize, &Request) -> Answer + Send + Sync),
) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let before = {
            let mut kept = kept.lock().unwrap();
            kept.push(request.clone());
            kept.len() - 1
        };
        let (status, headers, body) = answer(before, &request);
        if status == 0 {
            return;
        }
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        if reader.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let is = |line: &&String| line.to_lowercase().starts_with(&format!("{name}:"));
        let line = head.iter().find(is)?;
        Some(line[name.len() + 1..].trim().to_owned())
    };
    let length = header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = match header("content-encoding").as_deref() {
        Some("gzip") => gunzip(&body),
        _ => body,
    };
    Some(Request {
        path: head[0].split(' ').nth(1)?.to_owned(),
        authorization: header("authorization").unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
        head,
        at: Instant::now(),
    })
}

pub fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(body)
        .read_to_end(&mut text)
        .unwrap();
    text
}
