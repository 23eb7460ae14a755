//! A sink for databases that speak MongoDB's protocol: collections of statistics, logs, errors and reality.
//!
//! # Invariants
//!
//! - Windows and log entries have an `_id` of node, queue and id, and an existing document is left as it is. So a record
//!   written twice is one document.
//! - Each error and object has one document, its newest state. It is replaced only if the stored id is smaller, so a late
//!   redelivery cannot overwrite a newer state.
//! - A write is acknowledged when a majority of the servers has it in its journal.
//! - A document that no server will ever accept is named, and the others of its batch are written. Errors that are about
//!   the server are retried.
//!
//! A time-series collection has no unique index, so the existing documents are looked up before anything is inserted.
//! That suffices for redeliveries one after the other, but not for two pollers that write one record at the same moment
//! (one whose lease ended while it was still writing). Therefore time series have to be requested in the settings.

mod collection;
mod connection;
mod database;
mod document;
mod prepare;
mod reply;

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc};

use self::collection::Collection;
use self::document::{DocumentError, Record};
use self::reply::{CommandError, UNEXPECTED, WriteError, write_errors};

pub use self::database::Mongo;

use super::{BatchLimits, Rejection, Sink, SinkError};

/// The maximum number of bytes of one command. A server accepts 16 MiB and a little more.
const MAX_COMMAND: usize = 16 << 20;
/// The bytes of a command besides its statements, generously.
const COMMAND_OVERHEAD: usize = 1024;
/// The bytes of a command besides each statement.
const STATEMENT_OVERHEAD: usize = 12;

/// A record with its statement.
struct Item {
    /// The index of the record in the write.
    index: usize,
    record: Record,
    statement: RawDocumentBuf,
}

/// The kind of a command.
#[derive(Clone, Copy)]
enum Verb {
    Insert,
    Update,
}

impl Mongo {
    /// Writes the records of one collection. Adds those that are rejected.
    async fn store(
        &mut self,
        collection: Collection,
        mut records: Vec<(usize, Record)>,
        rejections: &mut Vec<Rejection>,
    ) -> Result<(), CommandError> {
        let series = self.prepare(collection).await?;
        if series {
            self.retain_new(collection, &mut records).await?;
        }
        let mut items = Vec::new();
        for (index, record) in records {
            let statement = match collection.keeps_states() {
                true => replace_if_newer(&record, true),
                false => record.document(series),
            };
            match statement.and_then(check_size) {
                Ok(statement) => items.push(Item {
                    index,
                    record,
                    statement,
                }),
                Err(error) => {
                    let reason = error.to_string();
                    rejections.push(Rejection { index, reason });
                }
            }
        }
        let verb = match collection.keeps_states() {
            true => Verb::Update,
            false => Verb::Insert,
        };
        let mut again = HashSet::new();
        for error in self.send(collection, verb, &items).await? {
            match error.is_duplicate {
                true if collection.keeps_states() => {
                    again.insert(error.index);
                }
                true => {}
                false => rejections.push(Rejection {
                    index: items[error.index].index,
                    reason: error.reason,
                }),
            }
        }
        // The state exists: either it is as new as this one, or another poller inserted it between the comparison and
        // the insertion. The second time there is a state to compare with.
        let mut items: Vec<Item> = items
            .into_iter()
            .enumerate()
            .filter(|(at, _)| again.contains(at))
            .map(|(_, item)| item)
            .collect();
        for item in &mut items {
            item.statement = replace_if_newer(&item.record, false)
                .map_err(|error| CommandError::new(error.to_string()))?;
        }
        for error in self.send(collection, verb, &items).await? {
            rejections.push(Rejection {
                index: items[error.index].index,
                reason: error.reason,
            });
        }
        Ok(())
    }

    /// Keeps the records that a time-series collection does not contain yet.
    async fn retain_new(
        &mut self,
        collection: Collection,
        records: &mut Vec<(usize, Record)>,
    ) -> Result<(), CommandError> {
        let starts = || records.iter().filter_map(|(_, record)| record.start);
        let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
            return Ok(());
        };
        let nodes: HashSet<&str> = records.iter().map(|(_, record)| &*record.node).collect();
        let ids: Vec<i64> = records.iter().map(|(_, record)| record.id).collect();
        let filter = doc! {
            "series.node": { "$in": Vec::from_iter(nodes) },
            "start": { "$gte": first, "$lte": last },
            "_id.id": { "$in": ids },
        };
        let name = self.name(collection);
        let existing = self.connection.call(move |database| async move {
            // A document that a majority does not have may still be lost, and has to be written again.
            let options = mongodb::options::CollectionOptions::builder()
                .read_concern(mongodb::options::ReadConcern::majority())
                .build();
            let collection = database.collection_with_options::<Document>(&name, options);
            let mut cursor = collection
                .find(filter)
                .projection(doc! { "_id": 1 })
                .await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        });
        let existing = existing.await?;
        let key = |identity: &Document| {
            let text = |name| identity.get_str(name).unwrap_or_default().to_owned();
            let id = identity.get_i64("id").unwrap_or_default();
            (text("node"), text("queue"), id)
        };
        let existing = existing.iter().filter_map(|found| match found.get("_id") {
            Some(Bson::Document(identity)) => Some(key(identity)),
            _ => None,
        });
        let mut seen: HashSet<_> = existing.collect();
        records.retain(|(_, record)| seen.insert(key(&record.identity)));
        Ok(())
    }

    /// Sends statements, as many at a time as fit in a command. Returns those that were not executed.
    async fn send(
        &mut self,
        collection: Collection,
        verb: Verb,
        items: &[Item],
    ) -> Result<Vec<WriteError>, CommandError> {
        let name = self.name(collection);
        let mut found = Vec::new();
        let mut todo = parts(items);
        while let Some(range) = todo.pop() {
            let part = &items[range.clone()];
            let command = command(verb, &name, part, self.settings.timeout);
            match self.connection.command(command).await {
                Ok(reply) => {
                    for error in write_errors(&reply)? {
                        if error.index >= part.len() {
                            return Err(CommandError::new(UNEXPECTED));
                        }
                        let index = range.start + error.index;
                        found.push(WriteError { index, ..error });
                    }
                }
                Err(error) if error.is_about_batch() && part.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                }
                Err(error) if error.is_about_batch() => found.push(WriteError {
                    index: range.start,
                    reason: error.reason,
                    is_duplicate: false,
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Sink for Mongo {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records: self.settings.batch_lines,
            bytes: self.settings.batch_bytes,
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        // Needs the credentials, and a primary.
        let reply = self.run(&doc! { "hello": 1 }).await?;
        match reply.get_bool("isWritablePrimary") {
            Ok(false) => Err(SinkError::retriable("the server is not writable")),
            _ => Ok("MongoDB".into()),
        }
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let mut rejections = Vec::new();
        let mut by_collection: [Vec<(usize, Record)>; Collection::ALL.len()] = Default::default();
        for (index, text) in records.iter().enumerate() {
            match Record::parse(text) {
                Ok(record) => {
                    let collection = Collection::of(record.queue);
                    by_collection[collection as usize].push((index, record));
                }
                Err(error) => {
                    let reason = error.to_string();
                    rejections.push(Rejection { index, reason });
                }
            }
        }
        for (collection, records) in Collection::ALL.into_iter().zip(by_collection) {
            if records.is_empty() {
                continue;
            }
            if let Err(error) = self.store(collection, records, &mut rejections).await {
                // Whatever the error, a server that comes back may have lost indexes or whole collections.
                self.ready = Default::default();
                return Err(error.into());
            }
        }
        Ok(rejections)
    }
}

/// Checks that a statement fits in a command.
fn check_size(statement: RawDocumentBuf) -> Result<RawDocumentBuf, DocumentError> {
    match statement.as_bytes().len() {
        bytes if bytes > MAX_COMMAND - COMMAND_OVERHEAD - STATEMENT_OVERHEAD => {
            Err(DocumentError::TooLarge(bytes))
        }
        _ => Ok(statement),
    }
}

/// Returns the statement that replaces the state of an error or object if the stored id is smaller.
fn replace_if_newer(record: &Record, upsert: bool) -> Result<RawDocumentBuf, DocumentError> {
    let filter = doc! { "_id": &record.identity, "id": { "$lt": record.id } };
    let filter = RawDocumentBuf::try_from(&filter)?;
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), filter);
    statement.append(cstr!("u"), record.document(false)?);
    statement.append(cstr!("upsert"), upsert);
    Ok(statement)
}

/// Splits statements into parts that fit in a command. The last part comes first.
fn parts(items: &[Item]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, COMMAND_OVERHEAD);
    for (at, item) in items.iter().enumerate() {
        let more = item.statement.as_bytes().len() + STATEMENT_OVERHEAD;
        if bytes + more > MAX_COMMAND && at > start {
            parts.push(start..at);
            (start, bytes) = (at, COMMAND_OVERHEAD);
        }
        bytes += more;
    }
    if start < items.len() {
        parts.push(start..items.len());
    }
    parts.reverse();
    parts
}

fn command(verb: Verb, name: &str, items: &[Item], timeout: Duration) -> RawDocumentBuf {
    let statements: RawArrayBuf = items.iter().map(|item| &*item.statement).collect();
    let mut concern = RawDocumentBuf::new();
    concern.append(cstr!("w"), "majority");
    concern.append(cstr!("j"), true);
    // Shorter than the timeout of the connection, so that the reply of the server arrives.
    let patience = timeout.as_millis() * 3 / 4;
    concern.append(
        cstr!("wtimeout"),
        i32::try_from(patience).unwrap_or(i32::MAX),
    );
    let mut command = RawDocumentBuf::new();
    match verb {
        Verb::Insert => command.append(cstr!("insert"), name),
        Verb::Update => command.append(cstr!("update"), name),
    }
    command.append(cstr!("ordered"), false);
    command.append(cstr!("writeConcern"), concern);
    match verb {
        Verb::Insert => command.append(cstr!("documents"), statements),
        Verb::Update => command.append(cstr!("updates"), statements),
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Item {
        let text = r#"{"node":"n","queue":"LOG","id":5,"epoch":1}"#;
        let mut statement = RawDocumentBuf::new();
        statement.append(cstr!("x"), "x".repeat(bytes));
        Item {
            index: 0,
            record: Record::parse(text.as_bytes()).unwrap(),
            statement,
        }
    }

    #[test]
    fn command_is_not_larger_than_a_server_accepts() {
        assert!(parts(&[]).is_empty());
        let items: Vec<Item> = [7, 7, 7, 15, 1, 14].map(|mib| item(mib << 20)).into();
        assert_eq!(parts(&items), [4..6, 3..4, 2..3, 0..2]);
        for range in parts(&items) {
            let name = "x".repeat(200);
            let command = command(Verb::Update, &name, &items[range], Duration::from_secs(10));
            assert!(command.as_bytes().len() <= MAX_COMMAND);
        }
    }

    #[test]
    fn command_waits_for_a_majority_and_its_journal() {
        let command = command(Verb::Insert, "logs", &[item(1)], Duration::from_secs(10));
        let command = Document::try_from(&*command).unwrap();
        let concern = doc! { "w": "majority", "j": true, "wtimeout": 7500 };
        let expected = doc! {
            "insert": "logs", "ordered": false, "writeConcern": concern, "documents": [{ "x": "x" }],
        };
        assert_eq!(command, expected);
    }
}
