//! Where the server is, the connection to it, and what went wrong with it in words.
//!
//! What holds: no message shows a user's name or password, even of a URL that cannot be read. Every call ends:
//! within [`TIMEOUT`] after the last byte from the server, and within a minute however it drips. What a server sends is
//! bounded, whoever it is (see `resp.rs`). A link that has failed once is not to be used again, as replies could be
//! taken for those of other commands.

mod allow;
mod blocking;
mod connection;
mod resp;
mod tls;
mod walk;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};

pub use allow::Allow;
pub use blocking::BlockingConnection;
pub use connection::Connection;
pub use tls::{Tls, TlsFiles};
pub use walk::Walk;

/// How long the server may be silent.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The server cannot be reached, or not now: worth trying again.
    Lost(String),
    /// The server says no to whatever is asked: a password, the module, rights.
    Refused(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Lost(text) | ClientError::Refused(text) => f.write_str(text),
        }
    }
}

impl From<ClientError> for String {
    fn from(failure: ClientError) -> String {
        failure.to_string()
    }
}

/// What holds for a server where its URL does not say it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The user of the server's ACL.
    pub user: Option<String>,
    /// The password; secret.
    pub password: Option<String>,
    /// How encrypted connections are made; without it the system's authorities are trusted.
    pub tls: Option<Tls>,
}

/// A server, not yet connected to.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    address: Address,
    user: Option<String>,
    password: Option<String>,
    db: i64,
    tls: Option<Tls>,
    place: String,
    /// Where the server may lead us: see [`Server::elsewhere`].
    allow: Option<Arc<Allow>>,
    /// Another server named it, so `allow` holds for it.
    is_led_to: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Server {
    /// Reads a URL; `access` holds where the URL has nothing.
    ///
    /// Returns an error, safe to show, if the URL cannot be read, or if it wants an encrypted connection and the
    /// system has no authorities to trust.
    pub fn parse(url: &str, access: &Access) -> Result<Server, String> {
        // The library knows the encrypted ones only with its own encryption.
        let (plain, encrypted) = match url.split_once("://") {
            Some(("rediss" | "valkeys", rest)) => (format!("redis://{rest}"), true),
            _ => (url.to_owned(), false),
        };
        let info = plain.into_connection_info().map_err(|error| {
            let why = error.to_string();
            let why = why.split(" - ").next().unwrap_or_default().to_lowercase();
            format!(
                "the server's URL {:?} is not usable ({why}): expected \
                 redis://[user][:password]@host[:port][/db], rediss:// likewise, or unix:///path",
                redact(url)
            )
        })?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(format!("the server's URL {:?} is not usable", redact(url))),
        };
        let settings = info.redis_settings();
        let own = |given: Option<&str>, other: &Option<String>| {
            given.map(str::to_owned).or_else(|| other.clone())
        };
        let tls = match (encrypted, &access.tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.clone()),
            (true, None) => Some(Tls::new(&TlsFiles::default())?),
        };
        // The user goes with the password: that of the URL is not another user's.
        let other = match settings.password() {
            Some(_) => &None,
            None => &access.user,
        };
        Ok(Server {
            place: place(&address, tls.is_some(), settings.db()),
            address,
            user: own(settings.username(), other),
            password: own(settings.password(), &access.password),
            db: settings.db(),
            tls,
            allow: None,
            is_led_to: false,
        })
    }

    /// Whether a URL is of an encrypted connection.
    pub fn scheme_encrypts(url: &str) -> bool {
        matches!(url.split_once("://"), Some(("rediss" | "valkeys", _)))
    }

    /// The server at an address that another told of or that was found.
    pub fn at(host: &str, port: u16, access: &Access, encrypted: bool) -> Result<Server, String> {
        let tls = match (encrypted, &access.tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.clone()),
            (true, None) => Some(Tls::new(&TlsFiles::default())?),
        };
        let address = Address::Tcp(host.to_owned(), port);
        Ok(Server {
            place: place(&address, encrypted, 0),
            address,
            user: access.user.clone(),
            password: access.password.clone(),
            db: 0,
            tls,
            allow: None,
            is_led_to: false,
        })
    }

    /// The same server; those that are told of [`Server::elsewhere`] are connected to only at these addresses.
    pub fn allowing(self, allow: &Arc<Allow>) -> Server {
        Server {
            allow: Some(allow.clone()),
            ..self
        }
    }

    /// Another server, that this one named, to which we say the same as to this one.
    pub fn elsewhere(&self, host: &str, port: u16) -> Server {
        let address = Address::Tcp(host.to_owned(), port);
        Server {
            place: place(&address, self.encrypted(), 0),
            address,
            db: 0,
            is_led_to: true,
            ..self.clone()
        }
    }

    /// The name or address of its host; none of a socket of this machine.
    pub fn host(&self) -> Option<&str> {
        match &self.address {
            Address::Tcp(host, _) => Some(host),
            Address::Unix(_) => None,
        }
    }

    /// The server's address as messages show it.
    pub fn endpoint(&self) -> &str {
        &self.place
    }

    /// Whether connections to it are encrypted.
    pub fn encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects, and waits for that.
    pub fn connect(&self) -> Result<BlockingConnection, ClientError> {
        BlockingConnection::new(self)
    }

    /// Connects.
    pub async fn dial(&self) -> Result<Connection, ClientError> {
        Connection::new(self).await
    }

    /// Goes on with a connection to it that is there already; `most` is what the replies to one call may take of
    /// memory.
    pub async fn dial_over<S>(&self, stream: S, most: usize) -> Result<Connection, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    {
        Connection::over(self, stream, most).await
    }
}

/// Errors that speak of the server rather than of one command.
fn classify_error(text: &str, place: &str) -> Option<ClientError> {
    let code = text.split(' ').next().unwrap_or_default();
    if code == "ERR" && text.starts_with("ERR unknown command") {
        return Some(no_module(place));
    }
    match code {
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => Some(ClientError::Lost(
            format!("{place} cannot answer now: {text}"),
        )),
        "NOAUTH" => Some(ClientError::Refused(format!(
            "{place} wants a password: give it in AGG_PASSWORD or in the URL (agg poll: in password-file or password-env)"
        ))),
        _ => None,
    }
}

/// A failure because the module is not loaded.
pub fn no_module(place: &str) -> ClientError {
    ClientError::Refused(format!(
        "the server {place} does not have the aggregator module: start it with --loadmodule \
         libaggregator.so"
    ))
}

/// The address without whoever connects to it.
fn place(address: &Address, encrypted: bool, db: i64) -> String {
    let scheme = if encrypted { "rediss" } else { "redis" };
    let db = if db == 0 {
        String::new()
    } else {
        format!("/{db}")
    };
    match address {
        Address::Tcp(host, port) if host.contains(':') => {
            format!("{scheme}://[{host}]:{port}{db}")
        }
        Address::Tcp(host, port) => format!("{scheme}://{host}:{port}{db}"),
        Address::Unix(path) => format!("unix://{}{db}", path.display()),
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
        Server::parse(url, &Access::default()).unwrap().place
    }

    #[test]
    fn messages_show_the_place_without_user_and_password() {
        assert_eq!(place_of("redis://127.0.0.1:7777"), "redis://127.0.0.1:7777");
        assert_eq!(place_of("redis://ann:s3cret@host:1/2"), "redis://host:1/2");
        assert_eq!(place_of("redis://:s3cret@host"), "redis://host:6379");
        assert_eq!(place_of("redis://[::1]:7777"), "redis://[::1]:7777");
        assert_eq!(place_of("valkey://:s3cret@host:1"), "redis://host:1");
        assert_eq!(place_of("rediss://ann:s3cret@host:1"), "rediss://host:1");
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
            "rediss://u:s3cret@h:port",
        ];
        for url in secret {
            let Err(error) = Server::parse(url, &Access::default()) else {
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
            let access = Access {
                password: Some("env".into()),
                ..Access::default()
            };
            Server::parse(url, &access).unwrap().password
        };
        assert_eq!(password("redis://:url@h").as_deref(), Some("url"));
        assert_eq!(password("redis://h").as_deref(), Some("env"));
        assert_eq!(password("redis://ann@h").as_deref(), Some("env"));
    }

    #[test]
    fn the_user_goes_with_the_password() {
        let user = |url: &str| {
            let access = Access {
                user: Some("all".into()),
                password: Some("p".into()),
                tls: None,
            };
            Server::parse(url, &access).unwrap().user
        };
        assert_eq!(user("redis://h").as_deref(), Some("all"));
        assert_eq!(user("redis://ann@h").as_deref(), Some("ann"));
        assert_eq!(user("redis://:p@h"), None);
    }

    #[test]
    fn another_server_is_told_the_same() {
        let one = Server::parse("redis://ann:s3cret@host:1/2", &Access::default()).unwrap();
        let other = one.elsewhere("::1", 7);
        assert_eq!(other.endpoint(), "redis://[::1]:7");
        assert_eq!((&other.user, &other.password), (&one.user, &one.password));
    }

    #[test]
    fn a_refused_connection_names_the_place_and_the_way_out() {
        // Bound and closed again, so nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Server::parse(
            &format!("redis://:s3cret@127.0.0.1:{port}"),
            &Access::default(),
        )
        .unwrap();
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
        let Some(ClientError::Refused(text)) = classify_error(unknown, "redis://h:1") else {
            panic!()
        };
        assert_eq!(
            text,
            "the server redis://h:1 does not have the aggregator module: start it with --loadmodule \
             libaggregator.so"
        );
        assert!(matches!(
            classify_error("LOADING x", "p"),
            Some(ClientError::Lost(_))
        ));
        assert!(matches!(
            classify_error("NOAUTH x", "p"),
            Some(ClientError::Refused(_))
        ));
        assert_eq!(classify_error("AGGFULL x", "p"), None);
        assert_eq!(classify_error("ERR bad value", "p"), None);
    }
}
