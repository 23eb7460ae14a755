//! Connections to the server are cut at random bytes while reports are sent: each counts once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Listener, NODE, Random, Server, address, amount, free_port, number, seed};

/// A proxy whose connections are cut after a random number of bytes, until there were enough cuts.
struct Cutter {
    port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    fn start(target: u16, limit: usize, mut random: Random) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = cuts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
                let left = match counted.load(Ordering::SeqCst) < limit {
                    // Short ones cut the handshake, long ones let the backlog through.
                    true => match random.below(4) {
                        0 => random.below(500) as i64,
                        _ => random.below(30_000) as i64,
                    },
                    false => i64::MAX,
                };
                let left = Arc::new(AtomicI64::new(left));
                let pairs = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (from, to) in pairs {
                    let (left, cuts) = (left.clone(), counted.clone());
                    std::thread::spawn(move || copy(from, to, &left, &cuts));
                }
            }
        });
        Cutter { port, cuts }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, left: &AtomicI64, cuts: &AtomicUsize) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let before = left.fetch_sub(count as i64, Ordering::SeqCst);
        let passed = before.clamp(0, count as i64) as usize;
        let is_written = to.write_all(&buffer[..passed]).is_ok();
        if passed < count && before >= 0 {
            cuts.fetch_add(1, Ordering::SeqCst);
        }
        if passed < count || !is_written {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn reports_count_once_although_connections_are_cut() {
    const LISTENERS: usize = 6;
    let module = "max-memory 1gb queue-log 512mb queue-min 1mb";
    let Some(server) = Server::with_module(&[], module) else {
        return;
    };
    let limit = amount(300, 10_000) / LISTENERS;
    let pause = Duration::from_millis(10);
    let between_logs = amount(20, 400);
    let mut random = Random(seed());
    let senders: Vec<_> = (0..LISTENERS)
        .map(|index| {
            let cutter = Cutter::start(server.port, limit, Random(random.next()));
            std::thread::spawn(move || {
                let (statsd, syslog) = (free_port(), free_port());
                let url = format!("redis://127.0.0.1:{}", cutter.port);
                let config = format!(
                    "flush-interval = \"10ms\"\n[statsd]\nlisten = \"127.0.0.1:{statsd}\"\n\
                     [syslog]\nlisten = \"127.0.0.1:{syslog}\"\n"
                );
                let mut listener = Listener::start(&url, &config);
                let mut samples = TcpStream::connect(address(statsd)).unwrap();
                let mut records = TcpStream::connect(address(syslog)).unwrap();
                let (mut rounds, mut logs) = (0, Vec::new());
                while cutter.cuts.load(Ordering::SeqCst) < limit {
                    let mut lines = String::new();
                    for value in 0..20 {
                        lines += &format!("inc:{}|c\ntime:{value}|ms\n", rounds % 7);
                    }
                    // Each its own metric of the command, so that it is not merged with the one before.
                    lines += "one:1|c\ndist:1:2:3|d\n";
                    samples.write_all(lines.as_bytes()).unwrap();
                    if rounds % between_logs as u64 == 0 {
                        let message = format!("{index}-{rounds}");
                        let line = format!("<13>1 - - app - - - {message}\n");
                        records.write_all(line.as_bytes()).unwrap();
                        logs.push(message);
                    }
                    rounds += 1;
                    std::thread::sleep(pause);
                }
                drop((samples, records));
                listener.until_up(true);
                listener.assert_counts_add_up();
                assert_eq!(listener.end().unwrap(), 0);
                (rounds, logs)
            })
        })
        .collect();
    let mut expected = (0, 0, Vec::new());
    for sender in senders {
        let (rounds, logs) = sender.join().unwrap();
        expected.0 += rounds;
        expected.1 += (0..rounds).map(|round| 20 * (round % 7)).sum::<u64>();
        expected.2.extend(logs);
    }
    let (rounds, sum, mut logs) = expected;
    assert_eq!(number(&server, "one", "total"), rounds as f64);
    assert_eq!(number(&server, "inc", "total"), sum as f64);
    assert_eq!(number(&server, "time", "samples"), 20.0 * rounds as f64);
    assert_eq!(number(&server, "dist", "samples"), 3.0 * rounds as f64);
    let queue = server.peek(NODE, "LOG");
    let messages = queue
        .iter()
        .map(|record| record["message"].as_str().unwrap());
    let mut messages: Vec<&str> = messages.collect();
    messages.sort_unstable();
    logs.sort_unstable();
    assert_eq!(messages, logs);
}
