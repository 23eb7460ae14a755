//! One connection, asynchronous: commands go out in order and replies come back in that order.

use std::io::ErrorKind;
use std::pin::Pin;

use redis::{Cmd, RedisError, Value, parse_redis_value_async};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Address, Failure, Server, TIMEOUT, judge};
use crate::reply::{Reply, error_text};

/// Bytes that are read at once: the parser by itself reads 8 KiB, which costs a busy poller a tenth of its time.
const READ: usize = 128 * 1024;
/// Bytes of commands that are sent at once.
const PART: usize = 256 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Stream for T {}

/// Bytes, however they travel.
type Plain = Pin<Box<dyn Stream>>;

type Decoder = combine::stream::Decoder<
    combine::parser::combinator::AnySendSyncPartialState,
    combine::stream::PointerOffset<[u8]>,
>;

/// A connection.
pub struct Wire {
    stream: Pin<Box<BufReader<TimeoutStream<Plain>>>>,
    decoder: Decoder,
    place: String,
}

impl Wire {
    pub(super) async fn new(server: &Server) -> Result<Wire, Failure> {
        match timeout(TIMEOUT, Wire::open(server)).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable(server, &no_answer())),
        }
    }

    /// Over a connection that is there already.
    pub(super) async fn over<S>(server: &Server, stream: S) -> Result<Wire, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let start = async { Wire::start(server, dress(server, stream).await?).await };
        match timeout(TIMEOUT, start).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable(server, &no_answer())),
        }
    }

    async fn open(server: &Server) -> Result<Wire, Failure> {
        Wire::start(server, connect(server).await?).await
    }

    async fn start(server: &Server, stream: Pin<Box<dyn Stream>>) -> Result<Wire, Failure> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(TIMEOUT));
        stream.set_write_timeout(Some(TIMEOUT));
        let mut wire = Wire {
            stream: Box::pin(BufReader::with_capacity(READ, stream)),
            decoder: Decoder::new(),
            place: server.place.clone(),
        };
        wire.enter(server).await?;
        Ok(wire)
    }

    /// Says who we are and which database is meant.
    async fn enter(&mut self, server: &Server) -> Result<(), Failure> {
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
                    return Err(Failure::Refused(why));
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
    pub async fn call(&mut self, command: &Cmd) -> Result<Reply, Failure> {
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
    ) -> Result<(), Failure> {
        self.send(commands).await?;
        self.receive(commands.len(), each).await
    }

    async fn send(&mut self, commands: &[Cmd]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            bytes.extend_from_slice(&command.get_packed_command());
            if bytes.len() >= PART || index + 1 == commands.len() {
                let sent = self.stream.write_all(&bytes).await;
                sent.map_err(|error| self.lost(&error.into()))?;
                bytes.clear();
            }
        }
        let flushed = self.stream.flush().await;
        flushed.map_err(|error| self.lost(&error.into()))
    }

    async fn receive(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, Reply),
    ) -> Result<(), Failure> {
        for index in 0..count {
            let read = parse_redis_value_async(&mut self.decoder, &mut self.stream).await;
            match read.map_err(|error| self.lost(&error))? {
                Value::ServerError(error) => {
                    let text = error_text(&error);
                    match judge(&text, &self.place) {
                        Some(failure) => return Err(failure),
                        None => each(index, Err(text)),
                    }
                }
                value => each(index, Ok(value)),
            }
        }
        Ok(())
    }

    /// A failure because the reply is not what the command answers.
    pub fn strange(&self, command: &str) -> Failure {
        Failure::Refused(format!(
            "{} answers {command} in a way that this agg does not know; are the two of one version?",
            self.place
        ))
    }

    /// A failure because the server refuses what all depends on.
    pub fn refused(&self, what: &str, text: &str) -> Failure {
        Failure::Refused(format!("{} refuses {what}: {text}", self.place))
    }

    fn lost(&self, error: &RedisError) -> Failure {
        Failure::Lost(format!("lost {}: {}", self.place, transport(error)))
    }
}

async fn connect(server: &Server) -> Result<Plain, Failure> {
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
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    dress(server, stream).await
}

/// Encrypts a connection where that is wanted.
async fn dress<S>(server: &Server, stream: S) -> Result<Pin<Box<dyn Stream>>, Failure>
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
    let connector = TlsConnector::from(tls.config.clone());
    let stream = connector.connect(name, stream).await;
    let refused = |error| unreachable(server, &format!("no encrypted connection: {error}"));
    Ok(Box::pin(stream.map_err(refused)?))
}

fn unreachable(server: &Server, why: &str) -> Failure {
    Failure::Lost(format!("cannot reach {}: {why}", server.place))
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

fn transport(error: &RedisError) -> String {
    if error.is_timeout() {
        return no_answer();
    }
    if error.is_connection_dropped() {
        return "the connection was closed".into();
    }
    error.to_string()
}
