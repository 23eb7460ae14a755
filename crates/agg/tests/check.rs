//! `agg check --connect` against real servers: what it finds, and that it changes nothing.

use std::net::TcpListener;
use std::process::Command;

use testkit::cluster::Cluster;
use testkit::sentinel::Monitored;

use crate::support::certs::Certs;
use crate::support::influx::InfluxDb;
use crate::support::place::{ALL_TO_FILE, Place, left, log, settings};
use crate::support::stub::Stub;
use crate::support::{Server, err, free_port, of_queue, out, tls_front};

/// The permissions that a poller needs.
const NEEDED: &str = "+agg.fetch +agg.ack +agg.nack +agg.extend +scan";

/// Runs `agg check --connect`. Returns the exit code and its lines, without the one about the dead letters, which is ok.
fn connect(place: &Place) -> (Option<i32>, Vec<String>) {
    run(place
        .command("check")
        .args(["--connect", "--timeout", "5s"]))
}

fn run(command: &mut Command) -> (Option<i32>, Vec<String>) {
    let output = command.output().unwrap();
    assert!(
        err(&output).contains("configuration valid: "),
        "{}",
        err(&output)
    );
    let mut lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    assert!(
        last.starts_with("ok     dead letters /") && last.ends_with(": writable"),
        "{last}"
    );
    (output.status.code(), lines)
}

fn assert_line(line: &str, start: &str, end: &str) {
    assert!(
        line.starts_with(start) && line.ends_with(end),
        "{line}\nexpected {start} ... {end}"
    );
}

#[test]
fn connections_that_work_are_described_and_nothing_changes() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, &["n1", "n2"], 500, "hello");
    let state = || {
        let offset: i64 = server.info_field("replication", "master_repl_offset");
        let refused: i64 = server.info_field("agg", "agg_refused_argument");
        let leased = of_queue(&server, "n1", "LOG", "leased");
        let digests = ["n1", "n2"].map(|node| server.digest(node));
        (digests, offset, refused, leased)
    };
    let before = state();
    let place = Place::new(&settings(&server, ALL_TO_FILE));
    let (code, lines) = connect(&place);
    assert_eq!((code, lines.len()), (Some(0), 2), "{lines:?}");
    let url = server.url();
    assert_line(&lines[0], &format!("ok     server {url}: "), ", 2 nodes");
    assert!(lines[0].contains(", module version "), "{lines:?}");
    assert_line(&lines[1], "ok     sink out: ", "/out is writable");
    assert_eq!(state(), before);
    assert_eq!(left(&server, &["n1", "n2"], "LOG"), 1000);
    let files: Vec<_> = std::fs::read_dir(place.path("")).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    // Without the option, nothing is connected to.
    let connections: i64 = server.info_field("stats", "total_connections_received");
    let output = place.command("check").output().unwrap();
    assert_eq!((output.status.code(), &*out(&output)), (Some(0), ""));
    let after: i64 = server.info_field("stats", "total_connections_received");
    assert_eq!(after - connections, 1, "the one that asks");
}

#[test]
fn servers_that_cannot_be_drained_are_named_with_the_reason() {
    let (Some(server), Some(plain)) = (Server::start(), Server::with(&[])) else {
        return;
    };
    let Some(replica) = Server::start() else {
        return;
    };
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", server.port));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://{}", silent.local_addr().unwrap());
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let urls = [
        server.url(),
        plain.url(),
        replica.url(),
        silent.clone(),
        nobody.clone(),
    ];
    let place = Place::new(&format!("[[source]]\nurls = {urls:?}\n{ALL_TO_FILE}"));
    let (code, lines) = run(place
        .command("check")
        .args(["--connect", "--timeout", "1s"]));
    assert_eq!((code, lines.len()), (Some(1), 6), "{lines:?}");
    let line = |index: usize, start: &str, end: &str| {
        assert_line(
            &lines[index],
            &format!("{start} server {}: ", urls[index]),
            end,
        );
    };
    line(0, "ok    ", ", 0 nodes");
    line(
        1,
        "failed",
        "does not have the aggregator module: start it with --loadmodule libaggregator.so",
    );
    line(2, "failed", "a replica: only its primary can be drained");
    line(3, "failed", "no result within 1s");
    line(4, "failed", "connection refused; is the server running?");
}

#[test]
fn permissions_of_live_values_are_checked_if_they_are_served() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, &["web1"], 500, "hello");
    let url = format!("redis://poller:s3cret@127.0.0.1:{}", server.port);
    let source = format!("[[source]]\nurls = [\"{url}\"]\n{ALL_TO_FILE}");
    let serves = format!("listen = \"127.0.0.1:9777\"\n{source}[serve]\n");
    for (settings, rules, expected) in [
        (&source, "+agg.info +info", ", 1 node"),
        (&serves, "+agg.info +info +agg.scan +agg.range", ", 1 node"),
        (
            &serves,
            "+agg.info +info",
            "1 node; live values are missing, as the user may not run AGG.SCAN, AGG.RANGE",
        ),
    ] {
        let rules = format!("~* {NEEDED} {rules}");
        let () = server.ask(&format!("ACL SETUSER poller reset on >s3cret {rules}"));
        let (code, lines) = connect(&Place::new(settings));
        assert_eq!(code, Some(0), "{lines:?}");
        assert_line(&lines[0], "ok     server ", expected);
    }
    let refused: i64 = server.info_field("agg", "agg_refused_argument");
    assert_eq!(refused, 0);
}

#[test]
fn missing_permissions_are_named() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, &["web1", "web2", "db1"], 500, "hello");
    let url = format!("redis://poller:s3cret@127.0.0.1:{}", server.port);
    let place = Place::new(&format!("[[source]]\nurls = [\"{url}\"]\n{ALL_TO_FILE}"));
    for (rules, ok, expected) in [
        (format!("~* {NEEDED} +agg.info +info"), true, ", 3 nodes"),
        // What INFO says is unknown.
        (
            format!("~* {NEEDED}"),
            true,
            "version unknown (INFO is not permitted), 3 nodes; the lengths of queues are unknown, as the user may \
             not run AGG.INFO",
        ),
        (
            "~* +agg.fetch +agg.nack +scan".into(),
            false,
            "the user may not run AGG.ACK, AGG.EXTEND",
        ),
        (
            format!("~web* {NEEDED} +agg.info"),
            false,
            "the user may not drain 1 of 3 nodes: db1",
        ),
        (
            format!("%R~* {NEEDED} +agg.info"),
            false,
            "the user may not drain 3 of 3 nodes: db1, web1, web2",
        ),
        (
            "~* +agg.fetch +agg.ack +agg.nack +agg.extend".into(),
            false,
            "rejects SCAN: NOPERM",
        ),
    ] {
        let () = server.ask("ACL DELUSER poller");
        let () = server.ask(&format!("ACL SETUSER poller on >s3cret {rules}"));
        let (code, lines) = connect(&place);
        assert_eq!(code, Some(i32::from(!ok)), "{lines:?}");
        let word = if ok { "ok    " } else { "failed" };
        let start = format!("{word} server {}: ", server.url());
        assert!(
            lines[0].starts_with(&start) && lines[0].contains(expected),
            "{rules}: {lines:?}"
        );
    }
    assert_eq!(left(&server, &["web1", "web2", "db1"], "LOG"), 1500);
}

#[test]
fn wrong_passwords_are_reported_and_never_shown() {
    let Some(server) = Server::start() else {
        return;
    };
    let () = server.ask("CONFIG SET requirepass right");
    let source = |url: &str| format!("[[source]]\nurls = [\"{url}\"]\n{ALL_TO_FILE}");
    for (url, expected) in [
        (
            format!("redis://:hunter2@127.0.0.1:{}", server.port),
            "does not accept the user or password",
        ),
        (
            server.url(),
            "requires a password: set password-file or password-env of the source",
        ),
    ] {
        let (code, lines) = connect(&Place::new(&source(&url)));
        assert_eq!(code, Some(1));
        assert!(
            lines[0].starts_with("failed server ") && lines[0].ends_with(expected),
            "{lines:?}"
        );
        assert!(!lines.concat().contains("hunter2"), "{lines:?}");
    }
}

#[test]
fn servers_of_ranges_clusters_and_sentinels_are_found() {
    let (Some(server), Some(cluster), Some(watched)) =
        (Server::start(), Cluster::start(), Monitored::start())
    else {
        return;
    };
    let secrets = tempfile::tempdir().unwrap();
    let secret = |name: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    let sentinels: Vec<String> = watched.sentinels.iter().map(Server::url).collect();
    let place = Place::new(&format!(
        "[[source]]\nrange = \"127.0.0.1/32\"\nport = {}\n[[source]]\nrange = \"127.0.0.0/30\"\nport = {}\n\
         [[source]]\ncluster = [\"{}\"]\n\
         [[source]]\nsentinel = {sentinels:?}\nservice = \"grid\"\npassword-file = {:?}\nsentinel-password-file = {:?}\n\
         [[source]]\nsentinel = {sentinels:?}\nservice = \"none\"\nsentinel-password-file = {:?}\n{ALL_TO_FILE}",
        server.port,
        free_port(),
        cluster.servers[0].url(),
        secret("s3rver"),
        secret("s3ntinel"),
        secret("s3ntinel"),
    ));
    let (code, lines) = connect(&place);
    assert_eq!((code, lines.len()), (Some(1), 11), "{lines:#?}");
    let starts = [
        format!("ok     range of 1 address, port {}: 1 server", server.port),
        format!("ok     server {}: ", server.url()),
        "failed range of 2 addresses, port ".into(),
        format!("ok     cluster {}: 3 primaries", cluster.servers[0].url()),
        "ok     server ".into(),
        "ok     server ".into(),
        "ok     server ".into(),
        "ok     service \"grid\" of Sentinels: the primary is redis://".into(),
        "ok     server ".into(),
        "failed service \"none\" of Sentinels: the Sentinel redis://".into(),
        "ok     sink out: ".into(),
    ];
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start), "{line}\nexpected {start}");
    }
    assert!(
        lines[2].ends_with(": no server with the module"),
        "{lines:#?}"
    );
}

/// The keys of a sink of each type that connects to a port. The tests of the examples check sinks whose targets are
/// there.
const UNREACHABLE: [(&str, &str); 10] = [
    ("aggregator", "uri = \"redis://127.0.0.1:{port}\""),
    (
        "http",
        "url = \"https://127.0.0.1:{port}/records?key=hunter2\"",
    ),
    (
        "influxdb",
        "url = \"http://127.0.0.1:{port}\"\ndatabase = \"grid\"\nuser = \"u\"\npassword-env = \"AGG_TEST_SECRET\"",
    ),
    (
        "kafka",
        "uri = \"kafka://127.0.0.1:{port}\"\nuser = \"u\"\npassword-env = \"AGG_TEST_SECRET\"",
    ),
    (
        "mongodb",
        "uri = \"mongodb://127.0.0.1:{port}\"\ndatabase = \"grid\"\nuser = \"u\"\npassword-env = \"AGG_TEST_SECRET\"",
    ),
    (
        "opensearch",
        "url = \"http://127.0.0.1:{port}\"\nuser = \"u\"\npassword-env = \"AGG_TEST_SECRET\"",
    ),
    (
        "otlp",
        "url = \"http://127.0.0.1:{port}\"\nheaders = { api-key-env = \"AGG_TEST_SECRET\" }",
    ),
    (
        "postgresql",
        "uri = \"postgresql://127.0.0.1:{port}/grid\"\nuser = \"u\"\npassword-env = \"AGG_TEST_SECRET\"",
    ),
    (
        "prometheus",
        "url = \"http://127.0.0.1:{port}/api/v1/write\"\ntoken-env = \"AGG_TEST_SECRET\"",
    ),
    ("redis-stream", "uri = \"redis://127.0.0.1:{port}\""),
];

#[test]
fn sinks_of_all_types_that_cannot_be_reached_are_named() {
    let Some(server) = Server::start() else {
        return;
    };
    let types = UNREACHABLE.map(|(name, _)| name);
    let mut all = crate::examples::types();
    all.retain(|name| name != "file");
    assert_eq!(all, types);
    let mut text = format!("[[route]]\nqueues = [\"MIN\"]\nsinks = {types:?}\n");
    for (name, keys) in UNREACHABLE {
        text += &format!("[sink.{name}]\ntype = \"{name}\"\n{keys}\n");
    }
    let port = free_port().to_string();
    let place = Place::new(&settings(&server, &text.replace("{port}", &port)));
    let (code, lines) = run(place
        .command("check")
        .env("AGG_TEST_SECRET", "hunter2")
        .args(["--connect"]));
    assert_eq!(
        (code, lines.len()),
        (Some(1), 1 + types.len()),
        "{lines:#?}"
    );
    for (line, name) in lines[1..].iter().zip(types) {
        assert!(line.starts_with(&format!("failed sink {name}: ")), "{line}");
        // The reason, not the end of the time for the check.
        assert!(!line.contains("no result within"), "{line}");
    }
    assert!(!lines.concat().contains("hunter2"), "{lines:#?}");
}

/// Runs `agg check --connect` for a sink alone. Returns the exit code and the line of the sink.
fn sink(server: &Server, sink: &str) -> (Option<i32>, String) {
    let route = "[[route]]\nqueues = [\"MIN\"]\nsinks = [\"s\"]\n[sink.s]\n";
    let (code, mut lines) = connect(&Place::new(&settings(server, &format!("{route}{sink}"))));
    (code, lines.remove(1))
}

#[test]
fn credentials_and_database_of_influxdb_are_checked() {
    let (Some(server), Some(influx)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    influx.query("CREATE DATABASE grid");
    let of = |database: &str| {
        let url = influx.url();
        let text = format!("type = \"influxdb\"\nurl = \"{url}\"\ndatabase = \"{database}\"\n");
        sink(&server, &text)
    };
    let (code, line) = of("grid");
    assert_eq!(code, Some(0), "{line}");
    assert_line(&line, "ok     sink s: ", " is reachable and accepts writes");
    assert!(influx.query("SHOW MEASUREMENTS").is_empty());
    let (code, line) = of("other");
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains("database not found"), "{line}");
}

#[test]
fn permissions_for_streams_are_checked_and_none_is_created() {
    let (Some(server), Some(target)) = (Server::start(), Server::with(&[])) else {
        return;
    };
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&password, "s3cret").unwrap();
    let text = format!(
        "type = \"redis-stream\"\nuri = \"{}\"\nuser = \"poller\"\npassword-file = {:?}\n",
        target.url(),
        password.path()
    );
    for (rules, expected) in [
        ("~agg:* +xadd +eval", None),
        ("~agg:* +eval", Some("rejects XADD to agg:min: NOPERM")),
        ("~agg:* +xadd", Some("rejects EVAL to agg:min: NOPERM")),
        (
            "~agg:min +xadd +eval",
            Some("rejects XADD to agg:hour: NOPERM"),
        ),
    ] {
        let () = target.ask("ACL DELUSER poller");
        let () = target.ask(&format!("ACL SETUSER poller on >s3cret {rules}"));
        let (code, line) = sink(&server, &text);
        assert_eq!(code, Some(i32::from(expected.is_some())), "{rules}: {line}");
        assert!(
            line.contains(expected.unwrap_or("ok     sink s: ")),
            "{rules}: {line}"
        );
    }
    let keys: i64 = target.ask("DBSIZE");
    assert_eq!(keys, 0);
}

#[test]
fn replies_of_other_versions_of_influxdb_are_understood() {
    let Some(server) = Server::start() else {
        return;
    };
    let keys = |version: u8| match version {
        2 => "version = 2\norg = \"o\"\nbucket = \"b\"\ntoken-env = \"HOME\"",
        _ => "version = 3\ndatabase = \"d\"\ntoken-env = \"HOME\"",
    };
    let no_points = "{\"code\":\"invalid\",\"message\":\"writing requires points\"}";
    let unauthorized = "{\"code\":\"unauthorized\",\"message\":\"unauthorized access\"}";
    for (version, status, body, expected) in [
        (2, 400, no_points, Ok("InfluxDB 2.7.1: ")),
        (2, 401, unauthorized, Err("HTTP 401: unauthorized access")),
        (3, 200, "{\"version\":\"3.1.0\"}", Ok("InfluxDB 3.1.0: ")),
        (3, 401, "", Err("HTTP 401")),
    ] {
        let stub = Stub::start(move |_, request| match &*request.path {
            "/health" => (200, "", "{\"version\":\"v2.7.1\"}".into()),
            _ => (status, "", body.into()),
        });
        let keys = keys(version);
        let text = format!("type = \"influxdb\"\nurl = \"{}\"\n{keys}\n", stub.url);
        let (code, line) = sink(&server, &text);
        match expected {
            Ok(start) => assert!(
                line.starts_with(&format!("ok     sink s: {start}")),
                "{line}"
            ),
            Err(reason) => assert_line(&line, "failed sink s: ", reason),
        }
        assert_eq!(code, Some(i32::from(expected.is_err())));
        let bodies = stub
            .requests()
            .iter()
            .map(|request| request.body.len())
            .sum::<usize>();
        assert_eq!(bodies, 0);
    }
}

#[test]
fn certificate_of_an_endpoint_is_checked_and_nothing_is_sent() {
    let Some(server) = Server::start() else {
        return;
    };
    let certs = Certs::new("127.0.0.1");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tls_front::start(&certs, target.local_addr().unwrap().port());
    let of = |more: &str| {
        let url = format!("https://127.0.0.1:{port}/records");
        sink(
            &server,
            &format!("type = \"http\"\nurl = \"{url}\"\n{more}\n"),
        )
    };
    let (code, line) = of(&format!(
        "tls-ca = {:?}\ntls-cert = {:?}\ntls-key = {:?}",
        certs.path("ca.pem"),
        certs.path("client.pem"),
        certs.path("client.key")
    ));
    assert_eq!(code, Some(0), "{line}");
    assert_line(&line, "ok     sink s: 127.0.0.1:", " is reachable with TLS");
    let (code, line) = of("");
    assert_eq!(code, Some(1), "{line}");
    assert_line(
        &line,
        "failed sink s: cannot connect: ",
        "invalid peer certificate: UnknownIssuer",
    );
}
