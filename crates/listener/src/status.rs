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

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
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

/// Returns the handlers.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/status.json", get(json))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .with_state(status)
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
