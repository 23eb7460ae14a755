//! A source as the file has it, and which keys belong to which kind.

use std::fmt::Formatter;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::super::error::ConfigError;
use super::super::value::{Time, start};

/// The keys of all kinds of sources. An enum by kind would lose the places of the values.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSource {
    pub(super) urls: Option<Spanned<Urls>>,
    pub(super) range: Option<Spanned<Ranges>>,
    pub(super) cluster: Option<Spanned<Urls>>,
    pub(super) sentinel: Option<Spanned<Urls>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<PathBuf>>,
    pub(super) password_env: Option<Spanned<String>>,
    pub(super) sentinel_user: Option<Spanned<String>>,
    pub(super) sentinel_password_file: Option<Spanned<PathBuf>>,
    pub(super) sentinel_password_env: Option<Spanned<String>>,
    pub(super) tls: Option<Spanned<bool>>,
    pub(super) tls_ca: Option<Spanned<PathBuf>>,
    pub(super) tls_cert: Option<Spanned<PathBuf>>,
    pub(super) tls_key: Option<Spanned<PathBuf>>,
    pub(super) tls_server_name: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<u64>>,
    pub(super) scan_interval: Option<Spanned<Time>>,
    pub(super) connect_timeout: Option<Spanned<Time>>,
    pub(super) scan_parallel: Option<Spanned<u64>>,
    pub(super) scan_rate: Option<Spanned<u64>>,
    pub(super) forget_after: Option<Spanned<Time>>,
    pub(super) allow: Option<Spanned<Networks>>,
}

/// The keys of which each source has one: its kind.
pub const KINDS: [&str; 4] = ["urls", "range", "cluster", "sentinel"];

/// The keys that all kinds have.
const COMMON: [&str; 7] = [
    "user",
    "password-file",
    "password-env",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "tls-server-name",
];

/// Returns the keys of a kind.
pub fn keys(kind: &str) -> Vec<&'static str> {
    let own: &[&str] = match kind {
        "range" => &[
            "range",
            "port",
            "tls",
            "scan-interval",
            "connect-timeout",
            "scan-parallel",
            "scan-rate",
            "forget-after",
        ],
        "cluster" => &["cluster", "allow", "tls"],
        "sentinel" => &[
            "sentinel",
            "service",
            "allow",
            "tls",
            "sentinel-user",
            "sentinel-password-file",
            "sentinel-password-env",
        ],
        _ => &["urls"],
    };
    own.iter().chain(&COMMON).copied().collect()
}

/// A list of URLs. A value that is not a list is rejected without being shown, since it may contain a password.
pub struct Urls(pub(super) Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Urls;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a list of URLs")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Urls, E> {
                Err(E::custom("expected a list of URLs: put it in [ ]"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Urls, A::Error> {
                list(items).map(Urls)
            }
        }
        from.deserialize_any(List)
    }
}

/// A range, or a list of ranges.
pub enum Ranges {
    /// A single range.
    One(String),
    /// A list, with the place of each range.
    Several(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Ranges;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a range such as \"10.1.0.0/16\", or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Ranges, E> {
                Ok(Ranges::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Ranges, A::Error> {
                list(items).map(Ranges::Several)
            }
        }
        from.deserialize_any(Any)
    }
}

fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Vec<Spanned<String>>, A::Error> {
    let mut list = Vec::new();
    while let Some(item) = items.next_element()? {
        list.push(item);
    }
    Ok(list)
}

/// A list of networks.
#[derive(Deserialize)]
pub struct Networks(pub(super) Vec<Spanned<String>>);

impl RawSource {
    /// Returns the files that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = [
            &self.password_file,
            &self.sentinel_password_file,
            &self.tls_ca,
            &self.tls_cert,
            &self.tls_key,
        ];
        let given = all.into_iter().flatten();
        given.map(|file| file.get_ref().clone()).collect()
    }

    /// Returns the kind of the source, which has only keys of this kind. `at` is where the source begins.
    pub(super) fn kind(&self, at: usize) -> Result<&'static str, ConfigError> {
        let given = self.given();
        let mut kinds = given.iter().filter(|(key, _)| KINDS.contains(key));
        let Some((kind, _)) = kinds.next() else {
            return Err(no_kind(at));
        };
        if let Some((other, at)) = kinds.next() {
            let text = format!("{kind:?} and {other:?} are two sources: write [[source]] for each");
            return Err(ConfigError::at_byte(*at, text));
        }
        let keys = keys(kind);
        if let Some((key, at)) = given.iter().find(|(key, _)| !keys.contains(key)) {
            let text = match (*key, *kind) {
                ("tls", "urls") => {
                    "this key is not for urls: write rediss:// in the URL".to_owned()
                }
                _ => format!(
                    "a source with {kind:?} has no {key:?}: it takes {}",
                    keys.join(", ")
                ),
            };
            return Err(ConfigError::at_byte(*at, text));
        }
        Ok(kind)
    }

    /// Returns the keys that are set, and the bytes at which their values begin.
    pub(super) fn given(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("urls", start(&self.urls)),
            ("range", start(&self.range)),
            ("cluster", start(&self.cluster)),
            ("sentinel", start(&self.sentinel)),
            ("service", start(&self.service)),
            ("user", start(&self.user)),
            ("password-file", start(&self.password_file)),
            ("password-env", start(&self.password_env)),
            ("sentinel-user", start(&self.sentinel_user)),
            (
                "sentinel-password-file",
                start(&self.sentinel_password_file),
            ),
            ("sentinel-password-env", start(&self.sentinel_password_env)),
            ("tls", start(&self.tls)),
            ("tls-ca", start(&self.tls_ca)),
            ("tls-cert", start(&self.tls_cert)),
            ("tls-key", start(&self.tls_key)),
            ("tls-server-name", start(&self.tls_server_name)),
            ("port", start(&self.port)),
            ("scan-interval", start(&self.scan_interval)),
            ("connect-timeout", start(&self.connect_timeout)),
            ("scan-parallel", start(&self.scan_parallel)),
            ("scan-rate", start(&self.scan_rate)),
            ("forget-after", start(&self.forget_after)),
            ("allow", start(&self.allow)),
        ];
        all.into_iter()
            .filter_map(|(key, start)| Some((key, start?)))
            .collect()
    }
}

/// Returns the error for a source without a kind.
pub(super) fn no_kind(at: usize) -> ConfigError {
    ConfigError {
        missing_key: Some(KINDS[0]),
        ..ConfigError::at_byte(at, "expected one of urls, range, cluster and sentinel")
    }
}
