//! `agg poll` and its HTTP sinks: InfluxDB 3.x, VictoriaMetrics, any endpoint that takes JSON; https; and how it
//! handles their faults.
//!
//! VictoriaMetrics is real. InfluxDB 3.x is a mock that answers as the documentation of its API says:
//! <https://docs.influxdata.com/influxdb3/core/write-data/http-api/v3-write-lp/>.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate, matchers};

use crate::support::place::{
    Id, Place, VERSION_1, influx, left, log, names, settings, until_empty, windows,
};
use crate::support::stub::{Answer, Stub, gunzip};
use crate::support::victoria::Victoria;
use crate::support::{Running, Server, of_queue, until};

/// A mock server and what drives it.
struct Mocked {
    runtime: tokio::runtime::Runtime,
    server: MockServer,
}

impl Mocked {
    fn start(answer: impl Respond + 'static) -> Mocked {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(async {
            let server = MockServer::builder().start().await;
            let mock = Mock::given(matchers::method("POST")).respond_with(answer);
            mock.mount(&server).await;
            server
        });
        Mocked { runtime, server }
    }

    fn requests(&self) -> Vec<wiremock::Request> {
        let requests = self.server.received_requests();
        self.runtime.block_on(requests).unwrap()
    }
}

fn text(request: &wiremock::Request) -> String {
    assert_eq!(request.headers["content-encoding"], "gzip");
    String::from_utf8(gunzip(&request.body)).unwrap()
}

#[test]
fn influxdb_3_names_the_invalid_lines_and_only_they_become_dead_letters() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut metrics = names(60);
    metrics.push("poison".into());
    let count = windows(&server, "n1", &metrics);
    let before = AtomicUsize::new(0);
    let mock = Mocked::start(move |request: &wiremock::Request| {
        let body = text(request);
        match before.fetch_add(1, Ordering::Relaxed) {
            0 => return ResponseTemplate::new(429).insert_header("Retry-After", "1"),
            1 => {
                // Dates are whole seconds.
                let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
                return ResponseTemplate::new(503).insert_header("Retry-After", &*date);
            }
            _ => {}
        }
        let bad = body.lines().enumerate();
        let bad = bad.filter(|(_, line)| line.starts_with("poison"));
        let bad = bad.map(|(at, line)| {
            json!({
                "original_line": line,
                "line_number": at + 1,
                "error_message": "invalid column type for column 'avg'",
            })
        });
        let data: Vec<Value> = bad.collect();
        if data.is_empty() {
            return ResponseTemplate::new(204);
        }
        let error = "partial write of line protocol occurred";
        ResponseTemplate::new(400).set_body_json(json!({"error": error, "data": data}))
    });
    let rest = influx(
        &mock.server.uri(),
        "version = 3\ndatabase = \"grid & co\"\ntoken-env = \"TEST_TOKEN\"",
    );
    let place = Place::new(&settings(&server, &rest));
    let start = Instant::now();
    let mut running = Running::start(place.command("poll").env("TEST_TOKEN", "t0ken"));
    until_empty(&server, &["n1"], "MIN");
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "it waits as asked"
    );
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let requests = mock.requests();
    let mut stored = BTreeSet::new();
    for request in &requests {
        assert_eq!(request.url.path(), "/api/v3/write_lp");
        assert_eq!(
            request.url.query().unwrap(),
            "db=grid%20%26%20co&precision=nanosecond&accept_partial=true"
        );
        assert_eq!(request.headers["authorization"], "Bearer t0ken");
        stored.extend(text(request).lines().map(str::to_owned));
    }
    assert_eq!(stored.len(), count);
    // Two that were rejected, one whose answer names the lines, and one with the others.
    assert!(requests.len() <= 6, "{}", requests.len());
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 2);
    for line in dead {
        let letter: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            letter["reason"],
            "HTTP 400: invalid column type for column 'avg'"
        );
        assert!(letter["line"].as_str().unwrap().starts_with("poison,"));
    }
}

#[test]
fn wrong_request_creates_no_dead_letters() {
    let Some(server) = Server::start() else {
        return;
    };
    let count = windows(&server, "n1", &names(100));
    let wrong = Arc::new(AtomicBool::new(true));
    let asked = wrong.clone();
    let mock = Mocked::start(
        move |_: &wiremock::Request| match asked.load(Ordering::Relaxed) {
            true => ResponseTemplate::new(400)
                .set_body_json(json!({"error": "invalid database name: '_x'"})),
            false => ResponseTemplate::new(204),
        },
    );
    let rest = influx(&mock.server.uri(), "version = 3\ndatabase = \"_x\"");
    let place = Place::new(&settings(&server, &rest));
    let mut running = place.start();
    let said = running.errors().next().unwrap();
    assert!(
        said.ends_with(
            "all records are rejected and none is named, so the request is probably wrong: \
             HTTP 400: invalid database name: '_x'; retrying"
        ),
        "{said}"
    );
    let first = mock.requests().len();
    assert!(first < 40, "{first} requests to find out");
    assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
    wrong.store(false, Ordering::Relaxed);
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(place.lines("dead"), [""; 0]);
}

/// A real server.
#[test]
fn victoria_metrics_stores_the_statistics() {
    let (Some(server), Some(victoria)) = (Server::start(), Victoria::start()) else {
        return;
    };
    // It has no databases.
    let place = Place::new(&settings(
        &server,
        &influx(&victoria.url(), "database = \"\""),
    ));
    let mut metrics = names(50);
    metrics.push("cpu.load@0".into());
    windows(&server, "n1", &metrics);
    let mut running = place.start();
    until_empty(&server, &["n1"], "MIN");
    let series = until("it can be queried", || {
        let series = victoria.export(r#"{node="n1",window="300s"}"#);
        (series.len() == 51 * 6).then_some(series)
    });
    let load = series.iter().find(|series| {
        let labels = &series["metric"];
        labels["__name__"] == "cpu.load_avg" && labels["instance"] == "0"
    });
    let load = load.unwrap();
    assert_eq!(load["values"], json!([1.5, 1.5]));
    assert_eq!(
        load["timestamps"][1].as_i64().unwrap() - load["timestamps"][0].as_i64().unwrap(),
        300_000
    );
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(place.lines("dead"), [""; 0]);
}

/// Returns settings that send logs to a sink of type http.
fn http(url: &str, more: &str) -> String {
    format!(
        "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"post\"]\n[sink.post]\ntype = \"http\"\n\
         url = \"{url}/in?a=b\"\n{more}\n"
    )
}

fn ids(records: &[Value]) -> Vec<Id> {
    let id = |record: &Value| {
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        (text("node"), text("queue"), record["id"].as_i64().unwrap())
    };
    records.iter().map(id).collect()
}

#[test]
fn http_endpoint_gets_arrays_and_its_faults_lose_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut all = log(&server, &["n1", "n2"], 500, "fine");
    let bad: i64 = server.ask("AGG.LOG n1 poison");
    let (stored, kept) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let (count, keep): (_, Arc<std::sync::Mutex<Vec<Value>>>) = (stored.clone(), Arc::clone(&kept));
    let stub = Stub::start(move |before, request| -> Answer {
        let records: Vec<Value> = serde_json::from_str(&request.body).unwrap();
        match before {
            0 => return (429, "Retry-After: 1\r\n", String::new()),
            1 => return (500, "", "<html>".into()),
            _ if records.len() > 300 => return (413, "", String::new()),
            _ if records.iter().any(|record| record["message"] == "poison") => {
                return (422, "", r#"{"message": "no such message"}"#.into());
            }
            _ => {}
        }
        keep.lock().unwrap().extend(records);
        match count.fetch_add(1, Ordering::Relaxed) {
            // The endpoint stores them without an answer.
            1 => (0, "", String::new()),
            _ => (200, "", "{}".into()),
        }
    });
    let more = "headers = { authorization-env = \"TEST_TOKEN\", X-Scope = \"grid\" }";
    let place = Place::new(&settings(&server, &http(&stub.url, more)));
    let mut running = Running::start(place.command("poll").env("TEST_TOKEN", "Bearer t0ken"));
    until_empty(&server, &["n1", "n2"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    for request in stub.requests() {
        assert_eq!(request.path, "/in?a=b");
        assert_eq!(request.authorization, "Bearer t0ken");
        for header in ["x-scope: grid", "content-type: application/json"] {
            let mut head = request.head.iter().map(|line| line.to_lowercase());
            assert!(head.any(|line| line == header), "{:?}", request.head);
        }
    }
    let records = kept.lock().unwrap();
    let got: BTreeSet<Id> = ids(&records).into_iter().collect();
    assert_eq!(got, all);
    assert!(records.len() > got.len(), "what was cut off came again");
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 1);
    let letter: Value = serde_json::from_str(&dead[0]).unwrap();
    assert_eq!(letter["reason"], "HTTP 422: no such message");
    assert!(all.insert(("n1".into(), "LOG".into(), letter["id"].as_i64().unwrap())));
    assert_eq!(letter["id"], bad);
}

#[test]
fn later_records_prove_that_a_record_is_invalid_and_not_the_request() {
    let Some(server) = Server::start() else {
        return;
    };
    let bad: i64 = server.ask("AGG.LOG n1 poison");
    let stub = Stub::start(|_, request| -> Answer {
        match request.body.contains("poison") {
            true => (400, "", "bad request".into()),
            false => (204, "", String::new()),
        }
    });
    let place = Place::new(&settings(&server, &http(&stub.url, "")));
    let mut running = place.start();
    let said = running.errors().next().unwrap();
    assert!(said.contains("so the request is probably wrong"), "{said}");
    assert_eq!(left(&server, &["n1"], "LOG"), 1);
    let all = log(&server, &["n1"], 500, "fine");
    until_empty(&server, &["n1"], "LOG");
    // Now it knows a valid record.
    let worse: i64 = server.ask("AGG.LOG n1 poison");
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let dead = place.lines("dead");
    let dead = dead
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64());
    assert_eq!(dead.collect::<Vec<_>>(), [Some(bad), Some(worse)]);
    let requests = stub.requests();
    let good = requests
        .iter()
        .filter(|request| !request.body.contains("poison"));
    let good = good.flat_map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap());
    let good: BTreeSet<Id> = ids(&good.collect::<Vec<_>>()).into_iter().collect();
    assert_eq!(good, all);
}

#[test]
fn concurrent_writers_send_nothing_twice() {
    let Some(server) = Server::start() else {
        return;
    };
    let all = log(&server, &["n1"], 1000, "x");
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let peak = most.clone();
    let stub = Stub::start(move |_, _| -> Answer {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        now.fetch_sub(1, Ordering::SeqCst);
        (204, "", String::new())
    });
    let more = "format = \"lines\"\nbatch-lines = 50\nwriters = 4\ngzip = false";
    let place = Place::new(&settings(&server, &http(&stub.url, more)));
    let mut running = place.start();
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most} at a time");
    let requests = stub.requests();
    let records: Vec<Value> = requests
        .iter()
        .flat_map(|request| {
            assert!(request.lines().len() <= 50);
            request.lines()
        })
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), all.len());
    assert_eq!(ids(&records).into_iter().collect::<BTreeSet<_>>(), all);
}

/// Returns a certificate of this CA and its key in PEM.
fn signed(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

#[test]
fn https_authenticates_both_sides() {
    let Some(server) = Server::start() else {
        return;
    };
    let ((ca, issuer), (other, _)) = (authority(), authority());
    let (cert, key) = signed(&issuer, "127.0.0.1");
    let (client_cert, client_key) = signed(&issuer, "poller");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let stub = Stub::start_tls(config.into(), |_, _| (204, "", String::new()));
    let rest = |ca: &str, more: &str| {
        let more = format!("{VERSION_1}\ntls-ca = \"{{dir}}/{ca}\"\n{more}");
        settings(&server, &influx(&stub.url, &more))
    };
    let pair = "tls-cert = \"{dir}/cert\"\ntls-key = \"{dir}/key\"";
    let place = |ca_file: &str, more: &str| {
        let place = Place::new(&rest(ca_file, more));
        for (name, text) in [
            ("ca", &ca),
            ("other", &other),
            ("cert", &client_cert),
            ("key", &client_key),
            ("strange", &key),
        ] {
            std::fs::write(place.path(name), text).unwrap();
        }
        place
    };
    let count = windows(&server, "n1", &names(5));
    // A CA that is not trusted; no client certificate.
    for (ca, more) in [("other", pair), ("ca", "")] {
        let place = place(ca, more);
        let mut running = place.start();
        let said = running.errors().next().unwrap();
        assert!(said.contains("sink db: no response: "), "{said}");
        assert_eq!(running.end_by("TERM").code(), Some(0));
        assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
        assert!(stub.requests().is_empty());
    }
    // The check reports settings that exclude each other.
    let strange = place("ca", &pair.replace("/key", "/strange"));
    let output = strange.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = crate::support::err(&output);
    assert!(said.contains(":15:11: certificate and key: "), "{said}");

    let place = place("ca", pair);
    let mut running = place.start();
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let lines: usize = stub
        .requests()
        .iter()
        .map(|request| request.lines().len())
        .sum();
    assert_eq!(lines, count);
    assert_eq!(of_queue(&server, "n1", "MIN", "leased"), 0);
}

/// A page with which a portal or a proxy answers everything, and then the real answer.
fn page_first(status: u16, body: &'static str) -> Stub {
    Stub::start(move |before, _| match before {
        0 => (
            200,
            "Content-Type: text/html\r\n",
            "<!DOCTYPE html><p>Sign in</p>".into(),
        ),
        _ => (
            status,
            "Content-Type: application/json; charset=utf-8\r\n",
            body.into(),
        ),
    })
}

#[test]
fn page_with_status_200_does_not_count_as_stored() {
    let Some(server) = Server::start() else {
        return;
    };
    let sink = |more: &str| {
        format!("[[route]]\nqueues = [\"MIN\"]\nsinks = [\"db\"]\n[sink.db]\n{more}\n")
    };
    for (round, (more, stub)) in [
        (
            "type = \"influxdb\"\ndatabase = \"grid\"",
            page_first(204, ""),
        ),
        ("type = \"http\"", page_first(200, "stored")),
        (
            "type = \"http\"\nexpect = { content-type = \"application/json\" }",
            page_first(200, "{}"),
        ),
        (
            "type = \"http\"\nexpect = { body = \"*\\\"ok\\\":true*\" }",
            page_first(200, "{\"ok\":true}"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let node = format!("n{round}");
        windows(&server, &node, &names(1));
        let more = format!("{more}\nurl = \"{}\"", stub.url);
        let place = Place::new(&settings(&server, &sink(&more)));
        let mut running = place.start();
        let said = running.errors().next().unwrap();
        assert!(
            said.contains(
                "HTTP 200 with a response of type text/html that does not confirm the write"
            ),
            "{said}"
        );
        until_empty(&server, &[&*node], "MIN");
        let requests = stub.requests();
        assert_eq!(requests.len(), 2, "{more}");
        assert_eq!(requests[0].body, requests[1].body);
    }
}

/// A server that replies with these bytes, the first time and then, and closes the connection; the bodies it got.
fn raw_server(
    first: &'static [u8],
    then: &'static [u8],
) -> (String, Arc<std::sync::Mutex<Vec<Vec<u8>>>>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bodies: Arc<std::sync::Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = bodies.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim_end().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let reply = match kept.lock().unwrap().is_empty() {
                true => first,
                false => then,
            };
            kept.lock().unwrap().push(body);
            reader.get_mut().write_all(reply).unwrap();
        }
    });
    (url, bodies)
}

#[test]
fn response_that_is_not_utf_8_or_is_incomplete_does_not_confirm_a_write() {
    let Some(server) = Server::start() else {
        return;
    };
    const INFLUX: &str = "type = \"influxdb\"\ndatabase = \"grid\"";
    const HTTP: &str = "type = \"http\"";
    for (round, (sink, first, expected)) in [
        (
            INFLUX,
            &b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Length: 18\r\n\r\n\
               <html>gr\xfc\xdfe</html>"[..],
            "HTTP 200 with a response of type text/html that does not confirm the write",
        ),
        (
            INFLUX,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x80",
            "HTTP 200 with a response of type application/octet-stream that does not confirm the write",
        ),
        (
            INFLUX,
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            "incomplete response: ",
        ),
        (
            HTTP,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"ok\":true}",
            "incomplete response: ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (url, bodies) = raw_server(first, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        let node = format!("n{round}");
        windows(&server, &node, &names(1));
        let routes = "[[route]]\nqueues = [\"MIN\"]\nsinks = [\"db\"]\n[sink.db]";
        let place = Place::new(&settings(
            &server,
            &format!("{routes}\n{sink}\nurl = \"{url}\"\n"),
        ));
        let mut running = place.start();
        let warning = running.errors().next().unwrap();
        assert!(warning.contains(expected), "{warning}");
        until_empty(&server, &[&*node], "MIN");
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 2, "{expected}");
        assert_eq!(bodies[0], bodies[1]);
    }
}

#[test]
fn unsupported_proxy_of_the_environment_names_the_sink_and_the_variable() {
    let check = |more: &str| {
        let text = format!(
            "[[source]]\nurls = [\"redis://h\"]\n{}",
            influx("http://db.example:8086", &format!("{VERSION_1}\n{more}"))
        );
        let place = Place::new(&text);
        let mut command = place.command("check");
        command.env("ALL_PROXY", "socks5://user:s3cret@proxy:1080");
        let output = command.output().unwrap();
        (output.status.code(), crate::support::err(&output))
    };
    let (code, error) = check("");
    assert_eq!(code, Some(2), "{error}");
    for expected in [
        "sink \"db\": ALL_PROXY of the environment",
        "proxy = \"none\"",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
    assert_eq!(check("proxy = \"none\"").0, Some(0));
}

/// Starts a proxy that connects to one address whatever is requested, and returns the first lines of its requests.
fn proxy(target: String) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = asked.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, kept, target) = (client.unwrap(), kept.clone(), target.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(client.try_clone().unwrap());
                let mut lines = (&mut reader).lines().map_while(Result::ok);
                kept.lock().unwrap().push(lines.next().unwrap());
                lines.find(|line| line.is_empty());
                client
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .unwrap();
                let mut server = std::net::TcpStream::connect(target).unwrap();
                let mut back = (server.try_clone().unwrap(), client);
                std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
                let _ = std::io::copy(&mut reader, &mut server);
            });
        }
    });
    (url, asked)
}

#[test]
fn sink_uses_the_proxy_of_its_settings_or_of_the_environment() {
    let Some(server) = Server::start() else {
        return;
    };
    // (proxy of the settings, of the environment, whether it is used)
    for (setting, variable, is_used) in [
        (true, None, true),
        (false, Some("HTTP_PROXY"), true),
        (false, Some("HTTPS_PROXY"), false),
    ] {
        let stub = Stub::start(|_, _| (204, "", String::new()));
        let address = stub.url.trim_start_matches("http://").to_owned();
        let (url, asked) = proxy(address.clone());
        let node = format!("{setting}{is_used}");
        windows(&server, &node, &names(1));
        let (target, more) = match setting {
            true => (
                "http://db.invalid:8086",
                format!("{VERSION_1}\nproxy = \"{url}\""),
            ),
            false if is_used => ("http://db.invalid:8086", VERSION_1.to_owned()),
            false => (&*stub.url, VERSION_1.to_owned()),
        };
        let place = Place::new(&settings(&server, &influx(target, &more)));
        let mut command = place.command("poll");
        if let Some(name) = variable {
            command.env(name, &url);
        }
        let _running = Running::start(&mut command);
        until_empty(&server, &[&*node], "MIN");
        let asked = asked.lock().unwrap().clone();
        let expected: &[&str] = if is_used {
            &["CONNECT db.invalid:8086 HTTP/1.1"]
        } else {
            &[]
        };
        assert_eq!(asked[..asked.len().min(1)], *expected);
        assert_eq!(stub.requests().len(), 1);
    }
}

#[test]
fn rejected_connect_shows_the_status_of_the_proxy() {
    let Some(server) = Server::start() else {
        return;
    };
    let rejection = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let (url, _) = raw_server(rejection, rejection);
    windows(&server, "n", &names(1));
    let sink = influx(
        "http://db.invalid:8086",
        &format!("{VERSION_1}\nproxy = \"{url}\""),
    );
    let place = Place::new(&settings(&server, &sink));
    let mut running = place.start();
    let warning = running.errors().next().unwrap();
    let expected = "sink db: no response: the proxy rejected CONNECT db.invalid:8086: HTTP 403";
    assert!(warning.contains(expected), "{warning}");
}
