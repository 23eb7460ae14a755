//! The responses of the status page and their headers.

use aggregator_protocol::masking;
use axum::body::Body;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The media type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Returns a value as JSON.
pub fn as_json(code: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => response(code, "application/json", masking::json_lines(&text) + "\n"),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

/// Returns a text of a media type.
pub fn response(code: StatusCode, media_type: &'static str, text: String) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (code, headers, Body::from(text)).into_response()
}
