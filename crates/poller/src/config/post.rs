//! The settings of sinks that are reached by HTTP.

use std::time::Duration;

use hyper::Uri;

use crate::glob::Glob;

use super::tls::TlsSettings;

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A JSON array of records.
    Array,
    /// A record per line.
    Lines,
}

/// The settings of a sink that is reached by HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// The URL, including parameters. Its port is explicit.
    pub url: Uri,
    /// Additional headers. Secret.
    pub headers: Vec<(String, String)>,
    /// The TLS settings.
    pub tls: TlsSettings,
    /// The proxy. Secret.
    pub proxy: Option<Proxy>,
    /// The requirements of a response, besides its status.
    pub expect: Expect,
    /// True if bodies are compressed.
    pub gzip: bool,
    /// The number of concurrent requests.
    pub writers: usize,
    /// The maximum number of records of one request.
    pub batch_lines: usize,
    /// The maximum number of bytes of one request.
    pub batch_bytes: usize,
    /// The longest time that a response may take.
    pub timeout: Duration,
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its address.
    pub uri: Uri,
    /// User and password. Secret.
    pub credentials: Option<(String, String)>,
}

/// The requirements of a response that confirms a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The media type, such as `application/json`.
    pub content_type: Option<String>,
    /// A pattern that the whole body has to match.
    pub body: Option<Glob>,
}
