//! `agg poll` with a real PostgreSQL: what rows look like, that no newer record is overwritten, and what happens when the
//! server replies with errors or rejects a row. The suite of all sinks has the other faults.

mod faults;
mod page;
mod rejections;
mod tls;

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::place::{
    Id, Place, end, left, names, settings, until_empty, until_retried, windows,
};
use crate::support::postgres::Postgres;
use crate::support::{Server, ask, err, past_hour, until};

const QUEUES: &str = "queues = [\"MIN\", \"HOUR\", \"LOG\", \"ERROR\", \"REALITY\"]";

/// Starts both; `None` if one is missing.
fn parts() -> Option<(Server, Postgres)> {
    Some((Server::start()?, Postgres::start()?))
}

/// Returns settings of a poller that drains all queues into a database, with more keys of its sink.
fn place(server: &Server, uri: &str, more: &str) -> Place {
    Place::new(&settings(
        server,
        &format!(
            "[[route]]\n{QUEUES}\nsinks = [\"db\"]\n[sink.db]\ntype = \"postgresql\"\nuri = \"{uri}\"\n\
             user = \"poller\"\n{more}\n"
        ),
    ))
}

/// Loads lines into the sink, and returns what `agg load` says.
fn load(place: &Place, lines: &[impl AsRef<[u8]>]) -> Output {
    let lines: Vec<&[u8]> = lines.iter().map(AsRef::as_ref).collect();
    std::fs::write(place.path("in"), [&lines.join(&b'\n')[..], b"\n"].concat()).unwrap();
    place
        .command("load")
        .arg(place.path("in"))
        .output()
        .unwrap()
}

/// Asserts that the logs have these records, each once.
fn assert_once(postgres: &Postgres, expected: &BTreeSet<Id>) {
    let rows = postgres.rows("SELECT node, id FROM logs");
    let id = |row: &Value| {
        let node = row["node"].as_str().unwrap().to_owned();
        (node, "LOG".to_owned(), row["id"].as_i64().unwrap())
    };
    assert_eq!(rows.len(), expected.len());
    assert_eq!(&rows.iter().map(id).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn records_of_all_queues_become_rows() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let mut connection = server.connection();
    for (name, value) in [("agg.percentiles", "50 99.9"), ("agg.hist-records", "yes")] {
        let mut set = redis::cmd("CONFIG");
        let () = set
            .arg("SET")
            .arg(name)
            .arg(value)
            .query(&mut connection)
            .unwrap();
    }
    let start = past_hour();
    for value in [12, 15, 840] {
        let sample = format!("AGG.STAT n1 ms@a@b {value} HIST TAGS p50:x,flag AT {start}");
        let _: i64 = ask(&mut connection, &sample);
    }
    windows(&server, "n2", &names(20));
    until("the hours close", || {
        (left(&server, &["n1", "n2"], "HOUR") == 21).then_some(())
    });
    // Characters that SQL, COPY or jsonb treat specially.
    let text = "q'\"\\\t\n$1 \u{1f600}";
    let id: i64 = server.send(&[
        b"AGG.LOG",
        b"n1",
        text.as_bytes(),
        b"LEVEL",
        b"3",
        b"TAGS",
        b"a.b:1",
        b"AT",
        b"1700000000123",
    ]);
    let (key, _): (String, i64) = server.send(&[
        b"AGG.ERROR",
        b"n1",
        b"broken",
        b"CODE",
        b"c7",
        b"AT",
        b"1700000000000",
    ]);
    let object = br#"{"a":[1.50,null,"\\u0000\ud83d\ude00"],"n":123456789012345678901234567890}"#;
    let _: redis::Value = server.send(&[b"AGG.REALITY", b"n1", b"disk/0", b"Disk", object]);
    let records: Vec<Value> = ["MIN", "HOUR"]
        .iter()
        .flat_map(|queue| ["n1", "n2"].map(|node| server.peek(node, queue)))
        .flatten()
        .collect();
    let place = place(&server, &postgres.uri(), "");
    let running = place.start();
    for queue in ["MIN", "HOUR", "LOG", "ERROR", "REALITY"] {
        until_empty(&server, &["n1", "n2"], queue);
    }
    let rows = postgres.rows(
        "SELECT *, extract(epoch FROM start_time) * 1000 AS s, extract(epoch FROM end_time) * 1000 AS e \
         FROM statistics ORDER BY queue DESC, node, id",
    );
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        for column in ["node", "queue", "id", "type", "count", "tags", "hist"] {
            assert_eq!(row[column], record[column], "{column}");
        }
        let metric = record["metric"].as_str().unwrap();
        let (metric, instance) = metric.split_once('@').unwrap_or((metric, ""));
        assert_eq!(
            (&row["metric"], &row["instance"]),
            (&json!(metric), &json!(instance))
        );
        for column in ["sum", "avg", "min", "max", "last"] {
            assert_eq!(row[column].as_f64(), record[column].as_f64(), "{column}");
        }
        for percentile in ["p50", "p99_9"] {
            assert_eq!(
                row["percentiles"][percentile].as_f64(),
                record[percentile].as_f64()
            );
        }
        assert_eq!(row["seconds"], record["window"]);
        assert_eq!(
            (row["s"].as_f64(), row["e"].as_f64()),
            (record["start"].as_f64(), record["end"].as_f64())
        );
    }
    assert!(
        rows.iter()
            .any(|row| row["percentiles"] == json!({"p50": 15, "p99_9": 840}))
    );
    assert!(rows.iter().any(|row| row["percentiles"].is_null()));
    let logs = postgres.rows("SELECT *, time = '2023-11-14 22:13:20.123Z' AS timely FROM logs");
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0]["message"], text);
    assert_eq!(
        (&logs[0]["id"], &logs[0]["level"], &logs[0]["timely"]),
        (&json!(id), &json!(3), &json!(true))
    );
    assert_eq!(
        (&logs[0]["severity"], &logs[0]["tags"]),
        (&json!("INFO"), &json!({"a.b": "1"}))
    );
    let errors = postgres.rows("SELECT *, first_time = '2023-11-14 22:13:20Z' AND last_time = first_time AS timely FROM errors");
    assert_eq!(errors.len(), 1);
    assert_eq!(
        (
            &errors[0]["key"],
            &errors[0]["code"],
            &errors[0]["occurrences"]
        ),
        (&json!(key), &json!("c7"), &json!(1))
    );
    assert_eq!(
        (&errors[0]["message"], &errors[0]["timely"]),
        (&json!("broken"), &json!(true))
    );
    let objects = postgres.rows("SELECT key, model, gone, json::text AS json FROM reality");
    let json =
        "{\"a\": [1.50, null, \"\\\\u0000\u{1f600}\"], \"n\": 123456789012345678901234567890}";
    assert_eq!(
        objects,
        [json!({"key": "disk/0", "model": "Disk", "gone": false, "json": json})]
    );
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn repeated_record_is_one_row_and_the_newest_state_wins() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    let object = |id: i64, value: i64| {
        format!(
            r#"{{"node":"n","queue":"REALITY","id":{id},"key":"k","model":"m","json":{value},"tags":{{}},"epoch":1,"gone":false}}"#
        )
    };
    let entry = r#"{"node":"n","queue":"LOG","id":5,"message":"a","level":3,"severity":"INFO","tags":{},"epoch":1}"#;
    let load = |lines: &[&str]| {
        let output = load(&place, lines);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    };
    let of = || postgres.rows("SELECT id, json FROM reality");
    load(&[&object(7, 1), entry, &object(9, 3), entry, &object(8, 2)]);
    assert_eq!(of(), [json!({"id": 9, "json": 3})]);
    load(&[&object(8, 2), entry]);
    assert_eq!(of(), [json!({"id": 9, "json": 3})]);
    load(&[&object(10, 4)]);
    assert_eq!(of(), [json!({"id": 10, "json": 4})]);
    assert_eq!(
        postgres.rows("SELECT id, message FROM logs"),
        [json!({"id": 5, "message": "a"})]
    );
}

#[test]
fn missing_database_and_wrong_user_are_reported() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let _: i64 = server.ask("AGG.LOG n1 x");
    for (from, to, reason) in [
        ("/grid", "/none", "database \"none\" does not exist (3D000)"),
        (
            "user = \"poller\"",
            "user = \"nobody\"",
            "role \"nobody\" does not exist (28000)",
        ),
        (
            "user = \"poller\"",
            "user = \"poller\"\nschema = \"none\"",
            "schema \"none\" does not exist (3F000)",
        ),
    ] {
        let place = place(&server, &postgres.uri(), "");
        let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
        place.write(&text.replace(from, to));
        let mut running = place.start();
        let mut errors = running.errors();
        until_retried(&mut errors, reason);
        end(running);
    }
    assert_eq!(left(&server, &["n1"], "LOG"), 1);
}
