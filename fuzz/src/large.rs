//! Builds large saved nodes, commands and patterns from few bytes, and limits their cost.
//!
//! The bytes are steps. Each step contains a number of items, so an input of some 20 bytes is a command with 60,000
//! metrics. The time and memory of a step are in proportion to its bytes, those of the node and those of the reply, and
//! no slice of a sweep takes long.
//!
//! Time is the processor time of this thread, and the bound is some five times that of the slowest step, so other
//! programs on the machine cause no finding. An input that is too slow is run twice again. A quadratic step exceeds the
//! bound many times over. With SHOW in the environment the steps are printed with their cost.

use crate::memory::{cpu_time, measured};
use crate::server::{BASE, Server, Value, frames};
use aggregator_core::codec::put_u64;
use aggregator_core::id::MAX_ID;
use aggregator_core::node::{Node, SnapshotLoader};
use aggregator_core::settings::MAX_HISTORY;
use aggregator_core::{Command, Settings};
use std::time::Duration;

/// A kind of step. A step is its byte, then its sizes (two bytes each), then its choices (one byte each).
pub mod step {
    /// Loads a saved node. Sizes: metrics, half the closed windows of each, log entries. Choice: all in one frame.
    pub const LOAD: u8 = 0;
    /// AGG.MSTAT. Sizes: metrics, bytes of a name (1: the metrics of a loaded node), tags. Choices: kind of tags,
    /// always the same metric.
    pub const METRICS: u8 = 1;
    /// The other commands that report. Sizes: bytes of its text, tags. Choice: kind of tags.
    pub const ITEMS: u8 = 2;
    /// AGG.REALITY. Size: members of the JSON. Choice: their shape.
    pub const JSON: u8 = 3;
    /// AGG.SCAN. Size: elements of the pattern. Choices: element, end, kind of item, with values.
    pub const SCAN: u8 = 4;
    /// AGG.REQUEUE. Size: elements of the pattern. Choices: element, end, queue.
    pub const REQUEUE: u8 = 5;
    /// AGG.POP, FETCH or PEEK. Size: COUNT. Choices: command, as lines.
    pub const DRAIN: u8 = 6;
    /// AGG.ACK, NACK or EXTEND. Size: ids. Choices: command, queue, ids that were delivered last.
    pub const IDS: u8 = 7;
    /// AGG.RANGE, GET, FORGET or STAT. Choices: command, name.
    pub const READ: u8 = 8;
    /// Lowers a setting. Choice: the setting.
    pub const LOWER: u8 = 9;
    /// Lets time pass. Size: seconds.
    pub const PASS: u8 = 10;
    /// Sweeps to the end.
    pub const SWEEP: u8 = 11;
    /// AGG.MSTAT with COLUMNS. Sizes: rows, tags. Choices: kind of tags, the columns, one metric or many.
    pub const COLUMNS: u8 = 12;
    /// AGG.HIST. Sizes: values, tags. Choices: kind of tags, how far the values are apart, their occurrences.
    pub const AGGREGATED: u8 = 13;
    /// The number of kinds.
    pub const KINDS: u8 = 14;
}

/// A step of an input, for seeds.
pub fn seed(kind: u8, sizes: &[usize], choices: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for size in sizes {
        let power = (0..16).rev().find(|power| 1 << power <= *size).unwrap_or(0);
        let rest = (size << 12 >> power) & 0xfff;
        bytes.extend((power << 12 | rest as u16).to_le_bytes());
    }
    bytes.extend(choices);
    bytes
}

/// The rest of an input; zeros follow it.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    /// A number of items, from 1 to 65,535: four bits are its power of two.
    fn size(&mut self) -> usize {
        let bits = u16::from_le_bytes([self.next(), self.next()]);
        ((0x1000 | usize::from(bits & 0xfff)) << (bits >> 12)) >> 12
    }
}

/// The limit of the bytes of all steps of one input.
const MAX_BYTES: usize = 2 << 20;

/// Factor of the time limits: with debug assertions everything takes longer.
const SLOWER: u32 = if cfg!(debug_assertions) { 4 } else { 1 };

/// The time that a step may take for any size, and for each byte.
const BASE_TIME: Duration = Duration::from_millis(50);
const TIME: Duration = Duration::from_nanos(150);

/// The time that a slice of a sweep may take.
const SLICE_TIME: Duration = Duration::from_millis(10);

/// The memory that a command may take for each byte: a new metric for a few bytes of name and value, with its reply.
const MEMORY: usize = 64;

/// The memory that a load may take for each byte, and in addition for the frame that it reads.
const LOAD_MEMORY: usize = 16;
const BASE_MEMORY: usize = 3 << 20;

fn pick<T: Copy, const N: usize>(of: [T; N], selector: u8) -> T {
    of[usize::from(selector) % N]
}

const QUEUES: [&[u8]; 5] = [b"MIN", b"HOUR", b"LOG", b"ERROR", b"REALITY"];
const FAMILIES: [&[u8]; 3] = [b"METRIC", b"ERROR", b"REALITY"];

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut slow = None;
    for _ in 0..3 {
        match World::new().run(data) {
            Ok(()) => return,
            Err(what) => slow = Some(what),
        }
    }
    panic!("{}", slow.unwrap_or_default());
}

struct World {
    server: Server,
    node: Node,
    /// Bytes of the node, as it is saved.
    node_bytes: usize,
    /// Bytes that later steps may still have.
    left: usize,
    ids: Vec<Vec<u8>>,
}

impl World {
    fn new() -> World {
        let mut settings = Settings {
            max_series: 200_000,
            max_values: usize::MAX,
            ..Settings::default()
        };
        settings.rules.history = [MAX_HISTORY, MAX_HISTORY];
        let server = Server::new(settings, BASE);
        let node = Node::new(&server.settings, 1);
        World {
            server,
            node,
            node_bytes: 0,
            left: MAX_BYTES,
            ids: Vec::new(),
        }
    }

    fn run(mut self, data: &[u8]) -> Result<(), String> {
        let mut bytes = Bytes(data);
        for n in 0..12 {
            if bytes.0.is_empty() {
                break;
            }
            let kind = bytes.next() % step::KINDS;
            show(|| format!("step {n} of kind {kind}"));
            let done = self.step(kind, &mut bytes);
            done.map_err(|slow| format!("step {n} of kind {kind}: {slow}"))?;
            self.node_bytes = frames(&self.node).iter().map(Vec::len).sum();
        }
        Ok(())
    }

    /// Returns the number of items of a size that later steps may still have.
    fn some(&mut self, n: usize, each: usize) -> usize {
        let n = n.min(self.left / each.max(1));
        self.left -= n * each;
        n
    }

    fn step(&mut self, kind: u8, bytes: &mut Bytes<'_>) -> Result<(), String> {
        match kind {
            step::LOAD => self.load(bytes),
            step::METRICS => self.metrics(bytes),
            step::ITEMS => self.items(bytes),
            step::JSON => {
                let n = self.some(bytes.size(), 8);
                let object = [b"object".to_vec(), b"M".to_vec(), json(n, bytes.next())];
                self.command(Command::Reality, &object).map(drop)
            }
            step::SCAN => {
                let pattern = pattern(bytes);
                let mut args = vec![pick(FAMILIES, bytes.next()).to_vec(), b"0".to_vec()];
                args.extend([b"MATCH".to_vec(), pattern]);
                args.extend([b"COUNT".to_vec(), b"10000".to_vec()]);
                match bytes.next() & 3 {
                    1 | 3 => args.push(b"WITHVALUES".to_vec()),
                    2 if args[0] == b"METRIC" => args.push(b"WITHLAST".to_vec()),
                    _ => {}
                }
                self.command(Command::Scan, &args).map(drop)
            }
            step::REQUEUE => {
                let pattern = pattern(bytes);
                let queue = pick([&b"ERROR"[..], b"REALITY"], bytes.next()).to_vec();
                let args = [queue, b"MATCH".to_vec(), pattern];
                self.command(Command::Requeue, &args).map(drop)
            }
            step::DRAIN => self.drain(bytes),
            step::IDS => self.ids(bytes),
            step::READ => self.read(bytes),
            step::LOWER => {
                self.lower(bytes.next());
                Ok(())
            }
            step::PASS => {
                self.server.pass(bytes.size() as u64 * 1000);
                Ok(())
            }
            step::SWEEP => self.sweep(),
            step::COLUMNS => self.columns(bytes),
            _ => self.aggregated(bytes),
        }
    }

    /// Runs a command and checks its time and memory. Returns `None` if the command was rejected.
    fn command(&mut self, command: Command, args: &[Vec<u8>]) -> Result<Option<Value>, String> {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let bytes: usize = args.iter().map(|arg| arg.len() + 4).sum();
        let before = cpu_time();
        let (result, peak, _) = measured(|| self.server.run(&mut self.node, command, &args));
        let took = cpu_time().saturating_sub(before);
        let reply = result.ok();
        let bytes = bytes + self.node_bytes + reply.as_ref().map_or(0, size);
        check_memory(peak, MEMORY, bytes);
        check_time(took, bytes).map(|()| reply)
    }

    fn load(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let (metrics, windows, lines) = (bytes.size(), 2 * bytes.size(), bytes.size());
        let endless = bytes.next() & 1 == 1;
        let windows = windows.min(self.left / 4);
        let metrics = self.some(metrics, 20 + 4 * windows);
        let lines = self.some(lines, 9);
        let frames = saved(metrics, windows, lines, endless);
        let bytes = frames.iter().map(Vec::len).sum();
        let before = cpu_time();
        let (node, peak, _) = measured(|| {
            let mut loader = SnapshotLoader::new(1, 5, MAX_ID);
            for frame in &frames {
                loader.frame(frame).ok()?;
            }
            loader.finish().ok()
        });
        let took = cpu_time().saturating_sub(before);
        check_memory(peak, LOAD_MEMORY, bytes);
        // Only these are rejected.
        let is_valid = !endless && windows <= MAX_HISTORY as usize;
        assert!(node.is_some() || !is_valid, "the saved node does not load");
        if let Some(node) = node {
            self.node = node;
            self.node.restart(self.server.now.mono_ms);
        }
        check_time(took, bytes)
    }

    fn metrics(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let (n, name) = (bytes.size(), vec![b'a'; (bytes.size() - 1).min(60_000)]);
        let tags = self.tags(bytes);
        let repeated = bytes.next() & 1 == 1;
        // Each metric's record has its tags, and so has each saved metric.
        let n = self.some(n, name.len() + tags.len() + 8).max(1);
        let mut args = vec![b"TAGS".to_vec(), tags, b"VALUES".to_vec()];
        for i in 0..n {
            let i = if repeated { 0 } else { i };
            let name = [&name, format!("{i:x}").as_bytes()].concat();
            args.extend([name, b"1".to_vec()]);
        }
        self.command(Command::Mstat, &args).map(drop)
    }

    fn columns(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let (n, tags, which) = (bytes.size(), self.tags(bytes), bytes.next());
        let has_tags = which & 1 != 0;
        let n = self
            .some(n, 48 + if has_tags { tags.len() } else { 0 })
            .max(1);
        let names = bytes.next();
        let mut args = vec![b"TAGS".to_vec(), tags.clone(), b"COLUMNS".to_vec()];
        let words: [&[u8]; 7] = [
            b"METRIC", b"VALUE", b"TAGS", b"TYPE", b"HIST", b"TIMES", b"AT",
        ];
        // METRIC and VALUE are mandatory; the bits of the choice select others.
        let has = |column: usize| column < 2 || which >> (column - 2) & 1 != 0;
        let columns: Vec<usize> = (0..words.len()).filter(|column| has(*column)).collect();
        args.extend(columns.iter().map(|column| words[*column].to_vec()));
        args.push(b"VALUES".to_vec());
        for i in 0..n {
            let name = match names % 4 {
                0 => 0,
                1 => i,
                _ => i / usize::from(names),
            };
            let at = BASE - i as i64 % 8 * 100_000;
            args.extend(columns.iter().map(|column| match column {
                0 => format!("c{name:x}").into_bytes(),
                1 => i.to_string().into_bytes(),
                // Each row has other tags.
                2 => [i.to_string().as_bytes(), b" ", &tags].concat(),
                3 => pick([&b"ABS"[..], b"INC", b"", b"DIFF"], (name % 256) as u8).to_vec(),
                4 => b"1".to_vec(),
                5 => pick([&b""[..], b"2", b"x"], (i % 256) as u8).to_vec(),
                _ => at.to_string().into_bytes(),
            }));
        }
        self.command(Command::Mstat, &args).map(drop)
    }

    fn aggregated(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let (n, tags) = (bytes.size(), self.tags(bytes));
        let (factor, times) = (bytes.next(), bytes.next());
        let n = self.some(n, 24).max(1);
        let factor = pick([1.0, 1.01, 2.0, -1.1], factor);
        let times = pick([&b"1"[..], b"1000", b"4294967296"], times);
        let mut args = vec![b"a0".to_vec(), b"TAGS".to_vec(), tags, b"VALUES".to_vec()];
        let mut value: f64 = 1e-300;
        for i in 0..n {
            args.extend([format!("{value:e}").into_bytes(), times.to_vec()]);
            value = if i % 1_000 == 999 {
                1e-300
            } else {
                value * factor
            };
        }
        self.command(Command::Hist, &args).map(drop)
    }

    fn items(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let text = vec![b'a'; self.some(bytes.size(), 16)];
        let tags = self.tags(bytes);
        let (m, one) = (b"M".to_vec(), b"1".to_vec());
        for (command, mut args) in [
            (Command::Stat, vec![text.clone(), one.clone()]),
            (Command::Log, vec![text.clone()]),
            (Command::Error, vec![text.clone()]),
            (Command::Reality, vec![text.clone(), m, one]),
        ] {
            args.extend([b"TAGS".to_vec(), tags.clone()]);
            self.command(command, &args)?;
        }
        Ok(())
    }

    /// Size: the number of tags. Choice: their kind.
    fn tags(&mut self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let n = self.some(bytes.size(), 32).min(16_000);
        let kind = bytes.next();
        let mut text = Vec::new();
        for i in 0..n {
            match kind % 4 {
                0 => text.extend(format!("{i:x}").bytes()),
                1 => text.extend([
                    0xff,
                    b'a' + (i % 26) as u8,
                    b'a' + (i / 26 % 26) as u8,
                    b'a' + (i / 676 % 26) as u8,
                ]),
                2 => text.extend(b"a:b"),
                _ => text.extend(format!("{i:x}:").bytes()),
            }
            text.push(b' ');
        }
        text.truncate(60_000);
        text
    }

    fn drain(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let count = bytes.size().min(10_000).to_string();
        let command = pick([Command::Pop, Command::Fetch, Command::Peek], bytes.next());
        let mut args: Vec<Vec<u8>> = QUEUES.iter().map(|queue| queue.to_vec()).collect();
        if bytes.next() & 1 == 1 {
            args.truncate(2);
            args.extend([b"FORMAT".to_vec(), b"LINE".to_vec()]);
        }
        args.extend([b"COUNT".to_vec(), count.into()]);
        if let Some(reply) = self.command(command, &args)? {
            let id = |entry: &Value| entry.list()[1].int().to_string().into_bytes();
            self.ids = reply.list().iter().map(id).collect();
        }
        Ok(())
    }

    fn ids(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let n = self.some(bytes.size(), 16).max(1);
        let command = pick([Command::Ack, Command::Nack, Command::Extend], bytes.next());
        let mut args = vec![pick(QUEUES, bytes.next()).to_vec()];
        if command == Command::Extend {
            args.push(b"1000".to_vec());
        }
        let ids = match bytes.next() & 1 {
            1 => std::mem::take(&mut self.ids),
            _ => Vec::new(),
        };
        args.extend((0..n).map(|i| match ids.get(i) {
            Some(id) => id.clone(),
            None => (i + 1).to_string().into_bytes(),
        }));
        self.command(command, &args).map(drop)
    }

    fn read(&mut self, bytes: &mut Bytes<'_>) -> Result<(), String> {
        let command = bytes.next();
        let name = pick([&b"0"[..], b"1", b"a0", b"object"], bytes.next()).to_vec();
        let metric = b"METRIC".to_vec();
        match command % 4 {
            0 => self.command(Command::Range, &[name, b"MIN".to_vec()]),
            1 => self.command(Command::Get, &[metric, name]),
            2 => self.command(Command::Forget, &[metric, name]),
            _ => self.command(Command::Stat, &[name, b"1".to_vec()]),
        }
        .map(drop)
    }

    fn lower(&mut self, selector: u8) {
        let settings = &mut self.server.settings;
        match selector % 5 {
            0 => settings.rules.history = [12, 24],
            1 => settings.rules.history = [0, 0],
            2 => settings.max_errors = 1,
            3 => settings.rules.queue_bytes = [1024; 3],
            _ => settings.max_series = 1,
        }
    }

    fn sweep(&mut self) -> Result<(), String> {
        for n in 0..100_000 {
            let before = cpu_time();
            let more = self.server.sweep(&mut self.node, n == 0);
            let took = cpu_time().saturating_sub(before);
            show(|| format!("a slice took {took:?}"));
            if took > SLICE_TIME * SLOWER {
                return Err(format!("slice {n} of a sweep took {took:?}"));
            }
            if !more {
                return Ok(());
            }
        }
        panic!("a sweep that does not end");
    }
}

/// Returns a pattern: a star, the same element many times, and an end.
fn pattern(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let n = bytes.size();
    let elements = [&b"a"[..], b"?", b"*", b"*a", b"[a-b]", b"\\a"];
    let element = pick(elements, bytes.next());
    let end = pick([&b"b"[..], b"", b"*", b"["], bytes.next());
    let n = n.min(1_000 / element.len());
    [b"*", &element.repeat(n)[..], end].concat()
}

fn show(text: impl FnOnce() -> String) {
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{}", text());
    }
}

/// Panics if a step took more memory than `each` for each of its bytes and a few megabytes.
pub fn check_memory(peak: isize, each: usize, bytes: usize) {
    let limit = (BASE_MEMORY + each * bytes) as isize;
    show(|| format!("{bytes} bytes took {peak} of {limit} bytes of memory"));
    assert!(peak <= limit, "{peak} bytes of memory for {bytes}");
}

/// Checks that the time of a step is in proportion to its bytes.
///
/// # Errors
/// Returns a text if the time exceeds the bound.
pub fn check_time(took: Duration, bytes: usize) -> Result<(), String> {
    let limit = BASE_TIME + TIME * u32::try_from(bytes).unwrap_or(u32::MAX);
    show(|| format!("{bytes} bytes took {took:?} of {limit:?}"));
    if took > limit * SLOWER {
        return Err(format!("{took:?} for {bytes} bytes, more than {limit:?}"));
    }
    Ok(())
}

/// Returns the bytes of a reply.
fn size(value: &Value) -> usize {
    16 + match value {
        Value::Bulk(bytes) => bytes.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Map(pairs) => pairs.iter().map(|(k, v)| size(k) + size(v)).sum(),
        Value::Int(_) | Value::Null => 0,
    }
}

fn json(n: usize, shape: u8) -> Vec<u8> {
    let member = |i: usize| match shape % 4 {
        0 => "1".to_owned(),
        1 => format!("\"{i:x}\":1"),
        2 => "\"\\ud83d\\ude00\"".to_owned(),
        _ => "[[]]".to_owned(),
    };
    let members: Vec<String> = (0..n).map(member).collect();
    let text = members.join(",");
    match shape % 4 {
        1 => format!("{{{text}}}"),
        _ => format!("[{text}]"),
    }
    .into_bytes()
}

/// The length at which a frame ends, bytes.
const FRAME: usize = 64 << 10;

/// Returns the frames of a node of the smallest metrics, each with closed windows of one length, and of the smallest
/// log entries.
fn saved(metrics: usize, windows: usize, lines: usize, endless: bool) -> Vec<Vec<u8>> {
    let mut server = Server::new(Settings::default(), BASE);
    let mut node = Node::new(&server.settings, 1);
    let run = server.run(&mut node, Command::Info, &[]);
    run.expect("a read");
    let mut all = vec![frames(&node).swap_remove(0)];
    let mut series = |head: &[u8], n: usize, put: &dyn Fn(&mut Vec<u8>, usize)| {
        let mut frame = head.to_vec();
        for i in 0..n {
            put(&mut frame, i);
            if frame.len() >= FRAME && !endless || i + 1 == n {
                all.push(std::mem::replace(&mut frame, head.to_vec()));
            }
        }
    };
    series(&[0x11], metrics, &|frame, i| {
        let name = format!("{i:x}");
        put_u64(frame, name.len() as u64);
        frame.extend(name.bytes());
        // ABS, no tags, no time; the last value; no rate, nothing pending; the watermark, open windows.
        frame.extend([0, 0, 1, 0, 0, 0, 0, 0, 0]);
        put_u64(frame, windows as u64);
        // All follows from the sum, which is zero; a second after the one before; one sample.
        (0..windows).for_each(|_| frame.extend([1 | 4 | 16 | 32, 2, 1, 0]));
        frame.extend([0, 0, 0]);
    });
    series(&[0x12, 2], lines, &|frame, i| {
        put_u64(frame, i as u64 + 1);
        frame.extend([6, 2, b'a', b'b', 0, 5, 0]);
    });
    let mut end = vec![0x1f];
    for n in [metrics, 0, 0, 0, 0, lines] {
        put_u64(&mut end, n as u64);
    }
    all.push(end);
    all
}
