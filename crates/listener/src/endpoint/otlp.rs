//! OpenTelemetry: OTLP/HTTP with Protocol Buffers or JSON, and OTLP/gRPC.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::intake::Intake;
use crate::net::body::{Bodies, BodyError, ReadBody};
use crate::otlp::{self, Encoding, Signal, grpc, response};
use crate::reporter::Answer;

/// The name of the protocol.
pub const NAME: &str = "otlp";

/// After so many seconds a request may be sent again.
const RETRY_AFTER: u64 = 5;

/// The state of the handlers.
struct App {
    intake: Arc<Intake>,
    bodies: Bodies,
    state: Arc<Mutex<otlp::State>>,
    max_body: usize,
}

/// Returns the handlers. `max_body` is the largest message, bytes.
pub fn router(
    intake: Arc<Intake>,
    bodies: Bodies,
    state: Arc<Mutex<otlp::State>>,
    max_body: usize,
) -> Router {
    let app = App {
        intake,
        bodies,
        state,
        max_body,
    };
    Router::new()
        .route("/{*path}", post(export))
        .with_state(Arc::new(app))
}

/// The outcome of a request.
enum RequestOutcome {
    /// It was taken; some points or records of it may have been rejected.
    Taken { rejected: u64, why: String },
    /// It can never be taken.
    Invalid(String),
    /// It may be sent again later: a limit of the server is reached.
    Full(String),
    /// It may be sent again later: the server cannot be reached.
    Unavailable(String),
}

async fn export(State(app): State<Arc<App>>, request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if grpc::is_grpc(content_type) {
        return export_grpc(&app, request).await;
    }
    let Some(encoding) = Encoding::from_content_type(content_type) else {
        let text = "expected Content-Type: application/x-protobuf or application/json\n";
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    };
    let Some(signal) = Signal::from_path(request.uri().path()) else {
        let text = "not found; there are /v1/metrics and /v1/logs. Set OTEL_TRACES_EXPORTER=none if traces are exported\n";
        return plain(StatusCode::NOT_FOUND, text);
    };
    let (head, body) = request.into_parts();
    let body = match app.bodies.read(&head.headers, body).await {
        Ok(body) => body,
        Err(BodyError(status, text)) => {
            let code = grpc::Code::InvalidArgument as u32;
            return answer(status, encoding, response::status(encoding, code, &text));
        }
    };
    let error = |status, code: grpc::Code, text: &str| {
        answer(
            status,
            encoding,
            response::status(encoding, code as u32, text),
        )
    };
    let body = Message {
        content: body,
        start: 0,
    };
    match take(&app, signal, encoding, body).await {
        RequestOutcome::Taken { rejected, why } => {
            let body = response::success(signal, encoding, rejected, &why);
            answer(StatusCode::OK, encoding, body)
        }
        RequestOutcome::Invalid(text) => {
            error(StatusCode::BAD_REQUEST, grpc::Code::InvalidArgument, &text)
        }
        RequestOutcome::Full(text) => retry(error(
            StatusCode::TOO_MANY_REQUESTS,
            grpc::Code::ResourceExhausted,
            &text,
        )),
        RequestOutcome::Unavailable(text) => retry(error(
            StatusCode::SERVICE_UNAVAILABLE,
            grpc::Code::Unavailable,
            &text,
        )),
    }
}

/// A message that was received.
struct Message {
    content: ReadBody,
    /// The message begins here in the content.
    start: usize,
}

/// Passes a message on. If nobody waits for the answer any more, the state of its cumulative histograms still becomes that
/// of what the server has counted: a message that is sent again counts what is missing.
async fn take(
    app: &Arc<App>,
    signal: Signal,
    encoding: Encoding,
    message: Message,
) -> RequestOutcome {
    let (waits, gone) = oneshot::channel::<()>();
    let app = app.clone();
    let task = tokio::spawn(async move {
        let gone = async {
            // The other end is dropped.
            let _ = gone.await;
        };
        pass_on(&app, signal, encoding, &message, gone).await
    });
    let end = task.await;
    drop(waits);
    end.unwrap_or_else(|error| RequestOutcome::Unavailable(error.to_string()))
}

async fn pass_on(
    app: &App,
    signal: Signal,
    encoding: Encoding,
    message: &Message,
    gone: impl Future<Output = ()>,
) -> RequestOutcome {
    let body = message.content.bytes.get(message.start..);
    let body = body.unwrap_or_default();
    let parse = |collector: &mut _| {
        let state = &mut app.state.lock();
        match signal {
            Signal::Metrics => otlp::metrics(body, encoding, state, collector),
            Signal::Logs => otlp::logs(body, encoding, state, collector),
        }
    };
    let (outcome, unreported, answer) = app.intake.request(body.len(), parse, gone).await;
    let evicted = app.state.lock().evicted();
    app.intake.counts().set_evicted(NAME, evicted);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(malformed) => return RequestOutcome::Invalid(malformed.to_string()),
    };
    match answer {
        Err(down) => {
            app.state.lock().undo(outcome.changes);
            RequestOutcome::Unavailable(down.to_string())
        }
        Ok(Answer {
            is_full: true,
            counted: 0,
            reason,
            ..
        }) => {
            app.state.lock().undo(outcome.changes);
            RequestOutcome::Full(reason.unwrap_or_default())
        }
        Ok(answer) => RequestOutcome::Taken {
            // A point may be several samples.
            rejected: outcome.rejected + unreported.count.min(outcome.accepted) + answer.rejected,
            why: match (outcome.reason.or(unreported.reason), answer.reason) {
                (Some(reason), _) => reason.to_owned(),
                (None, reason) => reason.unwrap_or_default(),
            },
        },
    }
}

async fn export_grpc(app: &Arc<App>, request: Request) -> Response {
    let Some(signal) = Signal::from_path(request.uri().path()) else {
        return trailers(Vec::new(), grpc::Code::Unimplemented, "unknown method");
    };
    let (head, body) = request.into_parts();
    // Of HTTP, the body is not compressed: its message is.
    let encoding = head.headers.get("grpc-encoding").cloned();
    let body = match app.bodies.read(&HeaderMap::new(), body).await {
        Ok(body) => body,
        Err(error) => return grpc_error(&error),
    };
    let message = match grpc::message(&body.bytes, app.max_body) {
        Ok(message) => message,
        Err(error) => return trailers(Vec::new(), error.code, error.message),
    };
    let message = match (
        message.is_compressed,
        encoding.as_ref().map(HeaderValue::as_bytes),
    ) {
        (false, _) => {
            let start = body.bytes.len() - message.bytes.len();
            Message {
                content: body,
                start,
            }
        }
        (true, Some(b"gzip")) => {
            let content = match app.bodies.gunzip(message.bytes).await {
                Ok(body) => body,
                Err(error) => return grpc_error(&error),
            };
            Message { content, start: 0 }
        }
        (true, _) => {
            return trailers(
                Vec::new(),
                grpc::Code::Unimplemented,
                "use gzip or no compression",
            );
        }
    };
    match take(app, signal, Encoding::Protobuf, message).await {
        RequestOutcome::Taken { rejected, why } => {
            let body = response::success(signal, Encoding::Protobuf, rejected, &why);
            trailers(grpc::frame(&body), grpc::Code::Ok, "")
        }
        RequestOutcome::Invalid(text) => trailers(Vec::new(), grpc::Code::InvalidArgument, &text),
        // Without a time a sender must not repeat RESOURCE_EXHAUSTED, and UNAVAILABLE it repeats.
        RequestOutcome::Full(text) | RequestOutcome::Unavailable(text) => {
            trailers(Vec::new(), grpc::Code::Unavailable, &text)
        }
    }
}

/// Returns the response to a message that cannot be read.
fn grpc_error(BodyError(status, text): &BodyError) -> Response {
    let code = match *status {
        StatusCode::SERVICE_UNAVAILABLE => grpc::Code::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE => grpc::Code::ResourceExhausted,
        _ => grpc::Code::InvalidArgument,
    };
    trailers(Vec::new(), code, text)
}

/// Returns a response of gRPC: the status is in the trailers.
fn trailers(body: Vec<u8>, code: grpc::Code, message: &str) -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("grpc-status"), (code as u32).into());
    if let Ok(message) = HeaderValue::from_str(&grpc::escape(message)) {
        trailers.insert(HeaderName::from_static("grpc-message"), message);
    }
    let content = HeaderValue::from_static(grpc::CONTENT_TYPE);
    if body.is_empty() {
        // As "Trailers-Only": they are in the head.
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = trailers;
        response.headers_mut().insert(header::CONTENT_TYPE, content);
        return response;
    }
    let end =
        futures_util::future::ready(Some(Ok::<HeaderMap, std::convert::Infallible>(trailers)));
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body)).with_trailers(end)));
    response.headers_mut().insert(header::CONTENT_TYPE, content);
    response
}

fn answer(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(encoding.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn retry(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER.into());
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
