//! Two nodes with an hour of everything that METRICS.md lists, in closed windows, and what AGG.RANGE says of them.

use crate::support::{Server, agg, err, of_queue, past_hour, until};

/// The nodes.
pub const NODES: [&str; 2] = ["web1", "web2"];

/// Short windows of each metric, 300 s long.
pub const WINDOWS: i64 = 6;

/// A metric of `agg host`.
pub struct HostMetric {
    /// As `disk.used@/var`.
    pub name: String,
    pub kind: String,
    pub tags: String,
}

/// A window of AGG.RANGE.
#[derive(Debug)]
pub struct Window {
    /// Unix milliseconds.
    pub start: i64,
    pub end: i64,
    /// Values and percentiles.
    pub fields: std::collections::BTreeMap<String, f64>,
}

/// Returns the metrics of METRICS.md, each with two instances if it has any.
pub fn metrics() -> Vec<HostMetric> {
    let page = include_str!("../../METRICS.md");
    let rows = page.lines().filter(|line| line.starts_with("  "));
    let rows = rows.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = Vec::new();
    for row in rows {
        let (name, instance) = row[0].split_once('@').unwrap_or((row[0], ""));
        let instances = match instance {
            "CORE" => ["0", "1"],
            "MOUNT" => ["/", "/var/lib"],
            "DEVICE" => ["sda", "nvme0n1"],
            "NIC" => ["eth0", "lo"],
            _ => ["", ""],
        };
        let tags = row[2..].iter().take_while(|word| word.contains(':'));
        let tags: Vec<&str> = tags.copied().collect();
        for instance in &instances[..if instance.is_empty() { 1 } else { 2 }] {
            let at = if instance.is_empty() { "" } else { "@" };
            found.push(HostMetric {
                name: format!("{name}{at}{instance}"),
                kind: row[1].to_owned(),
                tags: tags.join(" "),
            });
        }
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Reports the metrics and waits until their windows have closed. Returns the start of the first window.
pub fn fill(server: &Server) -> i64 {
    let start = past_hour();
    let mut connection = server.connection();
    let metrics = metrics();
    for (place, node) in NODES.iter().enumerate() {
        // In one transaction, between whose samples no window closes by the clock.
        let mut pipe = redis::pipe();
        pipe.atomic();
        for (index, metric) in metrics.iter().enumerate() {
            let seed = (index * 7 + place * 3 + 5) as i64;
            for step in 0..WINDOWS * 5 {
                // An increasing total, or a gauge that moves.
                let value = match metric.kind.as_str() {
                    "DIFF" => step * seed * 60,
                    _ => (step * seed * 13) % 97,
                };
                pipe.cmd("AGG.STAT")
                    .arg(*node)
                    .arg(&metric.name)
                    .arg(value)
                    .arg(&metric.kind)
                    .arg("TAGS")
                    .arg(&metric.tags)
                    .arg("AT")
                    .arg(start + step * 60_000)
                    .ignore();
            }
        }
        let () = pipe.query(&mut connection).unwrap();
    }
    until("the windows close", || {
        let all = metrics.len() as i64;
        let closed = |node: &&str| {
            let length = |queue| of_queue(server, node, queue, "length");
            length("MIN") >= all * WINDOWS && length("HOUR") >= all
        };
        NODES.iter().all(closed).then_some(())
    });
    start
}

/// Starts a server with windows of one and two seconds, lets `agg host --once` report this machine as web1, and waits
/// until the windows have closed. Returns `None` if the server or the module is missing.
pub fn host_reports() -> Option<Server> {
    let settings = "min-window 1 hour-window 2 flush-delay-ms 0 min-interval-ms 100";
    let server = Server::with_settings(settings)?;
    // Two reports, as one of a counter has no rate.
    for _ in 0..2 {
        let output = agg(&server.url(), "host --once --node web1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", err(&output));
    }
    let all = base_names(&server, "web1").len() as i64;
    until("the windows close", || {
        (of_queue(&server, "web1", "HOUR", "length") >= all).then_some(())
    });
    Some(server)
}

/// Returns the names of a node's metrics, without their instances, once for each instance.
pub fn base_names(server: &Server, node: &str) -> Vec<String> {
    let (_, names): (String, Vec<String>) =
        server.ask(&format!("AGG.SCAN {node} METRIC 0 COUNT 10000"));
    let bases = names.iter().map(|name| name.split('@').next().unwrap());
    bases.map(str::to_owned).collect()
}

/// Returns the closed windows of a metric.
pub fn range(server: &Server, node: &str, metric: &str, queue: &str) -> Vec<Window> {
    let mut connection = server.connection3();
    let windows: Vec<redis::Value> = redis::cmd("AGG.RANGE")
        .arg(node)
        .arg(metric)
        .arg(queue)
        .query(&mut connection)
        .unwrap();
    let number = |value: &redis::Value| -> f64 {
        match value {
            redis::Value::Int(number) => *number as f64,
            redis::Value::Double(number) => *number,
            other => redis::from_redis_value_ref(other).unwrap(),
        }
    };
    let windows = windows.iter().map(|window| {
        let redis::Value::Map(pairs) = window else {
            panic!("{window:?}")
        };
        let mut fields = std::collections::BTreeMap::new();
        for (name, value) in pairs {
            let name: String = redis::from_redis_value_ref(name).unwrap();
            if name != "closed" {
                fields.insert(name, number(value));
            }
        }
        Window {
            start: fields.remove("start").unwrap() as i64,
            end: fields.remove("end").unwrap() as i64,
            fields,
        }
    });
    windows.collect()
}
