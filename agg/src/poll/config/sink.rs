//! A sink as it is written, its checks by type, and where secrets come from.

mod mongo;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::drain::fetch::Format;

use super::file::{Size, Time};
use super::{Influx, Kind, Mistake, Sink};

/// All keys of all sinks: an enum by `type` would lose the places of what is in it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSink {
    r#type: Spanned<String>,
    format: Option<Spanned<String>>,
    path: Option<Spanned<PathBuf>>,
    rotate: Option<Spanned<Size>>,
    url: Option<Spanned<String>>,
    version: Option<Spanned<u64>>,
    database: Option<Spanned<String>>,
    retention_policy: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    org: Option<Spanned<String>>,
    bucket: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
    token_env: Option<Spanned<String>>,
    batch_lines: Option<Spanned<u64>>,
    batch_bytes: Option<Spanned<Size>>,
    timeout: Option<Spanned<Time>>,
    uri: Option<Spanned<String>>,
    prefix: Option<Spanned<String>>,
    time_series: Option<Spanned<bool>>,
}

impl RawSink {
    /// Turns it into the sink of this name.
    ///
    /// Returns the first mistake.
    pub fn check(&self, name: &str, place: &Spanned<RawSink>) -> Result<Sink, Mistake> {
        let kind = self.r#type.get_ref().as_str();
        let keys: &[&str] = match kind {
            "stdout" => &["format"],
            "file" => &["format", "path", "rotate"],
            "influxdb" => &INFLUX_KEYS,
            "mongodb" => &mongo::KEYS,
            _ => {
                let text =
                    format!("expected the type stdout, file, influxdb or mongodb, not {kind:?}");
                return Err(Mistake::at(&self.r#type, text));
            }
        };
        if let Some((key, at)) = self
            .given()
            .into_iter()
            .find(|(key, _)| !keys.contains(key))
        {
            let text = format!(
                "a sink of type {kind} has no {key:?}: it takes {}",
                keys.join(", ")
            );
            return Err(Mistake { at: Some(at), text });
        }
        let format = match &self.format {
            None if kind == "influxdb" => Format::Line,
            None => Format::Json,
            Some(format) => match format.get_ref().as_str() {
                "json" => Format::Json,
                "line" => Format::Line,
                other => {
                    let text = format!("expected the format json or line, not {other:?}");
                    return Err(Mistake::at(format, text));
                }
            },
        };
        let kind = match kind {
            "stdout" => Kind::Stdout,
            "file" => Kind::File {
                path: needed(&self.path, "path", place)?.get_ref().clone(),
                rotate: self.rotate.as_ref().map(|size| size.get_ref().0),
            },
            "mongodb" => Kind::Mongo(Box::new(self.mongo(place)?)),
            _ => Kind::Influx(self.influx(place)?),
        };
        Ok(Sink {
            name: name.to_owned(),
            format,
            kind,
        })
    }

    /// The optional keys that stand there, and where their values do.
    fn given(&self) -> Vec<(&'static str, usize)> {
        fn at<T>(value: &Option<Spanned<T>>) -> Option<usize> {
            value.as_ref().map(|value| value.span().start)
        }
        let all = [
            ("format", at(&self.format)),
            ("path", at(&self.path)),
            ("rotate", at(&self.rotate)),
            ("url", at(&self.url)),
            ("version", at(&self.version)),
            ("database", at(&self.database)),
            ("retention-policy", at(&self.retention_policy)),
            ("user", at(&self.user)),
            ("password-file", at(&self.password_file)),
            ("password-env", at(&self.password_env)),
            ("org", at(&self.org)),
            ("bucket", at(&self.bucket)),
            ("token-file", at(&self.token_file)),
            ("token-env", at(&self.token_env)),
            ("batch-lines", at(&self.batch_lines)),
            ("batch-bytes", at(&self.batch_bytes)),
            ("timeout", at(&self.timeout)),
            ("uri", at(&self.uri)),
            ("prefix", at(&self.prefix)),
            ("time-series", at(&self.time_series)),
        ];
        all.into_iter()
            .filter_map(|(key, at)| Some((key, at?)))
            .collect()
    }

    fn influx(&self, place: &Spanned<RawSink>) -> Result<Influx, Mistake> {
        let base = self.base(place)?;
        let first = match &self.version {
            Some(version) if ![1, 2].contains(version.get_ref()) => {
                return Err(Mistake::at(version, "expected the version 1 or 2"));
            }
            version => version
                .as_ref()
                .is_none_or(|version| *version.get_ref() == 1),
        };
        let others: &[&str] = if first { &VERSION_2 } else { &VERSION_1 };
        let mut given = self.given().into_iter();
        if let Some((key, at)) = given.find(|(key, _)| others.contains(key)) {
            let version = if first { 1 } else { 2 };
            let text = format!("{key:?} is not for version {version} of InfluxDB");
            return Err(Mistake { at: Some(at), text });
        }
        let (url, authorization) = match first {
            true => self.version_1(base, place)?,
            false => self.version_2(base, place)?,
        };
        let batch_lines = match &self.batch_lines {
            Some(lines) if *lines.get_ref() == 0 => {
                return Err(Mistake::at(lines, "expected at least 1"));
            }
            lines => lines.as_ref().map_or(5000, |lines| *lines.get_ref()),
        };
        let (bytes, timeout) = (self.batch_bytes.as_ref(), self.timeout.as_ref());
        Ok(Influx {
            url,
            authorization,
            batch_lines: usize::try_from(batch_lines).unwrap_or(usize::MAX),
            batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
            timeout: timeout.map_or(Duration::from_secs(10), |time| time.get_ref().0),
        })
    }

    /// The database's address, without a slash at its end.
    fn base(&self, place: &Spanned<RawSink>) -> Result<&str, Mistake> {
        let url = needed(&self.url, "url", place)?;
        let base = url.get_ref().trim_end_matches('/');
        let why = match base.split_once("://") {
            Some(("http", rest)) if !rest.is_empty() && !rest.contains(['@', '?', '#']) => {
                return Ok(base);
            }
            Some(("http", _)) => "expected http://HOST:PORT; who we are stands in keys of its own",
            Some(("https", _)) => {
                "this agg speaks no TLS: expected http://, at best to a proxy on this machine"
            }
            _ => "expected http://HOST:PORT",
        };
        Err(Mistake::at(url, why))
    }

    fn version_1(
        &self,
        base: &str,
        place: &Spanned<RawSink>,
    ) -> Result<(String, Option<String>), Mistake> {
        let mut url = format!(
            "{base}/write?db={}&precision=ns",
            escape(needed(&self.database, "database", place)?.get_ref())
        );
        if let Some(policy) = &self.retention_policy {
            url += &format!("&rp={}", escape(policy.get_ref()));
        }
        let password = secret("password", &self.password_file, &self.password_env)?;
        let authorization = match (&self.user, password) {
            (Some(user), password) => {
                let pair = format!("{}:{}", user.get_ref(), password.unwrap_or_default());
                Some(format!("Basic {}", base64(pair.as_bytes())))
            }
            (None, Some(_)) => return Err(Mistake::at(place, "a password, but no user")),
            (None, None) => None,
        };
        Ok((url, authorization))
    }

    fn version_2(
        &self,
        base: &str,
        place: &Spanned<RawSink>,
    ) -> Result<(String, Option<String>), Mistake> {
        let url = format!(
            "{base}/api/v2/write?org={}&bucket={}&precision=ns",
            escape(needed(&self.org, "org", place)?.get_ref()),
            escape(needed(&self.bucket, "bucket", place)?.get_ref())
        );
        let Some(token) = secret("token", &self.token_file, &self.token_env)? else {
            return Err(Mistake::at(place, "expected token-file or token-env"));
        };
        Ok((url, Some(format!("Token {token}"))))
    }
}

/// Keys that are for one version alone.
const VERSION_1: [&str; 5] = [
    "database",
    "retention-policy",
    "user",
    "password-file",
    "password-env",
];
const VERSION_2: [&str; 4] = ["org", "bucket", "token-file", "token-env"];

/// Keys of both versions.
const INFLUX_KEYS: [&str; 14] = [
    "url",
    "version",
    "database",
    "retention-policy",
    "user",
    "password-file",
    "password-env",
    "org",
    "bucket",
    "token-file",
    "token-env",
    "batch-lines",
    "batch-bytes",
    "timeout",
];

fn needed<'a, T>(
    value: &'a Option<Spanned<T>>,
    key: &str,
    place: &Spanned<RawSink>,
) -> Result<&'a Spanned<T>, Mistake> {
    let missing = || Mistake::at(place, format!("expected {key:?} in this sink"));
    value.as_ref().ok_or_else(missing)
}

/// A password or token, from where the file says.
pub fn secret(
    what: &str,
    file: &Option<Spanned<PathBuf>>,
    env: &Option<Spanned<String>>,
) -> Result<Option<String>, Mistake> {
    let (text, at) = match (file, env) {
        (None, None) => return Ok(None),
        (Some(_), Some(env)) => {
            let text = format!("{what}-file and {what}-env exclude each other");
            return Err(Mistake::at(env, text));
        }
        (Some(file), None) => {
            let unread = |error| {
                let path = file.get_ref().display();
                Mistake::at(file, format!("cannot read {path}: {error}"))
            };
            let text = std::fs::read_to_string(file.get_ref()).map_err(unread)?;
            (text, file.span().start)
        }
        (None, Some(env)) => {
            let text = std::env::var(env.get_ref()).unwrap_or_default();
            (text, env.span().start)
        }
    };
    // An editor ends a file with a newline.
    let secret = text.trim_end_matches(['\r', '\n']);
    let fault = match secret {
        "" => "is empty",
        secret if secret.contains(|c: char| c.is_control()) => "is more than a line of text",
        secret => return Ok(Some(secret.to_owned())),
    };
    Err(Mistake {
        at: Some(at),
        text: format!("the {what} there {fault}"),
    })
}

/// A value as part of a URL's parameters.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let byte = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Base64, for the one header that needs it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for digit in 0..4 {
            text.push(match digit <= three.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_its_rfc() {
        for (text, code) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }
}
