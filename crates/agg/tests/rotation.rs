//! Passwords, certificates and headers that are renewed while a program runs: it uses the new ones without a signal and
//! keeps working connections.

use std::path::Path;

use crate::support::certs::Certs;
use crate::support::place::{self, Place};
use crate::support::stub::Stub;
use crate::support::{Running, Server, agg, free_port, until};

/// Replaces a file atomically, like programs that renew certificates.
fn replace(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

const OUT: &str = "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n\
                   [sink.out]\ntype = \"file\"\npath = \"{dir}/out\"\n";

fn until_lines(place: &Place, count: usize) {
    until("the records are in the file", || {
        (place.lines("out").len() == count).then_some(())
    });
}

#[test]
fn renewed_password_is_used_when_the_old_one_is_rejected() {
    let Some(server) = Server::start() else {
        return;
    };
    let admin = |line: &str| {
        let () = server.ask(line);
    };
    admin("ACL SETUSER drain on >first ~* +@all");
    let place = Place::new(&format!(
        "user = \"drain\"\npassword-file = \"{{dir}}/password\"\npoll-interval = \"100ms\"\n\
         [[source]]\nurls = [\"{}\"]\n{OUT}",
        server.url()
    ));
    std::fs::write(place.path("password"), "first\n").unwrap();
    let mut poller = place.start();
    let mut message = poller.errors();
    place::log(&server, &["n"], 500, "x");
    until_lines(&place, 500);
    // Renewed in the file first: the working connection is kept.
    replace(&place.path("password"), b"second\n");
    let line = message.next().unwrap();
    assert!(line.ends_with(" reloaded"), "{line}");
    place::log(&server, &["n"], 500, "x");
    until_lines(&place, 1000);
    // Then at the server, which closes the connection: the new password is used at once.
    admin("ACL SETUSER drain resetpass >second");
    admin("CLIENT KILL USER drain");
    place::log(&server, &["n"], 500, "x");
    until_lines(&place, 1500);
    // At the server first, then in the file.
    admin("ACL SETUSER drain resetpass >third");
    admin("CLIENT KILL USER drain");
    let line = message.find(|line| line.contains("does not accept the user or password"));
    assert!(line.is_some());
    place::log(&server, &["n"], 500, "x");
    replace(&place.path("password"), b"third\n");
    until_lines(&place, 2000);
}

#[test]
fn renewed_certificates_are_used_by_new_connections() {
    const NAME: &str = "node.example";
    let (first, second) = (Certs::new(NAME), Certs::new(NAME));
    let port = free_port();
    let arguments = first.arguments(port);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(server) = Server::with_module(&arguments, "") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let ours = ["ca.pem", "client.pem", "client.key"];
    for file in ours {
        std::fs::copy(first.path(file), dir.path().join(file)).unwrap();
    }
    let path = |file: &str| dir.path().join(file).display().to_string();
    let line = format!(
        "drain --node n --follow --tls-ca {} --tls-cert {} --tls-key {} --tls-server-name {NAME}",
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    let url = format!("rediss://127.0.0.1:{port}");
    let mut drain = Running::start(&mut agg(&url, &line));
    let (mut lines, mut message) = (drain.lines(), drain.errors());
    let mut log = |text: &str| {
        let _: i64 = server.ask(&format!("AGG.LOG n {text}"));
        let line = lines.next().unwrap();
        assert!(line.contains(text), "{line}");
    };
    log("before");
    // Another CA, certificate and key at the server.
    for file in ["ca.pem", "server.pem", "server.key"] {
        replace(
            &first.path(file),
            &std::fs::read(second.path(file)).unwrap(),
        );
    }
    let set = |name: &str, file: &str| format!("{name} {}", first.path(file).display());
    let () = server.ask(&format!(
        "CONFIG SET {} {} {}",
        set("tls-cert-file", "server.pem"),
        set("tls-key-file", "server.key"),
        set("tls-ca-cert-file", "ca.pem")
    ));
    let _: i64 = server.ask("CLIENT KILL TYPE normal SKIPME yes");
    assert!(message.any(|line| line.contains("no encrypted connection")));
    for file in ours {
        replace(
            Path::new(&path(file)),
            &std::fs::read(second.path(file)).unwrap(),
        );
    }
    log("after");
}

#[test]
fn renewed_header_is_used_when_the_old_one_is_rejected() {
    let Some(server) = Server::start() else {
        return;
    };
    let stub = Stub::start(|_, request| match request.authorization.as_str() {
        "Bearer second" => (204, "", String::new()),
        _ => (401, "", "{\"error\":\"unauthorized\"}".into()),
    });
    let place = Place::new(&place::settings(
        &server,
        &format!(
            "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"http\"\nurl = \"{}\"\n\
             headers = {{ Authorization-file = \"{{dir}}/header\" }}\n",
            stub.url
        ),
    ));
    std::fs::write(place.path("header"), "Bearer first\n").unwrap();
    let mut poller = place.start();
    let mut message = poller.errors();
    place::log(&server, &["n"], 500, "x");
    assert!(message.any(|line| line.contains("HTTP 401: unauthorized")));
    replace(&place.path("header"), b"Bearer second\n");
    place::until_empty(&server, &["n"], "LOG");
    assert!(stub.requests().last().unwrap().authorization == "Bearer second");
}
