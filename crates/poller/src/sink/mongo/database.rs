//! The database of a sink, with what is known of its collections.

use agg_client::WarnOnce;
use mongodb::bson::{Document, RawDocumentBuf};

use crate::config;

use super::collection::Collection;
use super::connection::Connection;
use super::reply::CommandError;

/// A database.
pub struct Mongo {
    /// The settings.
    pub settings: config::Mongo,
    /// The connection to the servers.
    pub connection: Connection,
    /// For each collection, true if it is a time-series collection. `None` if it has to be prepared first.
    pub ready: [Option<bool>; Collection::ALL.len()],
    /// The warnings that were shown.
    pub once: WarnOnce,
}

impl Mongo {
    /// Creates a sink for the database of these settings. Nothing is sent yet.
    pub fn new(settings: config::Mongo) -> Mongo {
        let (uri, database) = (settings.uri.clone(), settings.database.clone());
        Mongo {
            connection: Connection::new(uri, database, settings.timeout),
            settings,
            ready: Default::default(),
            once: WarnOnce::default(),
        }
    }

    /// Returns the full name of a collection.
    pub fn name(&self, collection: Collection) -> String {
        format!("{}{}", self.settings.prefix, collection.name())
    }

    /// Runs a command and returns its reply.
    pub async fn run(&mut self, command: &Document) -> Result<Document, CommandError> {
        let command = RawDocumentBuf::try_from(command);
        let command = command
            .map_err(|error| CommandError::new(format!("cannot be encoded as BSON: {error}")))?;
        self.connection.command(command).await
    }
}
