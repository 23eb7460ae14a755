//! The user, password and TLS settings of a source.

use std::path::PathBuf;

use toml::Spanned;

use agg_client::connect::{Access, Server, Tls, TlsFiles};

use crate::config::error::ConfigError;
use crate::config::value::secret;

use super::raw::{RawSource, Urls};

/// The user and password for sources that set none.
#[derive(Default)]
pub struct Defaults {
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

impl Defaults {
    /// Checks the keys outside of all sources.
    pub fn check(
        user: &Option<Spanned<String>>,
        file: &Option<Spanned<PathBuf>>,
        env: &Option<Spanned<String>>,
    ) -> Result<Defaults, ConfigError> {
        let password = secret("password", file, env)?;
        let user = user_with(user, password.is_some())?;
        Ok(Defaults { user, password })
    }
}

/// Returns the user and password: those of the source, otherwise the defaults. A source with a password of its own does
/// not use the default user.
pub(super) fn access(source: &RawSource, defaults: &Defaults) -> Result<Access, ConfigError> {
    let own = secret("password", &source.password_file, &source.password_env)?;
    let other = match own {
        Some(_) => None,
        None => defaults.user.clone(),
    };
    let password = own.or_else(|| defaults.password.clone());
    // A URL may contain the password.
    let has_password = password.is_some() || source.urls.is_some() || source.cluster.is_some();
    let user = user_with(&source.user, has_password)?.or(other);
    Ok(Access {
        user,
        password,
        tls: None,
        password_help: "set password-file or password-env of the source",
    })
}

/// Returns the TLS settings, if any connection is encrypted.
pub(super) fn tls(
    source: &RawSource,
    kind: &str,
    encrypted: bool,
) -> Result<Option<Tls>, ConfigError> {
    let path = |path: &Option<Spanned<PathBuf>>| path.as_ref().map(|p| p.get_ref().clone());
    let files = TlsFiles {
        ca: path(&source.tls_ca),
        cert: path(&source.tls_cert),
        key: path(&source.tls_key),
        server_name: source.tls_server_name.as_ref().map(|n| n.get_ref().clone()),
    };
    let given = source.given();
    let first = given.iter().find(|(key, _)| key.starts_with("tls"));
    let Some(&(_, at)) = first else {
        return Ok(None);
    };
    let url = |urls: &Option<Spanned<Urls>>| {
        let mut urls = urls.iter().flat_map(|urls| &urls.get_ref().0);
        urls.any(|url| Server::scheme_encrypts(url.get_ref()))
    };
    let any = encrypted
        || [&source.urls, &source.cluster, &source.sentinel]
            .map(url)
            .contains(&true);
    if !any {
        if files == TlsFiles::default() {
            return Ok(None);
        }
        let way = match kind {
            "urls" => "write rediss://",
            _ => "write tls = true",
        };
        let text = format!("no connection of this source is encrypted: {way}");
        return Err(ConfigError::at_byte(at, text));
    }
    let tls = Tls::new(&files).map_err(|error| {
        let text = error.to_string();
        // The file that the message names, otherwise the first key.
        let named = [&source.tls_ca, &source.tls_cert, &source.tls_key]
            .into_iter()
            .flatten()
            .find(|path| text.contains(&path.get_ref().display().to_string()));
        let at = named.map_or(at, |path| path.span().start);
        ConfigError::at_byte(at, text)
    })?;
    Ok(Some(tls))
}

/// Checks that a user has a password.
fn user_with(
    user: &Option<Spanned<String>>,
    password: bool,
) -> Result<Option<String>, ConfigError> {
    match user {
        Some(user) if !password => Err(ConfigError::at(
            user,
            "a user needs password-file or password-env",
        )),
        user => Ok(user.as_ref().map(|user| user.get_ref().clone())),
    }
}
