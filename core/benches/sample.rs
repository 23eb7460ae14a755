//! What a sample costs without a server: arguments to a request, and the request on a node of so many metrics.

use aggregator_core::{Command, Counters, Effects, Node, Now, Reply, Request, Settings, Turn};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// Takes answers and forgets them.
struct Nobody;

impl Reply for Nobody {
    fn array(&mut self, _: usize) {}
    fn map(&mut self, _: usize) {}
    fn bulk(&mut self, bytes: &[u8]) {
        black_box(bytes);
    }
    fn int(&mut self, value: i64) {
        black_box(value);
    }
    fn null(&mut self) {}
}

/// A server of one node.
struct Server {
    node: Node,
    settings: Settings,
    now: Now,
    last_id: u64,
    effects: Effects,
    counters: Counters,
}

impl Server {
    fn new(metrics: usize, options: &[&[u8]]) -> Server {
        let settings = Settings {
            max_series: u32::MAX,
            ..Settings::default()
        };
        let mut server = Server {
            node: Node::new(&settings, 1),
            settings,
            now: Now {
                wall_us: 1_700_000_000_000_000,
                mono_ms: 1,
            },
            last_id: 0,
            effects: Effects::with_buffer(),
            counters: Counters::default(),
        };
        (0..metrics).for_each(|i| server.stat(&name(i), options));
        server
    }

    fn stat(&mut self, name: &[u8], options: &[&[u8]]) {
        let mut args: [&[u8]; 8] = [b"AGG.STAT", b"node1", name, b"42", b"", b"", b"", b""];
        args[4..4 + options.len()].copy_from_slice(options);
        let args = &args[..4 + options.len()];
        let request = Request::parse(Command::Stat, args, &self.settings, self.now)
            .unwrap_or_else(|refusal| panic!("{refusal}"));
        let mut turn = Turn {
            now: self.now,
            settings: &self.settings,
            last_id: &mut self.last_id,
            effects: &mut self.effects,
            may_repeat: true,
            is_tight: false,
            room: u64::MAX,
            counters: &mut self.counters,
        };
        let ran = request.run(b"node1", &mut self.node, &mut turn, &mut Nobody);
        black_box(ran.is_ok());
    }
}

fn name(i: usize) -> Vec<u8> {
    format!("metric:{i:012}").into_bytes()
}

fn samples(c: &mut Criterion) {
    let kinds: [(&str, &[&[u8]]); 3] = [
        ("ABS", &[]),
        ("DIFF", &[b"DIFF"]),
        ("TAGS", &[b"TAGS", b"dim:iops location:elgouna"]),
    ];
    for (kind, options) in kinds {
        let mut group = c.benchmark_group(format!("sample {kind}"));
        for metrics in [1_000, 100_000] {
            let mut server = Server::new(metrics, options);
            // Far from one to the next, as reports of many programs are.
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

criterion_group!(benches, samples);
criterion_main!(benches);
