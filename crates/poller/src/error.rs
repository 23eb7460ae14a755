//! The errors for which a poller or a loader cannot start, or ends early.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::ReadError;
use crate::output::OutputError;

/// An error for which a poller or a loader cannot start, or ends early.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The configuration is not readable or not valid.
    #[error(transparent)]
    Config(#[from] ReadError),
    /// The address of the status page is not available.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// Standard output is a sink, and closed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A sink can never be written to again.
    #[error("sink {name}: {reason}")]
    SinkFailed {
        /// The name of the sink.
        name: String,
        /// The reason in the words of the sink.
        reason: String,
    },
    /// Records of files are to be loaded into a hub, which would drop them.
    #[error(
        "sink {name}: a hub ignores old records as known ones: load the files into the sinks of its pollers"
    )]
    LoadIntoHub {
        /// The name of the sink.
        name: String,
    },
    /// A task panicked. Its panic message was shown.
    #[error("{task} panicked")]
    TaskPanicked {
        /// The name of the task.
        task: String,
    },
    /// A file of records cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// A file of records has a line that is longer than any record.
    #[error("{}:{line}: the line is longer than any record", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The number of the line.
        line: u64,
    },
}
