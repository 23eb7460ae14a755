//! What docs/sinks/postgresql.md says in SQL: the queries use an index, and the recipes of retention work.

use serde_json::json;

use crate::support::place::{end, left, names, until_empty, until_retried, windows};
use crate::support::{now_ms, past_hour, until};

use super::{load, parts, place};

const PAGE: &str = include_str!("../../../../docs/sinks/postgresql.md");
const DAY: i64 = 86_400_000;

/// Returns the block of the page that contains a text.
fn block(text: &str) -> &'static str {
    let blocks = PAGE.split("```text\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks.find(|block| block.contains(text)).unwrap()
}

fn window(id: i64, metric: &str, start: i64) -> String {
    let end = start + 300_000;
    format!(
        r#"{{"node":"node1","queue":"MIN","id":{id},"metric":"{metric}","type":"ABS","window":300,"start":{start},"end":{end},"count":2,"sum":3,"avg":1.5,"min":1,"max":2,"last":2,"tags":{{}}}}"#
    )
}

#[test]
fn queries_of_the_page_use_an_index() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    let now = now_ms();
    let mut lines = Vec::new();
    for n in 0..3000 {
        let metric = format!("disk.iops@sd{}", n % 50);
        lines.push(window(n, &metric, past_hour() - n / 50 * 300_000));
        let epoch = now - n * 10_000;
        lines.push(format!(
            r#"{{"node":"node{}","queue":"LOG","id":{n},"message":"x","level":3,"severity":"INFO","tags":{{}},"epoch":{epoch}}}"#,
            n % 20
        ));
        lines.push(format!(
            r#"{{"node":"node1","queue":"ERROR","id":{n},"key":"k{n}","message":"m","public":"","level":7,"severity":"ERROR","type":"T","tags":{{}},"code":"","func":"","file":"","backtrace":"","gid":0,"nid":0,"occurrences":1,"first":1,"last":{epoch}}}"#
        ));
    }
    for n in 0..60 {
        let other = window(5000 + n, "other", past_hour() - n * 300_000);
        lines.push(other);
    }
    assert_eq!(load(&place, &lines).status.code(), Some(0));
    postgres.execute("ANALYZE");
    let queries = block("ORDER BY last_time DESC LIMIT").replace("disk.iops", "other");
    let queries: Vec<&str> = queries
        .trim()
        .split(';')
        .filter(|query| !query.is_empty())
        .collect();
    assert_eq!(queries.len(), 3);
    let mut client = postgres.client();
    for (query, index) in queries.iter().zip([
        "statistics_metric_node_start_time_idx",
        "errors_last_time_idx",
        "logs_node_time_idx",
    ]) {
        let plan = client
            .query(&format!("EXPLAIN (COSTS OFF) {query}"), &[])
            .unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        assert!(
            plan.iter().any(|line| line.contains(index)),
            "{query}: {plan:?}"
        );
        assert!(
            !plan.iter().any(|line| line.contains("Seq Scan")),
            "{query}: {plan:?}"
        );
        assert!(!client.query(*query, &[]).unwrap().is_empty(), "{query}");
    }
}

#[test]
fn recipes_of_retention_work_while_the_poller_runs() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    windows(&server, "n1", &names(5));
    let running = place.start();
    until_empty(&server, &["n1"], "MIN");
    let load = |days: &[i64]| {
        let now = now_ms() / 300_000 * 300_000;
        let lines: Vec<String> = days
            .iter()
            .map(|day| window(1000 + day, "m", now + day * DAY))
            .collect();
        assert_eq!(load(&place, &lines).status.code(), Some(0));
    };
    load(&[-200, -1]);
    postgres.execute(block("DELETE FROM statistics"));
    let ids = |table: &str| {
        let rows = postgres.rows(&format!(
            "SELECT id FROM {table} WHERE node = 'node1' ORDER BY id"
        ));
        rows.iter()
            .map(|row| row["id"].as_i64().unwrap() - 1000)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("statistics"), [-1]);
    // As the user of the poller, who owns the tables.
    let as_poller = |sql: &str| postgres.execute(&format!("SET ROLE poller; {sql}"));
    as_poller(block("ATTACH PARTITION"));
    let daily = block("LANGUAGE plpgsql");
    as_poller(daily);
    as_poller(daily);
    load(&[-1, 0, 1, 7, 60]);
    load(&[-1, 0, 1, 7, 60]);
    assert_eq!(ids("statistics"), [-1, 0, 1, 7, 60]);
    assert_eq!(ids("statistics_before"), [-1, 0]);
    assert_eq!(ids("statistics_other"), [60]);
    let partitions = postgres.rows(
        "SELECT relid::text AS name FROM pg_partition_tree('statistics') WHERE isleaf ORDER BY 1",
    );
    assert_eq!(partitions.len(), 9);
    // The poller still has the statement that it prepared for the table before.
    for (name, at) in names(5)
        .iter()
        .flat_map(|name| [0, 300_000].map(|at| (name, at)))
    {
        let _: i64 = server.ask(&format!("AGG.STAT n2 {name} 1.5 AT {}", past_hour() + at));
    }
    until("the windows are stored", || {
        let all = postgres.rows("SELECT count(*) FROM statistics WHERE node IN ('n1', 'n2')");
        (all == [json!({"count": 20})]).then_some(())
    });
    as_poller("DROP TABLE statistics_before");
    assert_eq!(ids("statistics"), [1, 7, 60]);
    end(running);
}

#[test]
fn sink_waits_for_a_partition() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    assert_eq!(
        load(&place, &[window(1, "m", 300_000)]).status.code(),
        Some(0)
    );
    postgres.execute(&format!("SET ROLE poller; {}", block("ATTACH PARTITION")));
    postgres.execute("DROP TABLE statistics_before, statistics_other");
    let count = windows(&server, "n1", &names(5));
    let mut running = place.start();
    let mut errors = running.errors();
    until_retried(
        &mut errors,
        "no partition of relation \"statistics\" found for row",
    );
    assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
    postgres
        .execute("SET ROLE poller; CREATE TABLE statistics_other PARTITION OF statistics DEFAULT");
    until_empty(&server, &["n1"], "MIN");
    assert!(place.lines("dead").is_empty());
    end(running);
}
