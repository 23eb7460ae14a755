//! A server that is asked the same again and again, over a connection that is kept while it works.

use std::time::Duration;

use redis::Cmd;
use tokio::time::timeout;

use crate::connect::{ClientError, Connection, Server};
use crate::reply::Reply;

/// How long a question may take: others can be asked instead.
const PATIENCE: Duration = Duration::from_secs(2);

/// One that is asked.
pub struct PersistentConnection {
    pub server: Server,
    wire: Option<Connection>,
}

impl PersistentConnection {
    pub fn new(server: Server) -> PersistentConnection {
        PersistentConnection { server, wire: None }
    }

    /// The replies to these commands.
    pub async fn ask(&mut self, commands: &[Cmd]) -> Result<Vec<Reply>, ClientError> {
        // Put back when all went well alone, as a wire that failed is not to be used again.
        let kept = self.wire.take();
        let asking = async {
            let mut wire = match kept {
                Some(wire) => wire,
                None => self.server.dial().await?,
            };
            let mut replies = Vec::new();
            wire.pipeline(commands, |_, reply| replies.push(reply))
                .await?;
            Ok((wire, replies))
        };
        match timeout(PATIENCE, asking).await {
            Ok(Ok((wire, replies))) => {
                self.wire = Some(wire);
                Ok(replies)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(ClientError::Lost(format!(
                "cannot reach {}: no answer within {} s",
                self.server.endpoint(),
                PATIENCE.as_secs()
            ))),
        }
    }
}
