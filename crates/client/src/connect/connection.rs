//! One connection, asynchronous: commands go out in order and replies come back in that order.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use ipnet::IpNet;
use redis::{Cmd, Value};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::resp::{self, Allowance, Fault};
use super::{Address, ClientError, Server, TIMEOUT, classify_error};
use crate::reply::Reply;

/// Bytes that are read at once: 8 KiB, as is usual, cost a busy poller a tenth of its time.
const READ: usize = 128 * 1024;
/// Bytes of commands that are sent at once.
const PART: usize = 256 * 1024;
/// What the replies to all commands of one call may take of memory. The largest that are asked for are pipelines of
/// AGG.FETCH, of about 1 MiB and a record each.
const MOST: usize = 64 << 20;
/// How long all replies to one call may take, however steadily they drip in.
const PATIENCE: Duration = Duration::from_secs(60);

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Stream for T {}

/// Bytes, however they travel.
type Plain = Pin<Box<dyn Stream>>;

/// A connection.
pub struct Connection {
    stream: Pin<Box<BufReader<TimeoutStream<Plain>>>>,
    /// What the replies to one call may take.
    most: usize,
    place: String,
}

impl Connection {
    pub(super) async fn new(server: &Server) -> Result<Connection, ClientError> {
        match timeout(TIMEOUT, Connection::open(server)).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable(server, &no_answer())),
        }
    }

    /// Over a connection that is there already; `most` is what the replies to one call may take of memory.
    pub(super) async fn over<S>(
        server: &Server,
        stream: S,
        most: usize,
    ) -> Result<Connection, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let start = async { Connection::start(server, dress(server, stream).await?, most).await };
        match timeout(TIMEOUT, start).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable(server, &no_answer())),
        }
    }

    async fn open(server: &Server) -> Result<Connection, ClientError> {
        Connection::start(server, connect(server).await?, MOST).await
    }

    async fn start(server: &Server, stream: Plain, most: usize) -> Result<Connection, ClientError> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(TIMEOUT));
        stream.set_write_timeout(Some(TIMEOUT));
        let mut wire = Connection {
            stream: Box::pin(BufReader::with_capacity(READ, stream)),
            most,
            place: server.place.clone(),
        };
        wire.enter(server).await?;
        Ok(wire)
    }

    /// Says who we are and which database is meant.
    async fn enter(&mut self, server: &Server) -> Result<(), ClientError> {
        let place = &server.place;
        if let Some(password) = &server.password {
            let mut command = redis::cmd("AUTH");
            if let Some(user) = &server.user {
                command.arg(user);
            }
            match self.call(command.arg(password)).await? {
                Ok(_) => {}
                Err(text) if text.starts_with("WRONGPASS") || text.contains("AUTH") => {
                    let why = format!("{place} does not accept the user or password");
                    return Err(ClientError::Refused(why));
                }
                Err(text) => return Err(self.refused("AUTH", &text)),
            }
        }
        if server.db != 0
            && let Err(text) = self.call(redis::cmd("SELECT").arg(server.db)).await?
        {
            return Err(self.refused("its database", &text));
        }
        Ok(())
    }

    /// Sends one command.
    pub async fn call(&mut self, command: &Cmd) -> Result<Reply, ClientError> {
        let mut answer = Ok(Value::Nil);
        self.pipeline(std::slice::from_ref(command), |_, reply| answer = reply)
            .await?;
        Ok(answer)
    }

    /// Sends all commands at once and hands each reply to `each`, with its command's index. After a failure, those
    /// commands that had no reply may or may not have been carried out.
    pub async fn pipeline(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Reply),
    ) -> Result<(), ClientError> {
        self.send(commands).await?;
        match timeout(PATIENCE, self.receive(commands.len(), each)).await {
            Ok(received) => received,
            Err(_) => Err(self.lost(&format!(
                "its answer did not end within {} s",
                PATIENCE.as_secs()
            ))),
        }
    }

    async fn send(&mut self, commands: &[Cmd]) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            bytes.extend_from_slice(&command.get_packed_command());
            if bytes.len() >= PART || index + 1 == commands.len() {
                let sent = self.stream.write_all(&bytes).await;
                sent.map_err(|error| self.lost(&transport(&error)))?;
                bytes.clear();
            }
        }
        let flushed = self.stream.flush().await;
        flushed.map_err(|error| self.lost(&transport(&error)))
    }

    async fn receive(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, Reply),
    ) -> Result<(), ClientError> {
        let mut allowance = Allowance::new(self.most);
        for index in 0..count {
            let read = resp::read(&mut self.stream, &mut allowance).await;
            let reply = read.map_err(|fault| match fault {
                Fault::Lost(error) => self.lost(&transport(&error)),
                Fault::Hostile(why) => self.lost(&why),
            })?;
            if let Err(text) = &reply
                && let Some(failure) = classify_error(text, &self.place)
            {
                return Err(failure);
            }
            each(index, reply);
        }
        Ok(())
    }

    /// A failure because the reply is not what the command answers.
    pub fn unexpected_reply(&self, command: &str) -> ClientError {
        ClientError::Refused(format!(
            "{} answers {command} in a way that this agg does not know; are the two of one version?",
            self.place
        ))
    }

    /// A failure because the server refuses what all depends on.
    pub fn refused(&self, what: &str, text: &str) -> ClientError {
        ClientError::Refused(format!("{} refuses {what}: {text}", self.place))
    }

    /// A failure after which the connection is of no more use.
    pub fn lost(&self, why: &str) -> ClientError {
        ClientError::Lost(format!("lost {}: {why}", self.place))
    }
}

async fn connect(server: &Server) -> Result<Plain, ClientError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => unreachable(
            server,
            "connection refused; is the server running? (make run)",
        ),
        _ => unreachable(server, &error.to_string()),
    };
    let (host, port) = match &server.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            return Ok(Box::pin(stream));
        }
        Address::Tcp(host, port) => (host.as_str(), *port),
    };
    let addresses = lookup_host((host, port)).await.map_err(failed)?.collect();
    let addresses = permitted(server, addresses).await?;
    let stream = TcpStream::connect(&addresses[..]).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    dress(server, stream).await
}

/// Those of the addresses to which we may be led. They are what is connected to, so that a name cannot lead elsewhere
/// the second time that it is resolved.
async fn permitted(
    server: &Server,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, ClientError> {
    let Some(allow) = server.allow.as_ref().filter(|_| server.is_led_to) else {
        return Ok(addresses);
    };
    let networks = allow.networks().await;
    let is_permitted = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        networks.iter().any(|network| network.contains(&ip))
    };
    let first = addresses.first().map(|address| address.ip().to_string());
    addresses.retain(is_permitted);
    if addresses.is_empty() {
        let shown: Vec<String> = networks.iter().take(8).map(IpNet::to_string).collect();
        return Err(ClientError::Refused(format!(
            "{} is not connected to and not told a password: another server named it, and {} is not of {} ({}); if it \
             should be, name its network in \"allow\" of the source",
            server.place,
            first.unwrap_or_default(),
            allow.source(),
            shown.join(", ")
        )));
    }
    Ok(addresses)
}

/// Encrypts a connection where that is wanted.
async fn dress<S>(server: &Server, stream: S) -> Result<Pin<Box<dyn Stream>>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let (Some(tls), Address::Tcp(host, _)) = (&server.tls, &server.address) else {
        return Ok(Box::pin(stream));
    };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.clone())
            .map_err(|_| unreachable(server, "its host is no name that a certificate can be of"))?,
    };
    let connector = TlsConnector::from(tls.config());
    let stream = connector.connect(name, stream).await;
    let refused = |error| unreachable(server, &format!("no encrypted connection: {error}"));
    Ok(Box::pin(stream.map_err(refused)?))
}

fn unreachable(server: &Server, why: &str) -> ClientError {
    ClientError::Lost(format!("cannot reach {}: {why}", server.place))
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

fn transport(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => no_answer(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            "the connection was closed".into()
        }
        _ => error.to_string(),
    }
}
