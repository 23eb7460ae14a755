//! Connections of HTTP, with time limits.
//!
//! # Invariants
//!
//! A reload closes no connection: a sender that writes a request at that moment would get no answer. A request is handled
//! by the routes of the time when its head was received.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agg_client::Shutdown;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::stream::Connection;

/// The time for the head of the first request, and for what is left to send when a connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// The bytes of bodies that a connection of HTTP/2 receives before they are read.
const WINDOW: u32 = 256 * 1024;

/// The routes of a socket. A reload replaces them, also for connections that are open.
pub struct Routes(Mutex<Router>);

impl Routes {
    /// Creates the routes of a new socket.
    pub fn new(router: Router) -> Routes {
        Routes(Mutex::new(router))
    }

    /// Changes the routes of further requests.
    pub fn replace(&self, router: Router) {
        *self.0.lock() = router;
    }

    fn current(&self) -> Router {
        self.0.lock().clone()
    }
}

/// Serves the requests of a connection, HTTP/1.1 and HTTP/2. It is closed after the time `idle` without a complete head of
/// a request, whatever else it sends, and when a shutdown is requested once its requests are answered.
pub async fn serve(
    connection: Connection,
    routes: Arc<Routes>,
    idle: Duration,
    shutdown: Shutdown,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    // hyper's own timeout of heads also closes connections that are idle between two requests.
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(64)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(idle)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let requests = Requests::default();
    let begun = requests.clone();
    let service = service_fn(move |request| {
        let open = begun.begin();
        let response = match is_of_web_page(&request) {
            true => None,
            false => Some(TowerToHyperService::new(routes.current()).call(request)),
        };
        async move {
            let response = match response {
                Some(response) => response.await,
                None => Ok::<_, Infallible>(forbidden()),
            };
            drop(open);
            response
        }
    });
    let mut served = pin!(server.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        // Errors of the client are ignored.
        _ = served.as_mut() => return,
        () = requests.idle(HEAD_TIMEOUT.min(idle), idle) => {}
        () = shutdown.requested() => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = timeout(HEAD_TIMEOUT, served).await;
}

/// Returns whether a page in a browser has sent a request that changes something: any page that its user opens could.
fn is_of_web_page(request: &Request<Incoming>) -> bool {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    !only_reads && request.headers().contains_key(header::ORIGIN)
}

fn forbidden() -> Response<Body> {
    let text = "requests with the header Origin, as web pages send them, are not accepted\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

/// The number of requests of a connection that are not answered.
#[derive(Clone, Default)]
struct Requests(Arc<watch::Sender<usize>>);

/// A request that is not answered, until it is dropped.
struct OpenRequest(Requests);

impl Requests {
    fn begin(&self) -> OpenRequest {
        self.0.send_modify(|open| *open += 1);
        OpenRequest(self.clone())
    }

    /// Completes after the time `first` without a first request, and after the time `idle` without a further one.
    async fn idle(&self, first: Duration, idle: Duration) {
        let (mut open, mut limit) = (self.0.subscribe(), first);
        // The sender lives as long as this.
        while let Ok(Ok(())) = timeout(limit, open.changed()).await {
            let _ = open.wait_for(|open| *open == 0).await;
            limit = idle;
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}
