//! The cost of operations without a server, by the size of the node, so that growth shows: samples, log entries,
//! errors, objects, closings (for each window), deliveries and acknowledgements (for each record), saving and loading
//! (for each metric).
//!
//! Arguments become a request, and the request runs, as in the module. Names are visited far from one to the next, as
//! in reports of many programs.

use aggregator_core::node::SnapshotLoader;
use aggregator_core::{
    Command, Counters, Effects, ExecContext, Memory, Node, Now, Reply, Request, Settings,
};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use criterion::{criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// The numbers of metrics of a node.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// Takes replies, and keeps integers: ids are among them.
#[derive(Default)]
struct Answer(Vec<i64>);

impl Reply for Answer {
    fn array(&mut self, _: usize) {}
    fn map(&mut self, _: usize) {}
    fn bulk(&mut self, bytes: &[u8]) {
        black_box(bytes);
    }
    fn int(&mut self, value: i64) {
        self.0.push(value);
    }
    fn null(&mut self) {}
}

/// A world of one node.
struct Server {
    node: Node,
    settings: Settings,
    now: Now,
    last_id: u64,
    effects: Effects,
    counters: Counters,
}

impl Server {
    fn new() -> Server {
        let mut settings = Settings {
            max_series: u32::MAX,
            ..Settings::default()
        };
        settings.rules.queue_bytes = [1 << 32; 3];
        Server {
            node: Node::new(&settings, 1),
            settings,
            now: Now {
                wall_us: 1_700_000_000_000_000,
                mono_ms: 1,
            },
            last_id: 0,
            effects: Effects::with_buffer(),
            counters: Counters::default(),
        }
    }

    /// Creates a node whose metrics have a sample each.
    fn with(metrics: usize, options: &[&[u8]]) -> Server {
        let mut server = Server::new();
        (0..metrics).for_each(|i| server.stat(&name(i), options));
        server
    }

    fn run(&mut self, command: Command, args: &[&[u8]], answer: &mut Answer) {
        let request = Request::parse(command, args, &self.settings, self.now)
            .unwrap_or_else(|error| panic!("{error}"));
        answer.0.clear();
        self.exec(|node, exec| {
            let ran = request.run(b"node1", node, exec, answer);
            assert!(ran.is_ok());
        });
    }

    fn exec(&mut self, f: impl FnOnce(&mut Node, &mut ExecContext<'_>)) {
        let mut exec = ExecContext {
            now: self.now,
            settings: &self.settings,
            node_name: b"node1",
            last_id: &mut self.last_id,
            effects: &mut self.effects,
            allow_verbatim: true,
            memory_pressure: false,
            memory: Memory::UNLIMITED,
            counters: &mut self.counters,
        };
        f(&mut self.node, &mut exec);
    }

    fn stat(&mut self, name: &[u8], options: &[&[u8]]) {
        let mut args: [&[u8]; 8] = [b"AGG.STAT", b"node1", name, b"42", b"", b"", b"", b""];
        args[4..4 + options.len()].copy_from_slice(options);
        self.run(
            Command::Stat,
            &args[..4 + options.len()],
            &mut Answer::default(),
        );
    }

    /// Advances the clock until all windows have closed.
    fn close(&mut self) {
        self.now.wall_us += 3_700_000_000;
        self.now.mono_ms += 3_700_000;
        self.settings.series_ttl_s = 0;
        let mut more = true;
        while more {
            self.exec(|node, exec| more = node.sweep(64, false, exec).more);
        }
    }
}

fn name(i: usize) -> Vec<u8> {
    format!("metric:{i:012}").into_bytes()
}

fn group<'c>(c: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    group
}

fn samples(c: &mut Criterion) {
    let kinds: [(&str, &[&[u8]]); 3] = [
        ("ABS", &[]),
        ("DIFF", &[b"DIFF"]),
        ("TAGS", &[b"TAGS", b"dim:iops location:elgouna"]),
    ];
    for (kind, options) in kinds {
        let mut group = group(c, &format!("sample {kind}"));
        for metrics in SIZES {
            let mut server = Server::with(metrics, options);
            let names: Vec<_> = (0..metrics).map(|i| name(i * 7919 % metrics)).collect();
            let mut next = names.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(metrics), |b| {
                b.iter(|| {
                    if let Some(name) = next.next() {
                        server.stat(name, options);
                    }
                });
            });
        }
    }
}

/// Reports whose cost does not depend on the number of metrics.
fn reports(c: &mut Criterion) {
    let mut group = group(c, "report");
    let line = [b'x'; 100];
    let json = format!("{{\"model\":\"X\",\"serials\":\"{}\"}}", "s".repeat(450));
    let cases: [(&str, Command, &[&[u8]]); 3] = [
        (
            "line of 100 bytes, the queue full",
            Command::Log,
            &[b"AGG.LOG", b"node1", &line],
        ),
        (
            "known error",
            Command::Error,
            &[
                b"AGG.ERROR",
                b"node1",
                b"disk failed",
                b"FUNC",
                b"read",
                b"FILE",
                b"disk.c",
            ],
        ),
        (
            "unchanged object of 480 bytes",
            Command::Reality,
            &[
                b"AGG.REALITY",
                b"node1",
                b"sda",
                b"system.Disk",
                json.as_bytes(),
            ],
        ),
    ];
    for (what, command, args) in cases {
        let mut server = Server::new();
        server.settings.rules.queue_bytes[2] = 1 << 20;
        let mut answer = Answer::default();
        (0..20_000).for_each(|_| server.run(command, args, &mut answer));
        group.bench_function(what, |b| b.iter(|| server.run(command, args, &mut answer)));
    }
}

/// Both windows of all metrics.
fn closings(c: &mut Criterion) {
    let mut group = group(c, "close");
    group.sample_size(10);
    for metrics in SIZES {
        group.throughput(Throughput::Elements(2 * metrics as u64));
        group.bench_function(BenchmarkId::from_parameter(metrics), |b| {
            b.iter_batched(
                || Server::with(metrics, &[]),
                |mut server| {
                    server.close();
                    server
                },
                BatchSize::PerIteration,
            );
        });
    }
}

/// FETCH of 1,000 records and their ACK, from a queue of so many.
fn draining(c: &mut Criterion) {
    for (what, format) in [("JSON", b"JSON".as_slice()), ("LINE", b"LINE")] {
        let mut group = group(c, &format!("fetch and ack {what}"));
        group.throughput(Throughput::Elements(1000));
        for records in [10_000, 1_000_000] {
            let mut server = Server::with(records, &[b"TAGS", b"dim:iops location:elgouna"]);
            server.close();
            let mut answer = Answer::default();
            group.bench_function(BenchmarkId::from_parameter(records), |b| {
                b.iter(|| {
                    let fetch: [&[u8]; 7] = [
                        b"AGG.FETCH",
                        b"node1",
                        b"MIN",
                        b"COUNT",
                        b"1000",
                        b"FORMAT",
                        format,
                    ];
                    server.run(Command::Fetch, &fetch, &mut answer);
                    let ids: Vec<String> =
                        answer.0.chunks(2).map(|pair| pair[0].to_string()).collect();
                    if ids.is_empty() {
                        server = Server::with(records, &[b"TAGS", b"dim:iops location:elgouna"]);
                        server.close();
                        return;
                    }
                    let mut ack: Vec<&[u8]> = vec![b"AGG.ACK", b"node1", b"MIN"];
                    ack.extend(ids.iter().map(String::as_bytes));
                    server.run(Command::Ack, &ack, &mut answer);
                });
            });
        }
    }
}

/// Saves a node with history as frames, and loads it.
fn saving(c: &mut Criterion) {
    const METRICS: usize = 10_000;
    let mut server = Server::with(METRICS, &[b"TAGS", b"dim:iops location:elgouna"]);
    for _ in 0..12 {
        server.close();
        (0..METRICS).for_each(|i| server.stat(&name(i), &[]));
    }
    let mut group = group(c, "node with history");
    group.throughput(Throughput::Elements(METRICS as u64));
    let mut frames: Vec<Vec<u8>> = Vec::new();
    server
        .node
        .snapshot(&mut |frame| frames.push(frame.to_vec()));
    group.bench_function("save", |b| {
        b.iter(|| server.node.snapshot(&mut |frame| _ = black_box(frame)));
    });
    group.bench_function("load", |b| {
        b.iter(|| {
            let mut loader = SnapshotLoader::new(1, 1, u64::MAX);
            frames
                .iter()
                .for_each(|frame| assert!(loader.frame(frame).is_ok()));
            loader.finish().is_ok()
        });
    });
}

criterion_group!(benches, samples, reports, closings, draining, saving);
criterion_main!(benches);
