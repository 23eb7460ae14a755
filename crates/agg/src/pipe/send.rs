//! Sends batches, reconnects if the connection breaks, and counts rejected lines.

use std::fmt::Display;
use std::sync::Arc;

use agg_client::command::{Cmd, Report, Sequence};
use agg_client::connect::{Connection, Server};
use agg_client::reply::Value;
use agg_client::{Delivery, Outbox, Reconnector, Shutdown};

use super::batch::Batch;
use super::lines::Line;
use super::options::{Command, Template};

/// Maximum rejected lines that are reported one by one.
const MAX_REPORTED: u64 = 5;

/// A line as it is reported.
struct LineReport {
    template: Arc<Template>,
    line: Line,
}

impl Report for LineReport {
    /// False if the line came too late to count.
    type Reply = bool;

    fn name(&self) -> &'static str {
        self.template.name()
    }

    fn write_numbered(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        self.template.write(&self.line.bytes, sequence, cmd);
    }

    fn read_taken(&self, reply: Value) -> Option<bool> {
        // Others reply with an id.
        Some(reply != Value::Int(0))
    }
}

/// Sends lines to the server.
pub struct Sender<'a> {
    template: Arc<Template>,
    /// Lines without an answer.
    outbox: Outbox<LineReport>,
    shutdown: &'a Shutdown,
    reconnector: Reconnector<'a>,
    connection: Option<Connection>,
    /// Lines that the server has answered.
    pub answered: u64,
    /// Lines that the server has rejected; part of those answered.
    pub rejected: u64,
    /// Lines that came too late to count; part of those answered.
    pub late: u64,
}

impl<'a> Sender<'a> {
    /// Returns a sender that connects once there is something to send.
    ///
    /// # Errors
    /// The name of the node is not set.
    pub fn new(
        server: &'a Server,
        command: Command,
        shutdown: &'a Shutdown,
    ) -> Result<Self, String> {
        let reconnector = Reconnector::new(server, shutdown, Some(command.target().retry));
        Ok(Sender {
            template: Arc::new(command.template()?),
            outbox: Outbox::default(),
            shutdown,
            reconnector,
            connection: None,
            answered: 0,
            rejected: 0,
            late: 0,
        })
    }

    /// Returns the number of lines that the server has not answered.
    pub fn unanswered(&self) -> usize {
        self.outbox.len()
    }

    /// Sends the batch. All of its lines are answered afterwards, unless a shutdown was requested while the server was
    /// down.
    ///
    /// # Errors
    /// The server could not be reached for the time of `--retry`.
    pub async fn send(&mut self, batch: &mut Batch) -> Result<(), String> {
        for line in batch.take() {
            if let Err(reason) = self.template.check(&line.bytes) {
                self.answered += 1;
                self.rejected += 1;
                report_rejected(self.rejected, line.number, &reason);
                continue;
            }
            self.outbox.push(LineReport {
                template: self.template.clone(),
                line,
            });
        }
        while !self.outbox.is_empty() {
            if self.connection.is_none() {
                self.connection = self.reconnector.connect().await?;
            }
            let Some(connection) = &mut self.connection else {
                return Ok(());
            };
            let (answered, rejected) = (&mut self.answered, &mut self.rejected);
            let late = &mut self.late;
            let each = |report: LineReport, delivery: Delivery<bool>| {
                *answered += 1;
                match delivery {
                    Delivery::Taken(counted) => *late += u64::from(!counted),
                    Delivery::Repeated => {}
                    Delivery::Rejected(reason) => {
                        *rejected += 1;
                        report_rejected(*rejected, report.line.number, &reason);
                    }
                }
            };
            match self.outbox.send(connection, each).await {
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

/// Reports a rejected line, unless there were too many before.
fn report_rejected(rejected: u64, number: u64, reason: &impl Display) {
    if rejected <= MAX_REPORTED {
        tracing::info!("line {number} rejected: {reason}");
    }
}
