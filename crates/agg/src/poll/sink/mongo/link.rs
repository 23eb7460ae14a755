//! The way to the servers. The driver has no limit for how long an answer may take, and its futures must not be
//! dropped half done; so each call is a task that is waited for as long as it may take, and where that was in vain the
//! client is given up with all its connections.

use std::future::Future;
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use tokio::runtime::{Builder, Runtime};

use super::answer::Failure;

/// The way to a database.
pub struct Link {
    uri: String,
    database: String,
    timeout: Duration,
    /// Made where it is used: in the sink's thread.
    runtime: Option<Runtime>,
    client: Option<Client>,
}

impl Link {
    /// The way; nothing is sent yet.
    pub fn new(uri: String, database: String, timeout: Duration) -> Link {
        Link {
            uri,
            database,
            timeout,
            runtime: None,
            client: None,
        }
    }

    /// Runs a command; its answer.
    pub fn command(&mut self, command: RawDocumentBuf) -> Result<Document, Failure> {
        self.call(move |database| async move { database.run_raw_command(command).await })
    }

    /// Does something with the database, for as long as an answer may take.
    pub fn call<T, F>(&mut self, work: impl FnOnce(Database) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        if self.runtime.is_none() {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("mongodb")
                .enable_all()
                .build()
                .map_err(|error| Failure::of(format!("cannot start a thread: {error}")))?;
            self.runtime = Some(runtime);
        }
        let Some(runtime) = &self.runtime else {
            return Err(Failure::of("no thread"));
        };
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                let client = runtime.block_on(connect(&self.uri, self.timeout))?;
                self.client.insert(client).clone()
            }
        };
        let task = runtime.spawn(work(client.database(&self.database)));
        let abort = task.abort_handle();
        let waited = runtime.block_on(async { tokio::time::timeout(self.timeout, task).await });
        match waited {
            Ok(Ok(result)) => result.map_err(Failure::from),
            Ok(Err(_)) => {
                self.client = None;
                Err(Failure::of("the driver failed"))
            }
            Err(_) => {
                abort.abort();
                self.client = None;
                Err(Failure::of(format!("no answer within {:?}", self.timeout)))
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The end of the program does not wait for a name server.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client; it connects when it is used.
async fn connect(uri: &str, timeout: Duration) -> Result<Client, Failure> {
    let mut options = ClientOptions::parse(uri).await?;
    // The driver's own words for a server that is not there say more than ours.
    let patience = timeout / 2;
    options.server_selection_timeout.get_or_insert(patience);
    options.connect_timeout.get_or_insert(patience);
    options.app_name.get_or_insert_with(|| "agg".into());
    Ok(Client::with_options(options)?)
}
