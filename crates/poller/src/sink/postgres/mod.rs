//! A sink for PostgreSQL: tables of statistics, logs, errors and reality.
//!
//! # Invariants
//!
//! - Windows and log entries have a primary key of node, queue, id and their time, and an existing row is left as it is. So a
//!   record written twice is one row.
//! - Each error and object has one row, its newest state. It is replaced only if the stored id is smaller, so a late
//!   redelivery cannot overwrite a newer state.
//! - A write is cut into a part for each writer. The rows that a part has for a table are inserted by one statement, which
//!   is a transaction. They are stored when the server has
//!   confirmed it, as durable as the server's `synchronous_commit` says.
//! - A row that the server rejects for its content is found by bisection, and the others are stored. Other errors are
//!   retried with a new connection.

mod connection;
mod error;
mod rows;
mod table;
mod tls;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use crate::config;
use crate::record::Record;

use self::connection::Connection;
use self::error::StatementError;
use self::rows::Batch;
use self::table::Table;
use super::bisect::{Rejected, RejectionHistory, Reply, Server, deliver};
use super::{BatchLimits, Rejection, Sink, SinkError};

/// The smallest part of a write that is worth a connection of its own.
const MIN_PART: usize = 500;

/// A database.
pub struct Postgres {
    settings: Arc<config::Postgres>,
    writers: Vec<Writer>,
    history: RejectionHistory,
}

/// A connection to a database, which is made when it is needed.
struct Writer {
    settings: Arc<config::Postgres>,
    connection: Mutex<Option<Connection>>,
}

impl Postgres {
    /// Creates a sink for the database of these settings. Nothing is sent yet.
    pub fn new(settings: config::Postgres) -> Postgres {
        let settings = Arc::new(settings);
        let writer = |_| Writer {
            settings: settings.clone(),
            connection: Mutex::new(None),
        };
        Postgres {
            writers: (0..settings.writers).map(writer).collect(),
            settings: settings.clone(),
            history: RejectionHistory::default(),
        }
    }

    /// Checks that the tables exist or can be created, and that the user may insert.
    async fn check(&self) -> Result<String, StatementError> {
        let connection = Connection::open(&self.settings).await?;
        if connection.is_standby().await? {
            return Err(StatementError::new(
                "the server is a standby, which is read-only",
            ));
        }
        for table in Table::ALL {
            let name = self.settings.table(table.name());
            let (is_allowed, what) = match connection.exists(&name).await? {
                true => (connection.may_insert(&name).await?, "insert into"),
                false => (
                    connection.may_create(&self.settings.schema).await?,
                    "create",
                ),
            };
            if !is_allowed {
                let reason = format!("the user has no permission to {what} the table {name}");
                return Err(StatementError::new(reason));
            }
        }
        Ok(format!("PostgreSQL {}", connection.version().await?))
    }
}

impl Writer {
    /// Inserts the rows of all tables.
    async fn insert(&self, batch: Batch<'_>) -> Result<(), StatementError> {
        let mut kept = self.connection.lock().await;
        // Only a connection that works is kept.
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(&self.settings).await?,
        };
        for (table, rows) in batch.tables() {
            let inserted = connection.insert(table, &rows, &self.settings).await;
            if let Err(error) = inserted {
                if error.is_about_rows {
                    *kept = Some(connection);
                }
                return Err(error);
            }
        }
        *kept = Some(connection);
        Ok(())
    }
}

impl Server for Writer {
    async fn send(&self, records: &[&[u8]]) -> Result<Reply, SinkError> {
        let mut named = Vec::new();
        let mut parsed = Vec::with_capacity(records.len());
        for (index, text) in records.iter().enumerate() {
            match Record::parse(text) {
                Ok(record) => parsed.push((index, record)),
                Err(error) => named.push((index, error.to_string())),
            }
        }
        let mut batch = Batch::default();
        for (index, record) in &parsed {
            if let Err(error) = batch.add(record) {
                named.push((*index, error.to_string()));
            }
        }
        if !named.is_empty() {
            return Ok(Reply::Rejected(Rejected {
                named,
                about_records: true,
                ..Rejected::default()
            }));
        }
        match self.insert(batch).await {
            Ok(()) => Ok(Reply::Stored),
            Err(error) if error.is_about_rows => Ok(Reply::Rejected(Rejected {
                reason: error.reason,
                about_records: true,
                ..Rejected::default()
            })),
            Err(error) => Err(SinkError::retriable(error.reason)),
        }
    }
}

#[async_trait]
impl Sink for Postgres {
    fn limits(&self) -> BatchLimits {
        let writers = self.settings.writers;
        BatchLimits {
            records: self.settings.batch_lines.saturating_mul(writers),
            bytes: self.settings.batch_bytes.saturating_mul(writers),
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        let checked = self.check().await;
        checked.map_err(|error| SinkError::retriable(error.reason))
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let size = records.len().div_ceil(self.writers.len()).max(MIN_PART);
        let parts = records.chunks(size).zip(&self.writers);
        let writes = parts.map(|(part, writer)| deliver(part, &self.history, writer));
        // All are awaited: a connection is in the middle of a statement until then.
        let results = join_all(writes).await;
        let mut rejections = Vec::new();
        for (part, result) in results.into_iter().enumerate() {
            let moved = |rejection: Rejection| Rejection {
                index: part * size + rejection.index,
                ..rejection
            };
            rejections.extend(result?.into_iter().map(moved));
        }
        self.history.note_done();
        Ok(rejections)
    }
}
