//! `agg poll` and its sinks: slow ones, sinks that are down or reject records, and shutdown by a signal.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::influx::InfluxDb;
use crate::support::place::{
    Place, VERSION_1, influx, left, log, names, settings, until_empty, windows,
};
use crate::support::stub::{Answer, Stub};
use crate::support::{Running, Server, ask, err, of_queue, past_hour, unstamped, until};

#[test]
fn shutdown_returns_records_that_a_sink_has_not_stored() {
    let Some(server) = Server::start() else {
        return;
    };
    let count = windows(&server, "n1", &names(50));
    let stub = Stub::start(|_, _| -> Answer {
        std::thread::sleep(Duration::from_secs(60));
        (204, "", String::new())
    });
    let head = settings(&server, &influx(&stub.url, VERSION_1));
    let head = head.replace("lease = \"1s\"", "lease = \"1h\"\nshutdown-grace = \"1s\"");
    let place = Place::new(&head);
    let mut running = place.start();
    until("the sink is asked", || stub.requests().first().cloned());
    let start = Instant::now();
    assert_eq!(running.end_by("TERM").code(), Some(0));
    // The grace period, and not the minute that the sink would take.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(700), "took {took:?}");
    assert!(took < Duration::from_secs(30), "took {took:?}");
    assert_eq!(
        unstamped(&running.errors().last().unwrap()),
        "agg: sink db: 0 records stored, 0 dead letters"
    );
    assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
    assert_eq!(of_queue(&server, "n1", "MIN", "leased"), 0);
}

#[test]
fn sink_slower_than_the_lease_gets_each_record_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let count = windows(&server, "n1", &names(20));
    let stub = Stub::start(|_, _| -> Answer {
        std::thread::sleep(Duration::from_secs(8));
        (204, "", String::new())
    });
    // Long enough that a poller on a loaded machine extends it in time.
    let text = settings(&server, &influx(&stub.url, VERSION_1));
    let place = Place::new(&text.replace("lease = \"1s\"", "lease = \"3s\""));
    let mut running = place.start();
    let looked = until("the queue is empty, or others get its records", || {
        // Queried first: what the poller takes in between says nothing about its lease.
        let started = !stub.requests().is_empty();
        let got: Vec<redis::Value> = server.ask("AGG.FETCH n1 MIN LEASE 1");
        assert!(!started || got.is_empty(), "the lease ended");
        (left(&server, &["n1"], "MIN") == 0).then(|| stub.requests())
    });
    assert_eq!(looked.len(), 1);
    assert_eq!(looked[0].lines().len(), count);
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn unreachable_sink_fills_its_budget_and_stops_no_other() {
    let Some(server) = Server::start() else {
        return;
    };
    let stub = Stub::start(|_, _| (500, "", "down".into()));
    let rest = influx(&stub.url, VERSION_1).replace("[\"db\"]", "[\"db\", \"copy\"]");
    let log_route = r#"
[[route]]
queues = ["LOG"]
sinks = ["out"]
[sink.out]
type = "file"
path = "{dir}/out"
[sink.copy]
type = "file"
path = "{dir}/copy"
"#;
    let head = settings(&server, &format!("{rest}{log_route}"));
    let place = Place::new(&format!("max-in-flight = \"12mb\"\n{head}"));
    // Far more than the budget of the sink.
    let long: Vec<String> = (0..5000)
        .map(|n| format!("m{n}{}", "x".repeat(700)))
        .collect();
    let count = windows(&server, "n1", &long);
    let mut running = place.start();
    until("the share is filled", || {
        (of_queue(&server, "n1", "MIN", "leased") > 1000).then_some(())
    });
    let all = log(&server, &["n1"], 1000, "x");
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(place.ids("out").into_iter().collect::<BTreeSet<_>>(), all);
    let leased = of_queue(&server, "n1", "MIN", "leased");
    // A record has its text in both formats, each longer than its name.
    assert!(leased * 1400 < 4 << 20, "{leased} are held");
    assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
    let peak = running.peak_memory();
    assert!(peak < 48 << 20, "{peak} bytes for 12 MiB in flight");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(of_queue(&server, "n1", "MIN", "leased"), 0);
}

/// InfluxDB 2.x is a stub here: its faults are taken from the description of its API.
#[test]
fn influxdb_2_faults_are_handled() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut metrics = names(60);
    metrics.push("poison".into());
    let count = windows(&server, "n1", &metrics);
    let stub = Stub::start(|before, request| match before {
        0 => (
            429,
            "Retry-After: 1\r\n",
            r#"{"code":"too many requests"}"#.into(),
        ),
        1 => (503, "Retry-After: 1\r\n", String::new()),
        _ if request.lines().len() > 50 => (413, "", r#"{"message":"too large"}"#.into()),
        _ if request.body.contains("poison") => {
            let text = r#"{"code":"invalid","message":"unable to parse"}"#;
            (400, "", text.into())
        }
        _ => (204, "", String::new()),
    });
    let rest = influx(
        &stub.url,
        "version = 2\norg = \"o\"\nbucket = \"b\"\ntoken-env = \"TEST_TOKEN\"",
    );
    let place = Place::new(&settings(&server, &rest));
    let mut running = Running::start(place.command("poll").env("TEST_TOKEN", "t0ken"));
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let requests = stub.requests();
    for request in &requests {
        assert_eq!(request.path, "/api/v2/write?org=o&bucket=b&precision=ns");
        assert_eq!(request.authorization, "Token t0ken");
    }
    for two in requests[..3].windows(2) {
        assert!(two[1].at - two[0].at >= Duration::from_secs(1));
    }
    let stored = requests[2..]
        .iter()
        .filter(|request| request.lines().len() <= 50 && !request.body.contains("poison"));
    let stored: Vec<&str> = stored.flat_map(|request| request.lines()).collect();
    let once: BTreeSet<&str> = stored.iter().copied().collect();
    assert_eq!((once.len(), stored.len()), (count - 2, count - 2));
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 2);
    for line in dead {
        let letter: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(letter["reason"], "HTTP 400: unable to parse");
        assert_eq!(
            (&letter["sink"], &letter["queue"]),
            (&"db".into(), &"MIN".into())
        );
        assert!(letter["line"].as_str().unwrap().starts_with("poison,"));
    }
    assert_eq!(
        unstamped(&running.errors().last().unwrap()),
        format!("agg: sink db: {} records stored, 2 dead letters", count - 2)
    );
}

/// A real InfluxDB 1: it removes a backslash before a quotation mark from a measurement.
#[test]
fn influxdb_stores_names_verbatim() {
    let (Some(server), Some(influx_db)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    influx_db.query("CREATE DATABASE grid");
    let names = [
        r#"q\"uote"#,
        r#"\"end\""#,
        r#"a"b"#,
        r"back\slash",
        r"a\=b",
        "plain",
    ];
    let place = Place::new(&settings(&server, &influx(&influx_db.url(), VERSION_1)));
    windows(&server, "n1", &names.map(str::to_owned));
    let _running = place.start();
    until_empty(&server, &["n1"], "MIN");
    let rows = influx_db.query("SHOW MEASUREMENTS");
    let mut found: Vec<&str> = rows.iter().map(|row| row[0].as_str().unwrap()).collect();
    found.sort_unstable();
    let mut expected = [
        r#"q_"uote"#,
        r#"_"end_""#,
        r#"a"b"#,
        r"back\slash",
        "a_=b",
        "plain",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// A real InfluxDB 1, to which the same windows are written as the server's lines and, from a file, as JSON.
#[test]
fn influxdb_stores_percentiles_and_increments() {
    let (Some(server), Some(influx_db)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    influx_db.query("CREATE DATABASE grid");
    let mut connection = server.connection();
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("agg.percentiles").arg("50 99.9");
    set.arg("agg.hist-records").arg("yes");
    let () = set.query(&mut connection).unwrap();
    let start = past_hour();
    // A tag with the name of a field.
    for value in [12, 15, 840] {
        let sample = format!("AGG.STAT n1 ms@a {value} HIST TAGS p50:x AT {start}");
        let _: i64 = ask(&mut connection, &sample);
    }
    for at in [start, start + 31_000, start + 290_000] {
        let _: i64 = ask(
            &mut connection,
            &format!("AGG.STAT n1 hits 30 INC TIMES 5 AT {at}"),
        );
    }
    let sinks = influx(&influx_db.url(), VERSION_1).replace("[\"db\"]", "[\"db\", \"copy\"]");
    let copy = "[sink.copy]\ntype = \"file\"\npath = \"{dir}/copy\"\n";
    let place = Place::new(&settings(&server, &format!("{sinks}{copy}")));
    let mut running = place.start();
    until("the windows are stored", || {
        (place.lines("copy").len() == 2).then_some(())
    });
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let select = || {
        let ms =
            influx_db.query("SELECT p50, p99_9, max, count, p50_ FROM ms WHERE instance = 'a'");
        let hits = influx_db.query("SELECT sum, avg, max, last, count FROM hits");
        assert_eq!((ms.len(), hits.len()), (1, 1));
        (json!(ms[0][1..]), json!(hits[0][1..]))
    };
    let expected = (json!([15, 840, 840, 3, "x"]), json!([450, 1.5, 15, 15, 15]));
    assert_eq!(select(), expected);
    // The points of the same windows from JSON are equal, so there are no more of them.
    std::fs::rename(place.path("copy"), place.path("in")).unwrap();
    assert!(
        place
            .lines("in")
            .iter()
            .any(|record| record.contains("\"hist\":"))
    );
    let output = place
        .command("load")
        .arg(place.path("in"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(select(), expected);
    assert!(place.lines("dead").is_empty());
}

/// A real InfluxDB 1.
#[test]
fn influxdb_stores_the_statistics() {
    let (Some(server), Some(influx_db)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    influx_db.query("CREATE DATABASE grid");
    let place = Place::new(&settings(&server, &influx(&influx_db.url(), VERSION_1)));
    windows(&server, "n1", &["cpu.load@0".to_owned()]);
    let mut running = place.start();
    until_empty(&server, &["n1"], "MIN");
    let rows = influx_db.query(
        "SELECT avg, count FROM \"cpu.load\" WHERE node = 'n1' AND instance = '0' AND \"window\" = '300s'",
    );
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][1..], [json!(1.5), json!(1)]);
    assert_eq!(running.end_by("TERM").code(), Some(0));
}
