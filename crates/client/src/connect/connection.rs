//! One connection: commands go out in order, and replies come back in that order.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::time::Duration;

use crate::command::Cmd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::fetched::{FetchedReply, Placing};
use super::lookup::lookup;
use super::raw::{self, AsSent, Incoming, RawReply};
use super::read_buffer::ReadBuffer;
use super::resp::{self, Allowance, Fault};
use super::server::{Address, Server};
use crate::command::Command;
use crate::error::{ClientError, ServerError};
use crate::reply::{self, Reply, Value};

/// The time for which the server may be silent.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// The time that all replies to one call may take, however steadily they arrive.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of commands that are sent at once.
const SEND_CHUNK: usize = 256 * 1024;
/// The memory that the replies to one call may take. The largest are those of pipelines of AGG.FETCH, of about 1 MiB
/// and a record each.
const REPLY_LIMIT: usize = 64 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Stream for T {}

/// A stream of bytes: TCP, TLS or a Unix socket.
type AnyStream = Pin<Box<dyn Stream>>;

/// A connection to a server.
pub struct Connection {
    stream: ReadBuffer<Pin<Box<TimeoutStream<AnyStream>>>>,
    /// The memory that the replies to one call may take.
    reply_limit: usize,
    endpoint: String,
    /// [`Access::password_help`](super::Access::password_help).
    password_help: &'static str,
    /// A call has begun and has not ended: it is under way, it failed, or its future was dropped. Later replies could
    /// be taken for those of other commands, so the connection cannot be used any more.
    is_broken: bool,
    /// The options of the module that the server knows.
    pub(crate) support: Support,
}

/// The later options of the module that a server knows, as far as its replies show.
pub(crate) struct Support {
    /// SEQ.
    pub sequence: bool,
    /// COLUMNS.
    pub columns: bool,
    /// True if the server has replied to a report over this connection: it has loaded its data.
    pub has_answered: bool,
}

impl Default for Support {
    fn default() -> Self {
        Support {
            sequence: true,
            columns: true,
            has_answered: false,
        }
    }
}

impl Server {
    /// Connects, authenticates and selects the database.
    ///
    /// # Errors
    ///
    /// The server cannot be reached within [`TIMEOUT`], or rejects the credentials.
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        let open = async { Connection::start(self, open(self).await?, REPLY_LIMIT).await };
        match timeout(TIMEOUT, open).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable(self, &no_answer())),
        }
    }

    /// Takes over a stream that is connected to the server already. The replies to one call may take `reply_limit`
    /// bytes of memory.
    ///
    /// # Errors
    ///
    /// As [`Server::connect`].
    pub async fn connect_over<S>(
        &self,
        stream: S,
        reply_limit: usize,
    ) -> Result<Connection, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let start =
            async { Connection::start(self, encrypt(self, stream).await?, reply_limit).await };
        match timeout(TIMEOUT, start).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable(self, &no_answer())),
        }
    }
}

impl Connection {
    async fn start(
        server: &Server,
        stream: AnyStream,
        reply_limit: usize,
    ) -> Result<Connection, ClientError> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_read_timeout(Some(TIMEOUT));
        stream.set_write_timeout(Some(TIMEOUT));
        let mut connection = Connection {
            stream: ReadBuffer::new(Box::pin(stream)),
            reply_limit,
            endpoint: server.endpoint().to_owned(),
            password_help: server.password_help,
            is_broken: false,
            support: Support::default(),
        };
        connection.authenticate(server).await?;
        Ok(connection)
    }

    /// Sends the credentials and selects the database.
    async fn authenticate(&mut self, server: &Server) -> Result<(), ClientError> {
        if let Some(password) = &server.password {
            let mut command = Cmd::new("AUTH");
            if let Some(user) = &server.user {
                command.arg(user);
            }
            match self.call(command.arg(password)).await? {
                Ok(_) => {}
                Err(error) if error.code == "WRONGPASS" || error.to_string().contains("AUTH") => {
                    return Err(ClientError::PasswordRejected {
                        endpoint: self.endpoint.clone(),
                    });
                }
                Err(error) => return Err(self.rejected("AUTH", &error)),
            }
        }
        if server.db != 0
            && let Err(error) = self.call(Cmd::new("SELECT").arg(server.db)).await?
        {
            return Err(self.rejected("SELECT", &error));
        }
        Ok(())
    }

    /// Returns the server's address as messages show it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Runs a command of the module.
    ///
    /// # Errors
    ///
    /// [`ClientError::Command`] if the server rejects the command; the connection can be used further. After any other
    /// error it cannot.
    pub async fn run<C: Command>(&mut self, command: &C) -> Result<C::Output, ClientError> {
        let reply = self.call(&command.to_cmd()).await??;
        let output = command.read_reply(reply);
        output.ok_or_else(|| self.unexpected_reply(C::NAME))
    }

    /// Runs commands of one kind in one pipeline, and returns what the server answers to each.
    ///
    /// # Errors
    ///
    /// As [`Connection::run`]; a command that is rejected does not affect the others.
    pub async fn run_all<C: Command>(
        &mut self,
        commands: &[C],
    ) -> Result<Vec<Result<C::Output, ServerError>>, ClientError> {
        let sent: Vec<Cmd> = commands.iter().map(Command::to_cmd).collect();
        let mut outputs = Vec::with_capacity(sent.len());
        self.pipeline(&sent, |index, reply| {
            outputs.push(match reply {
                Ok(reply) => commands[index].read_reply(reply).map(Ok),
                Err(error) => Some(Err(error)),
            });
        })
        .await?;
        let outputs: Option<Vec<_>> = outputs.into_iter().collect();
        outputs.ok_or_else(|| self.unexpected_reply(C::NAME))
    }

    /// Sends any command and returns the reply.
    ///
    /// # Errors
    ///
    /// The connection failed, or the reply speaks of the server rather than of the command.
    pub async fn call(&mut self, command: &Cmd) -> Result<Reply, ClientError> {
        let mut answer = Ok(Value::Nil);
        self.pipeline(std::slice::from_ref(command), |_, reply| answer = reply)
            .await?;
        Ok(answer)
    }

    /// Returns the server's clock, Unix milliseconds (TIME), or the reason why the user may not read it.
    ///
    /// # Errors
    ///
    /// As [`Connection::call`].
    pub async fn time(&mut self) -> Result<Result<i64, ServerError>, ClientError> {
        match self.call(&Cmd::new("TIME")).await? {
            Ok(reply) => match milliseconds(reply) {
                Some(time) => Ok(Ok(time)),
                None => Err(self.unexpected_reply("TIME")),
            },
            Err(error) => Ok(Err(error)),
        }
    }

    /// Sends all commands at once, and passes each reply to `each` with the index of its command.
    ///
    /// # Errors
    ///
    /// As [`Connection::call`]. Commands that had no reply may or may not have been carried out.
    pub async fn pipeline(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Reply),
    ) -> Result<(), ClientError> {
        self.begin(commands).await?;
        match timeout(CALL_TIMEOUT, self.receive(commands.len(), each)).await {
            Ok(received) => received,
            Err(_) => Err(self.not_ended()),
        }
    }

    /// Sends all commands at once as [`Connection::pipeline`] does, and passes on each reply as it was sent.
    ///
    /// # Errors
    ///
    /// As [`Connection::pipeline`].
    pub async fn pipeline_raw(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Result<RawReply, ServerError>),
    ) -> Result<(), ClientError> {
        self.pipeline_to::<AsSent>(commands, each).await
    }

    /// Sends AGG.FETCH of several nodes or queues at once as [`Connection::pipeline`] does, and passes on each reply with
    /// the places of its records; `None` is a reply that has none.
    ///
    /// # Errors
    ///
    /// As [`Connection::pipeline`].
    pub async fn pipeline_fetches(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Result<Option<FetchedReply>, ServerError>),
    ) -> Result<(), ClientError> {
        self.pipeline_to::<Placing>(commands, each).await
    }

    async fn pipeline_to<I: Incoming>(
        &mut self,
        commands: &[Cmd],
        each: impl FnMut(usize, Result<I::Reply, ServerError>),
    ) -> Result<(), ClientError> {
        self.begin(commands).await?;
        match timeout(CALL_TIMEOUT, self.receive_to::<I>(commands.len(), each)).await {
            Ok(received) => received,
            Err(_) => Err(self.not_ended()),
        }
    }

    /// Sends the commands of a call. Until its replies are received, the connection counts as broken.
    async fn begin(&mut self, commands: &[Cmd]) -> Result<(), ClientError> {
        if self.is_broken {
            return Err(self.lost("an earlier call did not end"));
        }
        self.is_broken = true;
        self.send(commands).await
    }

    fn not_ended(&self) -> ClientError {
        let limit = CALL_TIMEOUT.as_secs();
        self.lost(&format!("its answer did not end within {limit} s"))
    }

    async fn send(&mut self, commands: &[Cmd]) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            command.write_to(&mut bytes);
            if bytes.len() >= SEND_CHUNK || index + 1 == commands.len() {
                let sent = self.stream.stream().write_all(&bytes).await;
                sent.map_err(|error| self.lost(&transport(&error)))?;
                bytes.clear();
            }
        }
        let flushed = self.stream.stream().flush().await;
        flushed.map_err(|error| self.lost(&transport(&error)))
    }

    async fn receive(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, Reply),
    ) -> Result<(), ClientError> {
        let mut allowance = Allowance::new(self.reply_limit);
        for index in 0..count {
            let read = resp::read(&mut self.stream, &mut allowance).await;
            let reply = read.map_err(|fault| self.faulty(fault))?;
            self.received(index + 1 == count, reply.as_ref().err())?;
            each(index, reply);
        }
        self.stream.end_call();
        self.is_broken = false;
        Ok(())
    }

    async fn receive_to<I: Incoming>(
        &mut self,
        count: usize,
        mut each: impl FnMut(usize, Result<I::Reply, ServerError>),
    ) -> Result<(), ClientError> {
        let mut allowance = Allowance::new(self.reply_limit);
        for index in 0..count {
            let read = raw::read::<_, I>(&mut self.stream, &mut allowance).await;
            let reply = read.map_err(|fault| self.faulty(fault))?;
            self.received(index + 1 == count, reply.as_ref().err())?;
            each(index, reply);
        }
        self.stream.end_call();
        self.is_broken = false;
        Ok(())
    }

    fn faulty(&self, fault: Fault) -> ClientError {
        match fault {
            Fault::Lost(error) => self.lost(&transport(&error)),
            Fault::Hostile(why) => self.lost(&why),
        }
    }

    /// Notes that a reply was received, with its error if it is one.
    ///
    /// # Errors
    ///
    /// The error speaks of the server rather than of the command.
    fn received(&mut self, is_last: bool, error: Option<&ServerError>) -> Result<(), ClientError> {
        // No reply is left unread after the last.
        self.is_broken = !is_last;
        let of_server = error
            .and_then(|error| ClientError::of_server(error, &self.endpoint, self.password_help));
        of_server.map_or(Ok(()), Err)
    }

    /// Creates the error for a reply that is not what the command answers.
    pub fn unexpected_reply(&self, command: &str) -> ClientError {
        ClientError::UnexpectedReply {
            endpoint: self.endpoint.clone(),
            command: command.to_owned(),
        }
    }

    /// Creates the error for the rejection of a command that all further work depends on.
    pub fn rejected(&self, what: &str, error: &ServerError) -> ClientError {
        ClientError::Rejected {
            endpoint: self.endpoint.clone(),
            what: what.to_owned(),
            error: error.clone(),
        }
    }

    /// Creates the error for a server that cannot carry out commands at present.
    pub(crate) fn unavailable(&self, error: &ServerError) -> ClientError {
        ClientError::Unavailable {
            endpoint: self.endpoint.clone(),
            error: error.clone(),
        }
    }

    /// Creates the error for a connection that cannot be used any more.
    pub fn lost(&self, reason: &str) -> ClientError {
        ClientError::Lost {
            endpoint: self.endpoint.clone(),
            reason: reason.to_owned(),
        }
    }
}

async fn open(server: &Server) -> Result<AnyStream, ClientError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => {
            unreachable(server, "connection refused; is the server running?")
        }
        _ => unreachable(server, &error.to_string()),
    };
    let (host, port) = match &server.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(failed)?;
            return Ok(Box::pin(stream));
        }
        Address::Tcp(host, port) => (host.as_str(), *port),
    };
    let mut addresses = lookup(host, port).await.map_err(failed)?;
    if let Some(allowlist) = server.allowlist() {
        // What was checked is what is connected to, so that a name cannot lead elsewhere the second time it is
        // resolved.
        let first = addresses.first().map(|address| address.ip().to_string());
        addresses =
            allowlist
                .permitted(addresses)
                .await
                .map_err(|networks| ClientError::NotAllowed {
                    endpoint: server.endpoint().to_owned(),
                    address: first.unwrap_or_default(),
                    networks,
                    help: allowlist.help(),
                })?;
    }
    let stream = TcpStream::connect(&addresses[..]).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    encrypt(server, stream).await
}

/// Encrypts a stream if the server's connections are encrypted.
async fn encrypt<S>(server: &Server, stream: S) -> Result<AnyStream, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let (Some(tls), Address::Tcp(host, _)) = (&server.tls, &server.address) else {
        return Ok(Box::pin(stream));
    };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.clone())
            .map_err(|_| unreachable(server, "its host is no name that a certificate can have"))?,
    };
    let connector = TlsConnector::from(tls.config());
    let stream = connector.connect(name, stream).await;
    let failed = |error| unreachable(server, &format!("no encrypted connection: {error}"));
    Ok(Box::pin(stream.map_err(failed)?))
}

fn unreachable(server: &Server, reason: &str) -> ClientError {
    ClientError::Unreachable {
        endpoint: server.endpoint().to_owned(),
        reason: reason.to_owned(),
    }
}

/// Reads the reply of TIME: seconds and microseconds.
fn milliseconds(reply: Value) -> Option<i64> {
    let [seconds, micros] = reply::items(reply)?.try_into().ok()?;
    let number = |value| reply::text(value)?.parse::<i64>().ok();
    number(seconds)?
        .checked_mul(1000)?
        .checked_add(number(micros)? / 1000)
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

fn transport(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => no_answer(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            "the connection was closed".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::connect::Access;

    fn server(url: &str) -> Server {
        Server::parse(url, &Access::default()).unwrap()
    }

    /// A connection to a peer that answers each command with the next of these replies.
    async fn answering(replies: &'static [&'static str]) -> Connection {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut command = [0; 1024];
            for reply in replies {
                if far.read(&mut command).await.is_ok_and(|read| read > 0) {
                    let _ = far.write_all(reply.as_bytes()).await;
                }
            }
            // The connection stays open, so that a missing reply is not the end of the stream.
            while far.read(&mut command).await.is_ok_and(|read| read > 0) {}
        });
        let server = server("redis://h");
        server.connect_over(near, 1 << 20).await.unwrap()
    }

    #[tokio::test]
    async fn time_is_read_in_milliseconds() {
        let replies = &[
            "*2\r\n$10\r\n1760000000\r\n$6\r\n123456\r\n",
            "-NOPERM no\r\n",
            "*1\r\n$1\r\n1\r\n",
        ];
        let mut connection = answering(replies).await;
        assert_eq!(connection.time().await, Ok(Ok(1_760_000_000_123)));
        let rejected = connection.time().await.unwrap();
        assert_eq!(rejected, Err(ServerError::parse("NOPERM no")));
        let unexpected = connection.time().await;
        assert!(
            matches!(unexpected, Err(ClientError::UnexpectedReply { .. })),
            "{unexpected:?}"
        );
    }

    #[tokio::test]
    async fn refused_connection_names_endpoint_and_remedy() {
        // Bound and closed again, so nobody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = server(&format!("redis://:s3cret@127.0.0.1:{port}"));
        assert_eq!(
            server.connect().await.err().unwrap().to_string(),
            format!(
                "cannot reach redis://127.0.0.1:{port}: connection refused; is the server running?"
            )
        );
    }

    #[tokio::test]
    async fn connection_survives_an_error_reply() {
        let replies = &["-WRONGTYPE x\r\n", "-ERR unknown command\r\n", ":1\r\n"];
        let mut connection = answering(replies).await;
        let ping = Cmd::new("PING");
        let error = connection.call(&ping).await.unwrap().unwrap_err();
        assert_eq!(error.code, "WRONGTYPE");
        let error = connection.call(&ping).await.unwrap_err();
        assert!(matches!(error, ClientError::NoModule { .. }), "{error}");
        assert_eq!(connection.call(&ping).await.unwrap(), Ok(Value::Int(1)));
    }

    #[tokio::test]
    async fn connection_whose_call_was_cancelled_cannot_be_used() {
        let mut connection = answering(&[]).await;
        let ping = Cmd::new("PING");
        let cancelled = timeout(Duration::from_millis(10), connection.call(&ping)).await;
        assert!(cancelled.is_err());
        let error = connection.call(&ping).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "lost redis://h:6379: an earlier call did not end"
        );
    }

    #[tokio::test]
    async fn connection_with_unread_replies_cannot_be_used() {
        let mut connection = answering(&["-LOADING x\r\n:1\r\n"]).await;
        let commands = [Cmd::new("PING"), Cmd::new("PING")];
        let error = connection.pipeline(&commands, |_, _| {}).await.unwrap_err();
        assert!(error.is_retriable(), "{error}");
        let error = connection.call(&commands[0]).await.unwrap_err();
        assert!(error.to_string().ends_with("an earlier call did not end"));
    }
}
