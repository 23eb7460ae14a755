//! A server: its address, and the credentials and encryption of connections to it.

use std::path::PathBuf;
use std::sync::Arc;

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::allowlist::Allowlist;
use super::tls::{Tls, TlsFiles};
use crate::error::{TlsError, UrlError};

/// Credentials and encryption where a server's URL does not have them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The user of the server's ACL.
    pub user: Option<String>,
    /// The password; secret.
    pub password: Option<String>,
    /// The encryption of connections; without it the CA certificates of the system are trusted.
    pub tls: Option<Tls>,
    /// The advice to a user of the program on setting the password, such as `set PASSWORD`. The error for a server that
    /// requires a password ends with it.
    pub password_help: &'static str,
}

/// A server. A value is made without I/O; `connect` makes a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub(super) address: Address,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: i64,
    pub(super) tls: Option<Tls>,
    endpoint: String,
    /// [`Access::password_help`].
    pub(super) password_help: &'static str,
    /// To which addresses the server may lead: see [`Server::elsewhere`].
    allowlist: Option<Arc<Allowlist>>,
    /// Another server named it, so the allowlist applies to it.
    is_led_to: bool,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Server {
    /// Reads a URL: `redis://[user][:password]@host[:port][/db]`, encrypted with `rediss://`, or `unix:///path`.
    /// `access` has what the URL does not.
    ///
    /// # Errors
    ///
    /// The URL cannot be read, or it wants an encrypted connection and the system has no CA certificates. The error is
    /// safe to show.
    pub fn parse(url: &str, access: &Access) -> Result<Server, UrlError> {
        let invalid = |reason: &str| UrlError::Invalid {
            url: redact(url),
            reason: reason.to_owned(),
        };
        // The library knows the encrypted schemes only with its own encryption.
        let (plain, encrypted) = match url.split_once("://") {
            Some(("rediss" | "valkeys", rest)) => (format!("redis://{rest}"), true),
            _ => (url.to_owned(), false),
        };
        let info = plain.into_connection_info().map_err(|error| {
            let why = error.to_string();
            invalid(&why.split(" - ").next().unwrap_or_default().to_lowercase())
        })?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(invalid("its kind of address is not supported")),
        };
        let settings = info.redis_settings();
        let own = |given: Option<&str>, other: &Option<String>| {
            given.map(str::to_owned).or_else(|| other.clone())
        };
        // The user goes with the password: the password of the URL is not another user's.
        let other = match settings.password() {
            Some(_) => &None,
            None => &access.user,
        };
        let tls = tls(access, encrypted)?;
        Ok(Server {
            endpoint: endpoint(&address, encrypted, settings.db()),
            address,
            user: own(settings.username(), other),
            password: own(settings.password(), &access.password),
            db: settings.db(),
            tls,
            password_help: access.password_help,
            allowlist: None,
            is_led_to: false,
        })
    }

    /// Returns whether the scheme of a URL encrypts the connection.
    pub fn scheme_encrypts(url: &str) -> bool {
        matches!(url.split_once("://"), Some(("rediss" | "valkeys", _)))
    }

    /// Returns the server at an address that discovery found.
    ///
    /// # Errors
    ///
    /// The connection is to be encrypted and the system has no CA certificates.
    pub fn at(host: &str, port: u16, access: &Access, encrypted: bool) -> Result<Server, TlsError> {
        let tls = tls(access, encrypted)?;
        let address = Address::Tcp(host.to_owned(), port);
        Ok(Server {
            endpoint: endpoint(&address, encrypted, 0),
            address,
            user: access.user.clone(),
            password: access.password.clone(),
            db: 0,
            tls,
            password_help: access.password_help,
            allowlist: None,
            is_led_to: false,
        })
    }

    /// Returns the same server, which may lead ([`Server::elsewhere`]) only to addresses of the allowlist.
    pub fn allowing(self, allowlist: &Arc<Allowlist>) -> Server {
        Server {
            allowlist: Some(allowlist.clone()),
            ..self
        }
    }

    /// Returns another server that this one named, with the same credentials and encryption.
    pub fn elsewhere(&self, host: &str, port: u16) -> Server {
        let address = Address::Tcp(host.to_owned(), port);
        Server {
            endpoint: endpoint(&address, self.encrypted(), 0),
            address,
            db: 0,
            is_led_to: true,
            ..self.clone()
        }
    }

    /// Returns the name or address of the host; none for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match &self.address {
            Address::Tcp(host, _) => Some(host),
            Address::Unix(_) => None,
        }
    }

    /// Returns the address as messages show it: a URL without user and password.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns whether connections are encrypted.
    pub fn encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the allowlist if it applies to this server.
    pub(super) fn allowlist(&self) -> Option<&Allowlist> {
        self.allowlist.as_deref().filter(|_| self.is_led_to)
    }
}

fn tls(access: &Access, encrypted: bool) -> Result<Option<Tls>, TlsError> {
    match (encrypted, &access.tls) {
        (false, _) => Ok(None),
        (true, Some(tls)) => Ok(Some(tls.clone())),
        (true, None) => Tls::new(&TlsFiles::default()).map(Some),
    }
}

/// The address without user and password.
fn endpoint(address: &Address, encrypted: bool, db: i64) -> String {
    let scheme = if encrypted { "rediss" } else { "redis" };
    let db = match db {
        0 => String::new(),
        db => format!("/{db}"),
    };
    match address {
        Address::Tcp(host, port) if host.contains(':') => {
            format!("{scheme}://[{host}]:{port}{db}")
        }
        Address::Tcp(host, port) => format!("{scheme}://{host}:{port}{db}"),
        Address::Unix(path) => format!("unix://{}{db}", path.display()),
    }
}

/// Returns what may be shown of a URL that cannot be read: the scheme, and what stands behind the last `@`, as a
/// password may have any other character.
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

    fn endpoint_of(url: &str) -> String {
        Server::parse(url, &Access::default()).unwrap().endpoint
    }

    #[test]
    fn endpoint_has_neither_user_nor_password() {
        assert_eq!(
            endpoint_of("redis://127.0.0.1:7777"),
            "redis://127.0.0.1:7777"
        );
        assert_eq!(
            endpoint_of("redis://ann:s3cret@host:1/2"),
            "redis://host:1/2"
        );
        assert_eq!(endpoint_of("redis://:s3cret@host"), "redis://host:6379");
        assert_eq!(endpoint_of("redis://[::1]:7777"), "redis://[::1]:7777");
        assert_eq!(endpoint_of("valkey://:s3cret@host:1"), "redis://host:1");
        assert_eq!(endpoint_of("rediss://ann:s3cret@host:1"), "rediss://host:1");
        assert_eq!(
            endpoint_of("unix:///run/redis.sock?pass=s3cret"),
            "unix:///run/redis.sock"
        );
    }

    #[test]
    fn unreadable_url_is_redacted() {
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
            let error = error.to_string();
            assert!(!error.contains("s3c"), "{error}");
            assert!(error.contains("expected redis://"), "{error}");
        }
        assert_eq!(redact("redis://:a@b@host:port"), "redis://***@host:port");
        assert_eq!(redact("redis://ann:s3cret"), "redis://***");
    }

    #[test]
    fn password_of_the_url_takes_precedence() {
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
    fn user_goes_with_the_password() {
        let user = |url: &str| {
            let access = Access {
                user: Some("all".into()),
                password: Some("p".into()),
                ..Access::default()
            };
            Server::parse(url, &access).unwrap().user
        };
        assert_eq!(user("redis://h").as_deref(), Some("all"));
        assert_eq!(user("redis://ann@h").as_deref(), Some("ann"));
        assert_eq!(user("redis://:p@h"), None);
    }

    #[test]
    fn server_that_another_named_gets_the_same_credentials() {
        let one = Server::parse("redis://ann:s3cret@host:1/2", &Access::default()).unwrap();
        let other = one.elsewhere("::1", 7);
        assert_eq!(other.endpoint(), "redis://[::1]:7");
        assert_eq!((&other.user, &other.password), (&one.user, &one.password));
    }
}
