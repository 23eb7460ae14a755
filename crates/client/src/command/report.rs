//! Sequence numbers: the option SEQ, which makes a report count once although it is sent twice.

use super::{Cmd, Command, maybe};
use crate::reply::Value;

/// The number of a report among those of its source.
///
/// A source is one ordered stream of reports to a node. A node keeps the last number of each source, and ignores a
/// report whose number is not greater. [`Numbering`](crate::Numbering) makes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// The name of the source, 1 to 256 bytes.
    pub source: &'a [u8],
    /// The number, up to 2^63 - 1.
    pub number: u64,
}

/// A command that reports something.
///
/// Implement it for a type of your own to send it by an [`Outbox`](crate::Outbox).
pub trait Report {
    /// The reply of the server to a report that it has taken.
    type Reply;

    /// Returns the name of the command.
    fn name(&self) -> &'static str;

    /// Appends the arguments behind the name, with the sequence number if there is one.
    fn write_numbered(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd);

    /// Reads the reply to a report that was taken; none if it is not a reply of the command.
    fn read_taken(&self, reply: Value) -> Option<Self::Reply>;

    /// Returns whether the report consists of samples. A server whose memory does not suffice for another source still
    /// takes samples of known metrics, if they have no sequence number.
    fn is_samples(&self) -> bool {
        false
    }

    /// Returns the same content as reports without the option COLUMNS, which servers of version 0.1 do not know.
    fn without_columns(self) -> Vec<Self>
    where
        Self: Sized,
    {
        vec![self]
    }

    /// Returns the command as it is sent.
    fn to_numbered_cmd(&self, sequence: Option<Sequence<'_>>) -> Cmd {
        let mut cmd = Cmd::new(self.name());
        self.write_numbered(sequence, &mut cmd);
        cmd
    }

    /// Gives the report a sequence number. The reply is none if the number is not greater than the last one of its
    /// source: then the report has arrived before, and nothing has changed.
    ///
    /// ```no_run
    /// # async fn example(connection: &mut agg_client::Connection) -> Result<(), agg_client::ClientError> {
    /// use agg_client::command::{Report, Sequence, SampleType, Stat};
    ///
    /// let orders = Stat::new("shop", "orders", 3).sample_type(SampleType::Inc);
    /// let first = Sequence { source: b"web1-1760000000", number: 1 };
    /// assert_eq!(connection.run(&orders.numbered(first)).await?, Some(true));
    /// assert_eq!(connection.run(&orders.numbered(first)).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    fn numbered(self, sequence: Sequence<'_>) -> Numbered<'_, Self>
    where
        Self: Sized + Command,
    {
        Numbered {
            report: self,
            sequence,
        }
    }
}

/// A report with a sequence number: see [`Report::numbered`].
#[derive(Clone, Copy, Debug)]
pub struct Numbered<'a, R> {
    report: R,
    sequence: Sequence<'a>,
}

impl<R: Report + Command> Command for Numbered<'_, R> {
    type Output = Option<R::Output>;
    const NAME: &'static str = R::NAME;

    fn write_args(&self, cmd: &mut Cmd) {
        self.report.write_numbered(Some(self.sequence), cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<Self::Output> {
        maybe(reply, |reply| self.report.read_reply(reply))
    }
}

/// Appends the sequence number if there is one.
pub(super) fn write_sequence(cmd: &mut Cmd, sequence: Option<Sequence<'_>>) {
    if let Some(Sequence { source, number }) = sequence {
        cmd.arg("SEQ").arg(source).arg(number);
    }
}

/// Implements [`Report`] for a command whose method `write_with` appends the arguments and a sequence number.
macro_rules! report {
    ($name:ident) => { report!($name {}); };
    ($name:ident { $($more:item)* }) => {
        impl $crate::command::Report for $name<'_> {
            type Reply = <Self as $crate::command::Command>::Output;

            fn name(&self) -> &'static str {
                <Self as $crate::command::Command>::NAME
            }

            fn write_numbered(
                &self,
                sequence: Option<$crate::command::Sequence<'_>>,
                cmd: &mut $crate::command::Cmd,
            ) {
                self.write_with(sequence, cmd);
            }

            fn read_taken(&self, reply: $crate::reply::Value) -> Option<Self::Reply> {
                $crate::command::Command::read_reply(self, reply)
            }

            $($more)*
        }
    };
}

pub(super) use report;
