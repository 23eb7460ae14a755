//! A world without a server: a primary whose clock the tests set, a replica with other settings that receives the
//! effects, and replies as values.

use aggregator_core::id::MAX_ID;
use aggregator_core::node::{Node, SnapshotLoader};
use aggregator_core::{
    Command, CommandError, Counters, Effects, ExecContext, Memory, Now, Propagation, Request,
    Settings,
};

mod value;

pub use value::{Tree, Value};

/// Memory without a limit; under pressure all of it is reserved.
pub fn memory(pressure: bool) -> Memory {
    Memory {
        reserved: if pressure { u64::MAX } else { 0 },
        ..Memory::UNLIMITED
    }
}

/// A primary and its replica.
pub struct World {
    pub settings: Settings,
    pub node: Option<Node>,
    pub replica: Option<Node>,
    /// The name of the node, which decides its jitter.
    pub name: &'static str,
    pub now: Now,
    pub last_id: u64,
    pub counters: Counters,
    pub ready: bool,
    /// The number of payloads sent to the replica, and their bytes.
    pub sent: (usize, usize),
    /// The last of them.
    pub payload: Vec<u8>,
    /// The number of commands propagated verbatim.
    pub verbatim: usize,
    /// Memory is short.
    pub memory_pressure: bool,
}

/// The hour at which the tests begin, Unix milliseconds.
pub const BASE: i64 = 1_700_002_800_000;

impl World {
    pub fn new() -> World {
        World {
            settings: Settings::default(),
            node: None,
            replica: None,
            name: "n",
            now: Now {
                wall_us: BASE as u64 * 1000,
                mono_ms: 1_000_000,
            },
            last_id: 0,
            counters: Counters::default(),
            ready: false,
            sent: (0, 0),
            payload: Vec::new(),
            verbatim: 0,
            memory_pressure: false,
        }
    }

    /// Advances both clocks.
    pub fn pass(&mut self, ms: i64) {
        self.now.wall_us += ms as u64 * 1000;
        self.now.mono_ms += ms as u64;
    }

    /// Sets the wall clock only, Unix milliseconds.
    pub fn set_wall(&mut self, ms: i64) {
        self.now.wall_us = ms as u64 * 1000;
    }

    pub fn now_ms(&self) -> i64 {
        self.now.ms()
    }

    /// Runs a command given as words separated by blanks; the node is `n`.
    pub fn run(&mut self, line: &str) -> Value {
        self.try_run(line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Returns the error of a command.
    pub fn error(&mut self, line: &str) -> String {
        match self.try_run(line) {
            Ok(value) => panic!("{line}: {value:?}"),
            Err(error) => error.to_string(),
        }
    }

    pub fn try_run(&mut self, line: &str) -> Result<Value, CommandError> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.try_args(&words)
    }

    /// Runs a command: its name without `AGG.`, then its arguments after the node.
    pub fn try_args(&mut self, words: &[&[u8]]) -> Result<Value, CommandError> {
        let command = command(words[0]);
        let mut args: Vec<&[u8]> = vec![words[0], b"n"];
        args.extend(&words[1..]);
        let request = Request::parse(command, &args, &self.settings, self.now)?;
        let mut tree = Tree::default();
        let mut effects = Effects::default();
        let mut fresh = None;
        let node = match &mut self.node {
            Some(node) => node,
            None if command.creates() => fresh.insert(Node::new(&self.settings, 1)),
            None => {
                request.run_missing(&mut tree);
                return Ok(tree.finish());
            }
        };
        let mut exec = ExecContext {
            now: self.now,
            settings: &self.settings,
            node_name: self.name.as_bytes(),
            last_id: &mut self.last_id,
            effects: &mut effects,
            allow_verbatim: true,
            memory_pressure: self.memory_pressure,
            memory: memory(self.memory_pressure),
            counters: &mut self.counters,
        };
        let ran = match request.run(b"n", node, &mut exec, &mut tree) {
            Ok(ran) => ran,
            Err(error) => {
                assert!(tree.is_empty(), "an error after a reply: {error}");
                return Err(error);
            }
        };
        self.ready = ran.ready;
        if let Some(node) = fresh.filter(|_| !effects.is_empty()) {
            self.node = Some(node);
        }
        self.replicate(&effects, command, &args);
        Ok(tree.finish())
    }

    /// Runs one tick of the timer, to its end.
    pub fn tick(&mut self) {
        let mut first = true;
        while self.sweep_slice(7, std::mem::take(&mut first)) {}
    }

    /// Runs one slice of a sweep. Returns whether there is more.
    pub fn sweep_slice(&mut self, budget: usize, first: bool) -> bool {
        let Some(node) = &mut self.node else {
            return false;
        };
        let name = self.name.as_bytes();
        let cost = node.sweep_cost(budget, first, self.now, name, &self.settings);
        let before = node.evictable_bytes();
        let mut effects = Effects::default();
        let mut exec = ExecContext {
            now: self.now,
            settings: &self.settings,
            node_name: name,
            last_id: &mut self.last_id,
            effects: &mut effects,
            allow_verbatim: false,
            memory_pressure: self.memory_pressure,
            memory: memory(self.memory_pressure),
            counters: &mut self.counters,
        };
        let swept = node.sweep(budget, first, &mut exec);
        let queues = node.evictable_bytes().into_iter().zip(before);
        assert!(
            cost > 0 || queues.clone().all(|(after, before)| after <= before),
            "a sweep that was to cost nothing added records"
        );
        self.ready |= swept.ready;
        self.replicate(&effects, Command::Info, &[]);
        swept.more
    }

    /// Lets time pass in steps of a tick.
    pub fn pass_ticking(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.pass(100);
            self.tick();
        }
    }

    fn replicate(&mut self, effects: &Effects, command: Command, args: &[&[u8]]) {
        let mut counters = Counters::default();
        // The clocks of the replica are its own.
        let mono_ms = self.now.mono_ms / 3;
        match (effects.propagation(), &mut self.replica) {
            (Propagation::Nothing, _) => {}
            (Propagation::Verbatim, replica) => {
                self.verbatim += 1;
                let replica = replica.as_mut().expect("a command before any payload");
                let now = Now {
                    wall_us: replica.clock_ms() as u64 * 1000,
                    mono_ms,
                };
                Request::parse(command, args, &Settings::unlimited(), now)
                    .unwrap()
                    .replay(replica, mono_ms, &mut counters);
            }
            (Propagation::Payload(payload), Some(replica)) => {
                self.sent = (self.sent.0 + 1, self.sent.1 + payload.len());
                self.payload = payload.to_vec();
                replica
                    .apply(payload, mono_ms, MAX_ID, &mut counters)
                    .unwrap();
            }
            (Propagation::Payload(payload), replica) => {
                self.sent = (self.sent.0 + 1, self.sent.1 + payload.len());
                self.payload = payload.to_vec();
                let created = Node::create(payload, 99, mono_ms, MAX_ID, &mut counters);
                *replica = Some(created.unwrap().0);
            }
        }
    }

    /// Checks that the replica, the saved and loaded node and the copy have the same value.
    pub fn check_copies(&self) {
        let (Some(node), Some(replica)) = (&self.node, &self.replica) else {
            assert!(self.node.is_none() && self.replica.is_none());
            return;
        };
        assert_eq!(digest(node), digest(replica), "the replica differs");
        assert_eq!(
            digest(node),
            digest(&reload(node)),
            "the loaded node differs"
        );
        assert_eq!(
            digest(node),
            digest(&node.duplicate(3, 5).unwrap()),
            "the copy differs"
        );
    }

    /// Returns the records of a queue, as (id, deliveries, record).
    pub fn peek(&mut self, queue: &str) -> Vec<(u64, u64, serde_json::Value)> {
        records(&self.run(&format!("PEEK {queue} COUNT 10000")))
    }

    pub fn fetch(&mut self, queue: &str) -> Vec<(u64, u64, serde_json::Value)> {
        records(&self.run(&format!("FETCH {queue} COUNT 10000 LEASE 30000")))
    }

    pub fn pop(&mut self, queue: &str) -> Vec<(u64, u64, serde_json::Value)> {
        records(&self.run(&format!("POP {queue} COUNT 10000")))
    }
}

pub fn records(reply: &Value) -> Vec<(u64, u64, serde_json::Value)> {
    let record = |v: &Value| {
        let parts = v.list();
        (
            parts[1].int() as u64,
            parts[2].int() as u64,
            serde_json::from_str(&parts[3].text()).unwrap(),
        )
    };
    reply.list().iter().map(record).collect()
}

pub fn command(name: &[u8]) -> Command {
    let full = format!("AGG.{}", String::from_utf8_lossy(name).to_uppercase());
    *Command::ALL
        .iter()
        .find(|command| command.name() == full)
        .unwrap_or_else(|| panic!("{full}"))
}

/// Returns the sorted elements of the value of a node.
pub fn digest(node: &Node) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    node.digest(&mut |element| elements.push(element.to_vec()));
    elements.sort();
    elements
}

pub fn frames(node: &Node) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    node.snapshot(&mut |frame| frames.push(frame.to_vec()));
    frames
}

/// Saves and loads a node.
pub fn reload(node: &Node) -> Node {
    let mut loader = SnapshotLoader::new(5, 77, MAX_ID);
    let frames = frames(node);
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!(loader.frame(frame).unwrap(), i + 1 == frames.len());
    }
    loader.finish().unwrap()
}

/// Returns bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
