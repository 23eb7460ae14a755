//! Sources of the configuration: the example, `agg check`, and the CA that encrypted connections trust.

use super::*;

#[test]
fn encrypted_connections_trust_only_the_configured_ca() {
    const NAME: &str = "node.example";
    let certs = Certs::new(NAME);
    let port = free_port();
    let arguments = certs.arguments(port);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(server) = Server::with_module(&arguments, "") else {
        return;
    };
    let path = |file: &str| certs.path(file).display().to_string();
    let ca = format!("--tls-ca {}", path("ca.pem"));
    let identity = format!(
        "--tls-cert {} --tls-key {}",
        path("client.pem"),
        path("client.key")
    );
    let name = format!("--tls-server-name {NAME}");
    let scan = |words: &[&str]| {
        let words = words.join(" ");
        let output = scan(&format!("127.0.0.1 --json --port {port} --tls {words}"));
        (state(&output), out(&output))
    };
    let (state, said) = scan(&[&ca, &identity, &name]);
    assert_eq!(state, "ok", "{said}");
    let (state, said) = scan(&[&ca, &name]);
    assert_eq!(state, "no-server", "without a certificate: {said}");
    let (state, said) = scan(&[&ca, &identity]);
    assert_eq!(state, "no-server", "of another name: {said}");
    assert!(said.contains("not valid for name"), "{said}");
    let other = format!("--tls-ca {}", path("other.pem"));
    let (state, said) = scan(&[&other, &identity, &name]);
    assert_eq!(state, "no-server", "of another authority: {said}");
    assert!(said.contains("UnknownIssuer"), "{said}");

    // The other commands behave likewise.
    let _: i64 = server.ask("AGG.LOG n hello");
    let url = format!("rediss://127.0.0.1:{port}");
    let line = format!("drain --queue log {ca} {identity} {name}");
    let output = run(&url, &line, b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("hello"), "{}", out(&output));
    let output = run(&url, &format!("drain {ca} {identity}"), b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("no encrypted connection"),
        "{}",
        err(&output)
    );
}

#[test]
fn sources_of_the_example_are_valid() {
    let example = include_str!("../../examples/poller.toml");
    let start = example.find("# [[source]]").unwrap();
    let end = example.find("# Routes: ").unwrap();
    let certs = Certs::new("h");
    // The files that it names do not exist.
    let lines = example[start..end].lines().map(|line| match line {
        line if line.contains("-file = ") => "".to_owned(),
        line => line.trim_start_matches("# ").to_owned(),
    });
    let sources: Vec<String> = lines.collect();
    let sources = sources.join("\n").replace(
        "tls = true",
        &format!("tls-ca = {:?}\ntls = true", certs.path("ca.pem")),
    );
    assert_eq!(sources.matches("[[source]]").count(), 3);
    let place = Place::new(&format!("{sources}{ROUTE}"));
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn check_accepts_all_kinds_of_sources() {
    let place = Place::new(&format!(
        "[[source]]\nrange = \"10.1.0.0/16\"\n\
         [[source]]\ncluster = [\"redis://a:1\"]\n\
         [[source]]\nsentinel = [\"redis://b:1\"]\nservice = \"grid\"\n{ROUTE}"
    ));
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let place = Place::new(&format!("[[source]]\nrange = \"10.1.0.0/77\"\n{ROUTE}"));
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains(":3:9: expected a range"),
        "{}",
        err(&output)
    );
}
