//! The checks of an InfluxDB sink: its URL and the Authorization header, by version of the API.

use toml::Spanned;

use super::super::error::ConfigError;
use super::super::post::Post;
use super::super::value::{encode, required, secret};
use super::http;
use super::raw::RawSink;
use super::timestamp::{self, Timestamp};

/// The keys of version 1.
pub const VERSION_1: [&str; 7] = [
    "database",
    "retention-policy",
    "user",
    "password-file",
    "password-env",
    "token-file",
    "token-env",
];
/// The keys of version 2.
pub const VERSION_2: [&str; 4] = ["org", "bucket", "token-file", "token-env"];
/// The keys of version 3.
pub const VERSION_3: [&str; 4] = ["database", "token-file", "token-env", "accept-partial"];

/// Checks an InfluxDB sink.
pub fn check(name: &str, sink: &Spanned<RawSink>) -> Result<(Post, Timestamp), ConfigError> {
    let (raw, base) = (sink.get_ref(), http::base(sink)?);
    let version = match &raw.version {
        Some(version) if !(1..=3).contains(version.get_ref()) => {
            return Err(ConfigError::at(version, "expected the version 1, 2 or 3"));
        }
        version => version.as_ref().map_or(1, |version| *version.get_ref()),
    };
    let keys = [&VERSION_1[..], &VERSION_2, &VERSION_3];
    let of_this = keys[version as usize - 1];
    let is_other = |key: &&str| !of_this.contains(key) && keys.concat().contains(key);
    let mut given = raw.given().into_iter();
    if let Some((key, at)) = given.find(|(key, _)| is_other(key)) {
        let text = format!("{key:?} is not for version {version} of InfluxDB");
        return Err(ConfigError::at_byte(at, text));
    }
    let (url, authorization) = match version {
        1 => version_1(base, sink)?,
        2 => version_2(base, sink)?,
        _ => version_3(base, sink)?,
    };
    let header = authorization.map(|value| (http::AUTHORIZATION.to_owned(), value));
    let post = http::post(name, sink, url, header.into_iter().collect(), (5000, 2))?;
    Ok((post, timestamp::check(&raw.timestamp, Timestamp::Start)?))
}

/// Returns the URL and the Authorization header for version 1.
fn version_1(base: &str, sink: &Spanned<RawSink>) -> Result<(String, Option<String>), ConfigError> {
    let raw = sink.get_ref();
    let mut url = format!("{base}/write?precision=ns");
    // InfluxDB rejects a request without one. Compatible databases may have none.
    let Some(database) = &raw.database else {
        let text = "expected \"database\" in this sink; \"\" for VictoriaMetrics or QuestDB, which need none";
        return Err(ConfigError::missing_key(sink, "database", text));
    };
    for (name, value) in [
        ("db", Some(database)),
        ("rp", raw.retention_policy.as_ref()),
    ] {
        if let Some(value) = value.filter(|value| !value.get_ref().is_empty()) {
            url += &format!("&{name}={}", encode(value.get_ref()));
        }
    }
    let authorization = http::authorization(sink, "Bearer")?;
    Ok((url, authorization))
}

/// Returns the URL and the Authorization header for version 2.
fn version_2(base: &str, sink: &Spanned<RawSink>) -> Result<(String, Option<String>), ConfigError> {
    let raw = sink.get_ref();
    let url = format!(
        "{base}/api/v2/write?org={}&bucket={}&precision=ns",
        encode(required(&raw.org, "org", sink)?.get_ref()),
        encode(required(&raw.bucket, "bucket", sink)?.get_ref())
    );
    let Some(token) = secret("token", &raw.token_file, &raw.token_env)? else {
        let text = "expected token-file or token-env";
        return Err(ConfigError::missing_key(sink, "token-env", text));
    };
    Ok((url, Some(format!("Token {token}"))))
}

/// Returns the URL and the Authorization header for version 3.
fn version_3(base: &str, sink: &Spanned<RawSink>) -> Result<(String, Option<String>), ConfigError> {
    let raw = sink.get_ref();
    let database = encode(required(&raw.database, "database", sink)?.get_ref());
    let partial = raw.accept_partial.as_ref();
    let partial = partial.is_none_or(|partial| *partial.get_ref());
    let url = format!(
        "{base}/api/v3/write_lp?db={database}&precision=nanosecond&accept_partial={partial}"
    );
    let token = secret("token", &raw.token_file, &raw.token_env)?;
    Ok((url, token.map(|token| format!("Bearer {token}"))))
}
