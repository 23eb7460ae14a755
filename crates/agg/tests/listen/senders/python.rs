//! The libraries in Python.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use super::{python, run};
use crate::listen::contents::expect;
use crate::listen::*;
use crate::support::{Running, Server, until};

fn send(name: &str, arguments: &[&str]) {
    run(python(name).args(arguments));
}

/// What dogstatsd.py sends, but for the sets.
const DOGSTATSD: [(&str, &str, i64, f64, &str); 5] = [
    (
        "page.views@env=test,route=/pay",
        "INC",
        100,
        100.0,
        "env:test route:/pay",
    ),
    ("page.ms@env=test", "ABS", 100, 5050.0, "env:test"),
    ("page.bytes@env=test", "ABS", 100, 104_950.0, "env:test"),
    ("queue@env=test", "ABS", 2, 29.5, "env:test"),
    ("query.ms@env=test", "ABS", 1, 320.0, "env:test unit:ms"),
];

fn assert_dogstatsd(server: &Server, listener: Listener) {
    let mut expected = DOGSTATSD.to_vec();
    expected.push(("users@env=test", "ABS", 1, 3.0, "env:test"));
    assert_metrics(server, &expected);
    let log = server.peek("n1", "LOG");
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["message"], "deploy: version 1.2\nby ann");
    assert_eq!(log[0]["severity"], "ERROR");
    assert_eq!(log[0]["tags"]["team"], "shop");
    let error = &server.peek("n1", "ERROR")[0];
    assert_eq!(error["message"], "deploy: version 1.2\nby ann");
    let check = &server.peek("n1", "REALITY")[0];
    assert_eq!(check["model"], "service.Check");
    let status = status(&listener);
    let counts = &status["protocols"]["statsd"];
    // A decrement is not an increment.
    assert_eq!(counts["invalid"].as_object().unwrap().len(), 1, "{counts}");
    assert_eq!(
        (&counts["dropped"], &counts["rejected"]),
        (&0.into(), &0.into())
    );
    assert_eq!(listener.end().0, Some(0));
}

#[test]
fn dogstatsd_over_udp_arrives() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "--errors-from ERROR");
    send(
        "dogstatsd",
        &[&listener.address("statsd", "UDP").port().to_string()],
    );
    assert_dogstatsd(&server, listener);
}

#[test]
fn dogstatsd_over_a_unix_socket_arrives() {
    let Some(server) = server() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let path = path.to_str().unwrap();
    let arguments = format!("--statsd {path} --listen 127.0.0.1:0 --errors-from ERROR");
    let listener = Listener::with(&server.url(), &arguments);
    send("dogstatsd", &[path]);
    assert_dogstatsd(&server, listener);
}

#[test]
fn statsd_arrives_over_udp_and_tcp() {
    for kind in ["udp", "tcp"] {
        let Some(server) = server() else {
            return;
        };
        let listener = Listener::start(&server.url(), "--tag site:a");
        let port = listener.address("statsd", "TCP").port().to_string();
        send("statsd_client", &[kind, &port]);
        assert_metrics(
            &server,
            &[
                ("hits", "INC", 201, 210.0, "site:a"),
                ("ms", "ABS", 200, 19_900.0, "site:a unit:ms"),
                ("temp", "ABS", 2, 43.0, "site:a"),
                ("users", "ABS", 1, 1.0, "site:a"),
            ],
        );
        assert_eq!(metric(&server, "temp").unwrap().last, 23.0);
        assert_eq!(listener.end().0, Some(0));
    }
}

#[test]
fn opentelemetry_arrives() {
    for (protocol, temporality) in [
        ("http", "delta"),
        ("http", "cumulative"),
        ("grpc", "delta"),
        ("grpc", "cumulative"),
    ] {
        let Some(server) = server() else {
            return;
        };
        let listener = Listener::start(&server.url(), "--errors-from ERROR");
        let kind = if protocol == "http" { "HTTP" } else { "gRPC" };
        let endpoint = format!("http://{}", listener.address("otlp", kind));
        send("otel", &[protocol, &endpoint, temporality]);
        let found = |name: &str, count| until_counted(&server, name, count);
        let what = format!("{protocol} {temporality}");
        // Three exports. The first total counts from its start.
        let orders = found("orders@route=/pay,service.name=shop", 3);
        let expected = if temporality == "delta" {
            ("INC", 60.0)
        } else {
            ("DIFF", 60.0)
        };
        assert_eq!((&*orders.kind, orders.sum), expected, "{what}: {orders:?}");
        assert_eq!(orders.tags, "route:/pay service.name:shop", "{what}");
        let open = found("open@service.name=shop", 3);
        assert_eq!((&*open.kind, open.last), ("ABS", 7.0), "{what}: {open:?}");
        // The end of the program is a fourth export.
        let temperature = found("temperature@service.name=shop", 4);
        assert_eq!((temperature.sum, temperature.last), (87.0, 22.5), "{what}");
        let latency = found("latency@service.name=shop", 30);
        assert_eq!(
            (latency.count, latency.sum),
            (30, 3135.0),
            "{what}: {latency:?}"
        );
        assert_eq!(latency.tags, "service.name:shop unit:ms", "{what}");
        let size = found("size@service.name=shop", 30);
        assert_eq!((size.count, size.sum), (30, 165_000.0), "{what}: {size:?}");
        let log = until("two log records", || {
            let log = server.peek("n1", "LOG");
            (log.len() == 2).then_some(log)
        });
        assert_eq!(
            (&log[0]["message"], &log[0]["severity"]),
            (&"started".into(), &"INFO".into())
        );
        assert_eq!(log[1]["message"], "order 17 was lost");
        let error = &server.peek("n1", "ERROR")[0];
        assert_eq!(error["key"], "order <*> was lost", "{what}");
        assert_eq!(server.peek("n1", "REALITY")[0]["model"], "otel.Resource");
        let (code, messages) = listener.end();
        assert_eq!(code, Some(0), "{what}: {messages:?}");
    }
}

#[test]
fn influxdb_client_writes() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    send(
        "influx",
        &[&format!("http://{}", listener.address("influxdb", "HTTP"))],
    );
    assert_metrics(
        &server,
        &[
            ("cpu.usage@host=web 0", "ABS", 5, 30.0, "host:web_0"),
            ("cpu.usage@host=web 1", "ABS", 5, 37.5, "host:web_1"),
            ("cpu.n@host=web 0", "ABS", 5, 20.0, "host:web_0"),
            ("cpu.n@host=web 1", "ABS", 5, 25.0, "host:web_1"),
            ("mem.used@host=a", "ABS", 1, 1.0, "host:a"),
            ("mem.free@host=a", "ABS", 1, 2.0, "host:a"),
        ],
    );
}

#[test]
fn graphyte_arrives() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "");
    send(
        "graphite",
        &[&listener.address("graphite", "TCP").port().to_string()],
    );
    assert_metrics(
        &server,
        &[
            ("servers.a.tcp", "ABS", 50, 1225.0, ""),
            ("servers.a.udp", "ABS", 50, 1225.0, ""),
            ("tagged@dc=a-b,rack=1", "ABS", 2, 3.0, "dc:a-b rack:1"),
        ],
    );
}

#[test]
fn prometheus_client_is_scraped() {
    let Some(server) = server() else {
        return;
    };
    let mut target = Running::start(
        python("prometheus")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    let mut input = target.0.stdin.take().unwrap();
    let mut output = BufReader::new(target.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("targets.json");
    let groups = format!(r#"[{{"targets":["127.0.0.1:{port}"],"labels":{{"rack":"a"}}}}]"#);
    std::fs::write(&list, groups).unwrap();
    let config = folder.path().join("listen.toml");
    let text = format!(
        "node = \"n1\"\n[prometheus]\ninterval = \"200ms\"\n[[prometheus.job]]\nname = \"app\"\nfile-sd = {list:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    let listener = Running::start(&mut agg(
        &server.url(),
        &format!("listen --config {}", config.display()),
    ));
    let labels = format!("instance=127.0.0.1:{port},job=app,rack=a");
    // The first scrapes begin the totals.
    until_counted(&server, &format!("depth@{labels}"), 2);
    for _ in 0..5 {
        input.write_all(b"go\n").unwrap();
        line.clear();
        output.read_line(&mut line).unwrap();
    }
    let sum = |name: &str, expected: f64| {
        until(&format!("{expected} of {name}"), || {
            metric(&server, &format!("{name}@{labels}")).filter(|found| found.sum == expected)
        })
    };
    let requests = format!("requests_total@{labels},route=/pay");
    // The first value of a total that appears later begins it.
    until("requests", || {
        metric(&server, &requests).filter(|found| found.kind == "DIFF" && found.last == 50.0)
    });
    let latency = sum("latency_seconds_sum", 12.25);
    assert_eq!(latency.kind, "DIFF");
    sum("latency_seconds_count", 20.0);
    let histogram = until_counted(&server, &format!("latency_seconds@{labels}"), 20);
    assert_eq!((&*histogram.kind, histogram.count), ("ABS", 20));
    sum("size_bytes_count", 5.0);
    drop(listener);
    drop(input);
}

#[test]
fn influxdb_1_client_writes() {
    for gzip in [&[][..], &["gzip"]] {
        let Some(server) = server() else {
            return;
        };
        let listener = Listener::start(&server.url(), "");
        let port = listener.address("influxdb", "HTTP").port().to_string();
        send("influx1", &[&[&*port], gzip].concat());
        let of = |web: u32, field: &str, values: &str| {
            format!(
                "cpu.{field}@dc=north,host=web {web},rack=a=b%2Cc ABS count=5 {values} | dc:north host:web_{web} \
                 rack:a=b,c"
            )
        };
        let cpu = [
            of(0, "n", "sum=20.0 min=0.0 max=8.0 last=8"),
            of(0, "usage", "sum=30.0 min=0.0 max=12.0 last=12"),
            of(0, "is_idle", "sum=5.0 min=1.0 max=1.0 last=1"),
            of(1, "n", "sum=25.0 min=1.0 max=9.0 last=9"),
            of(1, "usage", "sum=37.5 min=1.5 max=13.5 last=13.5"),
            of(1, "is_idle", "sum=0.0 min=0.0 max=0.0 last=0"),
        ];
        let mut expected: Vec<&str> = cpu.iter().map(String::as_str).collect();
        expected.extend([
            "mem.used ABS count=1 sum=1.0 min=1.0 max=1.0 last=1",
            "mem.free ABS count=1 sum=2.25 min=2.25 max=2.25 last=2.25",
            "disk.free@path=/ ABS count=1 sum=7.0 min=7.0 max=7.0 last=7 | path:/",
            "disk.used@path=/ ABS count=1 sum=9.0 min=9.0 max=9.0 last=9 | path:/",
        ]);
        expect(&server, listener, &expected, &[]);
    }
}
