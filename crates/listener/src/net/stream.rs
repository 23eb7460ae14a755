//! Connections over TCP and Unix sockets.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use agg_client::WarnOnce;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Address, ListenError, remove_stale};

/// The bytes of one read.
const CHUNK: usize = 64 * 1024;

/// The pause if the system has no descriptor left.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A socket that accepts connections.
pub struct Streams {
    address: Address,
    listener: Listener,
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

    /// Accepts up to `connections` connections at a time, and runs `serve` for each. Further ones wait in the kernel's
    /// queue. Never returns. Dropping the future closes the connections.
    pub async fn accept<F>(&self, connections: usize, mut serve: impl FnMut(Connection) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let free = Arc::new(Semaphore::new(connections));
        let mut running = JoinSet::new();
        let mut once = WarnOnce::default();
        loop {
            let permit = tokio::select! {
                Some(_) = running.join_next() => continue,
                permit = free.clone().acquire_owned() => permit,
            };
            match self.next().await {
                Ok(connection) => {
                    let served = serve(connection);
                    running.spawn(async move {
                        served.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    once.warn(&format!(
                        "{} cannot accept a connection: {error}",
                        self.address
                    ));
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn next(&self) -> io::Result<Connection> {
        Ok(match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Listener::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn open(address: &Address) -> io::Result<Streams> {
    Ok(match address {
        Address::Ip(ip) => {
            let listener = TcpListener::bind(ip).await?;
            Streams {
                address: Address::Ip(listener.local_addr()?),
                listener: Listener::Tcp(listener),
            }
        }
        Address::Unix(path) => {
            remove_stale(path)?;
            Streams {
                address: address.clone(),
                listener: Listener::Unix(UnixListener::bind(path)?),
            }
        }
    })
}

/// Passes on what is received, until `each` returns `false`, the connection ends, or it has no input for the time `idle`.
pub async fn receive(
    connection: &mut (impl AsyncRead + Unpin),
    idle: Duration,
    mut each: impl FnMut(&[u8]) -> bool,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(Ok(size @ 1..)) = timeout(idle, connection.read(&mut chunk)).await {
        if !each(chunk.get(..size).unwrap_or_default()) {
            return;
        }
    }
}
