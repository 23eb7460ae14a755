//! Transports: datagrams, streams and HTTP. They know no protocol.
//!
//! # Invariants
//!
//! - A sender can use a bounded number of connections, each with bounded memory, for a bounded time without input.
//! - What the kernel drops because a socket's queue is full is counted.

pub mod datagram;
pub mod http;
pub mod stream;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    use std::os::unix::fs::FileTypeExt;
    let is_socket = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
    };
    if !is_socket(path) {
        return Ok(());
    }
    let is_used = std::os::unix::net::UnixStream::connect(path).is_ok()
        || std::os::unix::net::UnixDatagram::unbound()?
            .connect(path)
            .is_ok();
    match is_used {
        true => Ok(()),
        false => std::fs::remove_file(path),
    }
}
