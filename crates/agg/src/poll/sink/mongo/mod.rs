//! A database that speaks MongoDB's protocol: collections of statistics, logs, errors and reality.
//!
//! What holds: windows and log lines have an `_id` made of node, queue and id; what is there already is left as it is,
//! so a record written twice is one document. Of each error and object there is one document, its newest state: it is
//! replaced only where the stored id is smaller, so a late redelivery cannot overwrite news. What is answered as
//! written a majority of the servers has in its journal. A document that no server will ever take is named, and the
//! others of its batch are written; whatever speaks of the server is waited out.
//!
//! A time-series collection has no unique index: there it is looked up what is there before anything is inserted. That
//! is enough for redeliveries one after the other, not for two pollers that write one record at the same moment (one
//! whose lease ended while it was still writing). Therefore it has to be asked for.

mod answer;
mod collection;
mod document;
mod link;

use std::collections::HashSet;
use std::time::Duration;

use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc};

use crate::poll::config;
use agg_client::messages::WarnOnce;

use self::answer::{Failure, Fault, faults};
use self::collection::Collection;
use self::document::Record;
use self::link::Link;

use super::{Limits, Refused, Sink, Trouble};

/// The most bytes of one command. A server takes 16 MiB and a little.
const COMMAND: usize = 16 << 20;
/// The bytes of a command beside its statements, with room to spare.
const BESIDE: usize = 1024;
/// The bytes beside each statement.
const EACH: usize = 12;

/// A database.
pub struct Mongo {
    settings: config::Mongo,
    link: Link,
    /// By collection, where it is as it should be: whether it is one of time series.
    ready: [Option<bool>; Collection::ALL.len()],
    once: WarnOnce,
}

/// A record on its way: its place among those given, and what is sent.
struct Item {
    index: usize,
    record: Record,
    statement: RawDocumentBuf,
}

/// What is done with statements.
#[derive(Clone, Copy)]
enum Verb {
    Insert,
    Update,
}

impl Mongo {
    /// The database of these settings; nothing is sent yet.
    pub fn new(settings: config::Mongo) -> Mongo {
        let (uri, database) = (settings.uri.clone(), settings.database.clone());
        Mongo {
            link: Link::new(uri, database, settings.timeout),
            settings,
            ready: Default::default(),
            once: WarnOnce::default(),
        }
    }

    fn name(&self, collection: Collection) -> String {
        format!("{}{}", self.settings.prefix, collection.name())
    }

    /// Writes the records of one collection; adds those that are refused.
    fn store(
        &mut self,
        collection: Collection,
        mut records: Vec<(usize, Record)>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Failure> {
        let series = self.prepare(collection)?;
        if series {
            self.keep_news(collection, &mut records)?;
        }
        let mut items = Vec::new();
        for (index, record) in records {
            let statement = match collection.keeps_states() {
                true => newest(&record, true),
                false => record.document(series),
            };
            let fits = |statement: RawDocumentBuf| match statement.as_bytes().len() {
                bytes if bytes > COMMAND - BESIDE - EACH => {
                    Err(format!("{bytes} bytes as BSON: MongoDB takes 16 MiB"))
                }
                _ => Ok(statement),
            };
            match statement.and_then(fits) {
                Ok(statement) => items.push(Item {
                    index,
                    record,
                    statement,
                }),
                Err(reason) => refused.push(Refused { index, reason }),
            }
        }
        let verb = match collection.keeps_states() {
            true => Verb::Update,
            false => Verb::Insert,
        };
        let mut again = Vec::new();
        for Fault { index, why, there } in self.send(collection, verb, &items)? {
            match there {
                true if collection.keeps_states() => again.push(index),
                true => {}
                false => refused.push(Refused {
                    index: items[index].index,
                    reason: why,
                }),
            }
        }
        // The state is there: either it is as new as this one, or another poller was faster by so little that both
        // meant to insert. The second time there is something to compare with.
        let mut items: Vec<Item> = {
            let again: HashSet<usize> = again.into_iter().collect();
            let kept = items.into_iter().enumerate();
            kept.filter(|(at, _)| again.contains(at))
                .map(|(_, item)| item)
                .collect()
        };
        for item in &mut items {
            item.statement = newest(&item.record, false).map_err(Failure::of)?;
        }
        for Fault { index, why, .. } in self.send(collection, verb, &items)? {
            refused.push(Refused {
                index: items[index].index,
                reason: why,
            });
        }
        Ok(())
    }

    /// Of records for a time-series collection leaves those that are not there.
    fn keep_news(
        &mut self,
        collection: Collection,
        records: &mut Vec<(usize, Record)>,
    ) -> Result<(), Failure> {
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
        let there = self.link.call(move |database| async move {
            // What a majority does not have may still be lost, and has to be written again.
            let options = mongodb::options::CollectionOptions::builder()
                .read_concern(mongodb::options::ReadConcern::majority())
                .build();
            let collection = database.collection_with_options::<Document>(&name, options);
            let mut cursor = collection
                .find(filter)
                .projection(doc! { "_id": 1 })
                .await?;
            let mut there = Vec::new();
            while cursor.advance().await? {
                there.push(cursor.deserialize_current()?);
            }
            Ok(there)
        })?;
        let known = |identity: &Document| {
            let text = |name| identity.get_str(name).unwrap_or_default().to_owned();
            let id = identity.get_i64("id").unwrap_or_default();
            (text("node"), text("queue"), id)
        };
        let there = there.iter().filter_map(|found| match found.get("_id") {
            Some(Bson::Document(identity)) => Some(known(identity)),
            _ => None,
        });
        let mut seen: HashSet<_> = there.collect();
        records.retain(|(_, record)| seen.insert(known(&record.identity)));
        Ok(())
    }

    /// Sends statements, as many at a time as a command may have. Returns those that were not done.
    fn send(
        &mut self,
        collection: Collection,
        verb: Verb,
        items: &[Item],
    ) -> Result<Vec<Fault>, Failure> {
        let name = self.name(collection);
        let mut found = Vec::new();
        let mut todo = parts(items);
        while let Some(range) = todo.pop() {
            let part = &items[range.clone()];
            let command = command(verb, &name, part, self.settings.timeout);
            match self.link.command(command) {
                Ok(reply) => {
                    for fault in faults(&reply)? {
                        if fault.index >= part.len() {
                            return Err(Failure::of("an answer that is none of MongoDB's"));
                        }
                        let index = range.start + fault.index;
                        found.push(Fault { index, ..fault });
                    }
                }
                Err(failure) if failure.of_batch() && part.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                }
                Err(failure) if failure.of_batch() => found.push(Fault {
                    index: range.start,
                    why: failure.why,
                    there: false,
                }),
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
    }
}

impl Sink for Mongo {
    fn limits(&self) -> Limits {
        Limits {
            lines: self.settings.batch_lines,
            bytes: self.settings.batch_bytes,
        }
    }

    fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
        let mut refused = Vec::new();
        let mut by_collection: [Vec<(usize, Record)>; Collection::ALL.len()] = Default::default();
        for (index, text) in records.iter().enumerate() {
            match Record::read(text) {
                Ok(record) => {
                    let collection = Collection::of(record.queue);
                    by_collection[collection as usize].push((index, record));
                }
                Err(reason) => refused.push(Refused { index, reason }),
            }
        }
        for (collection, records) in Collection::ALL.into_iter().zip(by_collection) {
            if records.is_empty() {
                continue;
            }
            if let Err(failure) = self.store(collection, records, &mut refused) {
                // Whatever it was: a server that comes back may have lost indexes or whole collections.
                self.ready = Default::default();
                return Err(failure.later());
            }
        }
        Ok(refused)
    }
}

/// Replaces the state of an error or object where the stored id is smaller.
fn newest(record: &Record, upsert: bool) -> Result<RawDocumentBuf, String> {
    let filter = doc! { "_id": &record.identity, "id": { "$lt": record.id } };
    let filter = RawDocumentBuf::try_from(&filter).map_err(|error| format!("no BSON: {error}"))?;
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), filter);
    statement.append(cstr!("u"), record.document(false)?);
    statement.append(cstr!("upsert"), upsert);
    Ok(statement)
}

/// The statements in parts that a command can have, the last part first.
fn parts(items: &[Item]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, BESIDE);
    for (at, item) in items.iter().enumerate() {
        let more = item.statement.as_bytes().len() + EACH;
        if bytes + more > COMMAND && at > start {
            parts.push(start..at);
            (start, bytes) = (at, BESIDE);
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
    // Before we stop waiting, so that the server's words are heard.
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
            record: Record::read(text.as_bytes()).unwrap(),
            statement,
        }
    }

    #[test]
    fn no_command_is_larger_than_a_server_takes() {
        assert!(parts(&[]).is_empty());
        let items: Vec<Item> = [7, 7, 7, 15, 1, 14].map(|mib| item(mib << 20)).into();
        assert_eq!(parts(&items), [4..6, 3..4, 2..3, 0..2]);
        for range in parts(&items) {
            let name = "x".repeat(200);
            let command = command(Verb::Update, &name, &items[range], Duration::from_secs(10));
            assert!(command.as_bytes().len() <= COMMAND);
        }
    }

    #[test]
    fn a_command_waits_for_a_majority_and_its_journal() {
        let command = command(Verb::Insert, "logs", &[item(1)], Duration::from_secs(10));
        let command = Document::try_from(&*command).unwrap();
        let concern = doc! { "w": "majority", "j": true, "wtimeout": 7500 };
        let expected = doc! {
            "insert": "logs", "ordered": false, "writeConcern": concern, "documents": [{ "x": "x" }],
        };
        assert_eq!(command, expected);
    }
}
