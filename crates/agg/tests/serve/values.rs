//! The values that are served are those of AGG.GET, and Prometheus answers queries with them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::Value;

use super::{Serve, value};
use crate::support::prometheus::Prometheus;
use crate::support::resp_stub::{Answer, RespStub};
use crate::support::{Server, at, double, list, missing, send};

/// Reports metrics of each type.
pub fn fill(server: &Server) {
    for line in [
        "AGG.STAT web1 cpu.load 12.25 TAGS unit=percent",
        "AGG.STAT web1 disk.free@sda1 1e15 TAGS unit=bytes",
        "AGG.STAT web1 temperature@core\"0 -3.5 TAGS unit=celsius",
        "AGG.STAT web1 net.rx@eth0 100 DIFF TAGS unit=bytes",
        "AGG.STAT web1 net.rx@eth0 5000000100 DIFF TAGS unit=bytes",
        "AGG.STAT web2 requests 5 INC TAGS route=/pay",
        "AGG.STAT web2 requests 0.5 INC TAGS route=/pay",
        "AGG.STAT web2 process.cpu 3 INC TAGS unit=seconds",
        "AGG.STAT web2 page.time 1 HIST TAGS unit=seconds",
        "AGG.STAT web2 page.time 2 HIST TAGS unit=seconds",
        "AGG.STAT web2 page.time 3 HIST TAGS unit=seconds",
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let _: Value = server.send(&words);
    }
}

/// A number of AGG.GET: of the metric, or of its newest open short window.
fn of_get(server: &Server, node: &str, metric: &str, field: &str) -> f64 {
    let found: Value = server.send(&[b"AGG.GET", node.as_bytes(), b"METRIC", metric.as_bytes()]);
    match field.starts_with('p') {
        true => double(list(at(&found, "min").unwrap()).last().unwrap(), field),
        false => double(&found, field),
    }
}

/// Series, each with the node, metric and field that it shows.
const SERIES: [(&str, &str, &str, &str); 7] = [
    (
        "cpu_load_last{node=\"web1\",unit=\"percent\"}",
        "web1",
        "cpu.load",
        "last",
    ),
    (
        "disk_free_bytes_last{node=\"web1\",instance=\"sda1\",unit=\"bytes\"}",
        "web1",
        "disk.free@sda1",
        "last",
    ),
    (
        "temperature_celsius_last{node=\"web1\",instance=\"core\\\"0\",unit=\"celsius\"}",
        "web1",
        "temperature@core\"0",
        "last",
    ),
    (
        "net_rx_bytes_total{node=\"web1\",instance=\"eth0\",unit=\"bytes\"}",
        "web1",
        "net.rx@eth0",
        "total",
    ),
    (
        "requests_total{node=\"web2\",route=\"/pay\"}",
        "web2",
        "requests",
        "total",
    ),
    (
        "page_time_seconds_quantile{node=\"web2\",unit=\"seconds\",quantile=\"0.5\"}",
        "web2",
        "page.time",
        "p50",
    ),
    (
        "page_time_seconds_quantile{node=\"web2\",unit=\"seconds\",quantile=\"0.99\"}",
        "web2",
        "page.time",
        "p99",
    ),
];

#[test]
fn values_are_those_of_agg_get() {
    let Some(server) = Server::with_settings("min-window 1200 hour-window 1200") else {
        return;
    };
    fill(&server);
    let _: Value = server.ask("AGG.ERROR web2 m LEVEL CRITICAL");
    let serve = Serve::start(&format!("--server {}", server.url()));
    let page = serve.scrape();
    for (key, node, metric, field) in SERIES {
        let expected = of_get(&server, node, metric, field);
        assert_eq!(value(&page, key), Some(expected), "{key}\n{page}");
    }
    let labels = format!("{{node=\"web1\",server=\"{}\"}}", server.url());
    assert_eq!(
        value(&page, &format!("agg_node_metrics{labels}")),
        Some(4.0)
    );
    for (severity, count) in [("CRITICAL", 1.0), ("ERROR", 0.0)] {
        let labels = format!("{{server=\"{}\",severity=\"{severity}\"}}", server.url());
        let errors = value(&page, &format!("agg_server_new_errors_total{labels}"));
        assert_eq!(errors, Some(count), "{severity}");
    }
}

/// Returns the bytes of a value in RESP2.
fn resp(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil => b"$-1\r\n".to_vec(),
        Value::Int(n) => format!(":{n}\r\n").into_bytes(),
        Value::BulkString(text) => {
            let head = format!("${}\r\n", text.len()).into_bytes();
            [&head, &text[..], b"\r\n"].concat()
        }
        Value::Array(items) => {
            let head = format!("*{}\r\n", items.len()).into_bytes();
            items
                .iter()
                .fold(head, |all, item| [all, resp(item)].concat())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn server_without_withlast_is_read_by_withvalues() {
    let Some(server) = Server::with_settings("min-window 1200 hour-window 1200") else {
        return;
    };
    fill(&server);
    let port = server.port;
    let older = RespStub::start(move |command| {
        if command.iter().any(|word| word == "WITHLAST") {
            return Answer::text(
                "-ERR AGG.SCAN: unknown option 'WITHLAST'; usage: AGG.SCAN node\r\n",
            );
        }
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut request = redis::cmd(&command[0]);
        request.arg(&command[1..]);
        Answer::Reply(resp(
            &request
                .query(&mut client.get_connection().unwrap())
                .unwrap(),
        ))
    });
    let serve = Serve::start(&format!("--server {}", older.url()));
    let page = serve.scrape();
    for (key, node, metric, field) in SERIES {
        let expected = of_get(&server, node, metric, field);
        assert_eq!(value(&page, key), Some(expected), "{key}\n{page}");
    }
    // Each node is read twice at first. From then on the reader knows what the server supports.
    assert_eq!(older.count("AGG.SCAN"), 4);
    std::thread::sleep(Duration::from_millis(600));
    serve.scrape();
    assert_eq!(older.count("AGG.SCAN"), 6);
}

#[test]
fn records_of_other_servers_are_counted() {
    let Some(server) = Server::with_settings("queue-import 64kb") else {
        return;
    };
    let large = "x".repeat(30_000);
    for id in [1, 1, 2, 3] {
        let record =
            format!("{{\"node\":\"leaf1\",\"queue\":\"LOG\",\"id\":{id},\"message\":\"{large}\"}}");
        let id = id.to_string();
        let words: [&[u8]; 5] = [
            b"AGG.IMPORT",
            b"leaf1",
            b"LOG",
            id.as_bytes(),
            record.as_bytes(),
        ];
        // Beyond the limit it is an error.
        let _ = send::<Value>(&mut server.connection(), &words);
    }
    let page = Serve::start(&format!("--server {}", server.url())).scrape();
    for (family, expected) in [
        ("imported_records_total", 2.0),
        ("import_duplicates_total", 1.0),
        ("import_refused_total", 1.0),
    ] {
        let key = format!("agg_server_{family}{{server=\"{}\"}}", server.url());
        assert_eq!(value(&page, &key), Some(expected), "{key}\n{page}");
    }
}

#[test]
fn promtool_accepts_the_page() {
    let Some(server) = Server::start() else {
        return;
    };
    fill(&server);
    let page = Serve::start(&format!("--server {}", server.url())).scrape();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return missing("promtool").unwrap_or_default();
    };
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(page.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

#[test]
fn prometheus_answers_queries_with_the_values_of_agg_get() {
    let Some(server) = Server::with_settings("min-window 1200 hour-window 1200") else {
        return;
    };
    fill(&server);
    let serve = Serve::start(&format!("--server {}", server.url()));
    let Some(prometheus) = Prometheus::scraping(&[("agg-serve", serve.port())]) else {
        return;
    };
    for (key, node, metric, field) in SERIES {
        let expected = of_get(&server, node, metric, field);
        assert_eq!(prometheus.value(key), expected, "{key}");
    }
    // The labels node and instance are those of the metric, not of the target.
    let sum = prometheus.value("sum by (instance) (disk_free_bytes_last{instance=\"sda1\"})");
    assert_eq!(sum, 1e15);
    let up = format!("agg_server_up{{server=\"{}\"}}", server.url());
    assert_eq!(prometheus.value(&up), 1.0);
    // A counter grows, and Prometheus has the same total.
    let before = of_get(&server, "web2", "requests", "total");
    let _: Value = server.ask("AGG.STAT web2 requests 7 INC TAGS route=/pay");
    let query = format!("requests_total{{node=\"web2\"}} > {before}");
    assert_eq!(prometheus.value(&query), before + 7.0);
}

#[test]
fn nothing_is_drained_and_reading_rights_suffice() {
    let Some(server) = Server::start() else {
        return;
    };
    fill(&server);
    let _: i64 = server.ask("AGG.LOG web1 hello");
    let _: () = server.ask(
        "ACL SETUSER serve on >secret resetchannels %R~* -@all +info +scan +agg.info +agg.scan +agg.range",
    );
    let url = format!("redis://serve:secret@127.0.0.1:{}", server.port);
    let serve = Serve::start(&format!("--server {url}"));
    let page = serve.scrape();
    let up = format!("agg_server_up{{server=\"{}\"}}", server.url());
    assert_eq!(value(&page, &up), Some(1.0), "{page}");
    assert!(page.contains("\nrequests_total{node=\"web2\""), "{page}");
    assert!(!page.contains("secret"));
    assert_eq!(server.peek("web1", "LOG").len(), 1);
    // Without one of the rights the server is down, and the reason is logged.
    let _: () = server.ask("ACL SETUSER serve -agg.scan");
    let denied = || {
        let page = serve.scrape();
        (value(&page, &up) == Some(0.0)).then_some(page)
    };
    let page = crate::support::until("the right is missing", denied);
    assert!(!page.contains("\nrequests_total"), "{page}");
}
