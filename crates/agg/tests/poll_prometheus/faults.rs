//! A URL that does not receive remote write is retried. The suite of all sinks has the other faults.

use crate::support::Server;
use crate::support::place::{
    Place, end, left, names, remote_write, settings, until_retried, windows,
};
use crate::support::prometheus::Prometheus;

#[test]
fn server_that_does_not_receive_is_retried() {
    let (Some(source), Some(prometheus)) = (Server::start(), Prometheus::scraping(&[])) else {
        return;
    };
    windows(&source, "n1", &names(10));
    for (path, reason) in [
        (
            "/api/v1/write",
            "HTTP 404: remote write receiver needs to be enabled",
        ),
        ("/other", "HTTP 404"),
        ("/-/reload", "HTTP 403"),
    ] {
        let url = format!("http://127.0.0.1:{}{path}", prometheus.port);
        let place = Place::new(&settings(&source, &remote_write(&url, "")));
        let mut running = place.start();
        until_retried(&mut running.errors(), reason);
        assert!(place.lines("dead").is_empty());
        end(running);
    }
    assert_eq!(left(&source, &["n1"], "MIN"), 20);
}
