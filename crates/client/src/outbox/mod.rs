//! A queue of reports that are sent until the server has answered them. A report without a reply is sent again over the
//! next connection, and counts once.
//!
//! # Invariants
//!
//! - A report that had no reply keeps its number, because the server may have taken it. It is sent again before any
//!   report with a greater number, which would make the server ignore it.
//! - An error consumes no number, but a later report may have consumed a greater one. So a report that a server was
//!   not able to take gets a new number.
//! - Each report is passed to the caller once, with its reply. One that is split for a server without COLUMNS is passed
//!   in its parts.

use std::collections::VecDeque;

use crate::command::{Cmd, Report};
use crate::connect::Connection;
use crate::error::{ClientError, ServerError};
use crate::numbering::Numbering;
use crate::reply::{Reply, Value};

/// Maximum reports of a pipeline: their commands are built before the first is sent.
const PIPELINE: usize = 1000;

/// The outcome of sending a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<T> {
    /// The server took the report, and replied so.
    Taken(T),
    /// The server has a number of this stream that is not lower: it took the report before, and that reply was lost. If
    /// it had rejected the report and taken a later one, and both replies were lost, it answers the same.
    Repeated,
    /// The server rejected the report.
    Rejected(ServerError),
}

/// Sends reports of one stream to a node in their order, each until the server has answered it.
///
/// The reports have sequence numbers (SEQ), so increments, log entries and errors count once although a report is sent
/// again. Two kinds of servers get reports without a number, which may then count twice:
///
/// - A server of version 0.1, which does not know SEQ. It does not know COLUMNS either: AGG.MSTAT is sent as several
///   commands.
/// - A server without memory for another source. It still takes samples of known metrics; other reports are
///   [`Delivery::Rejected`]. The next reports are numbered.
///
/// An outbox has no limit: the caller pushes no more than it wants to keep while the server is down.
///
/// ```no_run
/// # async fn example() -> Result<(), agg_client::ClientError> {
/// use agg_client::command::{SampleType, Stat};
/// use agg_client::{Access, Delivery, Outbox, Reconnector, Server, Shutdown};
///
/// let server = Server::parse("redis://127.0.0.1:7777", &Access::default()).unwrap();
/// let shutdown = Shutdown::default();
/// let mut reconnector = Reconnector::new(&server, &shutdown, None);
///
/// let mut outbox = Outbox::default();
/// outbox.push(Stat::new("shop", "orders", 3).sample_type(SampleType::Inc));
/// while !outbox.is_empty() {
///     let Some(mut connection) = reconnector.connect().await? else { break };
///     let sent = outbox.send(&mut connection, |_report, delivery| {
///         if let Delivery::Rejected(error) = delivery {
///             println!("rejected: {error}");
///         }
///     });
///     match sent.await {
///         Ok(()) => reconnector.worked(),
///         Err(error) => reconnector.failed(error).await?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Outbox<R> {
    /// None if reports have no numbers.
    numbering: Option<Numbering>,
    /// In the order of sending: first those with numbers, which grow.
    pending: VecDeque<Pending<R>>,
    /// It was logged that reports are sent without numbers.
    has_warned: bool,
}

/// A report without a reply.
#[derive(Debug)]
struct Pending<R> {
    report: R,
    /// The number, from the first time that the report was sent with one.
    number: Option<u64>,
    /// The server has no memory for the source.
    is_unnumbered: bool,
    /// The option COLUMNS is not used.
    is_plain: bool,
}

impl<R> Pending<R> {
    fn new(report: R, is_plain: bool) -> Self {
        Pending {
            report,
            number: None,
            is_unnumbered: false,
            is_plain,
        }
    }
}

/// Creates an outbox with a source of its own.
impl<R> Default for Outbox<R> {
    fn default() -> Self {
        Outbox::with(Some(Numbering::new()))
    }
}

impl<R> Outbox<R> {
    /// Creates an outbox whose reports have no numbers: for programs that report once and send nothing again. A source
    /// for each run would take the place of another one at the node.
    pub fn without_numbers() -> Self {
        Outbox::with(None)
    }

    fn with(numbering: Option<Numbering>) -> Self {
        Outbox {
            numbering,
            pending: VecDeque::new(),
            has_warned: false,
        }
    }

    /// Adds a report.
    pub fn push(&mut self, report: R) {
        self.pending.push_back(Pending::new(report, false));
    }

    /// Returns the number of reports without a reply.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Returns whether each report has a reply.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the reports without a reply, in the order of sending. Changes have no effect on a report that the server
    /// has taken already.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.pending.iter_mut().map(|pending| &mut pending.report)
    }

    /// Removes the reports for which `is_kept` returns `false`. The server may have taken those that were sent.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&R) -> bool) {
        self.pending.retain(|pending| is_kept(&pending.report));
    }

    /// Removes all reports. The server may have taken those that were sent.
    pub fn clear(&mut self) {
        self.pending.clear();
    }
}

impl<R: Report> Outbox<R> {
    /// Sends the reports in pipelines, and passes each to `each` with the outcome. The outbox is empty then.
    ///
    /// # Errors
    ///
    /// The connection failed, or the server cannot take reports at present. The reports that the server has neither
    /// taken nor rejected stay in the outbox; call again with a new connection.
    pub async fn send(
        &mut self,
        connection: &mut Connection,
        mut each: impl FnMut(R, Delivery<R::Reply>),
    ) -> Result<(), ClientError> {
        while !self.pending.is_empty() {
            if !connection.support.columns {
                self.avoid_columns();
            }
            // Stable: those without a number keep their order.
            let pending = self.pending.make_contiguous();
            pending.sort_by_key(|pending| pending.number.unwrap_or(u64::MAX));
            // A server that is loading rejects the first reports and takes later ones. The first one goes ahead, so
            // that they keep their order.
            let count = match connection.support.has_answered {
                true => self.pending.len().min(PIPELINE),
                false => 1,
            };
            let commands = self.commands(count, connection);
            let mut replies = Vec::with_capacity(count);
            let call = connection.pipeline(&commands, |_, reply| replies.push(reply));
            let result = call.await;
            connection.support.has_answered |= result.is_ok();
            let handled = self.handle(count, replies, &result, connection, &mut each);
            result.and(handled)?;
        }
        Ok(())
    }

    /// Replaces reports with COLUMNS, which the server does not know.
    fn avoid_columns(&mut self) {
        let plain = |pending: Pending<R>| match pending.is_plain {
            true => vec![pending],
            false => {
                let reports = pending.report.without_columns().into_iter();
                reports.map(|report| Pending::new(report, true)).collect()
            }
        };
        self.pending = self.pending.drain(..).flat_map(plain).collect();
    }

    /// Returns the commands of the first reports. Those without a number get the next one.
    fn commands(&mut self, count: usize, connection: &Connection) -> Vec<Cmd> {
        let mut numbering = self
            .numbering
            .as_mut()
            .filter(|_| connection.support.sequence);
        let command = |pending: &mut Pending<R>| {
            let sequence = match &mut numbering {
                Some(numbering) if !pending.is_unnumbered => {
                    let number = pending.number.unwrap_or_else(|| numbering.next().number);
                    Some(numbering.sequence(number))
                }
                _ => None,
            };
            pending.number = sequence.map(|sequence| sequence.number);
            pending.report.to_numbered_cmd(sequence)
        };
        let pending = self.pending.iter_mut().take(count);
        pending.map(command).collect()
    }

    /// Handles the replies to the first `count` reports, which `result` ended.
    fn handle(
        &mut self,
        count: usize,
        replies: Vec<Reply>,
        result: &Result<(), ClientError>,
        connection: &mut Connection,
        each: &mut impl FnMut(R, Delivery<R::Reply>),
    ) -> Result<(), ClientError> {
        // Errors other than a lost connection are replies to a report, and only the replies behind them are missing.
        let last_error = match result {
            Ok(()) | Err(ClientError::Lost { .. }) => None,
            Err(_) => Some(replies.len()),
        };
        let known = replies.len() + usize::from(last_error.is_some());
        // The last report that the server has taken, or may have taken.
        let last_taken = match known < count {
            true => Some(count - 1),
            false => replies.iter().rposition(Result::is_ok),
        };
        let is_overtaken = |index: usize| last_taken.is_some_and(|last| index < last);
        let (mut left, mut handled) = (VecDeque::new(), Ok(()));
        let mut replies = replies.into_iter();
        for (index, mut pending) in self.pending.drain(..count).enumerate() {
            let next = replies.next().map(|reply| pending.next(reply, connection));
            match next {
                Some(Next::Deliver(delivery)) => {
                    each(pending.report, delivery);
                    continue;
                }
                Some(Next::Unnumbered(why)) => {
                    pending.number = None;
                    if !std::mem::replace(&mut self.has_warned, true) {
                        let what =
                            "the server rejects SEQ, reports that are sent again may count twice";
                        tracing::warn!("{what}: {why}");
                    }
                }
                Some(Next::Plain) => pending.number = None,
                Some(Next::Unavailable(error)) => {
                    handled = Err(connection.unavailable(&error));
                    pending.number.take_if(|_| is_overtaken(index));
                }
                Some(Next::Unexpected) => {
                    handled = Err(connection.unexpected_reply(pending.report.name()))
                }
                None if last_error == Some(index) => {
                    pending.number.take_if(|_| is_overtaken(index));
                }
                None => {}
            }
            left.push_back(pending);
        }
        left.append(&mut self.pending);
        self.pending = left;
        handled
    }
}

/// The next step for a report that has a reply.
enum Next<T> {
    /// Pass it to the caller.
    Deliver(Delivery<T>),
    /// Send it at once without a number, for this reason.
    Unnumbered(ServerError),
    /// Send it at once without COLUMNS.
    Plain,
    /// Send it over another connection, because the server cannot take it at present.
    Unavailable(ServerError),
    /// Report that the reply is not one of the command.
    Unexpected,
}

impl<R: Report> Pending<R> {
    fn next(&mut self, reply: Reply, connection: &mut Connection) -> Next<R::Reply> {
        let support = &mut connection.support;
        match reply {
            Ok(Value::Nil) if self.number.is_some() => Next::Deliver(Delivery::Repeated),
            Ok(reply) => match self.report.read_taken(reply) {
                Some(reply) => Next::Deliver(Delivery::Taken(reply)),
                None => Next::Unexpected,
            },
            Err(error) if self.number.is_some() && is_unknown(&error, "SEQ") => {
                support.sequence = false;
                Next::Unnumbered(error)
            }
            Err(error) if !self.is_plain && is_unknown(&error, "COLUMNS") => {
                support.columns = false;
                Next::Plain
            }
            Err(error)
                if self.number.is_some() && error.code == "AGGFULL" && self.report.is_samples() =>
            {
                self.is_unnumbered = true;
                Next::Unnumbered(error)
            }
            Err(error) if error.rejects_writes() => Next::Unavailable(error),
            Err(error) => Next::Deliver(Delivery::Rejected(error)),
        }
    }
}

/// Returns whether a server rejects an option because it does not know it.
fn is_unknown(error: &ServerError, option: &str) -> bool {
    error.code == "ERR" && error.detail.contains(&format!("unknown option '{option}'"))
}

#[cfg(test)]
mod tests;
