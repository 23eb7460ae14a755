//! Requests of OTLP and InfluxDB while the server is down, unreachable or full: the answer says what may be repeated.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::proxy::Proxy;
use crate::support::{Listener, Server, address, free_port, http, number, udp, until};

struct Place {
    server: Server,
    proxy: Proxy,
    listener: Listener,
    influx: SocketAddr,
    otlp: SocketAddr,
    statsd: SocketAddr,
}

impl Place {
    fn start(settings: &str) -> Option<Place> {
        let server = Server::with_module(&[], settings)?;
        let proxy = Proxy::start(server.port);
        let [influx, otlp, statsd] = [(); 3].map(|()| address(free_port()));
        let config = format!(
            "[influxdb]\nlisten = \"{influx}\"\ntypes = [{{ field = \"*\", type = \"INC\" }}]\n[otlp]\nlisten = \"{otlp}\"\n\
             [statsd]\nlisten = \"{statsd}\"\n"
        );
        let url = format!("redis://127.0.0.1:{}", proxy.port);
        let listener = Listener::start(&url, &config);
        listener.until_up(true);
        Some(Place {
            server,
            proxy,
            listener,
            influx,
            otlp,
            statsd,
        })
    }

    /// Writes a line to InfluxDB. Returns the status and the head of the answer.
    fn write(&self, lines: &str) -> (u16, String) {
        let (status, head, _) = http(self.influx, "POST", "/write", &[], lines.as_bytes());
        (status, head)
    }

    fn export(&self, body: &str) -> (u16, String, String) {
        let kind = [("content-type", "application/json")];
        let (status, head, body) = http(self.otlp, "POST", "/v1/metrics", &kind, body.as_bytes());
        (status, head, String::from_utf8(body).unwrap())
    }
}

/// Returns a request with an increment of a metric.
fn sum(name: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{"asInt":"3"}}]}}}}]}}]}}]}}"#
    )
}

/// Returns a request with a cumulative histogram that began now, with so many values of 5.
fn histogram(start: u64, time: u64, count: u64) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"hist","histogram":{{"aggregationTemporality":2,"dataPoints":[{{"startTimeUnixNano":"{start}","timeUnixNano":"{time}","count":"{count}","sum":{},"explicitBounds":[10],"bucketCounts":["{count}","0"]}}]}}}}]}}]}}]}}"#,
        5 * count
    )
}

fn now_ns() -> u64 {
    crate::support::now_ms() as u64 * 1_000_000
}

#[test]
fn requests_are_refused_while_the_server_is_down() {
    let Some(place) = Place::start("") else {
        return;
    };
    place.proxy.cut();
    place.listener.until_up(false);
    let before = Instant::now();
    let (status, head) = place.write("cpu value=2");
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("retry-after: 5"), "{head}");
    let (status, head, _) = place.export(&sum("orders"));
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("retry-after: 5"), "{head}");
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(place.listener.status()["buffered_bytes"], 0);
    place.proxy.repair();
    place.listener.until_up(true);
    assert_eq!(place.write("cpu value=2").0, 204);
    assert_eq!(place.export(&sum("orders")).0, 200);
    assert_eq!(number(&place.server, "cpu.value", "total"), 2.0);
    assert_eq!(number(&place.server, "orders", "total"), 3.0);
    assert_eq!(place.listener.count("otlp", "received"), 1);
    place.listener.assert_counts_add_up();
}

#[test]
fn request_whose_reply_is_lost_counts_once() {
    let Some(place) = Place::start("") else {
        return;
    };
    assert_eq!(place.write("cpu value=2").0, 204);
    place.proxy.lose_replies(true);
    let answer = std::thread::scope(|scope| {
        let writing = scope.spawn(|| place.write("cpu value=2"));
        crate::support::until("the server has it", || {
            (number(&place.server, "cpu.value", "total") == 4.0).then_some(())
        });
        place.proxy.lose_replies(false);
        place.proxy.point(place.server.port);
        writing.join().unwrap()
    });
    assert_eq!(answer.0, 204, "{answer:?}");
    assert_eq!(number(&place.server, "cpu.value", "total"), 4.0);
    place.listener.assert_counts_add_up();
}

#[test]
fn request_without_a_server_is_not_kept() {
    let Some(place) = Place::start("") else {
        return;
    };
    assert_eq!(place.write("cpu value=2").0, 204);
    // What is sent now does not arrive, and the listener does not know yet.
    place.proxy.lose_replies(true);
    let before = Instant::now();
    let start = now_ns();
    let (written, exported) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            place.write("late value=2")
        });
        let exporting = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            place.export(&histogram(start, start + 1, 7))
        });
        place.proxy.cut();
        (writing.join().unwrap(), exporting.join().unwrap())
    });
    assert_eq!(
        (written.0, exported.0),
        (503, 503),
        "{written:?} {exported:?}"
    );
    assert!(
        before.elapsed() < Duration::from_secs(9),
        "{:?}",
        before.elapsed()
    );
    place.proxy.lose_replies(false);
    place.proxy.repair();
    place.listener.until_up(true);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(number(&place.server, "late.value", "total"), 0.0);
    // Repeated, both count once.
    assert_eq!(place.write("late value=2").0, 204);
    assert_eq!(place.export(&histogram(start, start + 1, 7)).0, 200);
    assert_eq!(number(&place.server, "late.value", "total"), 2.0);
    assert_eq!(number(&place.server, "hist", "samples"), 7.0);
    place.listener.assert_counts_add_up();
}

#[test]
fn full_server_is_answered() {
    let Some(place) = Place::start("max-series 2") else {
        return;
    };
    assert_eq!(place.write("a value=1\nb value=1").0, 204);
    let (status, head) = place.write("c value=1");
    assert_eq!(status, 429, "{head}");
    assert!(head.contains("retry-after: 5"), "{head}");
    assert_eq!(place.write("a value=1\nd value=1").0, 422);
    assert_eq!(number(&place.server, "a.value", "total"), 2.0);
    let start = now_ns();
    for _ in 0..2 {
        let (status, head, body) = place.export(&histogram(start, start + 1, 7));
        assert_eq!(status, 429, "{head} {body}");
        assert!(head.contains("retry-after: 5"), "{head}");
    }
    let _: redis::Value = place.server.ask("CONFIG SET agg.max-series 10");
    assert_eq!(place.export(&histogram(start, start + 1, 7)).0, 200);
    assert_eq!(place.export(&histogram(start, start + 1, 7)).0, 200);
    assert_eq!(number(&place.server, "hist", "samples"), 7.0);
    place.listener.assert_counts_add_up();
}

#[test]
fn reports_outlive_a_server_without_memory() {
    let Some(place) = Place::start("") else {
        return;
    };
    assert_eq!(place.write("a value=1").0, 204);
    let _: redis::Value = place.server.ask("CONFIG SET maxmemory 1");
    let socket = udp(place.statsd);
    for _ in 0..10 {
        socket.send(b"sent:1|c").unwrap();
    }
    until("the listener notices", || {
        let (status, head) = place.write("b value=1");
        assert!([503, 429].contains(&status), "{head}");
        (!place.listener.is_up()).then_some(())
    });
    let _: redis::Value = place.server.ask("CONFIG SET maxmemory 0");
    place.listener.until_up(true);
    assert_eq!(place.write("b value=1").0, 204);
    place.listener.until_sent();
    assert_eq!(number(&place.server, "sent", "total"), 10.0);
    assert_eq!(number(&place.server, "b.value", "total"), 1.0);
    assert_eq!(place.listener.count("statsd", "rejected"), 0);
    place.listener.assert_counts_add_up();
}

#[test]
fn request_without_the_right_may_be_repeated() {
    let Some(place) = Place::start("") else {
        return;
    };
    let _: redis::Value = place.server.ask("ACL SETUSER default -agg.mstat");
    let (status, head) = place.write("a value=1");
    assert_eq!(status, 429, "{head}");
    let _: redis::Value = place.server.ask("ACL SETUSER default +agg.mstat");
    assert_eq!(place.write("a value=1").0, 204);
    assert_eq!(number(&place.server, "a.value", "total"), 1.0);
    place.listener.assert_counts_add_up();
}
