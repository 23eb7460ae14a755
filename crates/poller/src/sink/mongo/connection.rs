//! The connection to the servers. The driver has no limit for the time of a reply, and its futures must not be dropped
//! before they are finished. So each call is a task, which is waited for within the timeout; when the timeout is over,
//! the client is given up with all its connections.

use std::future::Future;
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use tokio::time::timeout;

use super::reply::CommandError;

/// A connection to a database.
pub struct Connection {
    uri: String,
    database: String,
    timeout: Duration,
    client: Option<Client>,
}

impl Connection {
    /// Names the database. Nothing is sent yet.
    pub fn new(uri: String, database: String, timeout: Duration) -> Connection {
        Connection {
            uri,
            database,
            timeout,
            client: None,
        }
    }

    /// Runs a command and returns its reply.
    pub async fn command(&mut self, command: RawDocumentBuf) -> Result<Document, CommandError> {
        self.call(move |database| async move { database.run_raw_command(command).await })
            .await
    }

    /// Calls the driver, for at most the timeout.
    pub async fn call<T, F>(
        &mut self,
        call: impl FnOnce(Database) -> F + Send,
    ) -> Result<T, CommandError>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                let client = connect(&self.uri, self.timeout).await?;
                self.client.insert(client).clone()
            }
        };
        let task = tokio::spawn(call(client.database(&self.database)));
        let abort = task.abort_handle();
        match timeout(self.timeout, task).await {
            Ok(Ok(result)) => result.map_err(CommandError::from),
            Ok(Err(_)) => {
                self.client = None;
                Err(CommandError::new("the driver panicked"))
            }
            Err(_) => {
                abort.abort();
                self.client = None;
                let timeout = self.timeout;
                Err(CommandError::new(format!("no reply within {timeout:?}")))
            }
        }
    }
}

/// Creates a client, which connects when it is used.
async fn connect(uri: &str, timeout: Duration) -> Result<Client, CommandError> {
    let mut options = ClientOptions::parse(uri).await?;
    // The driver's error for an unreachable server says more than a timeout.
    let patience = timeout / 2;
    options.server_selection_timeout.get_or_insert(patience);
    options.connect_timeout.get_or_insert(patience);
    options.app_name.get_or_insert_with(|| "agg".into());
    Ok(Client::with_options(options)?)
}
