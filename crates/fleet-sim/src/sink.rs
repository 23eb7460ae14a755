//! The sink: an HTTP endpoint for `http` sinks with `format = "lines"`, which answers after a random delay and counts
//! each record by node, queue and id. No real database is as simple; it stands for one of a known latency.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{ErrorKind, Result};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::Clock;
use crate::options::Options;
use crate::orders::{Order, Orders, write};
use crate::random::Random;

/// The largest body that is read, bytes.
const MAX_BODY: usize = 64 << 20;
/// The longest head of a request, bytes.
const MAX_HEAD: usize = 64 << 10;

/// The members of a record that are counted.
#[derive(Deserialize)]
struct Record<'a> {
    node: &'a str,
    queue: &'a str,
    id: u64,
    end: Option<i64>,
}

/// What the sink has received.
struct Sink {
    clock: Clock,
    random: Random,
    delay_ms: (u64, u64),
    /// The ids of each queue of a node, in the order of arrival.
    ids: HashMap<String, Vec<u64>>,
    records: u64,
    requests: u64,
    bytes: u64,
    /// Since the mark: the times from the end of a window to the arrival of its record, milliseconds.
    delays_ms: Vec<u32>,
}

#[derive(Serialize)]
struct Status {
    kind: &'static str,
    real_ms: u64,
    records: u64,
    requests: u64,
    bytes: u64,
}

/// What was received: since the start, and the delays since the mark.
#[derive(Serialize)]
struct Report {
    kind: &'static str,
    records: u64,
    /// Records of different node, queue or id.
    distinct: u64,
    delays: usize,
    p50_ms: u32,
    p99_ms: u32,
    max_ms: u32,
}

/// Runs the sink until standard input is closed.
pub async fn run(options: Options) -> Result<()> {
    let address = ("127.0.0.1", options.get("port") as u16);
    let listener = TcpListener::bind(address).await?;
    let sink = Rc::new(RefCell::new(Sink {
        clock: Clock::new(options.get("ahead")),
        random: Random::new(options.get("seed")),
        delay_ms: (options.get("min-delay"), options.get("max-delay")),
        ids: HashMap::new(),
        records: 0,
        requests: 0,
        bytes: 0,
        delays_ms: Vec::new(),
    }));
    let mut status = interval(Duration::from_millis(options.get("status").max(10)));
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut orders = Orders::new();
    loop {
        tokio::select! {
            stream = listener.accept() => drop(spawn_local(serve(stream?.0, sink.clone()))),
            order = orders.next() => match order {
                Some(order) => sink.borrow_mut().obey(order),
                None => return Ok(()),
            },
            _ = status.tick() => sink.borrow().status(),
        }
    }
}

/// Answers the requests of a connection.
async fn serve(stream: TcpStream, sink: Rc<RefCell<Sink>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    while let Some(length) = head(&mut stream).await? {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        // Stored when it has been answered; a poller that does not see the answer sends it again.
        let delay = sink.borrow_mut().delay();
        sleep(delay).await;
        let response = match sink.borrow_mut().store(&body) {
            Ok(()) => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Err(error) => {
                let text = error.to_string();
                format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{text}",
                    text.len()
                )
            }
        };
        stream.write_all(response.as_bytes()).await?;
    }
    Ok(())
}

/// Reads the head of a request. Returns the length of its body, or `None` at the end of the connection.
async fn head(stream: &mut BufReader<TcpStream>) -> Result<Option<usize>> {
    let (mut length, mut read) = (0, 0);
    loop {
        let mut line = String::new();
        let count = (&mut *stream)
            .take(MAX_HEAD as u64)
            .read_line(&mut line)
            .await?;
        read += count;
        if count == 0 {
            return Ok(None);
        }
        if read > MAX_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Ok(Some(length));
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(usize::MAX);
            if length > MAX_BODY {
                return Err(ErrorKind::InvalidData.into());
            }
        }
    }
}

impl Sink {
    fn delay(&mut self) -> Duration {
        let (min, max) = self.delay_ms;
        Duration::from_millis(min + self.random.below(max.saturating_sub(min) + 1))
    }

    /// Counts the records of a body, or none of them.
    fn store(&mut self, body: &[u8]) -> serde_json::Result<()> {
        let lines = body.split(|byte| *byte == b'\n');
        let records: Vec<Record<'_>> = lines
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<serde_json::Result<_>>()?;
        let now_ms = self.clock.now().ms();
        for record in &records {
            let key = format!("{} {}", record.node, record.queue);
            self.ids.entry(key).or_default().push(record.id);
            if let Some(end) = record.end {
                let delay = now_ms.saturating_sub(end).max(0);
                self.delays_ms
                    .push(u32::try_from(delay).unwrap_or(u32::MAX));
            }
        }
        self.records += records.len() as u64;
        self.requests += 1;
        self.bytes += body.len() as u64;
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Advance(ms) => self.clock.advance(ms),
            Order::Mark => self.delays_ms.clear(),
            Order::Report => self.report(),
            Order::Jitter(_) | Order::Samples | Order::Freeze | Order::Killed(_) => {}
        }
    }

    fn status(&self) {
        write(&Status {
            kind: "status",
            real_ms: self.clock.real_ms(),
            records: self.records,
            requests: self.requests,
            bytes: self.bytes,
        });
    }

    fn report(&mut self) {
        self.delays_ms.sort_unstable();
        let delays = &self.delays_ms;
        let quantile = |percent: usize| {
            let rank = (delays.len() * percent).div_ceil(100);
            delays.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        let mut distinct = 0;
        for ids in self.ids.values_mut() {
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            sorted.dedup();
            distinct += sorted.len() as u64;
        }
        write(&Report {
            kind: "report",
            records: self.records,
            distinct,
            delays: delays.len(),
            p50_ms: quantile(50),
            p99_ms: quantile(99),
            max_ms: quantile(100),
        });
    }
}
