//! Accepts the connections of the status page: checks the host name of requests, and limits their number and duration.
//!
//! # Invariants
//!
//! Slow clients use a bounded number of descriptors for a bounded time, so that servers and sinks keep theirs. Beyond
//! the limit no connection is accepted, and the kernel queues further ones. What they have not received yet uses bounded
//! memory (held.rs). A request for another host name than this poller's is rejected, so a web page whose name resolves to
//! this address (DNS rebinding) can read nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use agg_client::WarnOnce;
use aggregator_protocol::host_name;

use crate::config::WebLimits;

use super::held::Responses;
use super::response::{TEXT, response};

/// The bounds of what clients can do.
#[derive(Clone)]
pub struct Gate {
    /// The number of connections, and the host names.
    pub limits: watch::Receiver<WebLimits>,
    /// The timeouts of a connection.
    pub timeouts: Timeouts,
    /// Tells users how to allow a host name.
    pub how_to_allow: &'static str,
    /// The memory of responses.
    pub responses: Arc<Responses>,
}

/// Marks a response whose bytes are counted already.
#[derive(Clone)]
pub struct Counted;

/// The timeouts of a connection.
#[derive(Clone, Copy)]
pub struct Timeouts {
    /// For the head of a request, and between two requests.
    pub head: Duration,
    /// After this time a connection is closed as soon as its request was served.
    pub total: Duration,
    /// After this further time it is closed in any case.
    pub grace: Duration,
}

impl Timeouts {
    /// Generous for browsers and Prometheus, which reconnect.
    pub const DEFAULT: Timeouts = Timeouts {
        head: Duration::from_secs(5),
        total: Duration::from_secs(60),
        grace: Duration::from_secs(10),
    };
}

/// The longest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// The pause if the system has no descriptor left.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The time after which a client whose request was rejected for lack of memory is to retry, seconds: slow clients are
/// disconnected within 70 s, and most read faster.
const RETRY_AFTER: &str = "10";

/// Accepts connections and serves them. Never returns. Dropping the future closes the connections.
pub async fn accept(listener: TcpListener, router: Router, gate: Gate) {
    let router = router
        .layer(middleware::from_fn_with_state(gate.clone(), check_host))
        .layer(middleware::from_fn_with_state(
            gate.responses.clone(),
            count_response,
        ));
    let Gate {
        limits, timeouts, ..
    } = gate;
    let mut connections = JoinSet::new();
    let mut once = WarnOnce::default();
    loop {
        let max_connections = limits.borrow().connections.max(1);
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < max_connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), timeouts));
                }
                Err(error) => {
                    once.warn(&format!("the status page cannot accept a connection: {error}"));
                    sleep(RETRY_PAUSE).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, router: Router, timeouts: Timeouts) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // Errors of the client are ignored.
    if timeout(timeouts.total, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(timeouts.grace, connection).await;
    }
}

/// Counts the bytes of a response until they are received, or rejects the request.
async fn count_response(
    State(responses): State<Arc<Responses>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if response.extensions().get::<Counted>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    // Bodies are complete texts: this neither waits nor fails.
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    match responses.hold(bytes) {
        Some(bytes) => Response::from_parts(parts, Body::from(bytes)),
        None => rejected(),
    }
}

/// Rejects a request because of the responses that other clients have not received yet.
pub fn rejected() -> Response {
    let text = "too many responses are still being sent to slow clients: retry later\n".to_owned();
    let mut response = response(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
    let after = HeaderValue::from_static(RETRY_AFTER);
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
}

async fn check_host(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let named = host(&request);
    let allowed = match &named {
        Ok(None) => true,
        Ok(Some(host)) => is_allowed(host, &gate.limits.borrow().allowed_hosts),
        Err(()) => {
            let text = "expected one Host header\n".to_owned();
            return response(StatusCode::BAD_REQUEST, TEXT, text);
        }
    };
    if allowed {
        return next.run(request).await;
    }
    let how = gate.how_to_allow;
    let text = format!("host name not allowed: use the address, or {how}\n");
    response(StatusCode::MISDIRECTED_REQUEST, TEXT, text)
}

/// Returns the host that a request names. Only HTTP/1.0 may name none.
fn host(request: &Request) -> Result<Option<String>, ()> {
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.as_str().to_owned()));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host
            .to_str()
            .map(|host| Some(host.to_owned()))
            .map_err(drop),
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        _ => Err(()),
    }
}

/// Returns whether the page may be requested by a host.
fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let own = rustix::system::uname();
    host_name::is_allowed(host, &own.nodename().to_string_lossy(), allowed)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MILLISECONDS_300: Duration = Duration::from_millis(300);
    /// The length of a response that no buffer of a socket takes as a whole.
    const LARGE: usize = 30 << 20;

    /// Starts a server with these limits, which replies "hello".
    async fn start(connections: usize, timeouts: Timeouts) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let allowed_hosts = vec!["grid.example".to_owned()];
        let (_, limits) = watch::channel(WebLimits {
            connections,
            allowed_hosts,
        });
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/large", get(|| async { vec![b'x'; LARGE] }));
        let gate = Gate {
            limits,
            timeouts,
            how_to_allow: "set allowed-hosts",
            responses: Arc::default(),
        };
        tokio::spawn(accept(listener, router, gate));
        address
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Reads until the connection ends.
    async fn rest(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        // A reset also ends it.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn request_for_a_foreign_host_is_misdirected() {
        let address = start(8, Timeouts::DEFAULT).await;
        for (head, code) in [
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n", "421"),
            (
                "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n",
                "421",
            ),
            ("GET / HTTP/1.0\r\nHost: evil.example\r\n", "421"),
            ("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n", "421"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n", "400"),
            ("GET / HTTP/1.1\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: grid.example\r\n", "200"),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n", "200"),
            ("GET / HTTP/1.0\r\n", "200"),
        ] {
            let text = rest(send(address, &format!("{head}Connection: close\r\n\r\n")).await).await;
            assert!(text[9..].starts_with(code), "{head}: {text}");
            assert_eq!(text.contains("allowed-hosts"), code == "421", "{text}");
        }
    }

    #[tokio::test]
    async fn incomplete_requests_and_idle_connections_are_closed() {
        let timeouts = Timeouts {
            head: MILLISECONDS_300,
            ..Timeouts::DEFAULT
        };
        let address = start(8, timeouts).await;
        let start = Instant::now();
        let half = send(address, "GET / HTTP/1.1\r\nHost: local").await;
        let idle = send(address, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let silent = send(address, "").await;
        assert!(!rest(half).await.contains("hello"));
        assert!(rest(idle).await.ends_with("hello"));
        assert_eq!(rest(silent).await, "");
        assert!(start.elapsed() >= MILLISECONDS_300);
    }

    #[tokio::test]
    async fn busy_connection_ends_after_the_total_time() {
        let timeouts = Timeouts {
            total: MILLISECONDS_300,
            grace: MILLISECONDS_300,
            ..Timeouts::DEFAULT
        };
        let address = start(8, timeouts).await;
        let (mut served, mut buffer) = (0, [0; 1024]);
        let mut stream = send(address, "").await;
        // One request after the other without a pause, as long as they are served.
        while stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .is_ok()
        {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => served += 1,
            }
        }
        assert!(served > 0);
    }

    #[tokio::test]
    async fn connections_above_the_limit_wait_for_those_before_them() {
        let timeouts = Timeouts {
            head: Duration::from_secs(2),
            ..Timeouts::DEFAULT
        };
        let address = start(2, timeouts).await;
        let first = send(address, "GET / HT").await;
        let _second = send(address, "GET / HT").await;
        let third = send(address, "GET / HTTP/1.0\r\n\r\n").await;
        // It is served when one of the two others is closed.
        let start = Instant::now();
        let response = rest(third).await;
        assert!(response.ends_with("hello"), "{response}");
        assert!(start.elapsed() > Duration::from_millis(500));
        drop(first);
    }

    #[tokio::test]
    async fn responses_that_are_not_received_are_bounded() {
        let address = start(64, Timeouts::DEFAULT).await;
        let large = "GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut slow = Vec::new();
        for _ in 0..8 {
            let mut stream = send(address, large).await;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            slow.push((String::from_utf8(head[9..].to_vec()).unwrap(), stream));
        }
        let codes: Vec<&str> = slow.iter().map(|(code, _)| &**code).collect();
        assert_eq!(codes, [vec!["200"; 2], vec!["503"; 6]].concat());
        let (_, last) = slow.pop().unwrap();
        let text = rest(last).await.to_lowercase();
        assert!(text.contains("retry-after: 10\r\n") && text.ends_with("retry later\n"));
        // Small ones are always served.
        let small = rest(send(address, "GET / HTTP/1.0\r\n\r\n").await).await;
        assert!(small.ends_with("hello"), "{small}");
        // The bytes of one whose client disconnects are free again.
        drop(slow.remove(0));
        loop {
            let text = rest(send(address, large).await).await;
            if text.starts_with("HTTP/1.1 200") {
                assert!(text.len() > LARGE);
                break;
            }
        }
    }
}
