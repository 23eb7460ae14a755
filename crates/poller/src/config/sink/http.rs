//! The checks that sinks reached by HTTP have in common: URLs, headers, sizes.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use toml::Spanned;

use crate::glob::Glob;

use super::super::error::ConfigError;
use super::super::post::{Body, Expect, Post, Proxy};
use super::super::proxy;
use super::super::value::{required, secret};
use super::raw::{Headers, RawExpect, RawSink};
use super::tls;

/// The keys of all sinks that are reached by HTTP.
pub const KEYS: [&str; 10] = [
    "url",
    "proxy",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "gzip",
    "writers",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

/// The maximum number of concurrent requests: a server that needs more is slow for another reason.
const MAX_WRITERS: u64 = 16;

/// Headers that describe the body, which agg sets.
const RESERVED_HEADERS: [&str; 6] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Checks a sink of the type http.
pub fn check(name: &str, sink: &Spanned<RawSink>) -> Result<(Post, Body), ConfigError> {
    let raw = sink.get_ref();
    let url = url(sink)?;
    let body = match raw.format.as_ref().map(|format| format.get_ref().as_str()) {
        None | Some("json") => Body::Array,
        Some(_) => Body::Lines,
    };
    let headers = raw.headers.as_ref().map_or(Ok(vec![]), headers)?;
    let mut post = post(name, sink, url.to_owned(), headers, (1000, 1))?;
    if let Some(expect) = &raw.expect {
        post.expect = self::expect(expect)?;
    }
    Ok((post, body))
}

/// Checks how requests are sent. The defaults are the maximum number of records of a request, and the number of concurrent requests.
pub fn post(
    name: &str,
    sink: &Spanned<RawSink>,
    url: String,
    headers: Vec<(String, String)>,
    (batch_lines, writers): (u64, u64),
) -> Result<Post, ConfigError> {
    let count = |given: &Option<Spanned<u64>>, default, max| match given {
        Some(count) if *count.get_ref() == 0 => Err(ConfigError::at(count, "expected at least 1")),
        Some(count) if *count.get_ref() > max => {
            Err(ConfigError::at(count, format!("expected at most {max}")))
        }
        count => {
            let count = count.as_ref().map_or(default, |count| *count.get_ref());
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        }
    };
    let raw = sink.get_ref();
    let (bytes, timeout) = (raw.batch_bytes.as_ref(), raw.timeout.as_ref());
    Ok(Post {
        tls: tls::check(raw, url.starts_with("https:"), "an https://")?,
        proxy: proxy(name, sink, &url)?,
        expect: Expect::default(),
        url: with_port(&url).ok_or_else(|| ConfigError::at(sink, EXPECTED))?,
        headers,
        gzip: raw.gzip.as_ref().is_none_or(|gzip| *gzip.get_ref()),
        writers: count(&raw.writers, writers, MAX_WRITERS)?,
        batch_lines: count(&raw.batch_lines, batch_lines, u64::MAX)?,
        batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
        timeout: timeout.map_or(Duration::from_secs(10), |time| time.get_ref().0),
    })
}

/// Selects the proxy: that of the settings, otherwise that of the environment.
fn proxy(name: &str, sink: &Spanned<RawSink>, url: &str) -> Result<Option<Proxy>, ConfigError> {
    if let Some(setting) = &sink.get_ref().proxy {
        return proxy::of_setting(setting);
    }
    let environment = |variable: &str| std::env::var(variable).ok();
    proxy::of_environment(url, environment).map_err(|error| {
        let text = format!(
            "sink {name:?}: {error}; write proxy = \"none\" in this sink to connect directly"
        );
        ConfigError::missing_key(sink, "proxy", text)
    })
}

/// Checks the URL of a database and returns it without a slash at its end.
pub fn base(sink: &Spanned<RawSink>) -> Result<&str, ConfigError> {
    let url = required(&sink.get_ref().url, "url", sink)?;
    check_url(url, true)?;
    Ok(url.get_ref().trim_end_matches('/'))
}

/// Checks the URL of an endpoint, which may have a path and parameters.
pub fn url(sink: &Spanned<RawSink>) -> Result<&str, ConfigError> {
    let url = required(&sink.get_ref().url, "url", sink)?;
    check_url(url, false)?;
    Ok(url.get_ref())
}

/// Checks the requirements of a response.
fn expect(raw: &Spanned<RawExpect>) -> Result<Expect, ConfigError> {
    let (place, raw) = (raw, raw.get_ref());
    let body = raw.body.as_ref().map(|text| {
        Glob::parse(text.get_ref()).map_err(|error| ConfigError::at(text, error.to_string()))
    });
    let expect = Expect {
        content_type: match &raw.content_type {
            // Parameters such as a charset are not compared.
            Some(text) if !text.get_ref().contains('/') || text.get_ref().contains(';') => {
                let expected = "expected a media type such as application/json";
                return Err(ConfigError::at(text, expected));
            }
            text => text.as_ref().map(|text| text.get_ref().to_lowercase()),
        },
        body: body.transpose()?,
    };
    match expect == Expect::default() {
        true => Err(ConfigError::at(
            place,
            "expected content-type, body or both",
        )),
        false => Ok(expect),
    }
}

/// Describes a valid URL.
pub const EXPECTED: &str = "expected http://HOST:PORT or https://HOST:PORT";

/// Parses a URL and makes its port explicit, which a tunnel through a proxy needs.
fn with_port(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    if uri.port_u16().is_some() {
        return Some(uri);
    }
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    let port = if scheme == "https" { 443 } else { 80 };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("{scheme}://{host}:{port}{path}").parse().ok()
}

/// Checks a URL, which must be without parameters if it is `bare`. No message shows it, since it may contain a password.
fn check_url(url: &Spanned<String>, bare: bool) -> Result<(), ConfigError> {
    let text = url.get_ref();
    let rest = text
        .strip_prefix("http://")
        .or(text.strip_prefix("https://"))
        .ok_or_else(|| ConfigError::at(url, EXPECTED))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') || (bare && rest.contains(['@', '?', '#'])) {
        let text = format!("{EXPECTED}; user and password have their own keys");
        return Err(ConfigError::at(url, text));
    }
    let good = text.parse::<Uri>().is_ok_and(|uri| {
        // The parser ignores a port that is not a number.
        let port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some() == port
    });
    match good && !rest.contains('#') {
        true => Ok(()),
        false => Err(ConfigError::at(url, EXPECTED)),
    }
}

/// Checks headers, and user, password and token, which become one. The scheme is that of a token.
pub fn headers_and_credentials(
    sink: &Spanned<RawSink>,
    scheme: &str,
) -> Result<Vec<(String, String)>, ConfigError> {
    let given = &sink.get_ref().headers;
    let mut all = given.as_ref().map_or(Ok(vec![]), headers)?;
    if let Some(value) = authorization(sink, scheme)? {
        if let Some(given) = given
            && all.iter().any(|(name, _)| name == AUTHORIZATION)
        {
            let text = format!("the header {AUTHORIZATION:?} is set twice");
            return Err(ConfigError::at(given, text));
        }
        all.push((AUTHORIZATION.into(), value));
    }
    Ok(all)
}

/// Returns the error for a password without a user.
pub fn without_user(sink: &Spanned<RawSink>) -> ConfigError {
    ConfigError::missing_key(sink, "user", "a password needs a user")
}

/// The header that user and password, or a token, become.
pub const AUTHORIZATION: &str = "authorization";

/// Returns the header of user and password, or of a token with its scheme.
pub fn authorization(sink: &Spanned<RawSink>, scheme: &str) -> Result<Option<String>, ConfigError> {
    let raw = sink.get_ref();
    let password = secret("password", &raw.password_file, &raw.password_env)?;
    let token = secret("token", &raw.token_file, &raw.token_env)?;
    match (&raw.user, password) {
        (Some(user), _) if token.is_some() => Err(ConfigError::at(
            user,
            "user and token are mutually exclusive",
        )),
        (Some(user), password) => {
            let pair = format!("{}:{}", user.get_ref(), password.unwrap_or_default());
            Ok(Some(format!("Basic {}", BASE64.encode(pair))))
        }
        (None, Some(_)) => Err(without_user(sink)),
        (None, None) => Ok(token.map(|token| format!("{scheme} {token}"))),
    }
}

/// Checks headers: `NAME = "value"`, or `NAME-file` and `NAME-env` for secrets.
fn headers(table: &Spanned<Headers>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (key, value) in &table.get_ref().0 {
        let at = Some(Spanned::new(value.span(), value.get_ref().clone()));
        let written = key.get_ref().to_lowercase();
        let (name, value) = if let Some(name) = written.strip_suffix("-env") {
            (name, secret("header", &None, &at)?.unwrap_or_default())
        } else if let Some(name) = written.strip_suffix("-file") {
            let file = at.map(|at| Spanned::new(at.span(), PathBuf::from(at.into_inner())));
            (name, secret("header", &file, &None)?.unwrap_or_default())
        } else {
            (&*written, value.get_ref().clone())
        };
        if HeaderName::try_from(name).is_err() {
            return Err(ConfigError::at(key, "expected the name of a header"));
        }
        if RESERVED_HEADERS.contains(&name) {
            let text = format!("the header {name:?} is set by agg");
            return Err(ConfigError::at(key, text));
        }
        if headers.iter().any(|(other, _)| other == name) {
            return Err(ConfigError::at(
                key,
                format!("the header {name:?} is set twice"),
            ));
        }
        if HeaderValue::try_from(&value).is_err() {
            return Err(ConfigError::at(
                key,
                "expected a line of text for this header",
            ));
        }
        headers.push((name.to_owned(), value));
    }
    Ok(headers)
}
