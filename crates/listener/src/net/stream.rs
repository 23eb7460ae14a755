//! Connections over TCP and Unix sockets.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use agg_client::{Shutdown, WarnOnce};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::{Address, DRAIN, ListenError, QUIET, let_all_connect, remove_stale};

/// The bytes of one read.
const CHUNK: usize = 64 * 1024;

/// The pause if the system has no descriptor left.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A socket that accepts connections.
pub struct Streams {
    address: Address,
    listener: Listener,
    /// Has a permit for each connection that may be opened.
    free: Arc<Semaphore>,
    /// The permits of `free`, those of open connections included.
    limit: Mutex<usize>,
    /// Ends the connections.
    shutdown: Shutdown,
}

/// The limits of the time for which a connection is read.
#[derive(Clone)]
pub struct ConnectionLimits {
    /// The time without input after which it is closed.
    pub idle: Duration,
    /// Ends the connection. What the kernel has received is still read.
    pub shutdown: Shutdown,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection.
pub type Connection = Box<dyn Duplex>;

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Streams {
    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// The address is not available.
    pub async fn bind(address: &Address) -> Result<Streams, ListenError> {
        open(address).await.map_err(ListenError::at(address))
    }

    /// Returns the address, with the port that the system has chosen if it was 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts up to `connections` connections at a time until `shutdown`, and runs `serve` for each. Further ones wait in
    /// the kernel's queue. Those that are served continue: [`Streams::close`] ends them.
    pub async fn accept<F>(
        &self,
        connections: usize,
        shutdown: &Shutdown,
        mut serve: impl FnMut(Connection, Shutdown) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.limit(connections);
        let mut once = WarnOnce::default();
        let next = async || {
            let permit = self.free.clone().acquire_owned().await;
            self.next().await.map(|connection| (permit, connection))
        };
        loop {
            let accepted = tokio::select! {
                () = shutdown.requested() => return,
                accepted = next() => accepted,
            };
            match accepted {
                Ok((permit, connection)) => {
                    let served = tokio::spawn(serve(connection, self.shutdown.clone()));
                    let address = self.address.clone();
                    tokio::spawn(async move {
                        // A panic closes only this connection.
                        if let Err(error) = served.await {
                            tracing::error!("a connection at {address} has failed: {error}");
                        }
                        drop(permit);
                    });
                }
                // Only this connection has failed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    once.warn(&format!(
                        "{} cannot accept a connection: {error}",
                        self.address
                    ));
                    tokio::select! {
                        () = shutdown.requested() => return,
                        () = sleep(RETRY_PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Changes the number of connections. Those that are open stay open.
    fn limit(&self, connections: usize) {
        let connections = connections.min(Semaphore::MAX_PERMITS);
        let mut limit = self.limit.lock();
        if connections >= *limit {
            self.free.add_permits(connections - *limit);
            *limit = connections;
        } else {
            *limit -= self.free.forget_permits(*limit - connections);
        }
    }

    /// Ends the connections, and waits for them. Nothing accepts any more.
    pub async fn close(&self) {
        self.shutdown.request();
        let limit = u32::try_from(*self.limit.lock()).unwrap_or(u32::MAX);
        // Never an error: the semaphore is not closed.
        let _ = self.free.acquire_many(limit).await;
    }

    async fn next(&self) -> io::Result<Connection> {
        Ok(match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Not fatal: the sender may have closed it already.
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            Listener::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn open(address: &Address) -> io::Result<Streams> {
    let (address, listener) = match address {
        Address::Ip(ip) => {
            let listener = TcpListener::bind(ip).await?;
            (Address::Ip(listener.local_addr()?), Listener::Tcp(listener))
        }
        Address::Unix(path) => {
            remove_stale(path)?;
            let listener = UnixListener::bind(path)?;
            let_all_connect(path)?;
            (address.clone(), Listener::Unix(listener))
        }
    };
    Ok(Streams {
        address,
        listener,
        free: Arc::new(Semaphore::new(0)),
        limit: Mutex::new(0),
        shutdown: Shutdown::default(),
    })
}

/// Passes on what is received, until `each` returns `false`, the connection ends, or it has no input for some time.
/// At the end what the kernel has received is passed on.
pub async fn receive(
    connection: &mut (impl AsyncRead + Unpin),
    limits: &ConnectionLimits,
    mut each: impl FnMut(&[u8]) -> bool,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = timeout(limits.idle, connection.read(&mut chunk)) => read,
            () = limits.shutdown.requested() => break,
        };
        let Ok(Ok(size @ 1..)) = read else { return };
        if !each(chunk.get(..size).unwrap_or_default()) {
            return;
        }
    }
    let end = Instant::now() + DRAIN;
    while Instant::now() < end
        && let Ok(Ok(size @ 1..)) = timeout(QUIET, connection.read(&mut chunk)).await
    {
        if !each(chunk.get(..size).unwrap_or_default()) {
            return;
        }
    }
}
