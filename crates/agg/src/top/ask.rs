//! What a server is asked: commands that read, and no others. Each look is bounded, whatever the server holds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use super::close::{Close, Item, Walk};
use super::figures;
use super::model::Look;
use super::show::{cut, in_unit};
use agg_client::connect::{ClientError, Connection, no_module};
use agg_client::reply::{self, Reply};
use aggregator_protocol::masking::cell as plain;

/// Most nodes of a server that are looked at.
const NODES: usize = 1000;
/// Bytes of a name that is looked at: a server may name as many longer ones as it likes.
const NAME: usize = 4096;
/// Nodes that are asked for at once.
const PART: usize = 200;
/// Pages of keys that a look reads, of 1000 keys each: the server may hold more than nodes.
const KEY_PAGES: usize = 20;
/// How long the list of nodes holds.
const FRESH: Duration = Duration::from_secs(5);
/// Pages of metrics and of errors that a look into a node reads, and what is in one. Errors may be long.
const METRICS: (usize, usize) = (5, 200);
const ERRORS: (usize, usize) = (4, 50);
/// The noisiest so far, which every look asks for.
const AGAIN: usize = 50;
/// Lines of the log.
const LINES: usize = 50;
/// Objects, which may be long.
const OBJECTS: usize = 10;
/// Cells of a text that are kept.
const CELLS: usize = 400;

/// One server's list of nodes, which is read a part at a time where it is long.
pub struct Nodes {
    list: BTreeSet<Vec<u8>>,
    next: BTreeSet<Vec<u8>>,
    cursor: Vec<u8>,
    read: Option<Instant>,
    more: bool,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            list: BTreeSet::new(),
            next: BTreeSet::new(),
            cursor: b"0".to_vec(),
            read: None,
            more: false,
        }
    }
}

impl Nodes {
    async fn read(&mut self, wire: &mut Connection) -> Result<Option<String>, ClientError> {
        if self.cursor == b"0" && self.read.is_some_and(|read| read.elapsed() < FRESH) {
            return Ok(None);
        }
        for _ in 0..KEY_PAGES {
            let mut command = redis::cmd("SCAN");
            command
                .arg(&self.cursor)
                .arg("TYPE")
                .arg("aggr-node")
                .arg("COUNT")
                .arg(1000);
            let value = match wire.call(&command).await? {
                Ok(value) => value,
                // Some servers refuse the name of a type that they do not have.
                Err(text) if text.contains("unknown type") => Value::Nil,
                Err(text) => return Ok(Some(format!("nodes not listed: {text}"))),
            };
            let (cursor, keys) = reply::page(value).ok_or_else(|| wire.unexpected_reply("SCAN"))?;
            for key in keys {
                let key = reply::bytes(key).ok_or_else(|| wire.unexpected_reply("SCAN"))?;
                if self.next.len() < NODES && key.len() <= NAME {
                    self.next.insert(key);
                } else if !self.next.contains(&key) {
                    self.more = true;
                }
            }
            self.cursor = cursor;
            if self.cursor == b"0" {
                self.list = std::mem::take(&mut self.next);
                self.read = Some(Instant::now());
                return Ok(self.note());
            }
        }
        if self.read.is_none() {
            self.list = self.next.clone();
        }
        Ok(self.note())
    }

    fn note(&mut self) -> Option<String> {
        let more = std::mem::take(&mut self.more);
        more.then(|| format!("more than {NODES} nodes: the rest is not shown"))
    }
}

/// Looks at a server and all its nodes.
pub async fn look(
    wire: &mut Connection,
    nodes: &mut Nodes,
    place: &str,
) -> Result<Look, ClientError> {
    let mut look = Look::default();
    let mut command = redis::cmd("INFO");
    command.arg("agg").arg("commandstats");
    match wire.call(&command).await? {
        Ok(value) => {
            let text = info(value).ok_or_else(|| wire.unexpected_reply("INFO"))?;
            if !text.contains("agg_") {
                return Err(no_module(place));
            }
            look.server = Some(figures::Server::read(&text));
        }
        Err(text) => look.note = Some(format!("memory and reports not known: {text}")),
    }
    if let Some(note) = nodes.read(wire).await? {
        look.note = Some(note);
    }
    let names: Vec<&Vec<u8>> = nodes.list.iter().collect();
    for part in names.chunks(PART) {
        let commands: Vec<Cmd> = part.iter().map(|name| about("AGG.INFO", name)).collect();
        let mut replies: Vec<Reply> = Vec::with_capacity(part.len());
        wire.pipeline(&commands, |_, reply| replies.push(reply))
            .await?;
        for (name, reply) in part.iter().zip(replies) {
            match reply {
                // It went since it was listed.
                Ok(Value::Nil) => {}
                Ok(value) => {
                    let node = figures::Node::read(value)
                        .ok_or_else(|| wire.unexpected_reply("AGG.INFO"))?;
                    look.nodes.push((name.to_vec(), node));
                }
                Err(text) => look.note = Some(format!("some nodes not shown: {text}")),
            }
        }
    }
    Ok(look)
}

/// What is known of the node that is looked into.
#[derive(Default)]
pub struct Into {
    metrics: Walk,
    errors: Walk,
}

/// Looks into a node.
pub async fn into(
    wire: &mut Connection,
    node: &[u8],
    known: &mut Into,
) -> Result<Close, ClientError> {
    let at = Instant::now();
    let mut note = None;
    let kinds = [
        ("METRIC", "samples", METRICS, &mut known.metrics),
        ("ERROR", "occurrences", ERRORS, &mut known.errors),
    ];
    for (kind, counter, (pages, size), walk) in kinds {
        walk.begin();
        for _ in 0..pages {
            let mut command = about("AGG.SCAN", node);
            command
                .arg(kind)
                .arg(&walk.cursor)
                .arg("COUNT")
                .arg(size)
                .arg("WITHVALUES");
            let value = match wire.call(&command).await? {
                Ok(value) => value,
                Err(text) => {
                    note = Some(text);
                    break;
                }
            };
            let (cursor, items) =
                reply::page(value).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
            let mut all = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                let key = reply::bytes(key).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
                if key.len() > NAME {
                    continue;
                }
                all.push(
                    item(key, value, counter).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?,
                );
            }
            if walk.page(cursor, all, at) {
                break;
            }
        }
        again(wire, node, (kind, counter), walk, at).await?;
    }
    let mut peeks = [Vec::new(), Vec::new()];
    let wanted = [("LOG", LINES), ("REALITY", OBJECTS)].map(|(queue, most)| {
        let mut command = about("AGG.PEEK", node);
        command.arg(queue).arg("COUNT").arg(most).arg("REV");
        command
    });
    wire.pipeline(&wanted, |at, reply| match reply {
        Ok(value) => peeks[at] = reply::records(value),
        Err(text) => note = Some(text),
    })
    .await?;
    let [logs, realities] = peeks;
    let held = match realities.is_empty() && note.is_none() {
        true => held(wire, node).await?,
        false => Vec::new(),
    };
    Ok(Close {
        held,
        metrics: known.metrics.noise(),
        errors: known.errors.noise(),
        logs: logs.iter().map(log).collect(),
        realities: realities.iter().map(object).collect(),
        note: note.map(|text| cut(&plain(&text), CELLS)),
    })
}

/// Some of the objects that are held.
async fn held(wire: &mut Connection, node: &[u8]) -> Result<Vec<String>, ClientError> {
    let mut command = about("AGG.SCAN", node);
    command
        .arg("REALITY")
        .arg(0)
        .arg("COUNT")
        .arg(OBJECTS)
        .arg("WITHVALUES");
    // Who may not ask has been told so with the metrics.
    let Ok(value) = wire.call(&command).await? else {
        return Ok(Vec::new());
    };
    let (_, items) = reply::page(value).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
    let mut items = items.into_iter();
    let mut all = Vec::new();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        let line = held_object(key, value).ok_or_else(|| wire.unexpected_reply("AGG.SCAN"))?;
        all.push(line);
    }
    all.sort();
    Ok(all)
}

fn held_object(key: Value, value: Value) -> Option<String> {
    let (mut model, mut json) = (String::new(), String::new());
    for (field, value) in figures::pairs(value)? {
        match field.as_str() {
            "model" => model = reply::text(value)?,
            "json" => json = reply::text(value)?,
            _ => {}
        }
    }
    let key = reply::bytes(key)?;
    let line = format!("{} {model} {json}", String::from_utf8_lossy(&key));
    Some(cut(&plain(&line), CELLS))
}

/// Asks for the noisiest so far that this look did not come by.
async fn again(
    wire: &mut Connection,
    node: &[u8],
    (kind, counter): (&str, &str),
    walk: &mut Walk,
    at: Instant,
) -> Result<(), ClientError> {
    let keys = walk.missed(AGAIN, at);
    let commands: Vec<Cmd> = keys
        .iter()
        .map(|key| {
            let mut command = about("AGG.GET", node);
            command.arg(kind).arg(key);
            command
        })
        .collect();
    wire.pipeline(&commands, |index, reply| {
        let key = keys[index].clone();
        match reply {
            Ok(Value::Nil) => walk.forget(&key),
            Ok(value) => {
                if let Some(item) = item(key, value, counter) {
                    walk.take(item, at);
                }
            }
            // What could not be read the pages said.
            Err(_) => {}
        }
    })
    .await
}

fn about(command: &str, node: &[u8]) -> Cmd {
    let mut command = redis::cmd(command);
    command.arg(node);
    command
}

fn info(value: Value) -> Option<String> {
    match value {
        Value::VerbatimString { text, .. } => Some(text),
        value => reply::text(value),
    }
}

/// A metric or an error of a page.
fn item(key: Vec<u8>, value: Value, counter: &str) -> Option<Item> {
    let mut item = Item {
        name: cut(&plain(&String::from_utf8_lossy(&key)), CELLS),
        key,
        count: 0,
        detail: String::new(),
        counter: None,
    };
    let (mut kind, mut level, mut unit, mut last) =
        (String::new(), String::new(), String::new(), String::new());
    for (field, value) in figures::pairs(value)? {
        match field.as_str() {
            field if field == counter => item.count = figures::number(&value),
            "type" => kind = reply::text(value)?,
            "last" if counter == "samples" => last = told(value),
            "tags" if counter == "samples" => unit = unit_of(value),
            "level" => level = format!(" level {}", told(value)),
            "message" => item.name = cut(&plain(&reply::text(value)?), CELLS),
            _ => {}
        }
    }
    let last = match (last.parse::<f64>(), kind.as_str()) {
        (Ok(total), "DIFF") => {
            item.counter = Some((total, unit));
            String::new()
        }
        (Ok(value), _) => format!(" last {}", in_unit(value, &unit)),
        (Err(_), _) => String::new(),
    };
    item.detail = cut(&plain(&format!("{kind}{last}{level}")), CELLS);
    Some(item)
}

/// The unit that the tags of a metric name; none where they name none.
fn unit_of(tags: Value) -> String {
    let tags = figures::pairs(tags).unwrap_or_default();
    let unit = tags.into_iter().find(|(name, _)| name == "unit");
    let unit = unit.and_then(|(_, unit)| reply::text(unit));
    cut(&unit.unwrap_or_default(), 40)
}

fn told(value: Value) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        value => reply::text(value).unwrap_or_default(),
    }
}

fn log(record: &serde_json::Value) -> String {
    let text = record["message"].as_str().unwrap_or_default();
    let level = record["level"].as_i64().unwrap_or_default();
    let time = time(record["epoch"].as_i64().unwrap_or_default());
    cut(&format!("{time} {level} {}", plain(text)), CELLS)
}

fn object(record: &serde_json::Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or_default();
    let time = time(record["epoch"].as_i64().unwrap_or_default());
    let gone = if record["gone"] == true { " gone" } else { "" };
    let json = record["json"].to_string();
    let line = format!("{time} {} {}{gone} {json}", text("key"), text("model"));
    cut(&plain(&line), CELLS)
}

/// The time of day in UTC.
fn time(ms: i64) -> String {
    let s = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_metric_and_an_error() {
        let metric = |kind, unit, last| {
            Value::Array(vec![
                bulk("type"),
                bulk(kind),
                bulk("tags"),
                Value::Array(vec![bulk("unit"), bulk(unit)]),
                bulk("last"),
                bulk(last),
                bulk("samples"),
                Value::Int(9),
            ])
        };
        let counter = metric("DIFF", "bytes", "17.5");
        let counter = item(b"net\x1b".to_vec(), counter, "samples").unwrap();
        assert_eq!((counter.name.as_str(), counter.count), ("net·", 9));
        assert_eq!(counter.detail, "DIFF");
        assert_eq!(counter.counter, Some((17.5, "bytes".into())));
        let gauge = metric("ABS", "bytes", "69206016");
        let gauge = item(b"mem.used".to_vec(), gauge, "samples").unwrap();
        assert_eq!(gauge.detail, "ABS last 66mb");
        let error = Value::Array(vec![
            bulk("message"),
            bulk("disk\nfailed"),
            bulk("level"),
            Value::Int(3),
            bulk("type"),
            bulk("OPS"),
            bulk("last"),
            Value::Int(1_795_635_668_002),
            bulk("occurrences"),
            Value::Int(4),
        ]);
        let error = item(b"78755a".to_vec(), error, "occurrences").unwrap();
        assert_eq!((error.name.as_str(), error.count), ("disk·failed", 4));
        assert_eq!(error.detail, "OPS level 3");
    }

    #[test]
    fn records_are_lines() {
        let log_record = br#"{"message":"a\u001bb","level":5,"epoch":1795635667993}"#;
        let entry = |record: &[u8]| {
            Value::Array(vec![
                bulk("LOG"),
                Value::Int(1),
                Value::Int(0),
                Value::BulkString(record.to_vec()),
            ])
        };
        let all = reply::records(Value::Array(vec![entry(log_record), entry(b"no JSON")]));
        assert_eq!(all.len(), 1);
        assert_eq!(log(&all[0]), "19:41:07 5 a·b");
        let record = br#"{"key":"sda","model":"Disk","json":{"a":1},"epoch":0,"gone":true}"#;
        let all = reply::records(Value::Array(vec![entry(record)]));
        assert_eq!(object(&all[0]), "00:00:00 sda Disk gone {\"a\":1}");
    }

    #[test]
    fn a_page_of_a_server_without_such_a_type_is_empty() {
        assert_eq!(reply::page(Value::Nil), Some((b"0".to_vec(), vec![])));
        assert_eq!(reply::page(Value::Int(3)), None);
    }
}
