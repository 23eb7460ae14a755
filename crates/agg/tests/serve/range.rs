//! `/api/range`: the windows of AGG.RANGE as JSON.

use redis::Value;

use super::Serve;
use crate::support::{Server, double, int, list, text};

fn json(serve: &Serve, query: &str) -> (u16, serde_json::Value) {
    let (status, body) = serve.get(&format!("/api/range?{query}"));
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn windows_are_those_of_agg_range() {
    let Some(server) = Server::with_settings("min-window 1200 hour-window 1200") else {
        return;
    };
    for value in ["1", "2.5", "4"] {
        let _: Value = server.ask(&format!("AGG.STAT web1 page.time@/a {value} HIST"));
    }
    let serve = Serve::start(&format!("--server {}", server.url()));
    let (status, reply) = json(&serve, "node=web1&metric=page.time%40/a&window=MIN");
    assert_eq!(status, 200, "{reply}");
    let expected: Value = server.ask("AGG.RANGE web1 page.time@/a MIN");
    let (found, expected) = (reply["windows"].as_array().unwrap(), list(&expected));
    assert_eq!((found.len(), expected.len()), (1, 1), "{reply}");
    for field in ["start", "end", "count"] {
        assert_eq!(
            found[0][field].as_i64(),
            Some(int(&expected[0], field)),
            "{field}"
        );
    }
    for field in ["sum", "avg", "min", "max", "last", "p50", "p99"] {
        assert_eq!(
            found[0][field].as_f64(),
            Some(double(&expected[0], field)),
            "{field}"
        );
    }
    assert_eq!(
        found[0]["closed"],
        false,
        "{}",
        text(&expected[0], "closed")
    );
    assert_eq!(reply["server"], server.url());
    assert_eq!(
        (&reply["node"], &reply["truncated"]),
        (&"web1".into(), &false.into())
    );
    // From its end on there is nothing.
    let end = found[0]["end"].as_i64().unwrap();
    let (status, later) = json(&serve, &format!("node=web1&metric=page.time@/a&from={end}"));
    assert_eq!((status, &later["windows"]), (200, &serde_json::json!([])));
}

#[test]
fn patterns_also_select_what_has_ranges() {
    let Some(server) = Server::start() else {
        return;
    };
    for node in ["web1", "db1"] {
        let _: Value = server.ask(&format!("AGG.MSTAT {node} VALUES x 1 y 2"));
    }
    let serve = Serve::start(&format!(
        "--server {} --nodes web* --metrics x",
        server.url()
    ));
    let (status, reply) = json(&serve, "node=web1&metric=x");
    assert_eq!(status, 200, "{reply}");
    for query in ["node=db1&metric=x", "node=web1&metric=y"] {
        let (status, reply) = json(&serve, query);
        let error = reply["error"].as_str().unwrap_or_default();
        assert!(
            status == 400 && error.starts_with("not served: "),
            "{reply}"
        );
    }
}

#[test]
fn errors_are_json_and_name_the_parameter() {
    let Some(server) = Server::start() else {
        return;
    };
    let down = "redis://127.0.0.1:1";
    let serve = Serve::start(&format!("--server {} --server {down}", server.url()));
    let _: Value = server.ask("AGG.STAT web1 x 1");
    for (query, status, why) in [
        ("node=web1", 400, "metric is missing"),
        (
            "node=web1&metric=x&from=now",
            400,
            "from: expected Unix milliseconds",
        ),
        (
            "node=web1&metric=x&server=redis://h",
            400,
            "there is no server",
        ),
        ("node=web1&metric=y", 502, "connection refused"),
    ] {
        let (found, reply) = json(&serve, query);
        let error = reply["error"].as_str().unwrap_or_default();
        assert!(
            found == status && error.contains(why),
            "{query}: {found} {reply}"
        );
    }
    // A server that has the metric answers for all.
    assert_eq!(json(&serve, "node=web1&metric=x").0, 200);
    let only = format!("node=web1&metric=y&server={}", server.url());
    let (status, reply) = json(&serve, &only);
    assert_eq!((status, &reply["windows"]), (200, &serde_json::json!([])));
}
