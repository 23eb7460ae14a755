//! A stand-in for a server: clocks, settings and one node; replies are values.

use aggregator_core::id::MAX_ID;
use aggregator_core::node::{Node, SnapshotLoader};
use aggregator_core::{
    Command, CommandError, Counters, Effects, ExecContext, Memory, Now, Request, Settings,
    error::DecodeError,
};

#[path = "../../crates/core/tests/support/value.rs"]
mod value;

pub use value::{Tree, Value};

/// The time at which an input begins, Unix milliseconds.
pub const BASE: i64 = 1_700_002_800_000;

/// A node and its context.
pub struct Server {
    /// The settings in force.
    pub settings: Settings,
    /// Both clocks.
    pub now: Now,
    /// The last id given.
    pub last_id: u64,
    /// The counters of the server.
    pub counters: Counters,
    /// The effects of the last command or sweep.
    pub effects: Effects,
    /// True if memory is short.
    pub memory_pressure: bool,
    /// Bytes that are available under memory pressure.
    pub available_bytes: u64,
}

impl Server {
    /// A server whose wall clock stands at `now_ms`.
    pub fn new(settings: Settings, now_ms: i64) -> Server {
        Server {
            settings,
            now: Now {
                wall_us: now_ms as u64 * 1000,
                mono_ms: 1_000_000,
            },
            last_id: 0,
            counters: Counters::default(),
            effects: Effects::with_buffer(),
            memory_pressure: false,
            available_bytes: u64::MAX,
        }
    }

    /// Advances both clocks.
    pub fn pass(&mut self, ms: u64) {
        self.now.wall_us += ms * 1000;
        self.now.mono_ms += ms;
    }

    /// Runs a command; `args` are those after the name of the node, `n`.
    pub fn run(
        &mut self,
        node: &mut Node,
        command: Command,
        args: &[&[u8]],
    ) -> Result<Value, CommandError> {
        let mut all: Vec<&[u8]> = vec![command.name().as_bytes(), b"n"];
        all.extend(args);
        let request = Request::parse(command, &all, &self.settings, self.now)?;
        self.run_request(node, &request, b"n")
    }

    /// Runs a parsed request.
    pub fn run_request(
        &mut self,
        node: &mut Node,
        request: &Request<'_>,
        name: &[u8],
    ) -> Result<Value, CommandError> {
        let mut tree = Tree::default();
        let mut exec = self.exec(true);
        match request.run(name, node, &mut exec, &mut tree) {
            Ok(_) => Ok(tree.finish()),
            Err(error) => {
                assert!(tree.is_empty(), "an error after a reply: {error}");
                Err(error)
            }
        }
    }

    /// Returns the context of a command or tick.
    pub fn exec(&mut self, allow_verbatim: bool) -> ExecContext<'_> {
        ExecContext {
            now: self.now,
            settings: &self.settings,
            node_name: b"n",
            last_id: &mut self.last_id,
            effects: &mut self.effects,
            allow_verbatim,
            memory_pressure: self.memory_pressure,
            memory: Memory {
                max: self.available_bytes,
                reserved: if self.memory_pressure { u64::MAX } else { 0 },
                ..Memory::UNLIMITED
            },
            counters: &mut self.counters,
        }
    }

    /// Runs one slice of a sweep, the first of a tick or a later one. Returns whether there is more.
    pub fn sweep(&mut self, node: &mut Node, first: bool) -> bool {
        let mut exec = self.exec(false);
        node.sweep(64, first, &mut exec).more
    }
}

/// Returns the sorted elements of the value of a node.
pub fn digest(node: &Node) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    node.digest(&mut |element| elements.push(element.to_vec()));
    elements.sort();
    elements
}

/// Saves a node.
pub fn frames(node: &Node) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    node.snapshot(&mut |frame| frames.push(frame.to_vec()));
    frames
}

/// Loads a node.
pub fn load(frames: &[Vec<u8>]) -> Result<Node, DecodeError> {
    let mut loader = SnapshotLoader::new(5, 77, MAX_ID);
    for (i, frame) in frames.iter().enumerate() {
        let last = loader.frame(frame)?;
        assert_eq!(last, i + 1 == frames.len(), "the end is elsewhere");
    }
    loader.finish()
}
