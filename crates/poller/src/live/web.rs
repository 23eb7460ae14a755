//! Serves the live values over HTTP.
//!
//! # Invariants
//!
//! As of the status page (web/mod.rs): nothing can be changed, there is no password, and what clients can use is bounded.
//! A page exists once, however many clients receive it.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::collector::Collector;
use super::range::{RangeError, Request};
use super::settings::Settings;
use super::targets::Targets;
use crate::config::WebLimits;
use crate::web::gate::{self, Timeouts};
use crate::web::metrics::exposition::TYPE;
use crate::web::response::{TEXT, as_json, response};
use crate::web::{health, not_allowed};

/// Serves the values of these servers until `stop` completes. Requests in progress are not waited for.
pub async fn serve(
    listener: TcpListener,
    targets: Targets,
    settings: Settings,
    limits: watch::Receiver<WebLimits>,
    stop: impl Future<Output = ()>,
) {
    let app = Arc::new(App {
        collector: Arc::new(Collector::new(targets, settings)),
        ranges: Semaphore::new(MAX_RANGES),
    });
    let router = Router::new()
        .route("/", get(home))
        .route("/metrics", get(metrics))
        .route("/api/range", get(range))
        .route("/healthz", get(health))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(app);
    tokio::select! {
        () = gate::accept(listener, router, limits, Timeouts::DEFAULT) => {}
        () = stop => {}
    }
}

const PATHS: &str = "there are /metrics, /api/range and /healthz\n";

/// The number of requests for ranges that are answered at the same time. Each has up to 5,000 windows in memory.
const MAX_RANGES: usize = 8;

/// The state that the handlers share.
struct App {
    collector: Arc<Collector>,
    ranges: Semaphore,
}

async fn range(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let error = |code, why: String| as_json(code, &serde_json::json!({ "error": why }));
    let request = match Request::parse(query.as_deref().unwrap_or_default()) {
        Ok(request) => request,
        Err(bad) => return error(StatusCode::BAD_REQUEST, bad.to_string()),
    };
    // Semaphores that are not closed do not fail.
    let _permit = app.ranges.acquire().await;
    match request.run(app.collector.targets()).await {
        Ok(windows) => as_json(StatusCode::OK, &windows),
        Err(why @ RangeError::UnknownServer(_)) => error(StatusCode::BAD_REQUEST, why.to_string()),
        Err(why) => error(StatusCode::BAD_GATEWAY, why.to_string()),
    }
}

async fn home() -> Response {
    response(StatusCode::OK, TEXT, format!("agg serve: {PATHS}"))
}

async fn not_found() -> Response {
    response(StatusCode::NOT_FOUND, TEXT, format!("not found; {PATHS}"))
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let Some(page) = app.collector.clone().page().await else {
        let text = "the servers cannot be read\n".to_owned();
        return response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text);
    };
    let mut response = response(StatusCode::OK, TYPE, String::new());
    let vary = HeaderValue::from_static("Accept-Encoding");
    response.headers_mut().insert(header::VARY, vary);
    let body = match accepts_gzip(&headers) {
        true => {
            let compress = tokio::task::spawn_blocking(move || page.compressed());
            let gzip = HeaderValue::from_static("gzip");
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, gzip);
            // It does not panic.
            compress.await.unwrap_or_default()
        }
        false => page.text(),
    };
    *response.body_mut() = Body::from(body);
    response
}

/// Returns whether a client asks for gzip.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        let is_wanted = weight.trim().parse::<f64>().is_ok_and(|q| q > 0.0);
        name.trim().eq_ignore_ascii_case("gzip") && is_wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_clients_that_ask_for_it() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("x-gzip", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
