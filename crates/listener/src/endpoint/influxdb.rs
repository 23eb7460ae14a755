//! InfluxDB: the write interfaces of versions 1 and 2, and what clients ask before they write.

use std::future::pending;
use std::sync::Arc;

use aggregator_protocol::format;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};

use crate::collector::Unreported;
use crate::influx::{self, Precision, Rules, Summary};
use crate::intake::Intake;
use crate::net::body::{Bodies, BodyError};

/// The name of the protocol.
pub const NAME: &str = "influxdb";

/// After so many seconds a request may be sent again.
const RETRY_AFTER: u64 = 5;

/// The state of the handlers.
struct App {
    intake: Arc<Intake>,
    bodies: Bodies,
    rules: Rules,
}

/// Returns the handlers.
pub fn router(intake: Arc<Intake>, bodies: Bodies, rules: Rules) -> Router {
    Router::new()
        .route("/write", post(write))
        .route("/api/v2/write", post(write))
        .route("/ping", get(ping))
        .route("/health", get(health))
        .route("/query", get(query).post(query))
        .with_state(Arc::new(App {
            intake,
            bodies,
            rules,
        }))
}

async fn write(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let precision = match precision(head.uri.query().unwrap_or_default()) {
        Ok(precision) => precision,
        Err(text) => return error(StatusCode::BAD_REQUEST, "invalid", &text),
    };
    let body = match app.bodies.read(&head.headers, body).await {
        Ok(body) => body,
        Err(BodyError(status, text)) => return error(status, "invalid", &text),
    };
    let parse = |collector: &mut _| influx::parse(&body.bytes, precision, &app.rules, collector);
    let (summary, unreported, answer) =
        app.intake.request(body.bytes.len(), parse, pending()).await;
    match answer {
        Err(down) => retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            &down.to_string(),
        ),
        Ok(answer) if answer.is_full && answer.counted == 0 => {
            let reason = answer.reason.unwrap_or_default();
            retry(StatusCode::TOO_MANY_REQUESTS, "too many requests", &reason)
        }
        Ok(answer) => match (message(&summary, unreported), answer.reason) {
            (None, None) => empty(StatusCode::NO_CONTENT),
            (Some(text), _) => error(StatusCode::BAD_REQUEST, "invalid", &text),
            (None, Some(reason)) => {
                let text = format!("partial write: {} rejected: {reason}", answer.rejected);
                error(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "unprocessable entity",
                    &text,
                )
            }
        },
    }
}

/// Returns the message about what of a request is not used; none if all is.
fn message(summary: &Summary, unreported: Unreported) -> Option<String> {
    let Unreported { count, reason } = unreported;
    let Some(reason) = reason else {
        return summary.message();
    };
    let start = match summary.message() {
        Some(message) => format!("{message}; "),
        None => "partial write: ".to_owned(),
    };
    let samples = format::count(count, "sample");
    Some(format!("{start}{samples} not reported: {reason}"))
}

/// Returns the unit of times that a query names. Version 1 calls nanoseconds `n`, version 2 `ns`.
fn precision(query: &str) -> Result<Precision, String> {
    let named = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("precision="))
        .next_back();
    match named {
        None | Some("") => Ok(Precision::default()),
        Some(name) => Precision::parse(name)
            .ok_or_else(|| format!("invalid precision {name:?}: use ns, us, ms, s, m or h")),
    }
}

async fn ping() -> Response {
    empty(StatusCode::NO_CONTENT)
}

async fn health() -> Response {
    let text = r#"{"name":"agg","message":"ready for writes","status":"pass","checks":[]}"#;
    json(StatusCode::OK, text.into())
}

/// Clients of version 1 create their database first. There is none, so each statement succeeds without a result.
async fn query() -> Response {
    json(StatusCode::OK, r#"{"results":[{"statement_id":0}]}"#.into())
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    // `error` is read by clients of version 1, `code` and `message` by those of version 2.
    let body = serde_json::json!({ "code": code, "message": message, "error": message });
    json(status, body.to_string())
}

fn retry(status: StatusCode, code: &str, message: &str) -> Response {
    let mut response = error(status, code, message);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER.into());
    response
}

fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let version = header::HeaderValue::from_static("2.7.0-agg");
    response.headers_mut().insert("X-Influxdb-Version", version);
    response
}
