//! What sinks that are reached by HTTP have in common: addresses, headers, encryption, sizes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use toml::Spanned;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::sink::{RawSink, needed, secret};
use super::tags::Table;
use super::{Body, Expect, Https, Mistake, Post, proxy};
use crate::poll::glob::Glob;

/// The most requests at a time: a server that needs more is slow for another reason.
const MOST_WRITERS: u64 = 16;

/// Headers that say what a body is, and are ours.
const OURS: [&str; 6] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Headers and their values. What is no table is refused without being shown: it may hold a secret.
pub struct Headers(Table);

impl Headers {
    /// The files that values are in.
    pub fn files(&self) -> Vec<PathBuf> {
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

/// What an answer has to be like.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawExpect {
    content_type: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
}

impl RawExpect {
    fn check<T>(&self, place: &Spanned<T>) -> Result<Expect, Mistake> {
        let body = self
            .body
            .as_ref()
            .map(|text| Glob::parse(text.get_ref()).map_err(|why| Mistake::at(text, why)));
        let expect = Expect {
            content_type: match &self.content_type {
                // Parameters such as a charset are not compared.
                Some(text) if !text.get_ref().contains('/') || text.get_ref().contains(';') => {
                    let why = "expected a media type such as application/json";
                    return Err(Mistake::at(text, why));
                }
                text => text.as_ref().map(|text| text.get_ref().to_lowercase()),
            },
            body: body.transpose()?,
        };
        match expect == Expect::default() {
            true => Err(Mistake::at(place, "expected content-type, body or both")),
            false => Ok(expect),
        }
    }
}

impl RawSink {
    /// A sink of the type http.
    pub(super) fn http(&self, place: &Spanned<RawSink>) -> Result<(Post, Body), Mistake> {
        let url = needed(&self.url, "url", place)?;
        check(url, false)?;
        let body = match self.format.as_ref().map(|format| format.get_ref().as_str()) {
            None | Some("json") => Body::Array,
            Some(_) => Body::Lines,
        };
        let headers = self.headers.as_ref().map_or(Ok(vec![]), headers)?;
        let mut post = self.post(url.get_ref().clone(), headers, (1000, 1))?;
        if let Some(expect) = &self.expect {
            post.expect = expect.get_ref().check(expect)?;
        }
        Ok((post, body))
    }

    /// How requests are sent there; unless the file says so, with at most so many records, and so many at a time.
    pub(super) fn post(
        &self,
        url: String,
        headers: Vec<(String, String)>,
        (lines, writers): (u64, u64),
    ) -> Result<Post, Mistake> {
        let count = |given: &Option<Spanned<u64>>, default, most| match given {
            Some(count) if *count.get_ref() == 0 => Err(Mistake::at(count, "expected at least 1")),
            Some(count) if *count.get_ref() > most => {
                Err(Mistake::at(count, format!("expected at most {most}")))
            }
            count => {
                let count = count.as_ref().map_or(default, |count| *count.get_ref());
                Ok(usize::try_from(count).unwrap_or(usize::MAX))
            }
        };
        let (bytes, timeout) = (self.batch_bytes.as_ref(), self.timeout.as_ref());
        Ok(Post {
            tls: self.tls(url.starts_with("https:"))?,
            proxy: proxy::choose(&self.proxy, &url, |name| std::env::var(name).ok())?,
            expect: Expect::default(),
            url,
            headers,
            gzip: self.gzip.as_ref().is_none_or(|gzip| *gzip.get_ref()),
            writers: count(&self.writers, writers, MOST_WRITERS)?,
            batch_lines: count(&self.batch_lines, lines, u64::MAX)?,
            batch_bytes: bytes.map_or(1 << 20, |size| size.get_ref().0 as usize),
            timeout: timeout.map_or(Duration::from_secs(10), |time| time.get_ref().0),
        })
    }

    /// The database's address, without a slash at its end.
    pub(super) fn base(&self, place: &Spanned<RawSink>) -> Result<&str, Mistake> {
        let url = needed(&self.url, "url", place)?;
        check(url, true)?;
        Ok(url.get_ref().trim_end_matches('/'))
    }

    fn tls(&self, https: bool) -> Result<Option<Https>, Mistake> {
        let files = [
            ("tls-ca", &self.tls_ca),
            ("tls-cert", &self.tls_cert),
            ("tls-key", &self.tls_key),
        ];
        if !https {
            return match files
                .into_iter()
                .find_map(|(key, file)| Some((key, file.as_ref()?)))
            {
                Some((key, file)) => {
                    Err(Mistake::at(file, format!("{key:?} is for an https:// URL")))
                }
                None => Ok(None),
            };
        }
        let config = TlsConfig::builder().root_certs(self.roots()?);
        let given = files.into_iter().filter_map(|(_, file)| file.as_ref());
        Ok(Some(Https {
            config: config.client_cert(self.client()?).build(),
            files: given.map(read).collect::<Result<_, _>>()?,
        }))
    }

    /// Whom to trust: the file's authorities alone, or this machine's.
    fn roots(&self) -> Result<RootCerts, Mistake> {
        let certificates = match &self.tls_ca {
            Some(file) => certificates(file)?,
            // None at all is told when the server is: "unknown issuer".
            None => rustls_native_certs::load_native_certs().certs,
        };
        if let Some(file) = &self.tls_ca {
            let mut store = RootCertStore::empty();
            for certificate in &certificates {
                let added = store.add(certificate.clone());
                added.map_err(|error| Mistake::at(file, error.to_string()))?;
            }
        }
        let owned = |der: &CertificateDer| Certificate::from_der(der).to_owned();
        let certificates: Vec<Certificate> = certificates.iter().map(owned).collect();
        Ok(RootCerts::from(certificates))
    }

    /// Who we are.
    fn client(&self) -> Result<Option<ClientCert>, Mistake> {
        let (cert, key) = match (&self.tls_cert, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (Some(one), None) => return Err(Mistake::at(one, "expected tls-key beside it")),
            (None, Some(one)) => return Err(Mistake::at(one, "expected tls-cert beside it")),
        };
        let (chain, pem) = (certificates(cert)?, read(key)?);
        let unread = |_| Mistake::at(key, "expected a private key in PEM there");
        let der = PrivateKeyDer::from_pem_slice(&pem).map_err(unread)?;
        // Now rather than with the first request: do they belong together?
        let builder = ClientConfig::builder_with_provider(crypto::ring::default_provider().into());
        let fault = |error| Mistake::at(key, format!("certificate and key: {error}"));
        builder
            .with_safe_default_protocol_versions()
            .map_err(fault)?
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(chain.clone(), der)
            .map_err(fault)?;
        let owned = |der: &CertificateDer| Certificate::from_der(der).to_owned();
        let chain: Vec<Certificate> = chain.iter().map(owned).collect();
        let unread = |_| Mistake::at(key, "expected a private key in PEM there");
        let private = PrivateKey::from_pem(&pem).map_err(unread)?;
        Ok(Some(ClientCert::new_with_certs(&chain, private)))
    }
}

/// An address; without parameters where we add our own. No message shows it: it may hold a password.
fn check(url: &Spanned<String>, bare: bool) -> Result<(), Mistake> {
    const EXPECTED: &str = "expected http://HOST:PORT or https://HOST:PORT";
    let text = url.get_ref();
    let rest = text
        .strip_prefix("http://")
        .or(text.strip_prefix("https://"))
        .ok_or_else(|| Mistake::at(url, EXPECTED))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') || (bare && rest.contains(['@', '?', '#'])) {
        let text = format!("{EXPECTED}; who we are stands in keys of its own");
        return Err(Mistake::at(url, text));
    }
    let good = text.parse::<Uri>().is_ok_and(|uri| {
        // A port that is no number is no port to the parser.
        let port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some() == port
    });
    match good && !rest.contains('#') {
        true => Ok(()),
        false => Err(Mistake::at(url, EXPECTED)),
    }
}

/// Headers as they are written: `NAME = "value"`, or `NAME-file` and `NAME-env` for what is secret.
fn headers(table: &Spanned<Headers>) -> Result<Vec<(String, String)>, Mistake> {
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
            return Err(Mistake::at(key, "expected the name of a header"));
        }
        if OURS.contains(&name) {
            let text = format!("the header {name:?} says what is sent, and is set by agg");
            return Err(Mistake::at(key, text));
        }
        if headers.iter().any(|(other, _)| other == name) {
            return Err(Mistake::at(
                key,
                format!("the header {name:?} stands here twice"),
            ));
        }
        if HeaderValue::try_from(&value).is_err() {
            return Err(Mistake::at(key, "expected a line of text for this header"));
        }
        headers.push((name.to_owned(), value));
    }
    Ok(headers)
}

fn read(file: &Spanned<PathBuf>) -> Result<Vec<u8>, Mistake> {
    let unread = |error| {
        let path = file.get_ref().display();
        Mistake::at(file, format!("cannot read {path}: {error}"))
    };
    std::fs::read(file.get_ref()).map_err(unread)
}

fn certificates(file: &Spanned<PathBuf>) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    let pem = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Mistake::at(file, "expected certificates in PEM there")),
    }
}
