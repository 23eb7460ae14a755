//! `agg poll` and its HTTP sinks: InfluxDB 3.x, VictoriaMetrics, any endpoint that takes JSON; https; and how it
//! handles their faults.

mod endpoint;
mod https;
mod influx;
mod proxy;
mod response;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Starts a server that replies with `first` and then with `then`, each time on a new connection. Returns its URL, and
/// the bodies of the requests as they come.
fn raw_server(first: &'static [u8], then: &'static [u8]) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bodies: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = bodies.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim_end().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let reply = match kept.lock().unwrap().is_empty() {
                true => first,
                false => then,
            };
            kept.lock().unwrap().push(body);
            reader.get_mut().write_all(reply).unwrap();
        }
    });
    (url, bodies)
}
