//! A sink as it is written, its checks by type, and where secrets come from.

mod mongo;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::poll::append::Mode;
use crate::poll::aside::{Packing, Rotation};
use aggregator_protocol::RecordFormat;

use super::file::{Permissions, Size, Time, output};
use super::http::{Headers, RawExpect};
use super::{Kind, Mistake, Post, Sink};

/// All keys of all sinks: an enum by `type` would lose the places of what is in it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSink {
    r#type: Option<Spanned<String>>,
    pub(super) format: Option<Spanned<String>>,
    path: Option<Spanned<PathBuf>>,
    rotate: Option<Spanned<Size>>,
    pub(super) url: Option<Spanned<String>>,
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
    pub(super) batch_lines: Option<Spanned<u64>>,
    pub(super) batch_bytes: Option<Spanned<Size>>,
    pub(super) timeout: Option<Spanned<Time>>,
    uri: Option<Spanned<String>>,
    prefix: Option<Spanned<String>>,
    time_series: Option<Spanned<bool>>,
    pub(super) gzip: Option<Spanned<bool>>,
    pub(super) writers: Option<Spanned<u64>>,
    pub(super) tls_ca: Option<Spanned<PathBuf>>,
    pub(super) tls_cert: Option<Spanned<PathBuf>>,
    pub(super) tls_key: Option<Spanned<PathBuf>>,
    accept_partial: Option<Spanned<bool>>,
    pub(super) headers: Option<Spanned<Headers>>,
    pub(super) proxy: Option<Spanned<String>>,
    pub(super) expect: Option<Spanned<RawExpect>>,
    rotate_every: Option<Spanned<Time>>,
    compress: Option<Spanned<String>>,
    keep: Option<Spanned<u64>>,
    mode: Option<Spanned<Permissions>>,
}

impl RawSink {
    /// The files that it names, of which what is in them matters.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = [
            &self.password_file,
            &self.token_file,
            &self.tls_ca,
            &self.tls_cert,
            &self.tls_key,
        ];
        let given = all.into_iter().flatten();
        let given = given.map(|file| file.get_ref().clone());
        let headers = self
            .headers
            .iter()
            .flat_map(|headers| headers.get_ref().files());
        let of_uri = self.uri.iter().flat_map(|uri| mongo::files(uri.get_ref()));
        given.chain(headers).chain(of_uri).collect()
    }

    /// Turns it into the sink of this name.
    ///
    /// Returns the first mistake.
    pub fn check(&self, name: &str, place: &Spanned<RawSink>) -> Result<Sink, Mistake> {
        let r#type = needed(&self.r#type, "type", place)?;
        let kind = r#type.get_ref().as_str();
        let Some(keys) = keys(kind) else {
            let text =
                format!("expected the type stdout, file, influxdb, http or mongodb, not {kind:?}");
            return Err(Mistake::at(r#type, text));
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
            None if kind == "influxdb" => RecordFormat::Line,
            None => RecordFormat::Json,
            Some(format) => match (format.get_ref().as_str(), kind) {
                ("json", _) | ("lines", "http") => RecordFormat::Json,
                ("line", "file" | "stdout") => RecordFormat::Line,
                (other, kind) => {
                    let forms = if kind == "http" { "lines" } else { "line" };
                    let text = format!("expected the format json or {forms}, not {other:?}");
                    return Err(Mistake::at(format, text));
                }
            },
        };
        let kind = match kind {
            "stdout" => Kind::Stdout,
            // The path last: without it nothing else is looked at.
            "file" => Kind::File {
                rotation: self.rotation()?,
                mode: self
                    .mode
                    .as_ref()
                    .map_or(Mode::Private, |mode| mode.get_ref().0),
                path: output(needed(&self.path, "path", place)?)?,
            },
            "mongodb" => Kind::Mongo(Box::new(self.mongo(place)?)),
            "http" => {
                let (post, body) = self.http(place)?;
                Kind::Http(post, body)
            }
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
            ("gzip", at(&self.gzip)),
            ("writers", at(&self.writers)),
            ("tls-ca", at(&self.tls_ca)),
            ("tls-cert", at(&self.tls_cert)),
            ("tls-key", at(&self.tls_key)),
            ("accept-partial", at(&self.accept_partial)),
            ("headers", at(&self.headers)),
            ("proxy", at(&self.proxy)),
            ("expect", at(&self.expect)),
            ("rotate-every", at(&self.rotate_every)),
            ("compress", at(&self.compress)),
            ("keep", at(&self.keep)),
            ("mode", at(&self.mode)),
        ];
        all.into_iter()
            .filter_map(|(key, at)| Some((key, at?)))
            .collect()
    }

    /// When a file is begun anew, and what becomes of the old ones.
    fn rotation(&self) -> Result<Rotation, Mistake> {
        let compress = match &self.compress {
            None => None,
            Some(packing) => match packing.get_ref().as_str() {
                "zstd" => Some(Packing::Zstd),
                "gzip" => Some(Packing::Gzip),
                other => {
                    let text = format!("expected zstd or gzip, not {other:?}");
                    return Err(Mistake::at(packing, text));
                }
            },
        };
        if let Some(every) = &self.rotate_every
            && every.get_ref().0 < Duration::from_secs(1)
        {
            return Err(Mistake::at(every, "expected at least 1s"));
        }
        if let Some(keep) = &self.keep
            && *keep.get_ref() == 0
        {
            return Err(Mistake::at(keep, "expected at least 1"));
        }
        let asides = [at(&self.compress), at(&self.keep)];
        if self.rotate.is_none()
            && self.rotate_every.is_none()
            && let Some(at) = asides.into_iter().flatten().next()
        {
            let text = "this is for files that are moved aside: expected rotate or rotate-every";
            let text = text.to_owned();
            return Err(Mistake { at: Some(at), text });
        }
        let keep = self.keep.as_ref().map(|keep| *keep.get_ref());
        Ok(Rotation {
            size: self.rotate.as_ref().map(|size| size.get_ref().0),
            every: self.rotate_every.as_ref().map(|every| every.get_ref().0),
            compress,
            keep: keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)),
        })
    }

    fn influx(&self, place: &Spanned<RawSink>) -> Result<Post, Mistake> {
        let base = self.base(place)?;
        let version = match &self.version {
            Some(version) if !(1..=3).contains(version.get_ref()) => {
                return Err(Mistake::at(version, "expected the version 1, 2 or 3"));
            }
            version => version.as_ref().map_or(1, |version| *version.get_ref()),
        };
        let keys = [&VERSION_1[..], &VERSION_2, &VERSION_3];
        let of_this = keys[version as usize - 1];
        let is_other = |key: &&str| !of_this.contains(key) && keys.concat().contains(key);
        let mut given = self.given().into_iter();
        if let Some((key, at)) = given.find(|(key, _)| is_other(key)) {
            let text = format!("{key:?} is not for version {version} of InfluxDB");
            return Err(Mistake { at: Some(at), text });
        }
        let (url, authorization) = match version {
            1 => self.version_1(base, place)?,
            2 => self.version_2(base, place)?,
            _ => self.version_3(base, place)?,
        };
        let header = authorization.map(|value| ("authorization".to_owned(), value));
        self.post(url, header.into_iter().collect(), (5000, 2))
    }

    fn version_1(
        &self,
        base: &str,
        place: &Spanned<RawSink>,
    ) -> Result<(String, Option<String>), Mistake> {
        let mut url = format!("{base}/write?precision=ns");
        // InfluxDB itself refuses a request without one. Those that do as InfluxDB may have no databases.
        let Some(database) = &self.database else {
            let text = "expected \"database\" in this sink; \"\" for VictoriaMetrics or QuestDB, which need none";
            return Err(Mistake::at(place, text));
        };
        for (name, value) in [
            ("db", Some(database)),
            ("rp", self.retention_policy.as_ref()),
        ] {
            if let Some(value) = value.filter(|value| !value.get_ref().is_empty()) {
                url += &format!("&{name}={}", escape(value.get_ref()));
            }
        }
        let password = secret("password", &self.password_file, &self.password_env)?;
        let token = secret("token", &self.token_file, &self.token_env)?;
        let authorization = match (&self.user, password) {
            (Some(user), _) if token.is_some() => {
                return Err(Mistake::at(user, "a user or a token, not both"));
            }
            (Some(user), password) => {
                let pair = format!("{}:{}", user.get_ref(), password.unwrap_or_default());
                Some(format!("Basic {}", base64(pair.as_bytes())))
            }
            (None, Some(_)) => return Err(Mistake::at(place, "a password, but no user")),
            (None, None) => token.map(|token| format!("Bearer {token}")),
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

    fn version_3(
        &self,
        base: &str,
        place: &Spanned<RawSink>,
    ) -> Result<(String, Option<String>), Mistake> {
        let database = escape(needed(&self.database, "database", place)?.get_ref());
        let partial = self.accept_partial.as_ref();
        let partial = partial.is_none_or(|partial| *partial.get_ref());
        let url = format!(
            "{base}/api/v3/write_lp?db={database}&precision=nanosecond&accept_partial={partial}"
        );
        let token = secret("token", &self.token_file, &self.token_env)?;
        Ok((url, token.map(|token| format!("Bearer {token}"))))
    }
}

/// Keys of some versions.
const VERSION_1: [&str; 7] = [
    "database",
    "retention-policy",
    "user",
    "password-file",
    "password-env",
    "token-file",
    "token-env",
];
const VERSION_2: [&str; 4] = ["org", "bucket", "token-file", "token-env"];
const VERSION_3: [&str; 4] = ["database", "token-file", "token-env", "accept-partial"];

/// Keys of all that is reached by HTTP.
const HTTP: [&str; 10] = [
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

/// The keys of a type beside `type`; none where there is no such type.
fn keys(kind: &str) -> Option<Vec<&'static str>> {
    const FILE: [&str; 7] = [
        "format",
        "path",
        "rotate",
        "rotate-every",
        "compress",
        "keep",
        "mode",
    ];
    let mut keys = match kind {
        "stdout" => vec!["format"],
        "file" => FILE.to_vec(),
        "mongodb" => mongo::KEYS.to_vec(),
        "http" => [&["format", "headers", "expect"], &HTTP[..]].concat(),
        "influxdb" => [&["version"], &VERSION_1[..], &VERSION_2, &VERSION_3, &HTTP].concat(),
        _ => return None,
    };
    let mut seen = Vec::new();
    keys.retain(|key| {
        !seen.contains(key) && {
            seen.push(*key);
            true
        }
    });
    Some(keys)
}

/// Where a value stands.
fn at<T>(value: &Option<Spanned<T>>) -> Option<usize> {
    value.as_ref().map(|value| value.span().start)
}

pub(super) fn needed<'a, T>(
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
            let name = env.get_ref();
            let text = match std::env::var_os(name) {
                Some(text) => text.to_string_lossy().into_owned(),
                None => {
                    let text = format!("the environment has no variable {name} for the {what}");
                    return Err(Mistake::at(env, text));
                }
            };
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
