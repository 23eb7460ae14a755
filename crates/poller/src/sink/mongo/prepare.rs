//! Creates collections and their indexes before anything is written.

use mongodb::bson::{Bson, Document, doc};

use super::collection::Collection;
use super::database::Mongo;
use super::document::{SERIES, TIME};
use super::reply::{CommandError, UNEXPECTED};

/// An index on the same fields exists under another name or with other options. It serves as well.
const EQUIVALENT_INDEX: [i32; 2] = [85, 86];
/// The collection was created in the meantime.
const NAMESPACE_EXISTS: i32 = 48;
/// The replies of servers without time series: BadValue, FailedToParse, InvalidOptions, CommandNotSupported, and an
/// unknown field.
const NO_TIME_SERIES: [i32; 5] = [2, 9, 72, 115, 40415];

impl Mongo {
    /// Creates the collection and its indexes if they are missing. Returns whether it is a time-series collection.
    pub(super) async fn prepare(&mut self, collection: Collection) -> Result<bool, CommandError> {
        if let Some(series) = self.ready[collection as usize] {
            return Ok(series);
        }
        let name = self.name(collection);
        let series = collection == Collection::Statistics && self.is_series(&name).await?;
        for fields in collection.indexes(series) {
            let index = index(fields);
            let command = doc! {
                "createIndexes": &name,
                "indexes": [index],
                "writeConcern": { "w": "majority" },
            };
            if let Err(error) = self.run(&command).await {
                let is_equivalent = |code: i32| EQUIVALENT_INDEX.contains(&code);
                if !error.code.is_some_and(is_equivalent) {
                    return Err(error.while_trying(&format!("create an index of {name}")));
                }
            }
        }
        self.ready[collection as usize] = Some(series);
        Ok(series)
    }

    /// Returns whether a collection is a time-series collection. Creates one if it is missing and wanted.
    async fn is_series(&mut self, name: &str) -> Result<bool, CommandError> {
        let mut found = self.find(name).await?;
        if found.is_none() && self.settings.time_series {
            let command = doc! {
                "create": name,
                "timeseries": { "timeField": TIME, "metaField": SERIES, "granularity": "minutes" },
                "writeConcern": { "w": "majority" },
            };
            match self.run(&command).await {
                Ok(_) => return Ok(true),
                // Another poller has just created it.
                Err(CommandError {
                    code: Some(NAMESPACE_EXISTS),
                    ..
                }) => found = self.find(name).await?,
                Err(CommandError {
                    code: Some(code),
                    reason,
                }) if NO_TIME_SERIES.contains(&code) => {
                    self.once.warn(&format!(
                        "the server does not support time-series collections ({reason}): {name} is a plain collection"
                    ));
                    return Ok(false);
                }
                Err(error) => {
                    return Err(error.while_trying(&format!("create the collection {name}")));
                }
            }
        }
        let series = found.is_some_and(|options| options.contains_key("timeseries"));
        if self.settings.time_series && !series {
            self.once.warn(&format!(
                "{name} already exists and is not a time-series collection: it stays a plain collection"
            ));
        }
        Ok(series)
    }

    /// Returns the options of a collection, or `None` if it does not exist.
    async fn find(&mut self, name: &str) -> Result<Option<Document>, CommandError> {
        let mut reply = self
            .run(&doc! { "listCollections": 1, "filter": { "name": name } })
            .await?;
        let unexpected = || CommandError::new(UNEXPECTED);
        let cursor = reply.get_document_mut("cursor").map_err(|_| unexpected())?;
        let batch = cursor
            .get_array_mut("firstBatch")
            .map_err(|_| unexpected())?
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
                return Err(CommandError::new(format!(
                    "the time-series collection {name} has other fields: expected the timeField {TIME:?} and the \
                     metaField {SERIES:?}"
                )));
            }
        }
        Ok(Some(options))
    }
}

/// Describes an index with the name that the driver would give it, so that one created by hand is the same.
fn index(fields: &[&str]) -> Document {
    let mut key = Document::new();
    for field in fields {
        key.insert(*field, 1);
    }
    let name = fields.iter().map(|field| format!("{field}_1"));
    doc! { "key": key, "name": name.collect::<Vec<_>>().join("_") }
}
