//! `agg.max-node-memory`: a node that reaches it evicts records of its own queues, then rejects, and evicts nothing of
//! others.

use redis::{Connection, Value};

use crate::attackers::{self, check_rejection};
use crate::support::*;
use testkit::*;

/// Returns the number of records in the queues of a node, and its counters.
fn info_of(connection: &mut Connection, node: &str) -> Value {
    ask(connection, &format!("AGG.INFO {node}"))
}

fn lines(node: &str, n: usize, len: usize) -> Vec<Words> {
    let message = "x".repeat(len);
    (0..n)
        .map(|i| split(&format!("AGG.LOG {node} {i}{message}")))
        .collect()
}

#[test]
fn reporter_at_its_node_limit_evicts_nothing_of_others() {
    let _beside = beside();
    let windows = "min-window 1 hour-window 2 flush-delay-ms 0";
    let settings = format!("{windows} max-memory 48mb max-node-memory 8mb queue-log 8mb");
    let Some(server) = server(&settings) else {
        return;
    };
    let mut connection = server.connection();
    let others: Vec<String> = (0..6).map(|i| format!("other{i}")).collect();
    for other in &others {
        for answer in burst(&mut connection, &lines(other, 5000, 900)) {
            answer.unwrap();
        }
    }
    let of_others = |connection: &mut Connection| -> Vec<i64> {
        let lengths = others
            .iter()
            .map(|other| ask(connection, &format!("AGG.INFO {other}")));
        lengths
            .map(|info: Value| int(at(at(&info, "queues").unwrap(), "LOG").unwrap(), "length"))
            .collect()
    };
    let before = of_others(&mut connection);
    assert_eq!(before, vec![5000; 6]);
    let (mut random, mut rejected) = (Random(seed()), 0);
    let (begin, most) = (
        std::time::Instant::now(),
        std::time::Duration::from_secs(120),
    );
    // Until even a slow machine has reached the limit.
    while begin.elapsed() < attack_time() || rejected == 0 && begin.elapsed() < most {
        let (_, attack) = random.one(&attackers::ALL);
        let mut commands = attack(&mut random);
        for command in &mut commands {
            command[1] = b"evil".to_vec();
        }
        for answer in burst(&mut connection, &commands) {
            if let Err(error) = answer
                && error.starts_with("AGGFULL")
            {
                check_rejection(&error);
                rejected += 1;
            }
        }
        let bytes = int(&info_of(&mut connection, "evil"), "bytes");
        assert!(bytes <= 8 * MB, "{bytes} bytes");
    }
    assert!(rejected > 0);
    assert_eq!(of_others(&mut connection), before);
    let info: String = server.ask("INFO agg");
    assert_eq!(
        info_field::<i64>(&info, "agg_dropped_max_memory"),
        0,
        "{info}"
    );
    assert!(
        info_field::<i64>(&info, "agg_dropped_max_node_memory") > 0,
        "{info}"
    );
}

#[test]
fn node_at_its_limit_evicts_its_own_oldest_records() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-node-memory 1mb")) else {
        return;
    };
    let mut connection = server.connection();
    burst(&mut connection, &lines("other", 500, 900))
        .into_iter()
        .for_each(|a| drop(a.unwrap()));
    burst(&mut connection, &lines("n", 3000, 900))
        .into_iter()
        .for_each(|a| drop(a.unwrap()));
    let info = info_of(&mut connection, "n");
    let log = at(at(&info, "queues").unwrap(), "LOG").unwrap().clone();
    assert!(int(&info, "bytes") <= MB);
    assert!(
        int(&log, "length") > 800 && int(&log, "dropped") > 1500,
        "{log:?}"
    );
    assert_eq!(int(&log, "length") + int(&log, "dropped"), 3000);
    let newest = &records(&server.ask("AGG.PEEK n LOG REV COUNT 1"))[0];
    assert!(
        newest["message"].as_str().unwrap().starts_with("2999x"),
        "{newest}"
    );
    let dropped = agg(&server, "agg_dropped_max_node_memory");
    assert_eq!(dropped, int(&log, "dropped"));
    assert_eq!(agg(&server, "agg_dropped_max_memory"), 0);
    let other = info_of(&mut connection, "other");
    assert_eq!(
        int(at(at(&other, "queues").unwrap(), "LOG").unwrap(), "length"),
        500
    );
}

#[test]
fn full_node_rejects_new_data_and_counts_known_metrics() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-node-memory 256kb")) else {
        return;
    };
    let json = format!("\"{}\"", "o".repeat(1000));
    let _: i64 = server.ask("AGG.STAT n known 1");
    let rejected = (0..).find_map(|i| {
        let line = split(&format!("AGG.REALITY n o{i} m {json}"));
        burst(&mut server.connection(), &[line]).remove(0).err()
    });
    let rejected = rejected.unwrap();
    let start = "AGGFULL AGG.REALITY: agg.max-node-memory (262144 bytes) reached: ";
    assert!(rejected.starts_with(start), "{rejected}");
    for line in [
        "AGG.STAT n new 1",
        "AGG.MSTAT n ATOMIC VALUES known 1 new 1",
    ] {
        let metric = "m".repeat(20_000);
        let error = server.error(&line.replace("new", &metric));
        assert!(
            error.contains("agg.max-node-memory (262144 bytes)"),
            "{error}"
        );
    }
    assert_eq!(server.ask::<i64>("AGG.STAT n known 2"), 1);
    let answer: Value = server.ask(&format!(
        "AGG.MSTAT n VALUES known 3 {} 1",
        "m".repeat(20_000)
    ));
    assert_eq!(list(&answer)[0], Value::Int(1));
    // A sample counts without tags that do not fit.
    let tags = "t".repeat(20_000);
    let _: i64 = server.ask(&format!("AGG.STAT n known 4 TAGS {tags}"));
    let _: Value = server.ask(&format!("AGG.MSTAT n TAGS {tags} VALUES known 5"));
    let info = info_of(&mut server.connection(), "n");
    assert_eq!(int(at(&info, "refused").unwrap(), "max-node-memory"), 6);
    assert_eq!(int(at(&info, "refused").unwrap(), "max-memory"), 0);
    assert_eq!(agg(&server, "agg_refused_max_node_memory"), 6);
    // Other nodes are not affected.
    assert_eq!(
        server.ask::<i64>(&format!("AGG.REALITY other o m {json}")),
        1
    );
}

#[test]
fn lowered_node_limit_is_reached_within_seconds() {
    let _beside = beside();
    let Some(server) = server(CALM) else { return };
    let mut connection = server.connection();
    burst(&mut connection, &lines("n", 5000, 900))
        .into_iter()
        .for_each(|a| drop(a.unwrap()));
    burst(&mut connection, &lines("other", 300, 900))
        .into_iter()
        .for_each(|a| drop(a.unwrap()));
    server.ask::<()>("CONFIG SET agg.max-node-memory 1mb");
    until("the node is below its limit", || {
        let info = info_of(&mut connection, "n");
        (int(&info, "bytes") <= MB).then_some(())
    });
    let info = info_of(&mut connection, "n");
    let log = at(at(&info, "queues").unwrap(), "LOG").unwrap().clone();
    assert!(int(&log, "length") > 500, "{log:?}");
    assert_eq!(
        agg(&server, "agg_dropped_max_node_memory"),
        int(&log, "dropped")
    );
    let other = info_of(&mut connection, "other");
    assert_eq!(
        int(at(at(&other, "queues").unwrap(), "LOG").unwrap(), "length"),
        300
    );
}
