//! Transports: datagrams, streams and HTTP. They know no protocol.
//!
//! # Invariants
//!
//! - A sender can use a bounded number of connections, each with bounded memory, for a bounded time without input.
//! - What the kernel drops because a socket's queue is full is counted.
//! - When a [`Shutdown`](agg_client::Shutdown) is requested, what the kernel has received is still passed on, and requests in
//!   progress are answered.

pub mod body;
pub mod datagram;
pub mod http;
pub mod stream;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

/// After a shutdown was requested: the time without input after which nothing more is expected in a queue of the kernel.
const QUIET: Duration = Duration::from_millis(20);

/// After a shutdown was requested: the time for which a queue of the kernel is read, if its senders continue.
const DRAIN: Duration = Duration::from_millis(500);

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if text.starts_with('/') {
            return Ok(Address::Unix(text.into()));
        }
        let address = text.parse().map(Address::Ip);
        address.map_err(|_| {
            format!("expected an address and a port, as 127.0.0.1:8125 or [::1]:8125, or the path of a socket, not {text:?}")
        })
    }
}

/// A listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct ListenError {
    /// The address.
    pub address: Address,
    /// The reason.
    #[source]
    pub error: io::Error,
}

impl ListenError {
    fn at(address: &Address) -> impl FnOnce(io::Error) -> ListenError {
        let address = address.clone();
        move |error| ListenError { address, error }
    }
}

/// Removes the socket that an earlier run has left: nobody listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    if !is_socket(path) {
        return Ok(());
    }
    let attempts = [
        UnixStream::connect(path).map(drop),
        UnixDatagram::unbound()?.connect(path),
    ];
    // One of them is refused if nobody listens. The other has the wrong type.
    let is_free = attempts.iter().all(|attempt| match attempt {
        Ok(()) => false,
        Err(error) => {
            error.kind() == io::ErrorKind::ConnectionRefused
                || error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error())
        }
    });
    match is_free {
        true => std::fs::remove_file(path),
        // Binding reports that the address is in use.
        false => Ok(()),
    }
}

/// Lets every user send to a Unix socket. Who may enter its directory is for the operator to choose.
fn let_all_connect(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_nobody_reads_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        std::fs::write(&path, "a file").unwrap();
        remove_stale(&path).unwrap();
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        let stream = std::os::unix::net::UnixListener::bind(&path).unwrap();
        remove_stale(&path).unwrap();
        assert!(path.exists());
        drop(stream);
        remove_stale(&path).unwrap();
        assert!(!path.exists());
        let datagrams = UnixDatagram::bind(&path).unwrap();
        remove_stale(&path).unwrap();
        assert!(path.exists());
        drop(datagrams);
        remove_stale(&path).unwrap();
        assert!(!path.exists());
    }
}
