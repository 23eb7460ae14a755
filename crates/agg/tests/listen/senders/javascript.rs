//! The libraries in JavaScript.

use super::{node, run};
use crate::listen::contents::expect;
use crate::listen::*;

/// What hot_shots.js sends.
const HOT_SHOTS: [&str; 15] = [
    "shop.orders@env=test,route=/pay INC count=100 sum=200.0 | env:test route:/pay",
    "shop.size@env=test ABS count=100 sum=5050.0 min=1.0 max=100.0 last=100 p50=49.88521505856241 p99=99.77043011712482 \
     | env:test",
    "shop.cost@env=test ABS count=100 sum=631.25 min=0.125 max=12.5 last=12.5 p50=6.235651882320301 \
     p99=12.471303764640602 | env:test",
    "shop.first@env=test INC count=1 sum=1.0 | env:test",
    "shop.second@env=test INC count=1 sum=1.0 | env:test",
    // 10, 12.5 and 8.5.
    "shop.depth@env=test ABS count=3 sum=31.0 min=8.5 max=12.5 last=8.5 | env:test",
    "shop.answer@env=test ABS count=1 sum=3.0 min=3.0 max=3.0 last=3 p50=3.0 p99=3.0 | env:test unit:ms",
    "shop.users@env=test ABS count=1 sum=3.0 min=3.0 max=3.0 last=3 | env:test",
    // Three samples, each of which stands for four, or two.
    "shop.sampled@beta=,env=test,page=a_b INC count=3 sum=12.0 | beta:true env:test page:a_b",
    "shop.sampled.answer@env=test ABS count=6 sum=42.0 min=7.0 max=7.0 last=7 p50=7.0 p99=7.0 | env:test unit:ms",
    "shop.past@env=test INC count=1 sum=4.0 | env:test",
    "web.shop.clicks.total@env=test,part=cart INC count=1 sum=1.0 | env:test part:cart",
    "LOG ERROR shop.Deployed: version 2\nby ann | env:test host:web1 team:web",
    "ERROR 1 shop.Deployed: version <*> by ann | env:test host:web1 team:web",
    "service.Check shop.database@db1 {\"message\":\"no answer\",\"status\":\"critical\"} | env:test shard:1",
];

#[test]
fn hot_shots_arrives_over_udp_and_tcp() {
    for protocol in ["udp", "tcp"] {
        let Some(server) = server() else {
            return;
        };
        let Some(mut sender) = node("hot_shots") else {
            return;
        };
        let listener = Listener::start(&server.url(), "--errors-from ERROR");
        let kind = protocol.to_uppercase();
        let port = listener.address("statsd", &kind).port().to_string();
        run(sender.args([protocol, &port]));
        expect(&server, listener, &HOT_SHOTS, &[]);
    }
}

#[test]
fn opentelemetry_in_javascript_arrives() {
    for protocol in ["json", "proto", "grpc"] {
        for temporality in ["DELTA", "CUMULATIVE"] {
            let Some(server) = server() else {
                return;
            };
            let Some(mut sender) = node("otel") else {
                return;
            };
            let listener = Listener::start(&server.url(), "--errors-from ERROR");
            let kind = if protocol == "grpc" { "gRPC" } else { "HTTP" };
            let endpoint = format!("http://{}", listener.address("otlp", kind));
            run(sender.args([protocol, &endpoint, temporality]));
            // Three exports. The first total counts from its start. That of an observed total is its first time, which
            // says that the start is not known: it only begins.
            let (kind, observed) = match temporality {
                "DELTA" => ("INC", 3),
                _ => ("DIFF", 2),
            };
            let tags = "host.cpus:4 service.name:shop";
            let of = |name: &str, values: &str| {
                format!("{name}@host.cpus=4,service.name=shop {values} | {tags}")
            };
            let expected = [
                format!(
                    "orders@host.cpus=4,retry=true,route=/pay,service.name=shop {kind} count=3 sum=60.0 | host.cpus:4 \
                     retry:true route:/pay service.name:shop"
                ),
                of(
                    "uptime",
                    &format!("{kind} count={observed} sum={}.0", 100 * observed),
                ),
                // 5, 10 and 7.
                of("open", "ABS count=3 sum=22.0 min=5.0 max=10.0 last=7"),
                of(
                    "temperature",
                    "ABS count=3 sum=64.5 min=20.5 max=22.5 last=22.5",
                ),
                of(
                    "latency",
                    "ABS count=30 sum=4500.0 min=150.0 max=150.0 last=150 p50=150.0 p99=150.0",
                ) + " unit:ms",
                of(
                    "size",
                    "ABS count=30 sum=30720.0 min=1024.0 max=1024.0 last=1024 p50=1024.0 p99=1024.0",
                ) + " unit:By",
                "LOG INFO started | host.cpus:4 part:cart service.name:shop".to_owned(),
                format!("LOG ERROR order 17 was lost | {tags}"),
                format!("LOG CRITICAL order 18 was lost | {tags}"),
                format!("ERROR 2 order <*> was lost | {tags}"),
                format!(
                    "otel.Resource shop {{\"host.cpus\":4,\"service.name\":\"shop\"}} | {tags}"
                ),
            ];
            let expected = expected.each_ref().map(String::as_str);
            expect(&server, listener, &expected, &[]);
        }
    }
}
