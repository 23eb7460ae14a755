//! Where the server is, the connection to it, and what went wrong with it in words.
//!
//! What holds: no message shows a user's name or password, even of a URL that cannot be read. Every call ends:
//! within [`TIMEOUT`] after the last byte from the server. A link that has failed once is not to be used again, as
//! replies could be taken for those of other commands.

use std::fmt;
use std::time::Duration;

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
};
use redis::{RedisError, Value};

use crate::reply::{Reply, error_text};

/// How long the server may be silent.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server cannot be reached, or not now: worth trying again.
    Lost(String),
    /// The server says no to whatever is asked: a password, the module, rights.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(text) | Failure::Refused(text) => f.write_str(text),
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> String {
        failure.to_string()
    }
}

/// A server, not yet connected to.
pub struct Server {
    info: ConnectionInfo,
    place: String,
}

impl Server {
    /// Reads a URL; `password` holds where the URL has none.
    ///
    /// Returns an error, safe to show, if the URL cannot be read.
    pub fn parse(url: &str, password: Option<String>) -> Result<Server, String> {
        let info = url.into_connection_info().map_err(|error| {
            let why = error.to_string();
            let why = why.split(" - ").next().unwrap_or_default().to_lowercase();
            format!(
                "the server's URL {:?} is not usable ({why}): expected \
                 redis://[user][:password]@host[:port][/db] or unix:///path",
                redact(url)
            )
        })?;
        let settings = info.redis_settings().clone();
        let settings = match password {
            Some(password) if settings.password().is_none() => settings.set_password(password),
            _ => settings,
        };
        let place = place(info.addr(), settings.db());
        Ok(Server {
            info: info.set_redis_settings(settings),
            place,
        })
    }

    /// The server's address as messages show it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Connects.
    pub fn connect(&self) -> Result<Link, Failure> {
        let connect = || {
            let connection =
                Client::open(self.info.clone())?.get_connection_with_timeout(TIMEOUT)?;
            connection.set_read_timeout(Some(TIMEOUT))?;
            connection.set_write_timeout(Some(TIMEOUT))?;
            Ok(connection)
        };
        match connect() {
            Ok(connection) => Ok(Link {
                connection,
                place: self.place.clone(),
            }),
            Err(error) => Err(self.why_not(&error)),
        }
    }

    fn why_not(&self, error: &RedisError) -> Failure {
        let place = &self.place;
        if error.kind() == ErrorKind::AuthenticationFailed {
            return Failure::Refused(format!("{place} does not accept the user or password"));
        }
        if error.is_connection_refusal() {
            return Failure::Lost(format!(
                "cannot reach {place}: connection refused; is the server running? (make run)"
            ));
        }
        if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
            return judge(&error.to_string(), place)
                .unwrap_or_else(|| Failure::Refused(format!("{place} refuses: {error}")));
        }
        Failure::Lost(format!("cannot reach {place}: {}", transport(error)))
    }
}

/// A connection.
pub struct Link {
    connection: Connection,
    place: String,
}

impl Link {
    /// Sends one command.
    pub fn call(&mut self, command: &Cmd) -> Result<Reply, Failure> {
        let mut answer = Ok(Value::Nil);
        self.pipeline(std::slice::from_ref(command), |_, reply| answer = reply)?;
        Ok(answer)
    }

    /// Sends all commands at once and hands each reply to `each`, with its command's index. After a failure, those
    /// commands that had no reply may or may not have been carried out.
    pub fn pipeline(
        &mut self,
        commands: &[Cmd],
        mut each: impl FnMut(usize, Reply),
    ) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(&command.get_packed_command());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.connection
            .send_packed_command(&bytes)
            .map_err(|error| self.lost(&error))?;
        for index in 0..commands.len() {
            match self
                .connection
                .recv_response()
                .map_err(|error| self.lost(&error))?
            {
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

/// Errors that speak of the server rather than of one command.
fn judge(text: &str, place: &str) -> Option<Failure> {
    let code = text.split(' ').next().unwrap_or_default();
    if code == "ERR" && text.starts_with("ERR unknown command") {
        return Some(no_module(place));
    }
    match code {
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => {
            Some(Failure::Lost(format!("{place} cannot answer now: {text}")))
        }
        "NOAUTH" => Some(Failure::Refused(format!(
            "{place} wants a password: give it in AGG_PASSWORD or in the URL (agg poll: in password-file or password-env)"
        ))),
        _ => None,
    }
}

/// A failure because the module is not loaded.
pub fn no_module(place: &str) -> Failure {
    Failure::Refused(format!(
        "the server {place} does not have the aggregator module: start it with --loadmodule \
         libaggregator.so"
    ))
}

fn transport(error: &RedisError) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    if error.is_connection_dropped() {
        return "the connection was closed".into();
    }
    error.to_string()
}

/// The address without whoever connects to it.
fn place(addr: &ConnectionAddr, db: i64) -> String {
    let db = if db == 0 {
        String::new()
    } else {
        format!("/{db}")
    };
    match addr {
        ConnectionAddr::Tcp(host, port) if host.contains(':') => {
            format!("redis://[{host}]:{port}{db}")
        }
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}{db}"),
        other => format!("unix://{other}{db}"),
    }
}

/// What may be shown of a URL that cannot be read: the scheme, and what stands behind the last `@`, as a password
/// may hold any other character.
fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = match rest.rsplit_once('@') {
        Some((_, host)) => host.split('?').next().unwrap_or_default(),
        None => "",
    };
    format!(
        "{scheme}://***{}{host}",
        if host.is_empty() { "" } else { "@" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(url: &str) -> String {
        Server::parse(url, None).unwrap().place
    }

    #[test]
    fn messages_show_the_place_without_user_and_password() {
        assert_eq!(place_of("redis://127.0.0.1:7777"), "redis://127.0.0.1:7777");
        assert_eq!(place_of("redis://ann:s3cret@host:1/2"), "redis://host:1/2");
        assert_eq!(place_of("redis://:s3cret@host"), "redis://host:6379");
        assert_eq!(place_of("redis://[::1]:7777"), "redis://[::1]:7777");
        assert_eq!(place_of("valkey://:s3cret@host:1"), "redis://host:1");
        assert_eq!(
            place_of("unix:///run/redis.sock?pass=s3cret"),
            "unix:///run/redis.sock"
        );
    }

    #[test]
    fn an_unreadable_url_is_redacted() {
        let secret = [
            "redis://:s3cret@host:port",
            "redis://:s3c@s3cret@h:0/x",
            "redis://ann:s3cret",
            "s3cret",
            "redis://:s3cret@host:1/x?pass=s3cret",
            "http://u:s3cret@h",
            "rediss://u:s3cret@h",
        ];
        for url in secret {
            let Err(error) = Server::parse(url, None) else {
                panic!("{url} was read")
            };
            assert!(!error.contains("s3c"), "{error}");
            assert!(error.contains("expected redis://"), "{error}");
        }
        assert_eq!(redact("redis://:a@b@host:port"), "redis://***@host:port");
        assert_eq!(redact("redis://ann:s3cret"), "redis://***");
    }

    #[test]
    fn the_password_of_the_url_holds() {
        let password = |url: &str| {
            let server = Server::parse(url, Some("env".into())).unwrap();
            server.info.redis_settings().password().map(str::to_owned)
        };
        assert_eq!(password("redis://:url@h").as_deref(), Some("url"));
        assert_eq!(password("redis://h").as_deref(), Some("env"));
        assert_eq!(password("redis://ann@h").as_deref(), Some("env"));
    }

    #[test]
    fn a_refused_connection_names_the_place_and_the_way_out() {
        // Bound and closed again, so nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Server::parse(&format!("redis://:s3cret@127.0.0.1:{port}"), None).unwrap();
        assert_eq!(
            server.connect().err().unwrap().to_string(),
            format!(
                "cannot reach redis://127.0.0.1:{port}: connection refused; is the server running? \
                 (make run)"
            )
        );
    }

    #[test]
    fn errors_of_the_server_are_told_from_those_of_a_command() {
        let unknown = "ERR unknown command 'AGG.LOG', with args beginning with: 'n'";
        let Some(Failure::Refused(text)) = judge(unknown, "redis://h:1") else {
            panic!()
        };
        assert_eq!(
            text,
            "the server redis://h:1 does not have the aggregator module: start it with --loadmodule \
             libaggregator.so"
        );
        assert!(matches!(judge("LOADING x", "p"), Some(Failure::Lost(_))));
        assert!(matches!(judge("NOAUTH x", "p"), Some(Failure::Refused(_))));
        assert_eq!(judge("AGGFULL x", "p"), None);
        assert_eq!(judge("ERR bad value", "p"), None);
    }
}
