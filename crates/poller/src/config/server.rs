//! A Redis server that a sink or a fleet names: its URL, user, password and TLS settings.

use std::path::PathBuf;

use agg_client::{Access, Server, Tls, TlsFiles};
use toml::Spanned;

use super::error::ConfigError;
use super::value::{secret, start};

/// The keys of a server as they are written.
pub struct RawServer<'a> {
    /// The URL, without user and password.
    pub url: &'a Spanned<String>,
    /// The user.
    pub user: &'a Option<Spanned<String>>,
    /// The file of the password.
    pub password_file: &'a Option<Spanned<PathBuf>>,
    /// The environment variable of the password.
    pub password_env: &'a Option<Spanned<String>>,
    /// `tls-ca`, `tls-cert` and `tls-key`.
    pub tls: [&'a Option<Spanned<PathBuf>>; 3],
    /// The advice of the message that a server requires a password.
    pub password_help: &'static str,
}

impl RawServer<'_> {
    /// Checks the keys.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is invalid or contains a password, a user has no password, or a file cannot be used.
    pub fn check(&self) -> Result<Server, ConfigError> {
        let text = self.url.get_ref();
        let is_unix = text.starts_with("unix:");
        if !is_unix && text.contains('@') || is_unix && text.contains('?') {
            let text = "expected redis://HOST:PORT; user and password have their own keys";
            return Err(ConfigError::at(self.url, text));
        }
        let password = secret("password", self.password_file, self.password_env)?;
        if let (Some(user), None) = (self.user, &password) {
            let text = "a user needs password-file or password-env";
            return Err(ConfigError::at(user, text));
        }
        let access = Access {
            user: self.user.as_ref().map(|user| user.get_ref().clone()),
            password,
            tls: self.tls()?,
            password_help: self.password_help,
        };
        Server::parse(text, &access).map_err(|error| ConfigError::at(self.url, error.to_string()))
    }

    /// Returns the TLS settings, if any are given.
    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let Some(first) = self.tls.into_iter().find_map(start) else {
            return Ok(None);
        };
        if !Server::scheme_encrypts(self.url.get_ref()) {
            let text = "the connection is not encrypted: write rediss://";
            return Err(ConfigError::at_byte(first, text));
        }
        let [ca, cert, key] = self
            .tls
            .map(|path| path.as_ref().map(|path| path.get_ref().clone()));
        let files = TlsFiles {
            ca,
            cert,
            key,
            server_name: None,
        };
        let tls = Tls::new(&files);
        tls.map(Some)
            .map_err(|error| ConfigError::at_byte(first, error.to_string()))
    }
}
