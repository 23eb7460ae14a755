//! A simulated server: one node of the core, and the commands that pollers send. It answers the commands of the module by
//! the core, as `src/transaction.rs` does: same parser, same rules, without replicas and without memory limits.

use aggregator_core::ages::Ages;
use aggregator_core::{
    Command, CommandError, Counters, Effects, ExecContext, Memory, Node, Now, Queue, Reply,
    Request, Settings,
};

use crate::resp::Writer;

/// The most pollers that are told apart, by the user as which they authenticate.
pub const MAX_POLLERS: usize = 8;

/// The kinds of commands that are counted.
pub const KINDS: [&str; 7] = [
    "AGG.FETCH",
    "AGG.ACK",
    "AGG.INFO",
    "INFO",
    "SCAN",
    "AUTH",
    "other",
];
const FETCH: usize = 0;
const OTHER: usize = KINDS.len() - 1;

/// What the servers of a process share.
pub struct Shared {
    /// The settings of all servers.
    pub settings: Settings,
    /// The names of the pollers that have authenticated.
    pub pollers: Vec<String>,
    /// Records that were queued.
    pub queued: u64,
    effects: Effects,
    /// The counters of all servers.
    pub counters: Counters,
}

impl Shared {
    /// Creates what the servers share.
    pub fn new(settings: Settings) -> Shared {
        Shared {
            settings,
            pollers: Vec::new(),
            queued: 0,
            effects: Effects::with_buffer(),
            counters: Counters::default(),
        }
    }

    /// Returns the index of a poller by its name; all beyond the limit are the last.
    fn poller(&mut self, name: &[u8]) -> usize {
        let name = String::from_utf8_lossy(name);
        if let Some(index) = self.pollers.iter().position(|poller| *poller == name) {
            return index;
        }
        if self.pollers.len() < MAX_POLLERS {
            self.pollers.push(name.into_owned());
        }
        self.pollers.len() - 1
    }
}

/// A simulated server.
pub struct Server {
    /// The name of its node.
    pub name: Vec<u8>,
    node: Option<Node>,
    last_id: u64,
    ages: Ages,
    /// A hash of the name: seeds the node, and is the identity of this run of the server.
    seed: u64,
    /// The poller whose AGG.FETCH was answered last.
    pub drained_by: Option<usize>,
    /// The commands of each poller since the mark, by kind.
    pub commands: [[u32; KINDS.len()]; MAX_POLLERS],
    /// Its poller was killed, and no other has drained it since.
    pub is_orphan: bool,
    /// The running time at which another poller drained it after that.
    pub adopted_at_ms: Option<u64>,
}

impl Server {
    /// Creates a server.
    pub fn new(name: String) -> Server {
        Server {
            seed: hash(name.as_bytes()),
            name: name.into_bytes(),
            node: None,
            last_id: 0,
            ages: Ages::new(),
            drained_by: None,
            commands: Default::default(),
            is_orphan: false,
            adopted_at_ms: None,
        }
    }

    /// Answers a command. `poller` is the index of the poller of the connection.
    pub fn answer(
        &mut self,
        shared: &mut Shared,
        poller: &mut Option<usize>,
        words: &[&[u8]],
        now: Now,
        output: &mut Vec<u8>,
    ) {
        let name = words
            .first()
            .copied()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let name = String::from_utf8_lossy(&name).into_owned();
        let mut reply = Writer(output);
        match name.as_str() {
            "AUTH" => {
                if let [_, user, _] = words {
                    *poller = Some(shared.poller(user));
                }
                reply.status("OK");
            }
            "PING" => reply.status("PONG"),
            "SELECT" | "CLIENT" => reply.status("OK"),
            "INFO" => reply.bulk(self.server_info(shared, now).as_bytes()),
            "COMMAND" => {
                reply.array(1);
                reply.array(1);
                reply.bulk(b"agg.fetch");
            }
            "TIME" => {
                reply.array(2);
                reply.bulk((now.wall_us / 1_000_000).to_string().as_bytes());
                reply.bulk((now.wall_us % 1_000_000).to_string().as_bytes());
            }
            "SCAN" => {
                reply.array(2);
                reply.bulk(b"0");
                reply.array(usize::from(self.node.is_some()));
                if self.node.is_some() {
                    reply.bulk(&self.name);
                }
            }
            _ => match Command::ALL.iter().find(|command| command.name() == name) {
                Some(command) => self.run(*command, shared, words, now, &mut reply),
                None => reply.error(&format!("ERR unknown command '{name}'")),
            },
        }
        if let Some(poller) = *poller {
            self.count(poller, &name, now);
        }
    }

    fn count(&mut self, poller: usize, name: &str, now: Now) {
        let kind = KINDS.iter().position(|kind| *kind == name);
        let kind = kind.unwrap_or(OTHER);
        self.commands[poller][kind] += 1;
        if kind == FETCH {
            if self.is_orphan {
                self.is_orphan = false;
                self.adopted_at_ms = Some(now.mono_ms);
            }
            self.drained_by = Some(poller);
        }
    }

    fn run(
        &mut self,
        command: Command,
        shared: &mut Shared,
        words: &[&[u8]],
        now: Now,
        reply: &mut Writer<'_>,
    ) {
        let settings = shared.settings.clone();
        let request = match Request::parse(command, words, &settings, now) {
            Ok(request) => request,
            Err(error) => return reply.error(&error.to_string()),
        };
        let is_other = words.get(1).is_none_or(|node| **node != *self.name);
        let Some(node) = self.node.as_ref().filter(|_| !is_other) else {
            return request.run_missing(reply);
        };
        if matches!(command, Command::Info | Command::Peek | Command::Get) {
            return request.read(&self.name, node, (&self.ages, now), 0, reply);
        }
        if let Err(error) = self.change(&request, shared, &settings, now, reply) {
            reply.error(&error.to_string());
        }
    }

    /// Runs a request on the node, which is created if need be.
    fn change(
        &mut self,
        request: &Request<'_>,
        shared: &mut Shared,
        settings: &Settings,
        now: Now,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let seed = self.seed;
        let node = self.node.get_or_insert_with(|| Node::new(settings, seed));
        let mut exec = ExecContext {
            now,
            settings,
            node_name: &self.name,
            last_id: &mut self.last_id,
            effects: &mut shared.effects,
            allow_verbatim: true,
            memory_pressure: false,
            memory: Memory::UNLIMITED,
            counters: &mut shared.counters,
        };
        let ran = request.run(&self.name, node, &mut exec, reply);
        shared.effects.clear();
        ran.map(|_| ())
    }

    /// Reports samples, given as the words of AGG.MSTAT.
    ///
    /// # Errors
    ///
    /// The core rejects them.
    pub fn report(
        &mut self,
        shared: &mut Shared,
        words: &[&[u8]],
        now: Now,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let settings = shared.settings.clone();
        let request = Request::parse(Command::Mstat, words, &settings, now)?;
        let before = self.backlog();
        let ran = self.change(&request, shared, &settings, now, reply);
        shared.queued += self.backlog().saturating_sub(before);
        ran
    }

    /// Does what the timer of a server does for a node: closes windows, ends leases. `first` checks lifetimes, too.
    pub fn sweep(&mut self, shared: &mut Shared, first: bool, now: Now) {
        self.ages.observe(self.last_id, now);
        let before = self.backlog();
        let Some(node) = &mut self.node else { return };
        let mut first = first;
        loop {
            let mut exec = ExecContext {
                now,
                settings: &shared.settings,
                node_name: &self.name,
                last_id: &mut self.last_id,
                effects: &mut shared.effects,
                allow_verbatim: false,
                memory_pressure: false,
                memory: Memory::UNLIMITED,
                counters: &mut shared.counters,
            };
            let swept = node.sweep(64, std::mem::take(&mut first), &mut exec);
            shared.effects.clear();
            if !swept.more {
                break;
            }
        }
        shared.queued += self.backlog().saturating_sub(before);
    }

    /// Returns the records in all queues.
    pub fn backlog(&self) -> u64 {
        let contents = self.node.as_ref().map(Node::contents);
        contents.map_or(0, |contents| contents.length.iter().sum())
    }

    /// Returns the age of the oldest record, milliseconds.
    pub fn oldest_ms(&self, now: Now) -> u64 {
        let oldest = |queue: Queue| self.node.as_ref()?.oldest(queue);
        let ages = Queue::ALL.into_iter().filter_map(oldest);
        ages.map(|id| self.ages.age_ms(id, now)).max().unwrap_or(0)
    }

    /// Returns the fields of INFO that pollers read.
    fn server_info(&self, shared: &Shared, now: Now) -> String {
        let mut text = format!(
            "# Server\r\nredis_version:7.4.0\r\nrun_id:{:040x}\r\n# Replication\r\nrole:master\r\n\
             # Cluster\r\ncluster_enabled:0\r\n# Modules\r\nmodule:name=agg,ver=1,api=1\r\n\
             # agg_nodes\r\nagg_nodes:{}\r\n# agg_queues\r\n",
            self.seed,
            u8::from(self.node.is_some()),
        );
        let contents = self.node.as_ref().map(Node::contents).unwrap_or_default();
        for queue in Queue::ALL {
            let (q, name) = (queue as usize, queue.name().to_lowercase());
            let oldest = self.node.as_ref().and_then(|node| node.oldest(queue));
            let oldest = oldest.map_or(0, |id| self.ages.age_ms(id, now));
            let (length, bytes, leased) =
                (contents.length[q], contents.bytes[q], contents.leased[q]);
            text += &format!(
                "agg_{name}_length:{length}\r\nagg_{name}_bytes:{bytes}\r\nagg_{name}_oldest:{oldest}\r\n\
                 agg_{name}_leased:{leased}\r\nagg_{name}_dropped:{}\r\n",
                shared.counters.dropped_from[q]
            );
        }
        text
    }
}

/// A hash of a name (FNV-1a with a final mix), the same in every run.
fn hash(name: &[u8]) -> u64 {
    let mixed = name.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
