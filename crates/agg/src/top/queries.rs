//! Reads a server with commands that only read. Every reading is bounded whatever the server holds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agg_client::command::{Cmd, Info};

use agg_client::connect::{ClientError, Connection};
use agg_client::reply::{self, Value};
use aggregator_protocol::masking::cell as visible;

use super::model::Reading;
use super::node_detail::{NodeDetail, Ranker};
use super::replies::{self, TEXT_CELLS};
use super::text::cut;
use crate::stats::ServerStats;

/// Maximum nodes of a server that are read.
const MAX_NODES: usize = 1000;
/// Maximum bytes of a name: a server may return as many longer ones as it likes.
const MAX_NAME: usize = 4096;
/// Nodes per pipeline.
const NODES_PER_CALL: usize = 200;
/// Maximum pages of SCAN per reading, of 1000 keys each: not every key is a node.
const MAX_KEY_PAGES: usize = 20;
/// The time for which the list of nodes is used before it is read again.
const LIST_LIFETIME: Duration = Duration::from_secs(5);
/// Pages of metrics and of errors per reading of a node, and items per page. Errors may be long.
const METRIC_PAGES: (usize, usize) = (5, 200);
const ERROR_PAGES: (usize, usize) = (4, 50);
/// Number of the most active items that every reading includes.
const ALWAYS_READ: usize = 50;
/// Maximum log entries.
const LOG_ENTRIES: usize = 50;
/// Maximum objects, which may be long.
const OBJECTS: usize = 10;

/// The names of a server's nodes. A long list is read in parts.
pub struct NodeNames {
    names: BTreeSet<Vec<u8>>,
    /// The list that is being read.
    next: BTreeSet<Vec<u8>>,
    cursor: Vec<u8>,
    /// The time at which `names` was completed.
    read_at: Option<Instant>,
    is_truncated: bool,
}

impl Default for NodeNames {
    fn default() -> Self {
        NodeNames {
            names: BTreeSet::new(),
            next: BTreeSet::new(),
            cursor: b"0".to_vec(),
            read_at: None,
            is_truncated: false,
        }
    }
}

impl NodeNames {
    /// Continues to read the list if it is due. Returns what could not be read.
    async fn refresh(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Option<String>, ClientError> {
        let is_fresh = (self.read_at).is_some_and(|read_at| read_at.elapsed() < LIST_LIFETIME);
        if self.cursor == b"0" && is_fresh {
            return Ok(None);
        }
        for _ in 0..MAX_KEY_PAGES {
            let mut command = Cmd::new("SCAN");
            command.arg(&self.cursor).arg("TYPE").arg("aggr-node");
            command.arg("COUNT").arg(1000);
            let value = match connection.call(&command).await? {
                Ok(value) => value,
                // Some servers reject the name of a type that they do not have.
                Err(text) if text.detail.contains("unknown type") => Value::Nil,
                Err(text) => return Ok(Some(format!("cannot list nodes: {text}"))),
            };
            let unexpected = || connection.unexpected_reply("SCAN");
            let (cursor, keys) = reply::page(value).ok_or_else(unexpected)?;
            for key in keys {
                let key = reply::bytes(key).ok_or_else(unexpected)?;
                if self.next.len() < MAX_NODES && key.len() <= MAX_NAME {
                    self.next.insert(key);
                } else if !self.next.contains(&key) {
                    self.is_truncated = true;
                }
            }
            self.cursor = cursor;
            if self.cursor == b"0" {
                self.names = std::mem::take(&mut self.next);
                self.read_at = Some(Instant::now());
                return Ok(self.note());
            }
        }
        if self.read_at.is_none() {
            self.names = self.next.clone();
        }
        Ok(self.note())
    }

    fn note(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_truncated)
            .then(|| format!("more than {MAX_NODES} nodes: the others are not shown"))
    }
}

/// Reads a server and its nodes.
pub async fn read(
    connection: &mut Connection,
    names: &mut NodeNames,
    endpoint: &str,
) -> Result<Reading, ClientError> {
    let mut reading = Reading::default();
    let mut command = Cmd::new("INFO");
    command.arg("agg").arg("commandstats");
    match connection.call(&command).await? {
        Ok(value) => {
            let text = reply::text(value);
            let text = text.ok_or_else(|| connection.unexpected_reply("INFO"))?;
            if !text.contains("agg_") {
                return Err(ClientError::NoModule {
                    endpoint: endpoint.to_owned(),
                });
            }
            reading.server = Some(ServerStats::parse(&text));
        }
        Err(text) => reading.note = Some(format!("cannot read memory and reports: {text}")),
    }
    if let Some(note) = names.refresh(connection).await? {
        reading.note = Some(note);
    }
    let names: Vec<&Vec<u8>> = names.names.iter().collect();
    for names in names.chunks(NODES_PER_CALL) {
        let commands: Vec<Info> = names.iter().map(|name| Info::new(*name)).collect();
        let replies = connection.run_all(&commands).await?;
        for (name, reply) in names.iter().zip(replies) {
            match reply {
                // The node was deleted since its name was listed.
                Ok(None) => {}
                Ok(Some(info)) => reading.nodes.push((name.to_vec(), info.into())),
                Err(text) => reading.note = Some(format!("cannot read some nodes: {text}")),
            }
        }
    }
    Ok(reading)
}

/// The state that successive readings of a node's details share.
#[derive(Default)]
pub struct DetailState {
    metrics: Ranker,
    errors: Ranker,
}

/// A kind of item that is ranked.
#[derive(Clone, Copy)]
struct Kind {
    /// The keyword of the commands.
    keyword: &'static str,
    /// The field that counts an item's activity.
    counter: &'static str,
    pages: usize,
    page_size: usize,
}

const METRICS: Kind = Kind {
    keyword: "METRIC",
    counter: "samples",
    pages: METRIC_PAGES.0,
    page_size: METRIC_PAGES.1,
};

const ERRORS: Kind = Kind {
    keyword: "ERROR",
    counter: "occurrences",
    pages: ERROR_PAGES.0,
    page_size: ERROR_PAGES.1,
};

/// Reads the details of a node.
pub async fn read_detail(
    connection: &mut Connection,
    node: &[u8],
    state: &mut DetailState,
) -> Result<NodeDetail, ClientError> {
    let at = Instant::now();
    let mut note = None;
    for (kind, ranker) in [(METRICS, &mut state.metrics), (ERRORS, &mut state.errors)] {
        if let Some(error) = read_pages(connection, node, kind, ranker, at).await? {
            note = Some(error);
        }
        read_most_active(connection, node, kind, ranker, at).await?;
    }
    let mut records = [Vec::new(), Vec::new()];
    let commands = [("LOG", LOG_ENTRIES), ("REALITY", OBJECTS)].map(|(queue, limit)| {
        let mut command = Cmd::of_node("AGG.PEEK", node);
        command.arg(queue).arg("COUNT").arg(limit).arg("REV");
        command
    });
    connection
        .pipeline(&commands, |at, reply| match reply {
            Ok(value) => records[at] = reply::records(value),
            Err(text) => note = Some(text.to_string()),
        })
        .await?;
    let [log, object_changes] = records;
    let objects = match object_changes.is_empty() && note.is_none() {
        true => read_objects(connection, node).await?,
        false => Vec::new(),
    };
    Ok(NodeDetail {
        metrics: state.metrics.ranking(),
        errors: state.errors.ranking(),
        log: log.iter().map(replies::log_line).collect(),
        object_changes: object_changes.iter().map(replies::change_line).collect(),
        objects,
        note: note.map(|text| cut(&visible(&text), TEXT_CELLS)),
    })
}

/// Reads the next pages of a kind. Returns the error if the server rejects the command.
async fn read_pages(
    connection: &mut Connection,
    node: &[u8],
    kind: Kind,
    ranker: &mut Ranker,
    at: Instant,
) -> Result<Option<String>, ClientError> {
    ranker.begin();
    for _ in 0..kind.pages {
        let mut command = Cmd::of_node("AGG.SCAN", node);
        command.arg(kind.keyword).arg(&ranker.cursor);
        command.arg("COUNT").arg(kind.page_size).arg("WITHVALUES");
        let value = match connection.call(&command).await? {
            Ok(value) => value,
            Err(text) => return Ok(Some(text.to_string())),
        };
        let unexpected = || connection.unexpected_reply("AGG.SCAN");
        let (cursor, values) = reply::page(value).ok_or_else(unexpected)?;
        let mut items = Vec::with_capacity(values.len() / 2);
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            let key = reply::bytes(key).ok_or_else(unexpected)?;
            if key.len() > MAX_NAME {
                continue;
            }
            items.push(replies::item(key, value, kind.counter).ok_or_else(unexpected)?);
        }
        if ranker.add_page(cursor, items, at) {
            break;
        }
    }
    Ok(None)
}

/// Reads the most active items so far that the pages of this reading did not cover.
async fn read_most_active(
    connection: &mut Connection,
    node: &[u8],
    kind: Kind,
    ranker: &mut Ranker,
    at: Instant,
) -> Result<(), ClientError> {
    let keys = ranker.uncovered(ALWAYS_READ, at);
    let commands: Vec<Cmd> = keys
        .iter()
        .map(|key| {
            let mut command = Cmd::of_node("AGG.GET", node);
            command.arg(kind.keyword).arg(key);
            command
        })
        .collect();
    connection
        .pipeline(&commands, |index, reply| {
            let key = keys[index].clone();
            match reply {
                Ok(Value::Nil) => ranker.remove(&key),
                Ok(value) => {
                    if let Some(item) = replies::item(key, value, kind.counter) {
                        ranker.add(item, at);
                    }
                }
                // The error of the pages is shown already.
                Err(_) => {}
            }
        })
        .await
}

/// Reads some of the node's objects.
async fn read_objects(
    connection: &mut Connection,
    node: &[u8],
) -> Result<Vec<String>, ClientError> {
    let mut command = Cmd::of_node("AGG.SCAN", node);
    command.arg("REALITY").arg(0);
    command.arg("COUNT").arg(OBJECTS).arg("WITHVALUES");
    // An error was shown with the metrics already.
    let Ok(value) = connection.call(&command).await? else {
        return Ok(Vec::new());
    };
    let unexpected = || connection.unexpected_reply("AGG.SCAN");
    let (_, values) = reply::page(value).ok_or_else(unexpected)?;
    let mut values = values.into_iter();
    let mut lines = Vec::new();
    while let (Some(key), Some(value)) = (values.next(), values.next()) {
        lines.push(replies::object_line(key, value).ok_or_else(unexpected)?);
    }
    lines.sort();
    Ok(lines)
}
