//! The status page: a page for people, JSON, metrics for Prometheus, and health checks.
//!
//! # Invariants
//!
//! Nothing can be changed over HTTP. All that senders have written is escaped.

mod metrics;
mod page;
mod view;

use std::sync::Arc;
use std::time::Instant;

use aggregator_protocol::host_name;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

use crate::counts::Counts;
use crate::endpoint::prometheus::TargetStates;
use crate::reporter::Reporter;
use view::View;

/// The state that the page shows.
pub struct Status {
    counts: Arc<Counts>,
    reporter: Reporter,
    targets: Arc<TargetStates>,
    start: Instant,
}

impl Status {
    /// Creates the status of a listener.
    pub fn new(counts: Arc<Counts>, reporter: Reporter) -> Status {
        Status {
            counts,
            reporter,
            targets: Arc::default(),
            start: Instant::now(),
        }
    }

    /// Returns the states of the targets of Prometheus.
    pub fn targets(&self) -> Arc<TargetStates> {
        self.targets.clone()
    }

    fn view(&self) -> View {
        View {
            is_up: self.reporter.is_up(),
            buffered_bytes: self.reporter.buffered_bytes(),
            uptime_s: self.start.elapsed().as_secs(),
            protocols: self.counts.all(),
            targets: self.targets.all(),
        }
    }
}

/// Returns the handlers. `allowed_hosts` are further names by which they may be requested.
pub fn router(status: Arc<Status>, allowed_hosts: &[String]) -> Router {
    let allowed: Vec<String> = allowed_hosts
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    Router::new()
        .route("/", get(home))
        .route("/status.json", get(json))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(
            Arc::new(allowed),
            check_host,
        ))
        .with_state(status)
}

/// Rejects requests for another machine: see [`host_name::is_allowed`].
async fn check_host(
    State(allowed): State<Arc<Vec<String>>>,
    request: Request,
    next: Next,
) -> Response {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let header = request.headers().get(header::HOST);
    let host = authority.or(header.and_then(|host| host.to_str().ok()));
    let own = rustix::system::uname();
    let own = own.nodename().to_string_lossy();
    match host.is_none_or(|host| host_name::is_allowed(host, &own, &allowed)) {
        true => next.run(request).await,
        false => {
            let text = "host name not allowed: use the address, or add the name to allowed-hosts in the configuration \
                        of agg listen\n";
            respond(StatusCode::MISDIRECTED_REQUEST, TEXT, text.into())
        }
    }
}

async fn home(State(status): State<Arc<Status>>) -> Response {
    let mut response = respond(
        StatusCode::OK,
        "text/html; charset=utf-8",
        page::page(&status.view()),
    );
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    response
}

async fn json(State(status): State<Arc<Status>>) -> Response {
    let body = serde_json::to_string(&status.view()).unwrap_or_default();
    respond(StatusCode::OK, "application/json", body)
}

async fn prometheus(State(status): State<Arc<Status>>) -> Response {
    respond(StatusCode::OK, metrics::TYPE, metrics::text(&status.view()))
}

/// Replies that the program runs.
async fn health() -> Response {
    respond(StatusCode::OK, TEXT, "ok\n".into())
}

/// Replies whether reports reach the server.
async fn ready(State(status): State<Arc<Status>>) -> Response {
    match status.reporter.is_up() {
        true => respond(StatusCode::OK, TEXT, "ok\n".into()),
        false => {
            let text = "the server cannot be reached\n".into();
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
        }
    }
}

async fn not_found() -> Response {
    let text = "not found; there are /, /status.json, /metrics, /healthz and /readyz\n";
    respond(StatusCode::NOT_FOUND, TEXT, text.into())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
