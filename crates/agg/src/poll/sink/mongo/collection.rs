//! The collections, their indexes, and that both are there before anything is written.

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

use aggregator_protocol::Queue;

use super::Mongo;
use super::answer::Failure;
use super::document::{SERIES, TIME};

/// A collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Windows of metrics.
    Statistics,
    /// Log lines.
    Logs,
    /// Errors, the newest state of each.
    Errors,
    /// Objects, the newest state of each.
    Reality,
}

/// An index with the same fields and another name or other options, made by somebody else, serves as well.
const SUCH_AN_INDEX: [i32; 2] = [85, 86];
/// The collection was made meanwhile.
const NAMESPACE_EXISTS: i32 = 48;
/// What servers say that know no time series: BadValue, FailedToParse, InvalidOptions, CommandNotSupported, and an
/// unknown field.
const NO_TIME_SERIES: [i32; 5] = [2, 9, 72, 115, 40415];

impl Collection {
    /// All, in their order as numbers.
    pub const ALL: [Collection; 4] = [
        Collection::Statistics,
        Collection::Logs,
        Collection::Errors,
        Collection::Reality,
    ];

    /// That of a queue.
    pub fn of(queue: Queue) -> Collection {
        match queue {
            Queue::Min | Queue::Hour => Collection::Statistics,
            Queue::Log => Collection::Logs,
            Queue::Error => Collection::Errors,
            Queue::Reality => Collection::Reality,
        }
    }

    /// Its name, without what the settings put before it.
    pub fn name(self) -> &'static str {
        match self {
            Collection::Statistics => "statistics",
            Collection::Logs => "logs",
            Collection::Errors => "errors",
            Collection::Reality => "reality",
        }
    }

    /// Whether it has one document for each thing, not one for each record.
    pub fn keeps_states(self) -> bool {
        matches!(self, Collection::Errors | Collection::Reality)
    }

    /// The fields of its indexes: by node and what one looks for there, and by time over all nodes.
    fn indexes(self, series: bool) -> &'static [&'static [&'static str]] {
        match self {
            Collection::Statistics if series => &[&["series.node", "series.metric", "start"]],
            Collection::Statistics => &[&["node", "metric", "start"], &["start"]],
            Collection::Logs => &[&["node", "epoch"], &["epoch"]],
            Collection::Errors => &[&["node", "last"], &["last"]],
            Collection::Reality => &[&["node", "model"], &["epoch"]],
        }
    }
}

impl Mongo {
    /// Makes a collection and its indexes where they are missing; whether it is one of time series.
    pub(super) fn prepare(&mut self, collection: Collection) -> Result<bool, Failure> {
        if let Some(series) = self.ready[collection as usize] {
            return Ok(series);
        }
        let name = self.name(collection);
        let series = collection == Collection::Statistics && self.is_series(&name)?;
        for fields in collection.indexes(series) {
            let index = index(fields);
            let command = doc! {
                "createIndexes": &name,
                "indexes": [index],
                "writeConcern": { "w": "majority" },
            };
            if let Err(failure) = self.ask(&command) {
                let such = |code: i32| SUCH_AN_INDEX.contains(&code);
                if !failure.code.is_some_and(such) {
                    return Err(failure.while_trying(&format!("make an index of {name}")));
                }
            }
        }
        self.ready[collection as usize] = Some(series);
        Ok(series)
    }

    /// Whether a collection is one of time series; makes it so where it is missing and that is wanted.
    fn is_series(&mut self, name: &str) -> Result<bool, Failure> {
        let mut found = self.look(name)?;
        if found.is_none() && self.settings.time_series {
            let command = doc! {
                "create": name,
                "timeseries": { "timeField": TIME, "metaField": SERIES, "granularity": "minutes" },
                "writeConcern": { "w": "majority" },
            };
            match self.ask(&command) {
                Ok(_) => return Ok(true),
                // Another poller was faster.
                Err(Failure {
                    code: Some(NAMESPACE_EXISTS),
                    ..
                }) => found = self.look(name)?,
                Err(Failure {
                    code: Some(code),
                    why,
                }) if NO_TIME_SERIES.contains(&code) => {
                    self.once.say(&format!(
                        "the server makes no time-series collection ({why}): {name} is a plain one"
                    ));
                    return Ok(false);
                }
                Err(failure) => {
                    return Err(failure.while_trying(&format!("make the collection {name}")));
                }
            }
        }
        let series = found.is_some_and(|options| options.contains_key("timeseries"));
        if self.settings.time_series && !series {
            self.once.say(&format!(
                "{name} is there and no time-series collection: it stays a plain one"
            ));
        }
        Ok(series)
    }

    /// The options of a collection; none where there is none.
    fn look(&mut self, name: &str) -> Result<Option<Document>, Failure> {
        let mut reply = self.ask(&doc! { "listCollections": 1, "filter": { "name": name } })?;
        let strange = || Failure::of("an answer that is none of MongoDB's");
        let cursor = reply.get_document_mut("cursor").map_err(|_| strange())?;
        let batch = cursor
            .get_array_mut("firstBatch")
            .map_err(|_| strange())?
            .pop();
        let Some(Bson::Document(mut found)) = batch else {
            return Ok(None);
        };
        let options = match found.remove("options") {
            Some(Bson::Document(options)) => options,
            _ => Document::new(),
        };
        if let Ok(fields) = options.get_document("timeseries") {
            let is = |key: &str, name: &str| fields.get_str(key).ok() == Some(name);
            if !is("timeField", TIME) || !is("metaField", SERIES) {
                return Err(Failure::of(format!(
                    "the time-series collection {name} is none of ours: its timeField has to be \
                     {TIME:?} and its metaField {SERIES:?}"
                )));
            }
        }
        Ok(Some(options))
    }

    fn ask(&mut self, command: &Document) -> Result<Document, Failure> {
        let command = RawDocumentBuf::try_from(command);
        let command = command.map_err(|error| Failure::of(format!("no BSON: {error}")))?;
        self.link.command(command)
    }
}

/// An index as the driver would name it, so that one made by hand is the same.
fn index(fields: &[&str]) -> Document {
    let mut key = Document::new();
    for field in fields {
        key.insert(*field, 1);
    }
    let name = fields.iter().map(|field| format!("{field}_1"));
    doc! { "key": key, "name": name.collect::<Vec<_>>().join("_") }
}
