//! The poller, to be seen over HTTP: a page for people, metrics for Prometheus, answers for those who watch over it.
//!
//! What holds: nothing can be changed from here, and no secret is shown, as none is in the state. Whatever servers and
//! nodes are called, the page is the page: all text is escaped in one place (page.rs), and the page's policy lets no
//! script run but its own. There is no password: whoever reaches the address reads it, so it is to be one that only
//! those reach who may. What a client may take of the process is bounded in gate.rs.

mod gate;
#[cfg(test)]
pub mod made_up;
mod metrics;
mod page;
mod rates;
pub mod view;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use aggregator_protocol::masking;

use super::status::Status;
pub use gate::Limits;
use gate::Patience;
use page::Wanted;
use rates::Rates;
use view::View;

/// What the pages are made from.
struct Seen {
    status: Arc<Status>,
    rates: Rates,
}

impl Seen {
    fn view(&self) -> View {
        let speeds = self.rates.speeds(&self.status, Instant::now());
        View::of(&self.status, &speeds, SystemTime::now())
    }
}

/// Listens at an address.
///
/// Returns an error, for a person to read, if that is not to be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen at {address}: {error}"))
}

/// Answers until `stop` comes to its end. What is answered just then is not waited for.
pub async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    limits: watch::Receiver<Limits>,
    stop: impl Future<Output = ()>,
) {
    let seen = Arc::new(Seen {
        status,
        rates: Rates::default(),
    });
    let looks = async {
        let mut tick = tokio::time::interval(rates::EVERY);
        loop {
            tick.tick().await;
            seen.rates.look(&seen.status, Instant::now());
        }
    };
    tokio::select! {
        () = gate::accept(listener, router(seen.clone()), limits, Patience::USUAL) => {}
        () = looks => {}
        () = stop => {}
    }
}

fn router(seen: Arc<Seen>) -> Router {
    // GET answers HEAD too.
    Router::new()
        .route("/", get(home))
        .route("/status.json", get(json))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .with_state(seen)
}

async fn home(State(seen): State<Arc<Seen>>, RawQuery(query): RawQuery) -> Response {
    let wanted = Wanted::parse(query.as_deref().unwrap_or_default());
    let nonce = nonce();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let page = page::page(&seen.view(), &wanted, &nonce);
    let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", page);
    if let Ok(policy) = policy.parse() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn json(State(seen): State<Arc<Seen>>) -> Response {
    as_json(StatusCode::OK, &seen.view())
}

async fn prometheus(State(seen): State<Arc<Seen>>, RawQuery(query): RawQuery) -> Response {
    let nodes = query.is_some_and(|query| {
        let mut names = query.split('&').map(|pair| pair.split('=').next());
        names.any(|name| name == Some("nodes"))
    });
    answer(
        StatusCode::OK,
        metrics::TYPE,
        metrics::text(&seen.view(), nodes),
    )
}

/// That it answers is what is asked for: a part of the program that fails ends all of it.
async fn healthy() -> Response {
    answer(StatusCode::OK, TEXT, "ok\n".into())
}

/// What `/readyz` answers.
#[derive(serde::Serialize)]
struct Ready {
    ready: bool,
    why: Vec<String>,
}

async fn ready(State(seen): State<Arc<Seen>>) -> Response {
    let why = seen.view().unready();
    let (ready, code) = match why.is_empty() {
        true => (true, StatusCode::OK),
        false => (false, StatusCode::SERVICE_UNAVAILABLE),
    };
    as_json(code, &Ready { ready, why })
}

async fn nowhere() -> Response {
    let text = "there is nothing here: try /, /status.json, /metrics, /healthz or /readyz\n";
    answer(StatusCode::NOT_FOUND, TEXT, text.into())
}

async fn not_so() -> Response {
    let text = "this can only be read: GET or HEAD\n".into();
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    let allowed = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

fn as_json(code: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => answer(code, "application/json", masking::json_lines(&text) + "\n"),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn answer(code: StatusCode, kind: &'static str, text: String) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (code, headers, Body::from(text)).into_response()
}

/// What nobody can guess, so that only the page's own script has it.
fn nonce() -> String {
    use std::hash::{BuildHasher, RandomState};
    // The keys come from the system's random numbers and change with each.
    let part = |salt: u8| RandomState::new().hash_one((salt, Instant::now()));
    format!("{:016x}{:016x}", part(0), part(1))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::poll::status::{SinkStatus, lock};

    /// A server that shows a state; it ends with the test.
    async fn start(status: Status) -> (SocketAddr, Arc<Status>) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, status) = (listener.local_addr().unwrap(), Arc::new(status));
        let (_, limits) = watch::channel(Limits::default());
        let never = std::future::pending();
        tokio::spawn(serve(listener, status.clone(), limits, never));
        (address, status)
    }

    /// The head and the body of the answer to a request.
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
    async fn every_path_answers() {
        let (address, _) = start(made_up::good(10)).await;
        for (path, kind, expected) in [
            ("/", "text/html; charset=utf-8", "<!doctype html>"),
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
    async fn what_is_not_there_and_what_is_not_allowed() {
        let (address, _) = start(Status::new()).await;
        for path in ["/nothing", "/metrics/", "/..%2f", "/status.json/x"] {
            let (head, body) = ask(address, "GET", path).await;
            assert!(head.starts_with("http/1.1 404"), "{head}");
            assert!(body.starts_with("there is nothing here"));
        }
        for method in ["POST", "DELETE", "PUT", "OPTIONS", "BREW"] {
            let (head, body) = ask(address, method, "/").await;
            assert!(head.starts_with("http/1.1 405"), "{head}");
            assert_eq!(head.matches("allow: get, head").count(), 1, "{head}");
            assert!(body.contains("GET or HEAD"));
        }
    }

    #[tokio::test]
    async fn ready_changes_with_the_sinks_and_servers() {
        let (address, status) = start(made_up::good(1)).await;
        let sinks: Vec<Arc<SinkStatus>> = status.sinks();
        sinks[0].set_trouble(Some("no route to host"));
        let (head, body) = ask(address, "GET", "/readyz").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert!(
            body.contains("the sink influx fails: no route to host (since 2"),
            "{body}"
        );
        assert!(ask(address, "GET", "/healthz").await.0.contains("200 ok"));
        sinks[0].set_trouble(None);
        assert!(ask(address, "GET", "/readyz").await.0.contains("200 ok"));
        for (id, _) in status.servers() {
            let server = status.server(&id, &id);
            lock(&server).trouble = Some("connection refused".into());
        }
        let (_, body) = ask(address, "GET", "/readyz").await;
        assert!(
            body.contains("no server is up, of 3 servers: connection refused"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn the_page_lets_no_other_script_run() {
        let (address, _) = start(made_up::bad(3)).await;
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
    async fn it_ends_when_it_is_told_to_and_a_taken_address_is_told() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let why = bind(address).await.unwrap_err();
        assert!(
            why.starts_with(&format!("cannot listen at {address}: ")),
            "{why}"
        );
        let (_, limits) = watch::channel(Limits::default());
        serve(listener, Arc::new(Status::new()), limits, async {}).await;
    }

    /// What Chromium (Debian's package) makes of the page after it was open for a while; none where it is missing.
    /// AGG_PICTURES names a folder for what it looks like, in both schemes.
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
                eprintln!("no chromium: the page was not looked at");
                None
            }
            Err(_) => panic!("chromium does not end"),
        }
    }

    #[tokio::test]
    async fn a_browser_shows_the_page_and_refreshes_it() {
        let (address, status) = start(made_up::bad(300)).await;
        let counts = status.clone();
        // Something changes all the time.
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
            html.contains("<title>Trouble · agg poll</title>"),
            "no name ran"
        );
        assert!(html.contains("class=\"word ok\" role=\"status\">live</span>"));
        assert!(html.contains("&lt;img src=x onerror="));
        assert!(!html.contains("<img"));
        let (_, nodes) = html.split_once("data-part=\"nodes\"").unwrap();
        assert_eq!(nodes.matches("<th scope=\"row\">").count(), 100);
        let stored = |html: &str| {
            let (before, _) = html.split_once(" in all").unwrap();
            before.rsplit('>').next().unwrap().to_owned()
        };
        assert_ne!(
            stored(&first),
            stored(&html),
            "the figures are those of later"
        );
    }

    #[tokio::test]
    async fn a_browser_shows_many_nodes_and_that_all_is_well() {
        let (address, _) = start(made_up::good(2000)).await;
        let Some(html) = browse(address, "/?nodes=all", "good").await else {
            return;
        };
        let (_, nodes) = html.split_once("data-part=\"nodes\"").expect(&html);
        assert_eq!(nodes.matches("<th scope=\"row\">").count(), 2000);
        assert!(html.contains("<title>All is well · agg poll</title>"));
        let html = browse(address, "/?filter=node00", "filter").await.unwrap();
        assert!(
            html.contains("data-updates=")
                && html.contains("node0042")
                && !html.contains("node0142")
        );
    }
}
