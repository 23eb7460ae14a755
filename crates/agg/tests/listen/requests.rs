//! Requests over HTTP: their answers say what the server did.

use std::time::Duration;

use super::*;
use crate::support::Server;

/// Sends a request. Returns the status, the header Retry-After, and the body.
fn post(url: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build();
    let request = ureq::Agent::new_with_config(config)
        .post(url)
        .header("Content-Type", kind);
    let mut response = request.send(body).unwrap();
    let retry = response.headers().get("Retry-After");
    let retry = retry.map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    let body = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), retry, body)
}

/// An OTLP request with the total of a counter.
fn otlp(name: &str, delta: u32) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","sum":{{"aggregationTemporality":1,
        "isMonotonic":true,"dataPoints":[{{"asInt":"{delta}"}}]}}}}]}}]}}]}}"#
    )
}

const JSON: &str = "application/json";

#[test]
fn requests_are_answered_when_the_server_has_counted_them() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let influx = format!(
        "http://{}/write?precision=s",
        listener.address("influxdb", "HTTP")
    );
    let metrics = format!("http://{}/v1/metrics", listener.address("otlp", "HTTP"));
    for i in 1..=20 {
        assert_eq!(post(&influx, "text/plain", b"m v=1,w=2i").0, 204);
        assert_eq!(metric(&server, "m.v").unwrap().count, i);
        assert_eq!(post(&metrics, JSON, otlp("c", 3).as_bytes()).0, 200);
        assert_eq!(metric(&server, "c").unwrap().sum, 3.0 * i as f64);
    }
    let (status, _, body) = post(&influx, "text/plain", b"m v=1\nbad\nm v=x");
    assert_eq!(status, 400);
    assert!(
        body.contains("line 2: ") && body.contains("line 3: "),
        "{body}"
    );
    assert_eq!(metric(&server, "m.v").unwrap().count, 21);
    assert_eq!(post(&metrics, JSON, b"{").0, 400);
    assert_eq!(post(&metrics, "text/plain", b"x").0, 415);
    assert_eq!(
        post(&metrics.replace("metrics", "traces"), JSON, b"{}").0,
        404
    );
}

#[test]
fn limits_of_the_server_are_answered_with_429() {
    let Some(server) = Server::with_settings("max-series 1") else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    let influx = format!("http://{}/write", listener.address("influxdb", "HTTP"));
    let metrics = format!("http://{}/v1/metrics", listener.address("otlp", "HTTP"));
    assert_eq!(post(&influx, "text/plain", b"m v=1").0, 204);
    let (status, retry, body) = post(&influx, "text/plain", b"n v=1");
    assert_eq!((status, &*retry), (429, "5"));
    assert!(body.contains("agg.max-series"), "{body}");
    let (status, retry, _) = post(&metrics, JSON, otlp("c", 3).as_bytes());
    assert_eq!((status, &*retry), (429, "5"));
    // A part counts, so the request must not be sent again.
    let (status, _, body) = post(&influx, "text/plain", b"m v=1,w=1");
    assert_eq!(status, 422);
    assert!(body.contains("partial write: 1 rejected"), "{body}");
    assert_eq!(metric(&server, "m.v").unwrap().count, 2);
}
