//! The settings of the sink: mistakes, the check of a connection, headers and credentials, TLS.

use std::collections::BTreeMap;

use super::{load, loading, past, record};
use crate::support::certs::Certs;
use crate::support::err;
use crate::support::prometheus::Prometheus;
use crate::support::tls_front;
use crate::support::victoria::Victoria;

#[test]
fn connection_is_checked_without_a_write() {
    let check = |url: &str| {
        let place = loading(url, "");
        let config = agg_poller::config::Config::read(&place.path("poller.toml"));
        let config = config.ok().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let mut results = runtime.block_on(agg_poller::check::sinks(&config));
        results.remove(0).result
    };
    let (Some(prometheus), Some(closed)) =
        (Prometheus::receiving("1d", &[]), Prometheus::scraping(&[]))
    else {
        return;
    };
    let described = check(&prometheus.write_url()).unwrap();
    assert!(
        described.ends_with("is reachable and accepts remote write"),
        "{described}"
    );
    assert_eq!(prometheus.samples(r#"{__name__=~".+"}"#), BTreeMap::new());
    let rejected = check(&closed.write_url()).unwrap_err();
    assert!(
        rejected.contains("remote write receiver needs to be enabled"),
        "{rejected}"
    );
    if let Some(victoria) = Victoria::start() {
        let url = format!("{}/api/v1/write", victoria.url());
        let described = check(&url).unwrap();
        assert!(described.ends_with("accepts remote write"), "{described}");
    }
}

#[test]
fn server_with_tls_and_a_password_is_reached() {
    let certs = Certs::new("localhost");
    let flags = ["-httpAuth.username=poller", "-httpAuth.password=s3cret"];
    let Some(victoria) = Victoria::with(&flags) else {
        return;
    };
    let port = victoria.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let front = tls_front::start(&certs, port);
    let path = |file: &str| certs.path(file).display().to_string();
    let more = format!(
        "user = \"poller\"\npassword-file = \"{{dir}}/password\"\ntls-ca = \"{}\"\ntls-cert = \"{}\"\ntls-key = \"{}\"",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let place = loading(&format!("https://localhost:{front}/api/v1/write"), &more);
    std::fs::write(place.path("password"), "s3cret\n").unwrap();
    assert!(load(&place, &[record(1, "m", past(), 1.5)]).is_empty());
}

#[test]
fn mistakes_are_reported_with_their_place() {
    let said = |url: &str, more: &str| {
        let output = loading(url, more).command("check").output().unwrap();
        (output.status.code(), err(&output))
    };
    let url = "http://127.0.0.1:9090/api/v1/write";
    for more in ["", "timestamp = \"start\"", "native-histograms = true"] {
        assert_eq!(said(url, more).0, Some(0), "{more}");
    }
    for (url, more, expected) in [
        (
            "http://127.0.0.1:9090",
            "",
            "expected the path of remote write",
        ),
        (
            "ftp://h/x",
            "",
            "expected http://HOST:PORT or https://HOST:PORT",
        ),
        (
            url,
            "timestamp = \"middle\"",
            "expected start or end, not \"middle\"",
        ),
        (
            url,
            "writers = 2",
            "a sink of type prometheus has no \"writers\"",
        ),
        (
            url,
            "gzip = true",
            "a sink of type prometheus has no \"gzip\"",
        ),
        (
            url,
            "format = \"line\"",
            "a sink of type prometheus has no \"format\"",
        ),
    ] {
        let (code, text) = said(url, more);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let place = loading(url, "");
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    place.write(&text.replace("\"HOUR\"", "\"LOG\""));
    let output = place.command("check").output().unwrap();
    let text = err(&output);
    assert!(
        text.contains("sink \"db\" writes to Prometheus, which is for MIN and HOUR, not for LOG"),
        "{text}"
    );
}
