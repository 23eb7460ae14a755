//! A sink as the file has it.

use std::path::PathBuf;

use mongodb::options::{ConnectionString, Tls};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::super::tags::Table;
use super::super::value::{Permissions, Size, Time, start};

/// The keys of all types of sinks. An enum by `type` would lose the places of the values.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSink {
    pub(super) r#type: Option<Spanned<String>>,
    pub(super) format: Option<Spanned<String>>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) rotate: Option<Spanned<Size>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) version: Option<Spanned<u64>>,
    pub(super) database: Option<Spanned<String>>,
    pub(super) retention_policy: Option<Spanned<String>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<PathBuf>>,
    pub(super) password_env: Option<Spanned<String>>,
    pub(super) org: Option<Spanned<String>>,
    pub(super) bucket: Option<Spanned<String>>,
    pub(super) token_file: Option<Spanned<PathBuf>>,
    pub(super) token_env: Option<Spanned<String>>,
    pub(super) batch_lines: Option<Spanned<u64>>,
    pub(super) batch_bytes: Option<Spanned<Size>>,
    pub(super) timeout: Option<Spanned<Time>>,
    pub(super) uri: Option<Spanned<String>>,
    pub(super) prefix: Option<Spanned<String>>,
    pub(super) schema: Option<Spanned<String>>,
    pub(super) time_series: Option<Spanned<bool>>,
    pub(super) max_length: Option<Spanned<u64>>,
    pub(super) deduplicate: Option<Spanned<u64>>,
    pub(super) wait_replicas: Option<Spanned<u64>>,
    pub(super) sasl: Option<Spanned<String>>,
    pub(super) create_topics: Option<Spanned<bool>>,
    pub(super) partitions: Option<Spanned<u64>>,
    pub(super) replication: Option<Spanned<u64>>,
    pub(super) index_by: Option<Spanned<String>>,
    pub(super) templates: Option<Spanned<bool>>,
    pub(super) gzip: Option<Spanned<bool>>,
    pub(super) timestamp: Option<Spanned<String>>,
    pub(super) native_histograms: Option<Spanned<bool>>,
    pub(super) writers: Option<Spanned<u64>>,
    pub(super) tls_ca: Option<Spanned<PathBuf>>,
    pub(super) tls_cert: Option<Spanned<PathBuf>>,
    pub(super) tls_key: Option<Spanned<PathBuf>>,
    pub(super) accept_partial: Option<Spanned<bool>>,
    pub(super) headers: Option<Spanned<Headers>>,
    pub(super) proxy: Option<Spanned<String>>,
    pub(super) expect: Option<Spanned<RawExpect>>,
    pub(super) rotate_every: Option<Spanned<Time>>,
    pub(super) compress: Option<Spanned<String>>,
    pub(super) keep: Option<Spanned<u64>>,
    pub(super) mode: Option<Spanned<Permissions>>,
}

impl RawSink {
    /// Returns the files that it names and whose contents matter.
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
        let of_uri = self.uri.iter().flat_map(|uri| files_of_uri(uri.get_ref()));
        given.chain(headers).chain(of_uri).collect()
    }

    /// Returns the optional keys that are set, and the bytes at which their values begin.
    pub(super) fn given(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("format", start(&self.format)),
            ("path", start(&self.path)),
            ("rotate", start(&self.rotate)),
            ("url", start(&self.url)),
            ("version", start(&self.version)),
            ("database", start(&self.database)),
            ("retention-policy", start(&self.retention_policy)),
            ("user", start(&self.user)),
            ("password-file", start(&self.password_file)),
            ("password-env", start(&self.password_env)),
            ("org", start(&self.org)),
            ("bucket", start(&self.bucket)),
            ("token-file", start(&self.token_file)),
            ("token-env", start(&self.token_env)),
            ("batch-lines", start(&self.batch_lines)),
            ("batch-bytes", start(&self.batch_bytes)),
            ("timeout", start(&self.timeout)),
            ("uri", start(&self.uri)),
            ("prefix", start(&self.prefix)),
            ("schema", start(&self.schema)),
            ("time-series", start(&self.time_series)),
            ("max-length", start(&self.max_length)),
            ("deduplicate", start(&self.deduplicate)),
            ("wait-replicas", start(&self.wait_replicas)),
            ("sasl", start(&self.sasl)),
            ("create-topics", start(&self.create_topics)),
            ("partitions", start(&self.partitions)),
            ("replication", start(&self.replication)),
            ("index-by", start(&self.index_by)),
            ("templates", start(&self.templates)),
            ("gzip", start(&self.gzip)),
            ("timestamp", start(&self.timestamp)),
            ("native-histograms", start(&self.native_histograms)),
            ("writers", start(&self.writers)),
            ("tls-ca", start(&self.tls_ca)),
            ("tls-cert", start(&self.tls_cert)),
            ("tls-key", start(&self.tls_key)),
            ("accept-partial", start(&self.accept_partial)),
            ("headers", start(&self.headers)),
            ("proxy", start(&self.proxy)),
            ("expect", start(&self.expect)),
            ("rotate-every", start(&self.rotate_every)),
            ("compress", start(&self.compress)),
            ("keep", start(&self.keep)),
            ("mode", start(&self.mode)),
        ];
        all.into_iter()
            .filter_map(|(key, start)| Some((key, start?)))
            .collect()
    }
}

/// Headers and their values. A value that is not a table is rejected without being shown, since it may be a secret.
pub struct Headers(pub(super) Table);

impl Headers {
    fn files(&self) -> Vec<PathBuf> {
        let is_file = |name: &str| name.to_lowercase().ends_with("-file");
        let files = self.0.iter().filter(|(name, _)| is_file(name.get_ref()));
        files
            .map(|(_, value)| PathBuf::from(value.get_ref()))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Headers;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a table { NAME = \"value\" }")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Headers, E> {
                Err(E::custom("expected a table { NAME = \"value\" }"))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Headers, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(Headers)
            }
        }
        from.deserialize_any(Pairs)
    }
}

/// The requirements of a response.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawExpect {
    pub(super) content_type: Option<Spanned<String>>,
    pub(super) body: Option<Spanned<String>>,
}

/// Returns the certificate files that a MongoDB URI names.
pub(super) fn files_of_uri(uri: &str) -> Vec<PathBuf> {
    let tls = ConnectionString::parse(uri).ok().and_then(|uri| uri.tls);
    match tls {
        Some(Tls::Enabled(options)) => [options.ca_file_path, options.cert_key_file_path]
            .into_iter()
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}
