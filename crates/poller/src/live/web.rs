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
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::collector::Collector;
use super::settings::Settings;
use super::targets::Targets;
use crate::config::WebLimits;
use crate::web::gate::{self, Timeouts};
use crate::web::metrics::exposition::TYPE;
use crate::web::response::{TEXT, response};
use crate::web::{health, not_allowed};

/// Serves the values of these servers until `stop` completes. Requests in progress are not waited for.
pub async fn serve(
    listener: TcpListener,
    targets: Targets,
    settings: Settings,
    limits: watch::Receiver<WebLimits>,
    stop: impl Future<Output = ()>,
) {
    let collector = Arc::new(Collector::new(targets, settings));
    let router = Router::new()
        .route("/", get(home))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(collector);
    tokio::select! {
        () = gate::accept(listener, router, limits, Timeouts::DEFAULT) => {}
        () = stop => {}
    }
}

const PATHS: &str = "there are /metrics and /healthz\n";

async fn home() -> Response {
    response(StatusCode::OK, TEXT, format!("agg serve: {PATHS}"))
}

async fn not_found() -> Response {
    response(StatusCode::NOT_FOUND, TEXT, format!("not found; {PATHS}"))
}

async fn metrics(State(collector): State<Arc<Collector>>, headers: HeaderMap) -> Response {
    let Some(page) = collector.page().await else {
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
