//! A connection for repeated queries to one server: kept while it works, replaced after a failure.

use std::time::Duration;

use crate::command::Cmd;
use tokio::time::timeout;

use crate::connect::{ClientError, Connection, Server};
use crate::reply::Reply;

/// The time that a query may take: another server can be queried instead.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A server, and the connection to it if there is one.
pub struct PersistentConnection {
    pub server: Server,
    connection: Option<Connection>,
}

impl PersistentConnection {
    pub fn new(server: Server) -> PersistentConnection {
        PersistentConnection {
            server,
            connection: None,
        }
    }

    /// Returns the replies to these commands.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or does not answer in time.
    pub async fn call(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, ClientError> {
        // Kept again only after a success, as a connection that failed cannot be used again.
        let kept = self.connection.take();
        let call = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.server.connect().await?,
            };
            let mut replies = Vec::new();
            connection
                .pipeline(commands, |_, reply| replies.push(reply))
                .await?;
            Ok((connection, replies))
        };
        match timeout(TIMEOUT, call).await {
            Ok(Ok((connection, replies))) => {
                self.connection = Some(connection);
                Ok(replies)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ClientError::Unreachable {
                endpoint: self.server.endpoint().to_owned(),
                reason: format!("no answer within {} s", TIMEOUT.as_secs()),
            }),
        }
    }
}
