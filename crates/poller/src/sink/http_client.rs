//! The HTTP client of the sinks: one request, and the response as far as a sink needs it.
//!
//! # Invariants
//!
//! A redirection is not followed: it is an error in the URL, and secrets are not for other hosts. The body of a response
//! is read to its end, so that the connection can be used again, but at most [`MAX_BODY`] bytes of it.

use std::error::Error;
use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::ClientConfig;
use tower_service::Service;

use crate::config;

use super::interface::{SinkError, shorten};
use super::resolver::Resolver;
use super::tunnel::Tunnel;

/// The longest pause that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The bytes of a body that are read: it may name every line of a batch.
const MAX_BODY: usize = 2 << 20;
/// The time after which an idle connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The media type of messages of Protocol Buffers.
pub const PROTOBUF: &str = "application/x-protobuf";

/// A response.
#[derive(Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type without parameters, in lower case.
    pub content_type: String,
    /// The body. What is not UTF-8 is replaced.
    pub body: String,
    /// The body as it was received, if it is a message of Protocol Buffers.
    pub message: Vec<u8>,
    /// True if the body is longer than [`MAX_BODY`], so its end is missing.
    pub is_cut: bool,
    /// The pause that the server asks for.
    pub retry_after: Option<Duration>,
}

type Direct = HttpsConnector<HttpConnector<Resolver>>;
type Proxied = HttpsConnector<Tunnel<Direct>>;

/// The connections, which are made directly or through a proxy, and what makes them.
enum Pool {
    Direct(Box<Client<Direct, Full<Bytes>>>, Box<Direct>),
    Proxied(Box<Client<Proxied, Full<Bytes>>>, Box<Proxied>),
}

/// A client of one server.
pub struct HttpClient {
    pool: Pool,
    url: Uri,
    proxy: Option<Uri>,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpClient {
    /// Creates a client for the server of these settings. Nothing is sent yet.
    pub fn new(settings: &config::Post) -> HttpClient {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.writers);
        let mut tcp = HttpConnector::new_with_resolver(Resolver);
        // Others than http:// are for the connectors around it.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Less than that of the request, so that its error is the one that is reported.
        let connect_timeout = settings.timeout * 3 / 4;
        // Divided among the addresses of a name, so that one that does not answer leaves time for the next.
        tcp.set_connect_timeout(Some(connect_timeout));
        let tls = (*settings.tls.config).clone();
        let pool = match &settings.proxy {
            None => {
                let direct = https(tls, tcp);
                Pool::Direct(Box::new(builder.build(direct.clone())), Box::new(direct))
            }
            Some(proxy) => {
                let to_proxy = https((*settings.tls.for_proxy).clone(), tcp);
                let tunnel = Tunnel::new(proxy, to_proxy, connect_timeout);
                let proxied = https(tls, tunnel);
                Pool::Proxied(Box::new(builder.build(proxied.clone())), Box::new(proxied))
            }
        };
        let mut headers = HeaderMap::new();
        let agent = concat!("agg/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        for (name, value) in &settings.headers {
            // The configuration was checked for both.
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                headers.insert(name, value);
            }
        }
        HttpClient {
            pool,
            url: settings.url.clone(),
            proxy: settings.proxy.as_ref().map(|proxy| proxy.uri.clone()),
            headers,
            timeout: settings.timeout,
        }
    }

    /// Connects to the server of the URL, through the proxy if there is one, with TLS if the URL says so, and sends no
    /// request. Returns a sentence with its address.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no connection in time.
    pub async fn reach(&self) -> Result<String, SinkError> {
        let unreachable = |reason: &str| SinkError::retriable(format!("cannot connect: {reason}"));
        let opened = async {
            match &self.pool {
                Pool::Direct(_, connector) => open((**connector).clone(), self.url.clone()).await,
                Pool::Proxied(_, connector) => open((**connector).clone(), self.url.clone()).await,
            }
        };
        match timeout(self.timeout, opened).await {
            Ok(Ok(())) => Ok(self.address()),
            Ok(Err(error)) => Err(unreachable(&chain(Some(&*error)))),
            Err(_) => Err(unreachable(&format!("nothing within {:?}", self.timeout))),
        }
    }

    /// Returns a sentence with the address of the server, after a connection was made.
    fn address(&self) -> String {
        let authority = self.url.authority().map_or("", |part| part.as_str());
        let tls = match self.url.scheme_str() {
            Some("https") => " with TLS",
            _ => "",
        };
        let proxy = match &self.proxy {
            Some(proxy) => {
                let proxy = proxy.authority().map_or("", |part| part.as_str());
                format!(" through the proxy {proxy}")
            }
            None => String::new(),
        };
        format!("{authority} is reachable{tls}{proxy}")
    }

    /// Returns the path of the URL.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// Sends a body to the URL of the settings.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no response in time, or if one that says success is incomplete.
    pub async fn post(
        &self,
        content_type: &'static str,
        encoding: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Response, SinkError> {
        let target = (Method::POST, self.url.clone());
        self.send(target, Some(content_type), encoding, body).await
    }

    /// Sends JSON, or nothing, to another path of the server.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::post`].
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        json: Option<String>,
    ) -> Result<Response, SinkError> {
        let mut parts = self.url.clone().into_parts();
        let path = PathAndQuery::try_from(path);
        parts.path_and_query = Some(path.map_err(|error| SinkError::retriable(error.to_string()))?);
        let uri =
            Uri::from_parts(parts).map_err(|error| SinkError::retriable(error.to_string()))?;
        let content_type = json.as_ref().map(|_| "application/json");
        let body = json.unwrap_or_default().into_bytes();
        self.send((method, uri), content_type, None, body).await
    }

    async fn send(
        &self,
        (method, uri): (Method, Uri),
        content_type: Option<&'static str>,
        encoding: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Response, SinkError> {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.headers);
            if let Some(content_type) = content_type {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            if let Some(encoding) = encoding {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
        }
        let no_response = |reason: &str| SinkError::retriable(format!("no response: {reason}"));
        let request = request
            .body(Full::from(body))
            .map_err(|error| no_response(&error.to_string()))?;
        let deadline = Instant::now() + self.timeout;
        let sent = async {
            match &self.pool {
                Pool::Direct(client, _) => client.request(request).await,
                Pool::Proxied(client, _) => client.request(request).await,
            }
        };
        let response = match timeout_at(deadline, sent).await {
            Ok(sent) => sent.map_err(|error| no_response(&causes(&error)))?,
            Err(_) => {
                let timeout = self.timeout;
                return Err(no_response(&format!("nothing within {timeout:?}")));
            }
        };
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?;
            value.to_str().ok()
        };
        let retry_after = header(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|text| parse_retry_after(text, SystemTime::now()));
        let content_type = media_type(header(header::CONTENT_TYPE).unwrap_or_default());
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let read = timeout_at(deadline, read(response.into_body(), &mut body)).await;
        let (is_cut, failed) = match read {
            Ok(Ok(is_whole)) => (!is_whole, None),
            Ok(Err(error)) => (false, Some(causes(&error))),
            Err(_) => (false, Some("it takes too long".into())),
        };
        if let (Some(reason), 200..=299) = (failed, status) {
            return Err(SinkError::retriable(format!(
                "incomplete response: {reason}"
            )));
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let is_message = content_type == PROTOBUF;
        Ok(Response {
            status,
            content_type,
            body: text,
            message: if is_message { body } else { Vec::new() },
            is_cut,
            retry_after,
        })
    }
}

/// Adds TLS to a connector, for `https://` addresses.
fn https<C>(tls: ClientConfig, connector: C) -> HttpsConnector<C> {
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

/// Reads a body, but no more than [`MAX_BODY`] bytes. Returns false if there is more.
async fn read(mut body: Incoming, bytes: &mut Vec<u8>) -> hyper::Result<bool> {
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            let left = MAX_BODY - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(left)]);
            if data.len() > left {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Makes a connection, and closes it.
async fn open<S>(mut connector: S, url: Uri) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: Service<Uri, Error = Box<dyn Error + Send + Sync>>,
{
    poll_fn(|context| connector.poll_ready(context)).await?;
    connector.call(url).await.map(drop)
}

/// Returns the causes of an error, without the outermost one, which says no more than that the client failed.
fn causes(error: &dyn Error) -> String {
    match error.source() {
        None => error.to_string(),
        cause => chain(cause),
    }
}

/// Returns an error and its causes.
fn chain(error: Option<&(dyn Error + 'static)>) -> String {
    let mut causes = Vec::new();
    let mut next = error;
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some errors repeat their cause.
        if causes
            .last()
            .is_none_or(|last: &String| !last.ends_with(&text))
        {
            causes.push(text);
        }
        next = cause.source();
    }
    causes.join(": ")
}

fn media_type(header: &str) -> String {
    let name = header.split(';').next().unwrap_or_default();
    name.trim().to_lowercase()
}

/// Reads the value of Retry-After: seconds or a date.
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

impl Response {
    /// Returns whether the body is a page for a browser.
    pub fn is_page(&self) -> bool {
        let start = self
            .body
            .trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let starts = |tag: &str| {
            let head = start.get(..tag.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(tag))
        };
        starts("<!doctype html") || starts("<html")
    }

    /// Describes a success that does not come from the server that is meant.
    pub fn unconfirmed(&self) -> String {
        let content_type = match &*self.content_type {
            "" => String::new(),
            content_type => format!(" of type {content_type}"),
        };
        format!(
            "HTTP {} with a response{content_type} that does not confirm the write: is it a proxy, or another server? {}",
            self.status,
            self.reason()
        )
    }

    /// Returns the status and the reason.
    pub fn error(&self) -> String {
        let status = self.status;
        match self.reason() {
            reason if reason.is_empty() => format!("HTTP {status}"),
            reason => format!("HTTP {status}: {reason}"),
        }
    }

    /// Returns the reason in the words of the server: in `error` from InfluxDB 1.x and 3.x, in its `reason` from
    /// OpenSearch, in `message` from InfluxDB 2.x, anywhere from a proxy.
    pub fn reason(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let reason = json["error"]
            .as_str()
            .or(json["error"]["reason"].as_str())
            .or(json["message"].as_str())
            .unwrap_or(&self.body);
        shorten(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reason_is_cut_at_a_character() {
        let response = Response {
            status: 500,
            body: "ä".repeat(600),
            ..Response::default()
        };
        assert_eq!(response.error(), format!("HTTP 500: {}…", "ä".repeat(500)));
        let blank = Response {
            status: 502,
            body: " \n".into(),
            ..Response::default()
        };
        assert_eq!(blank.error(), "HTTP 502");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("99999", Some(300)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sun, 06 Nov 2044 08:49:00 GMT", Some(300)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(
                parse_retry_after(text, now),
                expected.map(Duration::from_secs),
                "{text}"
            );
        }
    }
}
