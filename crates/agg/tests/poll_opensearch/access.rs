//! TLS, credentials, and the check of a sink.

use crate::support::certs::Certs;
use crate::support::opensearch::OpenSearch;
use crate::support::place::{Place, end, log, until_empty, until_retried};
use crate::support::stub::Stub;
use crate::support::{of_queue, tls_front};

use super::{assert_once, parts, place};

#[test]
fn sink_is_checked_without_writing() {
    let Some(mut target) = OpenSearch::start() else {
        return;
    };
    let text = format!(
        "[[source]]\nurls = [\"redis://127.0.0.1:1\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"db\"]\n\
         [sink.db]\ntype = \"opensearch\"\nurl = \"{}\"\n",
        target.url()
    );
    let place = Place::new(&text);
    let config = agg_poller::config::Config::read(&place.path("poller.toml")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let connect = || {
        runtime
            .block_on(agg_poller::check::sinks(&config))
            .remove(0)
            .result
    };
    assert_eq!(connect(), Ok("OpenSearch 3.8.0, cluster osmem".into()));
    assert!(target.all("agg-*").is_empty());
    target.stop();
    assert!(connect().is_err());
}

#[test]
fn tls_authenticates_both_sides() {
    let Some((source, target)) = parts() else {
        return;
    };
    let certs = Certs::new("localhost");
    let url = format!(
        "https://localhost:{}",
        tls_front::start(&certs, target.port)
    );
    let all = log(&source, &["n1"], 500, "x");
    let keys = |ca: &str, has_pair: bool| {
        let path = |file: &str| certs.path(file).display().to_string();
        let mut keys = format!("tls-ca = {:?}\n", path(ca));
        if has_pair {
            let (cert, key) = (path("client.pem"), path("client.key"));
            keys += &format!("tls-cert = {cert:?}\ntls-key = {key:?}\n");
        }
        keys
    };
    // A CA that did not sign the server's certificate; no client certificate.
    for (ca, has_pair, reason) in [
        ("other.pem", true, "invalid peer certificate: "),
        ("ca.pem", false, "sink db: no response: "),
    ] {
        let place = place(&source, &url, &keys(ca, has_pair));
        let mut running = place.start();
        until_retried(&mut running.errors(), reason);
        end(running);
        assert!(place.lines("dead").is_empty());
        assert_eq!(of_queue(&source, "n1", "LOG", "length"), 500);
    }
    assert!(target.all("agg-*").is_empty());
    let place = place(&source, &url, &keys("ca.pem", true));
    let running = place.start();
    until_empty(&source, &["n1"], "LOG");
    assert_once(&target, &all);
    end(running);
}

/// The server behind the stub has no users.
#[test]
fn wrong_password_is_retried_and_a_corrected_one_is_used() {
    let Some((source, target)) = parts() else {
        return;
    };
    let pass = target.pass();
    let stub = Stub::start(move |_, request| match &*request.authorization {
        // "poller:right"
        "Basic cG9sbGVyOnJpZ2h0" => pass(request),
        _ => (401, "", "Unauthorized".into()),
    });
    let keys =
        |more: &str| format!("user = \"poller\"\npassword-file = \"{{dir}}/password\"\n{more}");
    for (more, reason) in [
        ("", "sink db: GET /: HTTP 401: Unauthorized"),
        ("templates = false", "sink db: HTTP 401: Unauthorized"),
    ] {
        let place = place(&source, &stub.url, &keys(more));
        std::fs::write(place.path("password"), "wrong").unwrap();
        log(&source, &["n1"], 500, "x");
        let mut running = place.start();
        let mut errors = running.errors();
        until_retried(&mut errors, reason);
        assert_eq!(of_queue(&source, "n1", "LOG", "length"), 500);
        std::fs::write(place.path("password"), "right").unwrap();
        until_empty(&source, &["n1"], "LOG");
        assert!(place.lines("dead").is_empty());
        end(running);
    }
    assert_eq!(target.all("agg-logs").len(), 1000);
}
