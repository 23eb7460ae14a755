//! AGG.GET, AGG.RANGE, AGG.SCAN, AGG.INFO and INFO agg on a real server: every field by name and in order, in RESP2
//! (flat arrays) and RESP3 (maps), replies for missing names, and errors.

mod every_command;
mod get;
mod info;
mod range;
mod scan;

use std::collections::BTreeMap;

use redis::Value;
use testkit::*;

/// Windows of the past stay open: nothing closes before an hour is over.
const LATE: &str = "flush-delay-ms 900000";

const WINDOW: &str = "start end count sum avg min max last closed";

const METRIC: &str =
    "name type tags last at min hour samples late late-min late-hour restarts gaps tag-changes";

/// Of DIFF and INC metrics.
const COUNTER: &str = "name type tags last at total min hour samples late late-min late-hour restarts gaps tag-changes";

const ERROR: &str = "node queue id key message public level severity type tags code func file backtrace gid nid \
                     occurrences first last seen";

const OBJECT: &str = "node queue id key model json tags epoch gone seen";

/// Returns the names of the fields of a map in order, separated by blanks.
fn names(map: &Value) -> String {
    let names: Vec<&Value> = match map {
        Value::Map(pairs) => pairs.iter().map(|(name, _)| name).collect(),
        Value::Array(items) => {
            assert!(items.len().is_multiple_of(2), "{items:?}");
            items.iter().step_by(2).collect()
        }
        _ => panic!("no map: {map:?}"),
    };
    let names: Vec<String> = names.into_iter().map(bulk).collect();
    names.join(" ")
}

fn bulk(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => panic!("no string: {value:?}"),
    }
}

/// Converts a reply of RESP3 to its form in RESP2.
fn flat(value: &Value) -> Value {
    match value {
        Value::Map(pairs) => {
            let items = pairs
                .iter()
                .flat_map(|(name, value)| [flat(name), flat(value)]);
            Value::Array(items.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(flat).collect()),
        value => value.clone(),
    }
}

/// Returns the reply in RESP3 and asserts that the reply in RESP2 is the same, with maps as flat arrays.
fn look(server: &Server, line: &str) -> Value {
    let two: Value = ask(&mut server.connection(), line);
    let three: Value = ask(&mut server.connection3(), line);
    assert_eq!(two, flat(&three), "{line}");
    three
}

/// Asserts that a map has these fields.
fn map(server: &Server, line: &str, fields: &str) -> Value {
    let map = look(server, line);
    assert!(matches!(map, Value::Map(_)), "{line}: {map:?}");
    assert_eq!(names(&map), fields, "{line}");
    map
}

/// Returns windows as start, count, sum, closed, and asserts that each has all fields.
fn windows(value: &Value, window_ms: i64) -> Vec<(i64, i64, f64, i64)> {
    list(value)
        .iter()
        .map(|window| {
            assert!(matches!(window, Value::Map(_)), "{window:?}");
            assert_eq!(names(window), WINDOW);
            let start = int(window, "start");
            assert_eq!(int(window, "end"), start + window_ms);
            (
                start,
                int(window, "count"),
                double(window, "sum"),
                int(window, "closed"),
            )
        })
        .collect()
}

/// Returns the fields of INFO agg in order, without their prefix.
fn info_agg(server: &Server) -> Vec<(String, i64)> {
    let info: String = server.ask("INFO agg");
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| {
            let name = name
                .strip_prefix("agg_")
                .unwrap_or_else(|| panic!("{name}"));
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn of_server(server: &Server, field: &str) -> i64 {
    let fields: BTreeMap<String, i64> = info_agg(server).into_iter().collect();
    *fields
        .get(field)
        .unwrap_or_else(|| panic!("no field {field}"))
}

/// One of a family.
fn add(pipe: &mut redis::Pipeline, family: &str, name: &str) {
    match family {
        "METRIC" => pipe.cmd("AGG.STAT").arg("n").arg(name).arg(1),
        "ERROR" => pipe
            .cmd("AGG.ERROR")
            .arg("n")
            .arg(name)
            .arg("KEY")
            .arg(name),
        _ => pipe
            .cmd("AGG.REALITY")
            .arg("n")
            .arg(name)
            .arg("model")
            .arg(1),
    }
    .ignore();
}

fn add_all(server: &Server, family: &str, names: &[String]) {
    let mut pipe = redis::pipe();
    names.iter().for_each(|name| add(&mut pipe, family, name));
    pipe.query::<()>(&mut server.connection()).unwrap();
}

fn some(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}
