//! `agg scan` finds a fleet and says what everything else is that answers. Encrypted connections trust only the
//! configured CA. `agg poll` drains all kinds of sources.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::support::certs::Certs;
use crate::support::place::Place;
use crate::support::{Running, Server, agg, err, free_port, out, run, until};
use testkit::cluster::{Cluster, Fleet};
use testkit::sentinel::Monitored;

const ROUTE: &str =
    "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";

const UNUSED: &str = "redis://unused";

fn scan(line: &str) -> Output {
    run(UNUSED, &format!("scan {line}"), b"")
}

fn scan_with(password: &str, line: &str) -> Output {
    let mut command = agg(UNUSED, &format!("scan {line}"));
    command.env("AGG_PASSWORD", password).output().unwrap()
}

/// Returns the objects of `--json` by address.
fn objects(output: &Output) -> BTreeMap<String, serde_json::Value> {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    let object = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        (object["address"].as_str().unwrap().to_owned(), object)
    };
    out(output).lines().map(object).collect()
}

/// Returns the state of the one server that replies.
fn state(output: &Output) -> String {
    let objects = objects(output);
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects["127.0.0.1"]["state"].as_str().unwrap().to_owned()
}

fn json(server: &Server) -> String {
    format!("127.0.0.1 --json --port {}", server.port)
}

#[test]
fn scan_finds_a_fleet() {
    const COUNT: u8 = 100;
    let Some(fleet) = Fleet::start(COUNT) else {
        return;
    };
    let mut connection = redis::Client::open(fleet.url(7))
        .unwrap()
        .get_connection()
        .unwrap();
    let _: i64 = crate::support::ask(&mut connection, "AGG.LOG n hello");
    let port = fleet.port;
    let start = Instant::now();
    let output = scan(&format!("127.0.0.0/24 --json --port {port}"));
    let took = start.elapsed();
    let found = objects(&output);
    assert_eq!(found.len(), usize::from(COUNT));
    for n in 1..=COUNT {
        let object = &found[&Fleet::host(n).to_string()];
        assert_eq!(object["state"], "ok", "{object}");
        assert_eq!(object["url"], fleet.url(n));
        assert_eq!(object["nodes"], i64::from(n == 7));
        assert!(object["max_memory"].as_i64() > object["memory"].as_i64());
        assert!(object["version"].is_string() && object["module"].is_string());
    }
    eprintln!("254 addresses, {COUNT} servers: {took:?}");
    assert!(
        err(&output).contains("254 addresses tried in "),
        "{}",
        err(&output)
    );
    assert!(
        err(&output).ends_with(" s: 100 servers found\n"),
        "{}",
        err(&output)
    );

    // The table, in the order of addresses.
    let output = scan(&format!("127.0.0.12 127.0.0.8/30 127.0.0.9 --port {port}"));
    let table = out(&output);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("ADDRESS "), "{table}");
    for (line, n) in lines[1..].iter().zip([9, 10, 12]) {
        assert!(line.starts_with(&format!("127.0.0.{n}:{port} ")), "{table}");
        assert!(
            line.contains(" of 256mb ") && line.ends_with(" ok"),
            "{table}"
        );
    }

    // When interrupted it prints what it has found.
    let line = format!("scan 127.0.0.0/16 --rate 200 --port {port}");
    let mut running = Running::start(&mut agg(UNUSED, &line));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(running.end_by("INT").code(), Some(130));
    let lines: Vec<String> = running.lines().collect();
    assert!(lines.len() > 50, "{lines:?}");
    assert!(lines[1].starts_with("127.0.0.1:"), "{lines:?}");
    let mut said = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains(" servers found\n"), "{said}");
}

#[test]
fn scan_distinguishes_servers_without_the_module() {
    let Some(plain) = Server::with(&[]) else {
        return;
    };
    let Some(ours) = Server::start() else {
        return;
    };
    let Some(locked) = Server::with_module(&["--requirepass", "s3cret"], "") else {
        return;
    };
    assert_eq!(state(&scan(&json(&plain))), "no-module");
    assert_eq!(state(&scan(&json(&ours))), "ok");
    assert_eq!(state(&scan(&json(&locked))), "wants-password");
    let wrong = scan_with("wr0ng", &json(&locked));
    assert_eq!(state(&wrong), "wrong-password");
    assert!(!out(&wrong).contains("wr0ng") && !err(&wrong).contains("wr0ng"));
    assert_eq!(state(&scan_with("s3cret", &json(&locked))), "ok");
    let () = ours.ask(&format!("REPLICAOF 127.0.0.1 {}", plain.port));
    assert_eq!(state(&scan(&json(&ours))), "replica");

    // Other servers: a web server, and one that says nothing.
    let stub = crate::support::stub::Stub::start(|_, _| (200, "", String::new()));
    let port = stub.url.rsplit_once(':').unwrap().1;
    assert_eq!(
        state(&scan(&format!("127.0.0.1 --json --port {port}"))),
        "no-server"
    );
    let endless = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = endless.local_addr().unwrap().port();
    let sending = std::thread::spawn(move || {
        let (mut stream, _) = endless.accept().unwrap();
        stream.write_all(b"$1000000000\r\n").unwrap();
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let output = scan(&format!("127.0.0.1 --json --port {port}"));
    assert_eq!(state(&output), "no-server");
    assert!(
        out(&output).contains("more than was asked"),
        "{}",
        out(&output)
    );
    sending.join().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let output = scan(&format!("127.0.0.1 --json --port {port}"));
    assert_eq!(state(&output), "no-server");
    assert!(
        out(&output).contains("no answer within 5 s"),
        "{}",
        out(&output)
    );

    // A port where nobody listens.
    let output = scan(&format!("127.0.0.1 --port {}", free_port()));
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), ""));
    assert!(
        err(&output).contains("1 address tried in ") && err(&output).ends_with("0 servers found\n")
    );
}

#[test]
fn scan_accepts_addresses_as_its_table_writes_them() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // No server, but it answers.
            let _ = stream.unwrap().write_all(b"hello\r\n");
        }
    });
    for line in [
        format!("[::1]:{port}"),
        format!("[::1] --port {port}"),
        format!("::1 --port {port}"),
    ] {
        let output = scan(&line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", err(&output));
        assert!(
            out(&output).contains(&format!("[::1]:{port} ")),
            "{line}: {}",
            out(&output)
        );
    }
    let output = scan(&format!("[::1]:{port} 127.0.0.1"));
    assert_eq!(output.status.code(), Some(2));
    let said = format!("ports {port} and 7777: a scan has one port");
    assert!(err(&output).contains(&said), "{}", err(&output));
}

#[test]
fn scan_works_as_an_acl_user() {
    let Some(server) = Server::start() else {
        return;
    };
    for user in [
        "ACL SETUSER drain on >s3cret ~* +agg.fetch +agg.ack +info +ping +command|info",
        // The user may run neither COMMAND nor INFO.
        "ACL SETUSER bare on >s3cret ~* +agg.fetch +agg.ack",
        "ACL SETUSER default off",
    ] {
        let () = server.ask(user);
    }
    let as_user =
        |password, user: &str| scan_with(password, &format!("{} --user {user}", json(&server)));
    assert_eq!(state(&as_user("s3cret", "drain")), "ok");
    assert_eq!(state(&as_user("s3cret", "bare")), "ok");
    assert_eq!(state(&as_user("other", "drain")), "wrong-password");
    assert_eq!(state(&as_user("s3cret", "nobody")), "wrong-password");
    assert_eq!(state(&scan(&json(&server))), "wants-password");
}

#[test]
fn wrong_usage() {
    for (line, said) in [
        ("scan", "required"),
        ("scan 10.0.0.0/40", "expected a range or address such as"),
        ("scan 0.0.0.0/0", "name smaller ranges"),
        ("scan 10.0.0.0/8 11.0.0.0/8", "name smaller ranges"),
        ("scan 10.0.0.1 --rate 0", "--rate"),
        (
            "scan 10.0.0.1 --user ann",
            "--user needs a password: set AGG_PASSWORD",
        ),
        (
            "scan 10.0.0.1 --tls-server-name h",
            "certificates require --tls",
        ),
        (
            "scan 10.0.0.1 --tls --tls-ca /nonexistent/ca",
            "/nonexistent/ca",
        ),
    ] {
        let output = agg(UNUSED, line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {}", err(&output));
        assert!(err(&output).contains(said), "{line}: {}", err(&output));
    }
}

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
    let example = include_str!("../examples/poller.toml");
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

/// Returns settings with this source that drain logs into the file `out`.
fn poll(source: &str) -> Place {
    Place::new(&format!(
        "lease = \"2s\"\npoll-interval = \"100ms\"\n[[source]]\n{source}\n\
         [[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n\
         [sink.out]\ntype = \"file\"\npath = \"{{dir}}/out\"\n"
    ))
}

/// Asserts that the messages in the file are unique and returns them.
fn messages(place: &Place) -> BTreeSet<String> {
    let message = |line: String| {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        record["message"].as_str().unwrap().to_owned()
    };
    place.lines("out").into_iter().map(message).collect()
}

fn until_all(place: &Place, expected: &BTreeSet<String>) {
    until("all is in the file", || {
        expected.is_subset(&messages(place)).then_some(())
    });
}

#[test]
fn poller_drains_a_fleet() {
    const COUNT: u8 = 100;
    let Some(fleet) = Fleet::start(COUNT) else {
        return;
    };
    let mut expected = BTreeSet::new();
    let mut tell = |round: &str| {
        for n in 1..=COUNT {
            let mut connection = redis::Client::open(fleet.url(n))
                .unwrap()
                .get_connection()
                .unwrap();
            let text = format!("{round}-{n}");
            let _: i64 = crate::support::ask(&mut connection, &format!("AGG.LOG node{n} {text}"));
            expected.insert(text);
        }
        expected.clone()
    };
    let all = tell("first");
    let port = fleet.port;
    let place = poll(&format!(
        "range = \"127.0.0.0/24\"\nport = {port}\nscan-interval = \"1s\""
    ));
    let mut running = place.start();
    until_all(&place, &all);
    let all = tell("second");
    until_all(&place, &all);
    assert_eq!(running.end_by("TERM").code(), Some(0));
    // Found once, each was drained by one.
    assert_eq!(place.lines("out").len(), 2 * usize::from(COUNT));
}

#[test]
fn poller_drains_a_cluster_through_a_failover() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    // Node names in the slots of the three primaries.
    let tell = |cluster: &Cluster, round: &str, without: Option<usize>| {
        let mut said = BTreeSet::new();
        for i in cluster.primaries(without) {
            for node in ["a", "b", "c"] {
                let text = format!("{round}-{node}");
                let words = [&b"AGG.LOG"[..], node.as_bytes(), text.as_bytes()];
                let mut connection = cluster.servers[i].connection();
                // Other servers than its primary refuse it.
                if crate::support::send::<i64>(&mut connection, &words).is_ok() {
                    said.insert(text);
                }
            }
        }
        assert_eq!(said.len(), 3, "{said:?}");
        said
    };
    let seed = cluster.servers[0].url();
    let place = poll(&format!("cluster = [\"{seed}\"]"));
    let mut running = place.start();
    let all = tell(&cluster, "first", None);
    until_all(&place, &all);
    let victim = cluster.primaries(None)[0];
    cluster.servers[victim].stop();
    until("a replica takes over", || {
        (cluster.primaries(Some(victim)).len() == 3).then_some(())
    });
    let all = tell(&cluster, "second", Some(victim));
    until_all(&place, &all);
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn poller_drains_a_sentinel_service_through_a_failover() {
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
    let place = poll(&format!(
        "sentinel = {urls:?}\nservice = \"grid\"\npassword-file = {:?}\nsentinel-password-file = {:?}",
        secret("s3rver"),
        secret("s3ntinel")
    ));
    let tell = |server: &Server, text: &str| {
        let mut connection = server.connection_as("default", "s3rver");
        crate::support::send::<i64>(&mut connection, &[b"AGG.LOG", b"n", text.as_bytes()]).ok()
    };
    let mut running = place.start();
    tell(&watched.pair[0], "first").unwrap();
    until_all(&place, &BTreeSet::from(["first".into()]));
    watched.pair[0].stop();
    until("the other takes over", || tell(&watched.pair[1], "second"));
    until_all(&place, &BTreeSet::from(["second".into()]));
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn poller_drains_an_encrypted_source_as_a_user() {
    const NAME: &str = "node.example";
    let certs = Certs::new(NAME);
    let port = free_port();
    let arguments = certs.arguments(port);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(server) = Server::with_module(&arguments, "") else {
        return;
    };
    let () = server.ask(
        "ACL SETUSER drain on >s3cret ~* +agg.fetch +agg.ack +agg.nack +agg.extend +agg.info +scan +command \
         +ping +info",
    );
    let _: i64 = server.ask("AGG.LOG n hello");
    let password = certs.path("password");
    std::fs::write(&password, "s3cret").unwrap();
    let rest = format!(
        "user = \"drain\"\npassword-file = {password:?}\ntls-ca = {:?}\ntls-cert = {:?}\ntls-key = {:?}\n\
         tls-server-name = \"{NAME}\"",
        certs.path("ca.pem"),
        certs.path("client.pem"),
        certs.path("client.key")
    );
    for (round, source) in [
        ("hello", format!("urls = [\"rediss://127.0.0.1:{port}\"]")),
        (
            "again",
            format!("range = \"127.0.0.1\"\nport = {port}\ntls = true"),
        ),
    ] {
        let _: i64 = server.ask(&format!("AGG.LOG n {round}"));
        let place = poll(&format!("{source}\n{rest}"));
        let mut running = place.start();
        until_all(&place, &BTreeSet::from([round.into()]));
        assert_eq!(running.end_by("TERM").code(), Some(0));
    }
}
