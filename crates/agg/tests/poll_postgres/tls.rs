//! TLS, and passwords, which no message shows.

use crate::support::certs::Certs;
use crate::support::place::{end, left, until_empty, until_retried};
use crate::support::postgres::Postgres;
use crate::support::{Server, err, out};

use super::place;

#[test]
fn certificate_of_the_server_is_verified_and_no_message_shows_the_password() {
    let certs = Certs::new("localhost");
    let (Some(server), Some(postgres)) = (Server::start(), Postgres::with_tls(&certs, "s3cret"))
    else {
        return;
    };
    std::fs::write(certs.path("right"), "s3cret\n").unwrap();
    std::fs::write(certs.path("wrong"), "wr0ng\n").unwrap();
    let target =
        |host: &str, mode: &str| format!("postgresql://{host}:{}/grid{mode}", postgres.port);
    let keys = |ca: &str, password: &str| {
        let path = |file: &str| certs.path(file).display().to_string();
        let ca = match ca {
            "" => String::new(),
            file => format!("tls-ca = {:?}\n", path(file)),
        };
        format!("{ca}password-file = {:?}", path(password))
    };
    let _: i64 = server.ask("AGG.LOG n1 x");
    for (host, mode, ca, password, reason) in [
        (
            "localhost",
            "?sslmode=require",
            "other.pem",
            "right",
            "invalid peer certificate",
        ),
        (
            "127.0.0.1",
            "?sslmode=require",
            "ca.pem",
            "right",
            "not valid for name",
        ),
        (
            "localhost",
            "?sslmode=require",
            "ca.pem",
            "wrong",
            "password authentication failed for user \"poller\" (28P01)",
        ),
        ("localhost", "", "", "right", "no encryption (28000)"),
    ] {
        let place = place(&server, &target(host, mode), &keys(ca, password));
        let mut running = place.start();
        let mut lines = Vec::new();
        let mut errors = running.errors().inspect(|line| lines.push(line.clone()));
        until_retried(&mut errors, reason);
        drop(errors);
        assert!(
            lines
                .iter()
                .all(|line| !line.contains("s3cret") && !line.contains("wr0ng")),
            "{lines:?}"
        );
        end(running);
        assert_eq!(left(&server, &["n1"], "LOG"), 1);
    }
    for mode in ["?sslmode=require", "?sslmode=verify-full"] {
        let _: i64 = server.ask("AGG.LOG n1 x");
        let place = place(
            &server,
            &target("localhost", mode),
            &keys("ca.pem", "right"),
        );
        let running = place.start();
        until_empty(&server, &["n1"], "LOG");
        end(running);
    }
    assert_eq!(postgres.rows("SELECT id FROM logs").len(), 3);
}

#[test]
fn password_in_the_uri_is_refused_without_showing_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = place(&server, "postgresql://poller:s3cret@db/grid", "");
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("user and password have their own keys"),
        "{}",
        err(&output)
    );
    assert!(!err(&output).contains("s3cret") && !out(&output).contains("s3cret"));
}
