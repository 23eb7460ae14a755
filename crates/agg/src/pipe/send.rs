//! Sends batches, waits for a server that went away, and counts what was refused.

use agg_client::Reconnector;
use agg_client::Shutdown;
use agg_client::connect::{BlockingConnection, Server};
use agg_client::messages::say;

use super::batch::Batch;
use super::command::{Command, Template};

/// Refusals that are told one by one.
const TOLD: u64 = 5;

/// The way to the server.
pub struct Sender<'a> {
    template: Template,
    stop: &'a Shutdown,
    reach: Reconnector<'a>,
    link: Option<BlockingConnection>,
    /// Lines that the server has answered.
    pub answered: u64,
    /// Those of them that it refused.
    pub refused: u64,
}

impl<'a> Sender<'a> {
    /// Connects when there is something to send.
    ///
    /// Returns an error if the lines cannot be made commands.
    pub fn new(server: &'a Server, command: &Command, stop: &'a Shutdown) -> Result<Self, String> {
        let reach = Reconnector::new(server, stop, Some(command.common().retry));
        let template = command.template()?;
        Ok(Sender {
            template,
            stop,
            reach,
            link: None,
            answered: 0,
            refused: 0,
        })
    }

    /// Sends the batch. It is empty afterwards, unless the end was asked for while the server was away.
    ///
    /// Returns an error when the server is given up; the batch then holds what had no answer.
    pub fn send(&mut self, batch: &mut Batch) -> Result<(), String> {
        while !batch.lines.is_empty() {
            if self.link.is_none() {
                self.link = self.reach.link()?;
            }
            let Some(link) = &mut self.link else {
                return Ok(());
            };
            let template = &self.template;
            let commands: Vec<_> = batch
                .lines
                .iter()
                .map(|line| template.command(&line.bytes))
                .collect();
            let mut answered = 0;
            let result = link.pipeline(&commands, |index, reply| {
                answered += 1;
                if let Err(why) = reply {
                    self.refused += 1;
                    if self.refused <= TOLD {
                        say(&format!(
                            "line {} refused: {why}",
                            batch.lines[index].number
                        ));
                    }
                }
            });
            batch.answered(answered);
            self.answered += answered as u64;
            match result {
                Ok(()) => self.reach.worked(),
                Err(failure) => {
                    self.link = None;
                    self.reach.failed(failure)?;
                    if self.stop.is_requested() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
