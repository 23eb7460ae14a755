//! Datagrams over UDP and Unix sockets.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use agg_client::Shutdown;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::{Instant, timeout};

use super::{Address, DRAIN, ListenError, QUIET, let_all_connect, remove_stale};

/// The size of the largest datagram over UDP is below this.
const MAX_UDP: usize = 64 * 1024;

/// The size from which datagrams over a Unix socket are cut: Linux allows the sender 208 KiB by default
/// (`net.core.wmem_default`).
const MAX_UNIX: usize = 256 * 1024;

/// A datagram.
pub enum Datagram<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// The beginning of one that is too long.
    Cut(&'a [u8]),
}

/// Datagrams that are read before other tasks run.
const MAX_BURST: usize = 256;

/// A socket that receives datagrams.
pub struct Datagrams {
    address: Address,
    socket: Bound,
    /// Those that the kernel had dropped when it was last asked.
    dropped: AtomicU64,
}

impl Datagrams {
    /// Listens on an address. `buffer` is the size of the kernel's queue in bytes; it may be less where
    /// `net.core.rmem_max` limits it and the process has no privilege.
    ///
    /// # Errors
    ///
    /// The address is not available.
    pub fn bind(address: &Address, buffer: usize) -> Result<Datagrams, ListenError> {
        open(address, buffer).map_err(ListenError::at(address))
    }

    /// Returns the address, with the port that the system has chosen if it was 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Changes the size of the kernel's queue.
    pub fn resize(&self, buffer: usize) {
        // Not fatal: the queue keeps its size.
        let _ = match &self.socket {
            Bound::Udp(socket) => SockRef::from(socket).set_recv_buffer_size(buffer),
            Bound::Unix(socket) => SockRef::from(socket).set_recv_buffer_size(buffer),
        };
    }

    /// Passes each datagram on until a shutdown is requested, then those that the kernel has received.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub async fn receive(
        &self,
        shutdown: &Shutdown,
        mut each: impl FnMut(Datagram<'_>),
    ) -> io::Result<()> {
        let mut buffer = vec![0; self.socket.max_datagram()];
        loop {
            tokio::select! {
                ready = self.socket.readable() => ready?,
                () = shutdown.requested() => break,
            }
            self.receive_ready(&mut buffer, &mut each)?;
            tokio::task::yield_now().await;
        }
        let end = Instant::now() + DRAIN;
        while Instant::now() < end
            && let Ok(ready) = timeout(QUIET, self.socket.readable()).await
        {
            ready?;
            self.receive_ready(&mut buffer, &mut each)?;
        }
        Ok(())
    }

    /// Passes on datagrams that the kernel has received.
    fn receive_ready(
        &self,
        buffer: &mut [u8],
        each: &mut impl FnMut(Datagram<'_>),
    ) -> io::Result<()> {
        for _ in 0..MAX_BURST {
            match self.socket.try_recv(buffer) {
                Ok(size) => match buffer.get(..size) {
                    Some(whole) if size < buffer.len() => each(Datagram::Whole(whole)),
                    _ => each(Datagram::Cut(buffer)),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP message of an earlier reply, or a signal.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the number of datagrams that the kernel has dropped since the last call, because the queue was full.
    pub fn take_dropped(&self) -> u64 {
        let now = self.socket.kernel_drops().unwrap_or(0);
        now.saturating_sub(self.dropped.swap(now, Ordering::Relaxed))
    }
}

/// A socket that is bound.
enum Bound {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Bound {
    /// The size of the longest datagram is below this.
    fn max_datagram(&self) -> usize {
        match self {
            Bound::Udp(_) => MAX_UDP,
            Bound::Unix(_) => MAX_UNIX,
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Bound::Udp(socket) => socket.readable().await,
            Bound::Unix(socket) => socket.readable().await,
        }
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Bound::Udp(socket) => socket.try_recv(buffer),
            Bound::Unix(socket) => socket.try_recv(buffer),
        }
    }

    /// Returns the number of datagrams that the kernel has dropped of a UDP socket. A Unix socket drops none: the sender
    /// waits or gets an error.
    fn kernel_drops(&self) -> Option<u64> {
        match self {
            Bound::Udp(socket) => kernel_drops(socket),
            Bound::Unix(_) => None,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

fn open(address: &Address, buffer: usize) -> io::Result<Datagrams> {
    let socket = match address {
        Address::Ip(ip) => {
            let socket = Socket::new(Domain::for_address(*ip), Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind(&(*ip).into())?;
            socket
        }
        Address::Unix(path) => {
            remove_stale(path)?;
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
            socket.bind(&socket2::SockAddr::unix(path)?)?;
            let_all_connect(path)?;
            socket
        }
    };
    socket.set_nonblocking(true)?;
    // Not fatal: the default of the system is smaller.
    let _ = socket.set_recv_buffer_size(buffer);
    let (address, socket) = match address {
        Address::Ip(_) => {
            let socket = UdpSocket::from_std(socket.into())?;
            (Address::Ip(socket.local_addr()?), Bound::Udp(socket))
        }
        Address::Unix(path) => {
            let socket = UnixDatagram::from_std(socket.into())?;
            (Address::Unix(path.clone()), Bound::Unix(socket))
        }
    };
    Ok(Datagrams {
        address,
        socket,
        dropped: AtomicU64::new(0),
    })
}

/// Returns the number of datagrams that the kernel has dropped of a UDP socket: the last column of its line in
/// /proc/net/udp or udp6 (proc(5)). None on other systems.
fn kernel_drops(socket: &UdpSocket) -> Option<u64> {
    let inode = rustix::fs::fstat(socket).ok()?.st_ino.to_string();
    ["/proc/net/udp", "/proc/net/udp6"].iter().find_map(|path| {
        let table = std::fs::read_to_string(path).ok()?;
        table.lines().skip(1).find_map(|line| {
            let mut words = line.split_whitespace();
            let is_it = words.nth(9) == Some(&inode);
            is_it.then(|| words.last()?.parse().ok()).flatten()
        })
    })
}
