//! Sends batches, reconnects if the connection breaks, and counts rejected lines.

use agg_client::connect::{Connection, Server};
use agg_client::messages::say;
use agg_client::{Reconnector, Shutdown};

use super::batch::Batch;
use super::options::{Command, Template};

/// Maximum rejected lines that are reported one by one.
const MAX_REPORTED: u64 = 5;

/// Sends lines to the server.
pub struct Sender<'a> {
    template: Template,
    shutdown: &'a Shutdown,
    reconnector: Reconnector<'a>,
    connection: Option<Connection>,
    /// Lines that the server has answered.
    pub answered: u64,
    /// Lines that the server has rejected; part of those answered.
    pub rejected: u64,
}

impl<'a> Sender<'a> {
    /// Returns a sender that connects once there is something to send.
    ///
    /// # Errors
    /// The name of the node is not set.
    pub fn new(
        server: &'a Server,
        command: &Command,
        shutdown: &'a Shutdown,
    ) -> Result<Self, String> {
        let reconnector = Reconnector::new(server, shutdown, Some(command.common().retry));
        let template = command.template()?;
        Ok(Sender {
            template,
            shutdown,
            reconnector,
            connection: None,
            answered: 0,
            rejected: 0,
        })
    }

    /// Sends the batch. It is empty afterwards, unless a shutdown was requested while the server was down.
    ///
    /// # Errors
    /// The server could not be reached for the time of `--retry`. The batch holds the unanswered lines.
    pub async fn send(&mut self, batch: &mut Batch) -> Result<(), String> {
        while !batch.lines.is_empty() {
            if self.connection.is_none() {
                self.connection = self.reconnector.connect().await?;
            }
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            let template = &self.template;
            let commands: Vec<_> = batch
                .lines
                .iter()
                .map(|line| template.command(&line.bytes))
                .collect();
            let mut answered = 0;
            let sent = connection.pipeline(&commands, |index, reply| {
                answered += 1;
                if let Err(reason) = reply {
                    self.rejected += 1;
                    if self.rejected <= MAX_REPORTED {
                        let number = batch.lines[index].number;
                        say(&format!("line {number} rejected: {reason}"));
                    }
                }
            });
            let result = sent.await;
            batch.remove_first(answered);
            self.answered += answered as u64;
            match result {
                Ok(()) => self.reconnector.worked(),
                Err(error) => {
                    self.connection = None;
                    self.reconnector.failed(error).await?;
                    if self.shutdown.is_requested() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
