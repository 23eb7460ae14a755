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
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::collector::Collector;
use super::range::{RangeError, Request};
use super::settings::Settings;
use super::targets::Targets;
use crate::config::WebLimits;
use crate::web::gate::{self, Counted, Gate, Timeouts};
use crate::web::held::Responses;
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
    let responses = Arc::new(Responses::default());
    let live = Live::new(targets, responses.clone(), Families::WithProcess);
    live.set(Some(settings));
    let router = Router::new()
        .route("/", get(home))
        .route("/healthz", get(health))
        .merge(live.routes("/metrics"))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed);
    let gate = Gate {
        limits,
        timeouts: Timeouts::DEFAULT,
        how_to_allow: "allow the name with --allowed-host",
        responses,
    };
    tokio::select! {
        () = gate::accept(listener, router, gate) => {}
        () = stop => {}
    }
}

const PATHS: &str = "there are /metrics, /api/range and /healthz\n";

async fn home() -> Response {
    response(StatusCode::OK, TEXT, format!("agg serve: {PATHS}"))
}

async fn not_found() -> Response {
    response(StatusCode::NOT_FOUND, TEXT, format!("not found; {PATHS}"))
}

/// The number of requests for ranges that are answered at the same time. Each has up to 5,000 windows in memory.
const MAX_RANGES: usize = 8;
/// The reply while there are no settings.
const NOT_SERVED: &str =
    "live values are not served: add a table [serve] to the configuration of the poller";

/// The families of a page besides those of servers and nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// With those of the process: its memory, its CPU time, rejected requests.
    WithProcess,
    /// Without them, as another page has them.
    WithoutProcess,
}

/// The live values at the paths of a router. Clones are the same.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    targets: Targets,
    responses: Arc<Responses>,
    families: Families,
    /// The collector of the present settings, if values are served.
    collector: Mutex<Option<Arc<Collector>>>,
    ranges: Semaphore,
}

impl Live {
    /// Creates the values of these servers. Nothing is served before there are settings.
    pub fn new(targets: Targets, responses: Arc<Responses>, families: Families) -> Live {
        Live(Arc::new(Inner {
            targets,
            responses,
            families,
            collector: Mutex::new(None),
            ranges: Semaphore::new(MAX_RANGES),
        }))
    }

    /// Serves by these settings from now on; nothing without any.
    pub fn set(&self, settings: Option<Settings>) {
        let mut collector = self.0.collector.lock();
        if collector.as_ref().map(|present| present.settings()) == settings.as_ref() {
            return;
        }
        let max_series = settings.as_ref().map_or(0, |settings| settings.max_series);
        self.0.responses.set_max_series(max_series);
        if settings.is_none() {
            self.0.targets.disconnect();
        }
        *collector = settings.map(|settings| {
            let process = match self.0.families {
                Families::WithProcess => Some(self.0.responses.clone()),
                Families::WithoutProcess => None,
            };
            Arc::new(Collector::new(self.0.targets.clone(), settings, process))
        });
    }

    /// Returns the routes: the page of metrics at this path, and ranges.
    pub fn routes(&self, page: &str) -> Router {
        Router::new()
            .route(page, get(metrics))
            .route("/api/range", get(range))
            .with_state(self.clone())
    }

    fn collector(&self) -> Option<Arc<Collector>> {
        self.0.collector.lock().clone()
    }
}

async fn range(State(live): State<Live>, RawQuery(query): RawQuery) -> Response {
    let error = |code, why: String| as_json(code, &serde_json::json!({ "error": why }));
    let Some(collector) = live.collector() else {
        return error(StatusCode::NOT_FOUND, NOT_SERVED.to_owned());
    };
    let request = match Request::parse(query.as_deref().unwrap_or_default()) {
        Ok(request) => request,
        Err(bad) => return error(StatusCode::BAD_REQUEST, bad.to_string()),
    };
    // Semaphores that are not closed do not fail.
    let _permit = live.0.ranges.acquire().await;
    match request.run(&live.0.targets, collector.settings()).await {
        Ok(windows) => as_json(StatusCode::OK, &windows),
        Err(why @ RangeError::Unanswered(_)) => error(StatusCode::BAD_GATEWAY, why.to_string()),
        Err(why) => error(StatusCode::BAD_REQUEST, why.to_string()),
    }
}

async fn metrics(State(live): State<Live>, headers: HeaderMap) -> Response {
    let Some(collector) = live.collector() else {
        return response(StatusCode::NOT_FOUND, TEXT, format!("{NOT_SERVED}\n"));
    };
    let Some(page) = collector.page().await else {
        let text = "the servers cannot be read\n".to_owned();
        return response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text);
    };
    let is_compressed = accepts_gzip(&headers);
    let body = match is_compressed {
        true => {
            let responses = live.0.responses.clone();
            let compress = move || page.compressed().hold(&responses);
            // It does not panic.
            let compressed = tokio::task::spawn_blocking(compress).await;
            compressed.unwrap_or_default()
        }
        false => page.text().hold(&live.0.responses),
    };
    let Some(body) = body else {
        return gate::rejected();
    };
    let mut response = response(StatusCode::OK, TYPE, String::new());
    let vary = HeaderValue::from_static("Accept-Encoding");
    response.headers_mut().insert(header::VARY, vary);
    if is_compressed {
        let gzip = HeaderValue::from_static("gzip");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, gzip);
    }
    response.extensions_mut().insert(Counted);
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
