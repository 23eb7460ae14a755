//! The status page: a page for people, metrics for Prometheus, and health checks.
//!
//! # Invariants
//!
//! - Nothing can be changed over HTTP, and no secret is shown, since the state contains none.
//! - The names of servers and nodes cannot inject anything: all text is escaped in one place (page/markup.rs), and the
//!   content security policy allows only the page's own script.
//! - There is no password. Everybody who reaches the address can read the page, so the address has to be chosen
//!   accordingly.
//! - The resources that clients can use are bounded (gate.rs, held.rs).

pub mod base;
pub(crate) mod gate;
pub(crate) mod held;
pub(crate) mod metrics;
mod page;
mod rates;
pub(crate) mod response;
pub mod view;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::WebLimits;
use super::error::PollError;
use super::status::Status;
use gate::{Gate, Timeouts};
use held::Responses;
use page::Query;
use rates::RateSampler;
use response::{TEXT, as_json, response};
use view::View;

/// The state that the handlers render.
struct App {
    status: Arc<Status>,
    sampler: RateSampler,
    responses: Arc<Responses>,
}

impl App {
    fn view(&self) -> View {
        let rates = self.sampler.rates(&self.status, Instant::now());
        View::of(&self.status, &rates, SystemTime::now())
    }
}

/// Listens on an address.
///
/// # Errors
///
/// Returns an error if the address is not available.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, PollError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| PollError::Listen { address, error })
}

/// Serves requests until `stop` completes, and those for the routes of `more`. Requests in progress are not waited for.
pub(crate) async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    limits: watch::Receiver<WebLimits>,
    responses: Arc<Responses>,
    more: Router,
    stop: impl Future<Output = ()>,
) {
    let app = Arc::new(App {
        status,
        sampler: RateSampler::default(),
        responses: responses.clone(),
    });
    let gate = Gate {
        limits,
        timeouts: Timeouts::DEFAULT,
        how_to_allow: "add the name to allowed-hosts in the configuration of the poller",
        responses,
    };
    let sampling = async {
        let mut tick = tokio::time::interval(rates::INTERVAL);
        loop {
            tick.tick().await;
            app.sampler.sample(&app.status, Instant::now());
        }
    };
    tokio::select! {
        () = gate::accept(listener, router(app.clone(), more), gate) => {}
        () = sampling => {}
        () = stop => {}
    }
}

fn router(app: Arc<App>, more: Router) -> Router {
    // GET includes HEAD.
    Router::new()
        .route("/", get(home))
        .route("/status.json", get(json))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(app)
        .merge(more)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
}

async fn home(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let nonce = nonce();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let page = page::page(&app.view(), &query, &nonce);
    let mut response = response(StatusCode::OK, "text/html; charset=utf-8", page);
    if let Ok(policy) = policy.parse() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn json(State(app): State<Arc<App>>) -> Response {
    as_json(StatusCode::OK, &app.view())
}

async fn prometheus(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let nodes = query.is_some_and(|query| {
        let mut names = query.split('&').map(|pair| pair.split('=').next());
        names.any(|name| name == Some("nodes"))
    });
    response(
        StatusCode::OK,
        metrics::TYPE,
        metrics::text(&app.view(), nodes, app.responses.rejected()),
    )
}

/// Replies that the program runs. If a part of it fails, all of it ends.
pub(crate) async fn health() -> Response {
    response(StatusCode::OK, TEXT, "ok\n".into())
}

/// The body of `/readyz`.
#[derive(serde::Serialize)]
struct Ready {
    ready: bool,
    why: Vec<String>,
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let why = app.view().unready();
    let (ready, code) = match why.is_empty() {
        true => (true, StatusCode::OK),
        false => (false, StatusCode::SERVICE_UNAVAILABLE),
    };
    as_json(code, &Ready { ready, why })
}

async fn not_found() -> Response {
    let text = "not found; there are /, /status.json, /metrics, /healthz and /readyz, and with [serve] /live and \
                /api/range\n";
    response(StatusCode::NOT_FOUND, TEXT, text.into())
}

/// Replies to other methods than GET and HEAD.
pub(crate) async fn not_allowed() -> Response {
    let text = "method not allowed: use GET or HEAD\n".into();
    let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    let allowed = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// Returns an unguessable value, so that only the page's own script has it.
fn nonce() -> String {
    use std::hash::{BuildHasher, RandomState};
    // The keys are random numbers of the system, and different for each state.
    let part = |salt: u8| RandomState::new().hash_one((salt, Instant::now()));
    format!("{:016x}{:016x}", part(0), part(1))
}

#[cfg(test)]
#[path = "../../testdata/fixtures.rs"]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::status::SinkStatus;

    /// Starts a server that shows a state. It ends with the test.
    async fn start(status: Status) -> (SocketAddr, Arc<Status>) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, status) = (listener.local_addr().unwrap(), Arc::new(status));
        let (_, limits) = watch::channel(WebLimits::default());
        let never = std::future::pending();
        let more = Router::new();
        tokio::spawn(serve(
            listener,
            status.clone(),
            limits,
            Arc::default(),
            more,
            never,
        ));
        (address, status)
    }

    /// Sends a request. Returns the head and the body of the response.
    async fn ask(address: SocketAddr, method: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn every_path_is_served() {
        let (address, _) = start(fixtures::good(10)).await;
        for (path, kind, expected) in [
            ("/", "text/html; charset=utf-8", "<!DOCTYPE html>"),
            ("/?nodes=all", "text/html; charset=utf-8", "node0009"),
            ("/status.json", "application/json", "\"state\":\"ok\""),
            (
                "/metrics",
                "text/plain; version=0.0.4; charset=utf-8",
                "agg_poller_servers 3\n",
            ),
            (
                "/metrics?nodes=1",
                "text/plain; version=0.0.4; charset=utf-8",
                "node=\"node0009\"",
            ),
            ("/healthz", "text/plain; charset=utf-8", "ok\n"),
            ("/readyz", "application/json", "{\"ready\":true,\"why\":[]}"),
        ] {
            let (head, body) = ask(address, "GET", path).await;
            assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
            assert!(
                head.contains(&format!("content-type: {kind}\r\n")),
                "{path}: {head}"
            );
            assert!(head.contains("nosniff") && head.contains("no-store"));
            assert!(body.contains(expected), "{path}: {body}");
            let (only, nothing) = ask(address, "HEAD", path).await;
            assert!(
                only.starts_with("http/1.1 200") && nothing.is_empty(),
                "{only}"
            );
        }
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_rejected() {
        let (address, _) = start(Status::new()).await;
        for path in ["/nothing", "/metrics/", "/..%2f", "/status.json/x"] {
            let (head, body) = ask(address, "GET", path).await;
            assert!(head.starts_with("http/1.1 404"), "{head}");
            assert!(body.starts_with("not found"));
        }
        for method in ["POST", "DELETE", "PUT", "OPTIONS", "BREW"] {
            let (head, body) = ask(address, method, "/").await;
            assert!(head.starts_with("http/1.1 405"), "{head}");
            assert_eq!(head.matches("allow: get, head").count(), 1, "{head}");
            assert!(body.contains("GET or HEAD"));
        }
    }

    #[tokio::test]
    async fn readiness_changes_with_the_sinks_and_servers() {
        let (address, status) = start(fixtures::good(1)).await;
        let sinks: Vec<Arc<SinkStatus>> = status.sinks();
        sinks[0].set_error(Some("no route to host"));
        let (head, body) = ask(address, "GET", "/readyz").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert!(
            body.contains("sink influx is failing: no route to host (since 2"),
            "{body}"
        );
        assert!(ask(address, "GET", "/healthz").await.0.contains("200 ok"));
        sinks[0].set_error(None);
        assert!(ask(address, "GET", "/readyz").await.0.contains("200 ok"));
        for (id, _) in status.servers() {
            let server = status.server(&id, &id);
            server.lock().error = Some("connection refused".into());
        }
        let (_, body) = ask(address, "GET", "/readyz").await;
        assert!(
            body.contains("no server of 3 is up: connection refused"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn page_allows_no_other_script() {
        let (address, _) = start(fixtures::bad(3)).await;
        let (head, body) = ask(address, "GET", "/").await;
        let (_, rest) = head.split_once("script-src 'nonce-").unwrap();
        let nonce = rest.split('\'').next().unwrap();
        assert_eq!(nonce.len(), 32);
        assert_eq!(body.matches("<script").count(), 1);
        assert!(body.contains(&format!("<script nonce=\"{nonce}\">")));
        let (again, _) = ask(address, "GET", "/").await;
        assert!(!again.contains(nonce));
    }

    #[tokio::test]
    async fn server_ends_when_requested_and_a_used_address_is_an_error() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let error = bind(address).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot listen on {address}: ")),
            "{error}"
        );
        let (_, limits) = watch::channel(WebLimits::default());
        let status = Arc::new(Status::new());
        serve(
            listener,
            status,
            limits,
            Arc::default(),
            Router::new(),
            async {},
        )
        .await;
    }

    /// Opens the page in Chromium (Debian's package) for a while and returns the DOM, or `None` without Chromium.
    /// AGG_PICTURES names a folder for screenshots in both color schemes.
    async fn browse(address: SocketAddr, path: &str, name: &str) -> Option<String> {
        let url = format!("http://{address}{path}");
        let dir = tempfile::tempdir().unwrap();
        let chromium = |arguments: &[String]| {
            let mut command = tokio::process::Command::new("chromium");
            command
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                ])
                .arg("--no-proxy-server")
                .arg(format!("--user-data-dir={}", dir.path().display()))
                .args(["--window-size=1400,1500", "--virtual-time-budget=7000"])
                .args(arguments)
                .arg(&url)
                .env("HOME", dir.path())
                .kill_on_drop(true);
            let ends = async move { command.output().await };
            tokio::time::timeout(std::time::Duration::from_secs(60), ends)
        };
        if let Ok(folder) = std::env::var("AGG_PICTURES") {
            for (scheme, flag) in [("light", "1"), ("dark", "0")] {
                let flag = format!("--blink-settings=preferredColorScheme={flag}");
                let to = format!("--screenshot={folder}/{name}-{scheme}.png");
                let _ = chromium(&[flag, to]).await;
            }
        }
        match chromium(&["--dump-dom".into()]).await {
            Ok(Ok(output)) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(Err(_)) => {
                eprintln!("no chromium: the page was not checked");
                None
            }
            Err(_) => panic!("chromium does not exit"),
        }
    }

    #[tokio::test]
    async fn browser_shows_the_page_and_refreshes_it() {
        let (address, status) = start(fixtures::bad(300)).await;
        let counts = status.clone();
        // The state changes all the time.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                for sink in counts.sinks() {
                    SinkStatus::add(&sink.stored, 17);
                }
            }
        });
        let first = ask(address, "GET", "/").await.1;
        let Some(html) = browse(address, "/", "bad").await else {
            return;
        };
        let (_, updates) = html.split_once("data-updates=\"").expect(&html);
        assert!(
            updates.as_bytes()[0] > b'1',
            "it was refreshed more than once"
        );
        assert!(
            html.contains("<title>Failing · agg poll</title>"),
            "a name was executed"
        );
        assert!(html.contains("class=\"word ok\" id=\"live\" role=\"status\">live</span>"));
        assert!(html.contains("&lt;img src=x onerror="));
        assert!(!html.contains("<img"));
        let (_, nodes) = html.split_once("data-part=\"nodes\"").unwrap();
        assert_eq!(nodes.matches("<th scope=\"row\">").count(), 100);
        let stored = |html: &str| {
            let (before, _) = html.split_once(" in total").unwrap();
            before.rsplit('>').next().unwrap().to_owned()
        };
        assert_ne!(stored(&first), stored(&html), "the numbers were refreshed");
    }

    #[tokio::test]
    async fn browser_shows_many_nodes_and_a_healthy_state() {
        let (address, _) = start(fixtures::good(2000)).await;
        let Some(html) = browse(address, "/?nodes=all", "good").await else {
            return;
        };
        let (_, nodes) = html.split_once("data-part=\"nodes\"").expect(&html);
        assert_eq!(nodes.matches("<th scope=\"row\">").count(), 2000);
        assert!(html.contains("<title>Healthy · agg poll</title>"));
        let html = browse(address, "/?filter=node00", "filter").await.unwrap();
        assert!(
            html.contains("data-updates=")
                && html.contains("node0042")
                && !html.contains("node0142")
        );
    }
}
