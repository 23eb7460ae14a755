//! Records that PostgreSQL rejects for their content: each is a dead letter with the reason, and the others are stored.

use serde_json::json;

use crate::support::err;

use super::{load, parts, place};

#[test]
fn row_that_a_unique_index_of_the_user_rejects_is_no_repeated_record() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    load(&place, &[entry(1, "\"a\"", 1)]);
    postgres.execute("CREATE UNIQUE INDEX ON logs (message)");
    let lines = [
        entry(2, "\"a\"", 1),
        entry(3, "\"b\"", 1),
        entry(1, "\"a\"", 1),
    ];
    load(&place, &lines);
    assert_eq!(
        postgres.rows("SELECT id FROM logs ORDER BY id"),
        [json!({"id": 1}), json!({"id": 3})]
    );
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 1);
    assert!(
        dead[0].contains("\"id\":2,") && dead[0].contains("(23505)"),
        "{dead:?}"
    );
}

#[test]
fn record_that_postgresql_cannot_store_is_a_dead_letter_with_the_reason() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    // Of random letters, as a compressed one would fit into an index.
    let long: String = (0..3000_u64)
        .map(|n| {
            char::from_u32(0x4e00 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44) as u32 % 0x5000)
                .unwrap()
        })
        .collect();
    let rejected: [(Vec<u8>, &str); 7] = [
        (entry(2, r#""a\u0000""#, 1), "message contains NUL"),
        (object(3, r#"["\u0000"]"#), "json contains NUL"),
        (object(4, r#"{"n":1e200000}"#), "(22003)"),
        (object(5, r#"["\ud83d"]"#), "(22P02)"),
        (
            entry(6, "\"x\"", 253_402_300_800_000),
            "epoch is out of PostgreSQL's range",
        ),
        (window(7, &long), "(54000)"),
        (
            [
                &b"{\"node\":\"n\",\"queue\":\"LOG\",\"id\":8,\"message\":\"\xff"[..],
                b"\",\"level\":3,\"severity\":\"INFO\",\"tags\":{},\"epoch\":1}",
            ]
            .concat(),
            "invalid unicode",
        ),
    ];
    let mut lines: Vec<Vec<u8>> = rejected.iter().map(|(line, _)| line.clone()).collect();
    lines.insert(0, entry(1, "\"good\"", 1));
    lines.insert(4, object(9, "1"));
    lines.push(window(10, "m"));
    let output = load(&place, &lines);
    assert!(
        err(&output).contains("3 records stored, 7 dead letters"),
        "{}",
        err(&output)
    );
    let stored = "SELECT id FROM logs UNION ALL SELECT id FROM reality UNION ALL SELECT id FROM statistics ORDER BY id";
    assert_eq!(
        postgres.rows(stored),
        [json!({"id": 1}), json!({"id": 9}), json!({"id": 10})]
    );
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 7);
    for (n, (_, reason)) in rejected.iter().enumerate() {
        let head = format!("{{\"id\":{},", n + 2);
        let line = dead.iter().find(|line| line.starts_with(&head)).unwrap();
        assert!(line.contains(reason), "{reason}: {line}");
    }
}

fn entry(id: i64, message: &str, epoch: i64) -> Vec<u8> {
    format!(
        r#"{{"node":"n","queue":"LOG","id":{id},"message":{message},"level":3,"severity":"INFO","tags":{{}},"epoch":{epoch}}}"#
    )
    .into()
}

fn object(id: i64, json: &str) -> Vec<u8> {
    format!(
        r#"{{"node":"n","queue":"REALITY","id":{id},"key":"k{id}","model":"m","json":{json},"tags":{{}},"epoch":1,"gone":false}}"#
    )
    .into()
}

fn window(id: i64, metric: &str) -> Vec<u8> {
    format!(
        r#"{{"node":"n","queue":"MIN","id":{id},"metric":"{metric}","type":"ABS","window":300,"start":300000,"end":600000,"count":2,"sum":3,"avg":1.5,"min":1,"max":2,"last":2,"tags":{{}}}}"#
    )
    .into()
}
