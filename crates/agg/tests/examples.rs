//! The example of each sink, crates/agg/examples/sinks: valid as it is, and run against a real target where the tests have
//! one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::influx::InfluxDb;
use crate::support::kafka::Kafka;
use crate::support::mongo::MongoDb;
use crate::support::opensearch::OpenSearch;
use crate::support::place::{end, left, log, names, until_empty, windows};
use crate::support::postgres::Postgres;
use crate::support::prometheus::Prometheus;
use crate::support::rotel::Rotel;
use crate::support::stub::Stub;
use crate::support::{Running, Server, agg, err, out};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sinks")
}

/// Returns the types of the sinks that have an example.
pub fn types() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut types: Vec<String> = names
        .map(|name| name.strip_suffix(".toml").unwrap().to_owned())
        .collect();
    types.sort();
    types
}

/// Returns a command with the example of a sink, run in a directory.
fn command(verb: &str, name: &str, dir: &Path) -> Command {
    let file = folder().join(format!("{name}.toml"));
    let mut command = agg("redis://unused", verb);
    command.current_dir(dir).arg("--config").arg(file);
    command
}

#[test]
fn every_sink_has_an_example_that_is_valid_and_of_its_type() {
    let dir = tempfile::tempdir().unwrap();
    for name in types() {
        let output = command("check", &name, dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        assert!(text.contains(&format!("type = \"{name}\"\n")), "{name}");
        assert!(text.contains(&format!("docs/sinks/{name}.md\n")), "{name}");
    }
    // The message names all types.
    let file = dir.path().join("poller.toml");
    std::fs::write(&file, "[sink.a]\ntype = \"none\"\n").unwrap();
    let output = agg("", &format!("check --config {}", file.display())).output();
    let text = err(&output.unwrap());
    let (_, rest) = text.split_once("expected the type ").unwrap();
    let list = rest.split(", not").next().unwrap().replace(" or ", ", ");
    let mut known: Vec<&str> = list.split(", ").filter(|name| *name != "stdout").collect();
    known.sort_unstable();
    assert_eq!(types(), known);
}

/// Runs the example of a sink with these variables: everything is usable, and all records are stored.
fn assert_drains(server: &Server, name: &str, variables: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let url = server.url();
    let with = |mut command: Command| {
        command.env("SERVER", &url).envs(variables.iter().copied());
        command
    };
    let mut check = with(command("check", name, dir.path()));
    let output = check.arg("--connect").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{name}: {}", out(&output));
    windows(server, "n1", &names(5));
    let queues: &[&str] = match name {
        "influxdb" | "prometheus" => &["MIN"],
        _ => {
            log(server, &["n1"], 500, "hello");
            &["MIN", "LOG"]
        }
    };
    let running = Running::start(&mut with(command("poll", name, dir.path())));
    for queue in queues {
        until_empty(server, &["n1"], queue);
        assert_eq!(left(server, &["n1"], queue), 0);
    }
    end(running);
    assert!(!dir.path().join("dead-letters.jsonl").exists(), "{name}");
    let () = server.ask("FLUSHALL");
}

#[test]
fn examples_of_files_http_and_streams_drain_a_server() {
    let (Some(server), Some(target)) = (Server::start(), Server::with(&[])) else {
        return;
    };
    assert_drains(&server, "file", &[]);
    let stub = Stub::start(|_, _| (200, "", String::new()));
    assert_drains(&server, "http", &[("URL", &stub.url)]);
    assert_drains(&server, "redis-stream", &[("URI", &target.url())]);
    let length: usize = target.ask("XLEN agg:log");
    assert_eq!(length, 500);
}

#[test]
fn example_of_a_relay_drains_a_server() {
    let (Some(server), Some(hub)) = (Server::start(), Server::start()) else {
        return;
    };
    assert_drains(&server, "aggregator", &[("URI", &hub.url())]);
    assert_eq!(left(&hub, &["n1"], "LOG"), 500);
}

#[test]
fn example_of_influxdb_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    target.query("CREATE DATABASE grid");
    assert_drains(
        &server,
        "influxdb",
        &[("URL", &target.url()), ("DATABASE", "grid")],
    );
}

#[test]
fn example_of_mongodb_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), MongoDb::start()) else {
        return;
    };
    assert_drains(&server, "mongodb", &[("URI", &target.uri())]);
}

#[test]
fn example_of_kafka_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), Kafka::start()) else {
        return;
    };
    assert_drains(&server, "kafka", &[("URI", &target.uri())]);
    assert_eq!(target.topics()["agg.log"], 6);
}

#[test]
fn example_of_opensearch_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), OpenSearch::start()) else {
        return;
    };
    assert_drains(&server, "opensearch", &[("URL", &target.url())]);
}

#[test]
fn example_of_postgresql_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), Postgres::start()) else {
        return;
    };
    assert_drains(&server, "postgresql", &[("URI", &target.uri())]);
}

#[test]
fn example_of_prometheus_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), Prometheus::receiving("1d", &[])) else {
        return;
    };
    assert_drains(&server, "prometheus", &[("URL", &target.write_url())]);
}

#[test]
fn example_of_otlp_drains_a_server() {
    let (Some(server), Some(target)) = (Server::start(), Rotel::start()) else {
        return;
    };
    assert_drains(&server, "otlp", &[("URL", &target.url())]);
}
