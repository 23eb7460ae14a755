//! The sink for OTLP over TLS, with a receiver behind a front that requires a client certificate: both sides are
//! authenticated, and nothing is sent to a receiver whose certificate another CA has signed.

use std::collections::BTreeSet;

use crate::listen::Listener;
use crate::poll_otlp::{place, relayed};
use crate::support::certs::Certs;
use crate::support::place::{end, log, until_empty, until_retried};
use crate::support::{Server, of_queue, out, tls_front, until};

/// Returns the keys for this CA, and for the client's certificate if it is sent.
fn keys(certs: &Certs, ca: &str, has_certificate: bool) -> String {
    let path = |file: &str| certs.path(file).display().to_string();
    let mut keys = format!("tls-ca = {:?}\n", path(ca));
    if has_certificate {
        let (cert, key) = (path("client.pem"), path("client.key"));
        keys += &format!("tls-cert = {cert:?}\ntls-key = {key:?}\n");
    }
    keys
}

#[test]
fn tls_authenticates_both_sides() {
    let (Some(server), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let certs = Certs::new("localhost");
    let listener = Listener::with(&hub.url(), "--otlp 127.0.0.1:0");
    let port = tls_front::start(&certs, listener.address("otlp", "HTTP").port());
    let url = format!("https://localhost:{port}");
    let all = log(&server, &["n1"], 500, "x");
    // A CA that did not sign the server's certificate; no client certificate.
    for (ca, has_certificate, reason) in [
        ("other.pem", true, "invalid peer certificate: "),
        ("ca.pem", false, "sink out: no response: "),
    ] {
        let place = place(&server, &url, &keys(&certs, ca, has_certificate));
        let mut running = place.start();
        until_retried(&mut running.errors(), reason);
        end(running);
        assert!(place.lines("dead").is_empty());
        assert_eq!(of_queue(&server, "n1", "LOG", "length"), 500);
    }
    assert!(relayed(&hub).is_empty());
    let place = place(&server, &url, &keys(&certs, "ca.pem", true));
    let running = place.start();
    until_empty(&server, &["n1"], "LOG");
    until("all records are there", || {
        (BTreeSet::from_iter(relayed(&hub)) == all).then_some(())
    });
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn check_names_the_mistake_in_tls() {
    let (Some(server), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    let certs = Certs::new("localhost");
    let listener = Listener::with(&hub.url(), "--otlp 127.0.0.1:0");
    let plain = listener.address("otlp", "HTTP").port();
    let port = tls_front::start(&certs, plain);
    let check = |url: &str, keys: &str| {
        let place = place(&server, url, keys);
        let output = place.command("check").arg("--connect").output().unwrap();
        let lines = out(&output);
        let line = lines.lines().find(|line| line.contains(" sink out: "));
        (output.status.code(), line.unwrap().to_owned())
    };
    let url = format!("https://localhost:{port}");
    let (code, line) = check(&url, &keys(&certs, "ca.pem", true));
    assert_eq!(code, Some(0), "{line}");
    assert!(line.starts_with("ok     sink out: "), "{line}");
    let no_tls = format!("https://localhost:{plain}");
    let other_name = format!("https://127.0.0.1:{port}");
    for (url, ca, reason) in [
        (&url, "other.pem", "invalid peer certificate: "),
        (&other_name, "ca.pem", "certificate not valid for name"),
        (&no_tls, "ca.pem", "received corrupt message"),
    ] {
        let (code, line) = check(url, &keys(&certs, ca, true));
        assert_eq!(code, Some(1), "{line}");
        assert!(
            line.starts_with("failed sink out: ") && line.contains(reason),
            "{line}\nexpected {reason}"
        );
    }
}
