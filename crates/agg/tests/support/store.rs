//! A store that takes JSON records by HTTP and keeps their identity and a hash. It can be down, slow, or fail after it
//! stored a request.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The state of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    /// Connections are closed without an answer.
    Away,
    /// Answers take this long.
    Slow(Duration),
    /// Requests are stored, and the connection is closed without an answer.
    Cut,
}

/// A stored record: its identity, and its content as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The message of a log entry; metric and start of a window.
    pub what: String,
    pub content: u64,
    pub times: u64,
}

/// By node, queue and id.
pub type Records = HashMap<(String, String, i64), Kept>;

/// A running store; its threads end with the test's process.
pub struct Store {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    mood: Mood,
    records: Records,
    /// Ids that came with two contents.
    torn: Vec<String>,
}

#[derive(Deserialize)]
struct Record {
    node: String,
    queue: String,
    id: i64,
    message: Option<String>,
    metric: Option<String>,
    start: Option<i64>,
}

impl Store {
    pub fn start() -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/records", listener.local_addr().unwrap());
        let inner = Arc::new(Mutex::new(Inner {
            mood: Mood::Well,
            records: Records::new(),
            torn: Vec::new(),
        }));
        let kept = inner.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Store { url, inner }
    }

    pub fn set(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    /// Returns everything that was stored.
    pub fn records(&self) -> Records {
        self.inner.lock().unwrap().records.clone()
    }

    pub fn len(&self) -> usize {
        self.inner.lock().unwrap().records.len()
    }

    /// Returns the ids that came with two contents; there must be none.
    pub fn torn(&self) -> Vec<String> {
        self.inner.lock().unwrap().torn.clone()
    }
}

fn serve(stream: TcpStream, inner: &Mutex<Inner>) {
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(body) = read(&mut reader) {
        let mood = inner.lock().unwrap().mood;
        match mood {
            Mood::Away => return,
            Mood::Slow(pause) => std::thread::sleep(pause),
            Mood::Well | Mood::Cut => {}
        }
        inner.lock().unwrap().store(&body);
        if mood == Mood::Cut {
            return;
        }
        let answer = b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

impl Inner {
    fn store(&mut self, body: &[u8]) {
        let texts: Vec<&RawValue> = serde_json::from_slice(body).unwrap();
        for text in texts {
            let record: Record = serde_json::from_str(text.get()).unwrap();
            let mut hasher = DefaultHasher::new();
            text.get().hash(&mut hasher);
            let content = hasher.finish();
            let what = record
                .message
                .unwrap_or_else(|| format!("{} {}", record.metric.unwrap(), record.start.unwrap()));
            let id = (record.node, record.queue, record.id);
            let name = format!("{id:?}");
            let kept = self.records.entry(id).or_insert(Kept {
                what,
                content,
                times: 0,
            });
            kept.times += 1;
            if kept.content != content {
                self.torn.push(name);
            }
        }
    }
}

/// Reads the body of a request.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = Some(text.trim().parse().unwrap());
        }
    }
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
