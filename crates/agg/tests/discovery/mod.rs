//! `agg scan` finds a fleet and says what everything else is that answers. Encrypted connections trust only the
//! configured CA. `agg poll` drains all kinds of sources.

mod drain;
mod scan;
mod sources;

use std::collections::BTreeMap;
use std::process::Output;

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
