//! Takes the steps.

use super::*;

impl World {
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Gauge(s) | Act::Gauge2(s) => self.sample(s, true),
            Act::Counter(s) | Act::Counter2(s) => self.sample(s, false),
            Act::Many {
                kinds,
                options,
                metric,
                values,
                at,
            } => match kinds & 0b111 {
                0b100 | 0b101 => self.aggregated(*options, *metric, values, at),
                _ => self.many(*kinds, *options, *metric, values, at),
            },
            Act::Log {
                length,
                level,
                tags,
            } => {
                let (message, level) = ("x".repeat((*length).into()), level_word(*level));
                let tags = pick(&TAGS, *tags);
                let id = self.run(Command::Log, &[&message, "LEVEL", &level, "TAGS", tags]);
                match id.expect("it creates") {
                    Ok(id) => {
                        assert!(id.int() > self.top, "{id:?} after {}", self.top);
                        self.logged += 1;
                    }
                    Err(error) => assert!(self.server.memory_pressure, "{error}"),
                }
            }
            Act::Error { key, level, tags } => self.error(*key, *level, *tags),
            Act::Reality(object) | Act::Reality2(object) => self.reality(object),
            Act::Forget { family, name } => {
                let (family, name) = (pick(&FAMILIES, *family), name % 6);
                let name = match family {
                    "METRIC" => metric_name(name),
                    _ => format!("k{name}"),
                };
                self.run(Command::Forget, &[family, &name]);
            }
            Act::Requeue { reality, pattern } => {
                let queue = QUEUES[3 + usize::from(*reality)];
                let words = [queue, "MATCH", "k[0-2]"];
                let words = if *pattern { &words[..] } else { &words[..1] };
                self.run(Command::Requeue, words);
            }
            Act::Pop { queue, count } => self.deliver(Command::Pop, *queue, *count, 0),
            Act::Fetch {
                queue,
                count,
                lease,
            }
            | Act::Fetch2 {
                queue,
                count,
                lease,
            } => self.deliver(Command::Fetch, *queue, *count, (*lease).into()),
            Act::Ack(of) => self.of(Command::Ack, of),
            Act::Nack(of) => self.of(Command::Nack, of),
            Act::Extend(of) => self.of(Command::Extend, of),
            Act::Pass(ms) => self.server.pass((*ms).into()),
            Act::PassLong(ms) => self.server.pass(u64::from(*ms) * 100),
            Act::Step(ms) => {
                let ms = i64::from(*ms) / 1000;
                self.server.now.wall_us = ((self.server.now.ms() + ms) * 1000) as u64;
            }
            Act::Tick | Act::Tick2 => self.tick(),
            Act::Set { which, value } => self.set(*which, (*value).into()),
            Act::Failover => self.failover(),
            Act::Restart => {
                self.node = self
                    .node
                    .take()
                    .map(|node| load(&frames(&node)).expect("it loads"));
                self.node
                    .iter_mut()
                    .for_each(|n| n.restart(self.server.now.mono_ms));
                self.forget_leases();
            }
            // Then records may be dropped, so only where that is not counted.
            Act::Memory { pressure, bytes } if self.low_limits => {
                self.server.memory_pressure = *pressure;
                self.server.available_bytes = if *pressure {
                    u64::from(*bytes) * 8
                } else {
                    u64::MAX
                };
            }
            Act::Memory { .. } => {}
            Act::Evict { queue, bytes } => self.evict(*queue, (*bytes).into()),
        }
    }

    fn tick(&mut self) {
        for n in 0..2_000 {
            let Some(node) = &mut self.node else { return };
            let more = self.server.sweep(node, n == 0);
            self.replicate(Command::Info, &[]);
            if !more {
                return;
            }
        }
        panic!("a sweep that does not end");
    }

    /// Evicts the oldest records of queues. The rest is conserved, so this is left to the mode with low limits.
    fn evict(&mut self, queue: u8, bytes: u64) {
        let Some(node) = self.node.as_mut().filter(|_| self.low_limits) else {
            return;
        };
        let queue = pick(&[Queue::Min, Queue::Hour, Queue::Log], queue);
        let mut exec = self.server.exec(false);
        node.drop_oldest(queue, bytes, MemoryLimit::Server, &mut exec);
        self.replicate(Command::Info, &[]);
    }

    fn set(&mut self, which: u8, value: u64) {
        let settings = &mut self.server.settings;
        let rules = &mut settings.rules;
        match which % 8 {
            0 => rules.flush_delay_ms = value as i64 * 100,
            1 => rules.min_interval_ms = 1 + value as i64 * 20,
            2 => rules.max_gap_ms = 1000 + value as i64 * 60_000,
            3 => rules.history = [value as u32 % 5, value as u32 / 50],
            4 => rules.max_future_ms = value as i64 * 1000,
            5 => settings.error_interval_ms = value * 1000,
            6 => settings.series_ttl_s = value * 60,
            _ => settings.reality_ttl_s = value * 10,
        }
    }

    /// The replica becomes the primary, and gets a replica of its own, fully synchronised.
    fn failover(&mut self) {
        let Some(mut promoted) = self.replica.take() else {
            return;
        };
        promoted.restart(self.server.now.mono_ms);
        self.replica = Some(load(&frames(&promoted)).expect("it loads"));
        self.node = Some(promoted);
        self.server.last_id = 0;
        self.forget_leases();
        // A replica counts drops, too.
        let info = self.ask(Command::Info, &[]);
        self.dropped = QUEUES.map(|q| info.at("queues").at(q).at("dropped").int());
    }

    fn forget_leases(&mut self) {
        self.leased.clear();
        self.deliveries.clear();
        self.dropped = [0; 5];
    }
}
