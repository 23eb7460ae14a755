//! Requests of OTLP in Protocol Buffers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Points of a request.
pub const POINTS: u64 = 1000;
/// Metrics of a request, each with as many points.
const METRICS: u64 = 10;

/// Returns a request: gauges and totals of counters in turn, whose points have 5 attributes.
pub fn request(connection: usize) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let now = now.as_nanos() as u64;
    let mut metrics = Vec::new();
    for metric in 0..METRICS {
        let points = (0..POINTS / METRICS).flat_map(|point| {
            let body = data_point(connection, point, now, (metric + point) as f64 + 0.5);
            field(1, &body)
        });
        let mut data: Vec<u8> = points.collect();
        let mut body = field(1, format!("http.server.metric{metric}").as_bytes());
        body.extend(field(3, b"ms"));
        if metric % 2 == 0 {
            body.extend(field(5, &data));
        } else {
            // Cumulative and monotonic.
            data.extend([2 << 3, 2, 3 << 3, 1]);
            body.extend(field(7, &data));
        }
        metrics.extend(field(2, &body));
    }
    let resource = field(1, &field(1, &attribute("service.name", "shop")));
    field(1, &[resource, field(2, &metrics)].concat())
}

fn data_point(connection: usize, point: u64, time: u64, value: f64) -> Vec<u8> {
    let mut body = vec![3 << 3 | 1];
    body.extend(time.to_le_bytes());
    body.push(4 << 3 | 1);
    body.extend(value.to_le_bytes());
    let attributes = [
        (
            "http.request.method",
            ["GET", "POST"][point as usize % 2].to_owned(),
        ),
        ("http.route", format!("/orders/{point}")),
        ("http.response.status_code", "200".to_owned()),
        ("server.address", format!("web{connection}")),
        ("url.scheme", "https".to_owned()),
    ];
    for (name, value) in &attributes {
        body.extend(field(7, &attribute(name, value)));
    }
    body
}

fn attribute(name: &str, value: &str) -> Vec<u8> {
    let value = field(2, &field(1, value.as_bytes()));
    [field(1, name.as_bytes()), value].concat()
}

/// A field with text or a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
