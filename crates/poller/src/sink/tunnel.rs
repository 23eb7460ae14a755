//! A connector that reaches a server through an HTTP proxy, by CONNECT.
//!
//! hyper-util has one too, whose errors lack the status of the proxy's response. Without it nobody can tell why a proxy
//! rejects a connection.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Uri;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tower_service::Service;

use crate::config::Proxy;

/// The maximum number of bytes of the head of a response to CONNECT.
const MAX_HEAD: usize = 8 << 10;
/// The end of the head of a response.
const END: &[u8] = b"\r\n\r\n";

type BoxError = Box<dyn Error + Send + Sync>;

/// A connector of connections through a proxy, to which `C` connects.
#[derive(Clone)]
pub struct Tunnel<C> {
    connector: C,
    proxy: Uri,
    /// The header with the credentials for the proxy, or an empty text.
    authorization: String,
    timeout: Duration,
}

/// The reason for which there is no connection through a proxy.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The proxy cannot be reached.
    #[error("cannot connect to the proxy")]
    Connect(#[source] BoxError),
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// The connection to the proxy failed.
    #[error("the connection to the proxy failed")]
    Io(#[source] io::Error),
    /// The proxy closed the connection.
    #[error("the proxy closed the connection without a response")]
    Closed,
    /// The proxy did not respond to CONNECT in time.
    #[error("the proxy did not respond to CONNECT in time")]
    TimedOut,
    /// The response is not HTTP, or its head is too long.
    #[error("the response of the proxy is not an HTTP response")]
    NotHttp,
    /// The proxy rejected the connection.
    #[error("the proxy rejected CONNECT {target}: HTTP {status}")]
    Rejected {
        /// Host and port of the server.
        target: String,
        /// The status of the response.
        status: u16,
    },
}

impl<C> Tunnel<C> {
    /// Creates a connector through this proxy. `timeout` limits the wait for its response to CONNECT: hyper-util may
    /// continue to connect when the request that needed the connection has ended, and then without its deadline.
    pub fn new(proxy: &Proxy, connector: C, timeout: Duration) -> Tunnel<C> {
        let authorization = match &proxy.credentials {
            Some((user, password)) => {
                let pair = BASE64.encode(format!("{user}:{password}"));
                format!("Proxy-Authorization: Basic {pair}\r\n")
            }
            None => String::new(),
        };
        Tunnel {
            connector,
            proxy: proxy.uri.clone(),
            authorization,
            timeout,
        }
    }
}

impl<C> Service<Uri> for Tunnel<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Read + Write + Unpin + Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = TunnelError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, TunnelError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        let ready = self.connector.poll_ready(context);
        ready.map_err(|error| TunnelError::Connect(error.into()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connecting = self.connector.call(self.proxy.clone());
        let (authorization, time) = (self.authorization.clone(), self.timeout);
        Box::pin(async move {
            let (Some(host), port) = (url.host(), url.port_u16().unwrap_or(443)) else {
                return Err(TunnelError::NoHost);
            };
            let connected = connecting.await;
            let connection = connected.map_err(|error| TunnelError::Connect(error.into()))?;
            let mut connection = TokioIo::new(connection);
            let opened = open(&mut connection, format!("{host}:{port}"), &authorization);
            let opened = timeout(time, opened).await;
            opened.unwrap_or(Err(TunnelError::TimedOut))?;
            Ok(connection.into_inner())
        })
    }
}

/// Requests a tunnel to `target` over the connection to the proxy. What comes after the head of the response is dropped:
/// a server of HTTP does not send first.
async fn open<T>(connection: &mut T, target: String, authorization: &str) -> Result<(), TunnelError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    let written = connection.write_all(request.as_bytes()).await;
    written.map_err(TunnelError::Io)?;
    connection.flush().await.map_err(TunnelError::Io)?;
    let (mut head, mut length) = ([0; MAX_HEAD], 0);
    while !head[..length].windows(END.len()).any(|end| end == END) {
        if length == head.len() {
            return Err(TunnelError::NotHttp);
        }
        let read = connection.read(&mut head[length..]).await;
        match read.map_err(TunnelError::Io)? {
            0 if length == 0 => return Err(TunnelError::Closed),
            0 => return Err(TunnelError::NotHttp),
            count => length += count,
        }
    }
    match status(&head[..length]) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(TunnelError::Rejected { target, status }),
        None => Err(TunnelError::NotHttp),
    }
}

/// Returns the status in the head of a response.
fn status(head: &[u8]) -> Option<u16> {
    match head.strip_prefix(b"HTTP/1.")? {
        [b'0' | b'1', b' ', code @ ..] => {
            let (code, rest) = code.split_at_checked(3)?;
            let is_code = code.iter().all(u8::is_ascii_digit);
            let is_complete = rest.first().is_some_and(|byte| b" \r".contains(byte));
            let code = std::str::from_utf8(code).ok()?;
            (is_code && is_complete).then(|| code.parse().ok())?
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::client::legacy::connect::HttpConnector;
    use tokio::io::duplex;
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the request that a proxy gets, and the result of its response.
    async fn opened(response: &[u8]) -> (String, Result<(), TunnelError>) {
        let (mut client, mut proxy) = duplex(64 << 10);
        proxy.write_all(response).await.unwrap();
        proxy.shutdown().await.unwrap();
        let opened = open(&mut client, "db:8086".into(), "X: y\r\n").await;
        drop(client);
        let mut request = String::new();
        proxy.read_to_string(&mut request).await.unwrap();
        (request, opened)
    }

    #[tokio::test]
    async fn tunnel_is_open_after_a_success() {
        for status in ["HTTP/1.1 200 OK", "HTTP/1.0 200", "HTTP/1.1 204 x\r\nA: b"] {
            let (request, opened) = opened(format!("{status}\r\n\r\n").as_bytes()).await;
            assert_eq!(
                request,
                "CONNECT db:8086 HTTP/1.1\r\nHost: db:8086\r\nX: y\r\n\r\n"
            );
            opened.unwrap();
        }
    }

    #[tokio::test]
    async fn rejection_has_the_status_of_the_proxy() {
        for status in [301, 403, 407, 503] {
            let response = format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno");
            let error = opened(response.as_bytes()).await.1.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the proxy rejected CONNECT db:8086: HTTP {status}")
            );
        }
    }

    #[tokio::test]
    async fn proxy_that_never_responds_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy {
            uri: format!("http://{address}").parse().unwrap(),
            credentials: None,
        };
        let time = Duration::from_millis(50);
        let mut tunnel = Tunnel::new(&proxy, HttpConnector::new(), time);
        let opening = tunnel.call(Uri::from_static("https://db:8086"));
        let ends = async { tokio::join!(opening, listener.accept()) };
        let (opened, accepted) = timeout(Duration::from_secs(60), ends).await.unwrap();
        accepted.unwrap();
        assert_eq!(
            opened.unwrap_err().to_string(),
            "the proxy did not respond to CONNECT in time"
        );
    }

    #[tokio::test]
    async fn other_responses_are_errors() {
        let long = [b"HTTP/1.1 200 OK\r\nA: ", &[b'a'; MAX_HEAD][..]].concat();
        for (response, expected) in [
            (&b""[..], "closed the connection"),
            (b"HTTP/1.1 200 OK\r\n", "not an HTTP response"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "not an HTTP response"),
            (b"HTTP/1.1 +20 OK\r\n\r\n", "not an HTTP response"),
            (b"SSH-2.0-x\r\n\r\n", "not an HTTP response"),
            (&long, "not an HTTP response"),
        ] {
            let error = opened(response).await.1.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
