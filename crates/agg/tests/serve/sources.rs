//! The servers of `agg serve`: encrypted, found in a range, and of a service that Sentinels watch.

use redis::Value;

use super::{Serve, value};
use crate::support::certs::Certs;
use crate::support::place::{ALL_TO_FILE, Place};
use crate::support::{Server, free_port, until};
use testkit::sentinel::Monitored;

/// Returns a configuration with this source.
fn of_source(source: &str) -> Place {
    Place::new(&format!("[[source]]\n{source}\n{ALL_TO_FILE}"))
}

/// Starts `agg serve` with the sources of a configuration.
fn serve(place: &Place) -> Serve {
    let path = place.path("poller.toml");
    Serve::start(&format!("--config {}", path.display()))
}

/// Waits until the page has this series, and returns it.
fn until_series(serve: &Serve, key: &str, expected: f64) -> String {
    until(key, || {
        let page = serve.scrape();
        (value(&page, key) == Some(expected)).then_some(page)
    })
}

#[test]
fn encrypted_servers_are_read_as_a_user() {
    const NAME: &str = "node.example";
    let certs = Certs::new(NAME);
    let port = free_port();
    let arguments = certs.arguments(port);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(server) = Server::with_module(&arguments, "") else {
        return;
    };
    let _: Value = server.ask("AGG.STAT n1 x 1");
    let () = server.ask(
        "ACL SETUSER serve on >s3cret resetchannels %R~* -@all +info +scan +agg.info +agg.scan +agg.range +command",
    );
    let password = certs.path("password");
    std::fs::write(&password, "s3cret").unwrap();
    let path = |file: &str| certs.path(file).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let rest = format!(
        "user = \"serve\"\npassword-file = {password:?}\ntls-ca = {ca:?}\ntls-cert = {cert:?}\n\
         tls-key = {key:?}\ntls-server-name = \"{NAME}\""
    );
    let url = format!("rediss://127.0.0.1:{port}");
    let up = format!("agg_server_up{{server=\"{url}\"}}");
    // With options, as a listed source, and found in a range.
    let options = format!(
        "--server {url} --tls-ca {ca} --tls-cert {cert} --tls-key {key} --tls-server-name {NAME}"
    );
    let with_options = Serve::start(&options);
    let page = with_options.scrape();
    assert_eq!(value(&page, &up), Some(1.0), "{page}");
    assert_eq!(value(&page, "x_last{node=\"n1\"}"), Some(1.0), "{page}");
    for source in [
        format!("urls = [\"{url}\"]"),
        format!("range = \"127.0.0.1\"\nport = {port}\ntls = true"),
    ] {
        let serve = serve(&of_source(&format!("{source}\n{rest}")));
        let page = until_series(&serve, &up, 1.0);
        assert_eq!(value(&page, "x_last{node=\"n1\"}"), Some(1.0), "{page}");
        let query = format!("/api/range?node=n1&metric=x&server={url}");
        let (status, range) = serve.get(&query);
        assert!(status == 200 && range.contains("\"count\":1"), "{range}");
    }
    // Without the certificate it is down.
    let options = format!("--server {url} --tls-ca {ca} --tls-server-name {NAME}");
    let page = Serve::start(&options).scrape();
    assert_eq!(value(&page, &up), Some(0.0), "{page}");
    assert!(!page.contains("x_last"), "{page}");
}

#[test]
fn servers_of_a_range_come_and_go() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let _: Value = server.ask("AGG.STAT n1 x 1");
    let source = format!(
        "range = \"127.0.0.1\"\nport = {}\nscan-interval = \"1s\"\nforget-after = \"2s\"",
        server.port
    );
    let serve = serve(&of_source(&source));
    let up = format!("agg_server_up{{server=\"{}\"}}", server.url());
    let page = until_series(&serve, &up, 1.0);
    assert_eq!(value(&page, "x_last{node=\"n1\"}"), Some(1.0), "{page}");
    server.stop();
    let page = until_series(&serve, &up, 0.0);
    assert!(!page.contains("x_last"), "{page}");
}

#[test]
fn primary_of_a_service_is_read_through_a_failover() {
    let Some(mut watched) = Monitored::start() else {
        return;
    };
    let secrets = tempfile::tempdir().unwrap();
    let secret = |name: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, format!("{name}\n")).unwrap();
        path
    };
    let urls: Vec<String> = watched.sentinels.iter().map(Server::url).collect();
    let place = of_source(&format!(
        "sentinel = {urls:?}\nservice = \"grid\"\npassword-file = {:?}\nsentinel-password-file = {:?}",
        secret("s3rver"),
        secret("s3ntinel")
    ));
    let report = |server: &Server, value: &str| {
        let mut connection = server.connection_as("default", "s3rver");
        let words: [&[u8]; 4] = [b"AGG.STAT", b"n1", b"x", value.as_bytes()];
        crate::support::send::<i64>(&mut connection, &words).ok()
    };
    report(&watched.pair[0], "1").unwrap();
    let serve = serve(&place);
    let page = until_series(&serve, "x_last{node=\"n1\"}", 1.0);
    assert_eq!(page.matches("\nagg_server_up{").count(), 1, "{page}");
    assert!(page.contains("\nagg_server_up{server=") && !page.contains("s3rver"));
    watched.pair[0].stop();
    until("the other takes over", || report(&watched.pair[1], "2"));
    let page = until_series(&serve, "x_last{node=\"n1\"}", 2.0);
    assert_eq!(page.matches("\nagg_server_up{").count(), 1, "{page}");
}
