//! Types of samples on a real server: increments, changes of gauges, values that occurred more than once, and counters
//! that several programs report by mistake. As a user would try them.

use redis::Value;
use testkit::*;

/// A time some windows ago at which a short and a long window start.
fn past() -> i64 {
    (now_ms() - 20 * 3_600_000) / 3_600_000 * 3_600_000
}

fn metric(server: &Server, name: &str) -> Value {
    server.ask(&format!("AGG.GET n METRIC {name}"))
}

fn value(map: &Value, field: &str) -> f64 {
    text(map, field).parse().unwrap()
}

/// Returns a number of AGG.INFO.
fn info(server: &Server, field: &str) -> i64 {
    int(&server.ask("AGG.INFO n"), field)
}

/// Returns the numbers of a record: sum, avg, min, max and last.
fn numbers(record: &serde_json::Value) -> [f64; 5] {
    ["sum", "avg", "min", "max", "last"].map(|field| record[field].as_f64().unwrap())
}

fn popped(server: &Server, queue: &str, metric: &str) -> Vec<serde_json::Value> {
    let records = queued_records(&server.ask(&format!("AGG.POP n {queue} COUNT 10000")));
    let records = records.iter().map(QueuedRecord::json);
    records.filter(|r| r["metric"] == metric).collect()
}

#[test]
fn increments_of_many_connections_add_up() {
    let Some(server) = Server::start() else {
        return;
    };
    let t = past();
    std::thread::scope(|threads| {
        for client in 0..8 {
            let mut connection = server.connection();
            threads.spawn(move || {
                for i in 0..100 {
                    // Each client in slots of its own, in any order with those of the others.
                    let at = t + (client * 100 + i) * 250;
                    let reply: i64 = redis::cmd("AGG.STAT")
                        .arg(&["n", "requests", "2.5", "INC", "AT", &at.to_string()])
                        .query(&mut connection)
                        .unwrap();
                    assert_eq!(reply, 1);
                }
            });
        }
    });
    let shown = metric(&server, "requests");
    assert_eq!(text(&shown, "type"), "INC");
    assert_eq!(
        (value(&shown, "total"), value(&shown, "last")),
        (2_000.0, 2.5)
    );
    assert_eq!(int(&shown, "samples"), 800);
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC requests"), 1);
    let [min] = &popped(&server, "MIN", "requests")[..] else {
        panic!("not one record");
    };
    assert_eq!((&min["type"], &min["count"]), (&"INC".into(), &800.into()));
    assert_eq!(
        (min["sum"].as_f64(), min["avg"].as_f64()),
        (Some(2_000.0), Some(2_000.0 / 300.0))
    );
}

#[test]
fn increment_session_shows_rates_of_slots() {
    let Some(server) = Server::start() else {
        return;
    };
    let t = past();
    for (value, ms, times) in [
        (40, 0, 1),
        (20, 4_000, 1),
        (90, 31_000, 1),
        (15, 25_000, 1),
        (30, 290_000, 5),
    ] {
        let command = format!("AGG.STAT n r {value} INC TIMES {times} AT {}", t + ms);
        assert_eq!(server.ask::<i64>(&command), 1);
    }
    // The last slot is not complete, and the window is long past.
    let open = list(at(&metric(&server, "r"), "min").unwrap()).to_vec();
    let shown = ["sum", "avg", "min", "max", "last"].map(|field| value(&open[0], field));
    assert_eq!(shown, [315.0, 1.05, 0.0, 9.0, 0.0]);
    assert_eq!(int(&open[0], "count"), 9);
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n r 3 INC AT {}", t + 305_000)),
        1
    );
    let min = popped(&server, "MIN", "r");
    assert_eq!(numbers(&min[0]), [315.0, 1.05, 0.0, 15.0, 15.0]);
    // Late for both windows: an hour later, they are closed.
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n r 1 INC AT {}", t + 3_600_000)),
        1
    );
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n r 7 INC TIMES 3 AT {t}")),
        0
    );
    assert_eq!(info(&server, "late"), 3);
    let hour = popped(&server, "HOUR", "r");
    assert_eq!(numbers(&hour[0]), [318.0, 318.0 / 3_600.0, 0.0, 15.0, 0.0]);
    assert_eq!(value(&metric(&server, "r"), "total"), 319.0);
    let line = "AGG.FORGET n METRIC r";
    assert_eq!(server.ask::<i64>(line), 1);
    let line: Value = server.ask("AGG.POP n HOUR FORMAT LINE");
    let line = &queued_records(&line)[0].text;
    assert!(line.starts_with("r,node=n,window=3600s avg="), "{line}");
    assert!(
        line.contains(",sum=1.0,") && line.contains(",count=1i "),
        "{line}"
    );
}

#[test]
fn changes_of_a_gauge_follow_its_last_value() {
    let Some(server) = Server::start() else {
        return;
    };
    let t = past();
    let say = |sample: &str, ms: i64| -> i64 {
        server.ask(&format!("AGG.STAT n g {sample} AT {}", t + ms))
    };
    // A new metric has 0; the window of the second is the same, though it is earlier.
    for (sample, ms, last) in [
        ("2 ADD", 1_000, "2"),
        ("-5 ADD", 500, "-3.0"),
        ("10 ABS", 2_000, "10"),
        ("0.5 ADD", 2_000, "10.5"),
        ("7 ABS", 1_500, "7"),
        ("1 ADD", 3_000, "8"),
    ] {
        assert_eq!(say(sample, ms), 1);
        assert_eq!(text(&metric(&server, "g"), "last"), last, "{sample}");
    }
    let shown = metric(&server, "g");
    assert_eq!(
        (text(&shown, "type"), int(&shown, "at")),
        ("ABS".into(), t + 3_000)
    );
    assert!(at(&shown, "total").is_none());
    let open = list(at(&shown, "min").unwrap()).to_vec();
    assert_eq!((int(&open[0], "count"), value(&open[0], "sum")), (6, 34.5));
    // A late change changes nothing.
    assert_eq!(say("1 ADD", 7_200_000), 1);
    assert_eq!(say("100 ADD", 0), 0);
    assert_eq!(text(&metric(&server, "g"), "last"), "9");
    assert!(
        popped(&server, "MIN", "g")
            .iter()
            .all(|r| r["type"] == "ABS")
    );
}

#[test]
fn types_do_not_mix() {
    let Some(server) = Server::start() else {
        return;
    };
    for kind in ["ABS", "DIFF", "INC"] {
        server.ask::<i64>(&format!("AGG.STAT n {kind} 1 {kind}"));
    }
    for (metric, sample) in [
        ("ABS", "INC"),
        ("ABS", "DIFF"),
        ("INC", "ADD"),
        ("INC", "ABS"),
        ("DIFF", "ADD"),
        ("DIFF", "INC"),
    ] {
        let why = format!(
            "metric '{metric}' is {metric}, the sample {sample}: use AGG.FORGET node METRIC name to reset the metric"
        );
        let error = server.error(&format!("AGG.STAT n {metric} 1 {sample}"));
        assert_eq!(error, format!("ERR AGG.STAT: {why}"));
        let reply: Value = server.ask(&format!("AGG.MSTAT n {sample} VALUES {metric} 1"));
        let rejected = list(&list(&list(&reply)[2])[0]).to_vec();
        assert_eq!(rejected[1], Value::BulkString(why.into_bytes()));
    }
    assert_eq!(
        server.error("AGG.STAT n INC -1 INC"),
        "ERR AGG.STAT: invalid value '-1': an increment must not be negative; use ADD to change a gauge"
    );
    for kind in ["ADD", "DIFF"] {
        assert_eq!(
            server.error(&format!("AGG.STAT n x 1 {kind} TIMES 2")),
            format!(
                "ERR AGG.STAT: TIMES is given with {kind}: only values of ABS and INC may be repeated"
            )
        );
    }
    assert_eq!(
        server.error("AGG.STAT n x 1 TIMES 4294967297"),
        "ERR AGG.STAT: invalid TIMES '4294967297': expected an integer from 1 to 4294967296"
    );
    assert_eq!(
        server.error("AGG.STAT n x 1 INC ADD"),
        "ERR AGG.STAT: ADD and INC are both given: a sample has one type"
    );
    assert_eq!(metric(&server, "x"), Value::Nil);
}

#[test]
fn value_may_occur_more_than_once() {
    let Some(server) = Server::start() else {
        return;
    };
    assert_eq!(
        server.ask::<i64>("AGG.STAT n latency 2.5 TIMES 4294967296"),
        1
    );
    assert_eq!(server.ask::<i64>("AGG.STAT n latency 1.5 ABS TIMES 1"), 1);
    let shown = metric(&server, "latency");
    assert_eq!(int(&shown, "samples"), (1 << 32) + 1);
    let open = list(at(&shown, "min").unwrap()).to_vec();
    assert_eq!(int(&open[0], "count"), (1 << 32) + 1);
    assert_eq!(value(&open[0], "sum"), 2.5 * 4_294_967_296.0 + 1.5);
    assert_eq!((value(&open[0], "min"), value(&open[0], "max")), (1.5, 2.5));
}

#[test]
fn total_survives_restarts_of_a_counter_and_of_the_server() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let t = past();
    for (total, minutes) in [
        (1_000, 0),
        (1_500, 1),
        (20, 2),
        (30, 90),
        (70, 400),
        (75, 401),
    ] {
        server.ask::<i64>(&format!(
            "AGG.STAT n c {total} DIFF AT {}",
            t + minutes * 60_000
        ));
    }
    // 500, 20 after the restart, 10, none for the gap of more than two hours, 5.
    assert_eq!(value(&metric(&server, "c"), "total"), 535.0);
    server.ask::<()>("SAVE");
    server.restart();
    assert_eq!(value(&metric(&server, "c"), "total"), 535.0);
    server.ask::<i64>(&format!("AGG.STAT n c 3 DIFF AT {}", t + 402 * 60_000));
    assert_eq!(value(&metric(&server, "c"), "total"), 538.0);
}

#[test]
fn counter_of_two_processes_is_suspected() {
    let Some(server) = Server::start() else {
        return;
    };
    let t = past();
    // Two processes with totals of their own, one name; and a counter that restarts once.
    for i in 0..10 {
        let at = t + i * 20_000;
        server.ask::<i64>(&format!("AGG.STAT n shared {} DIFF AT {at}", 1_000 + i));
        server.ask::<i64>(&format!(
            "AGG.STAT n shared {} DIFF AT {}",
            5 + i,
            at + 10_000
        ));
        server.ask::<i64>(&format!(
            "AGG.STAT n good {} DIFF AT {at}",
            100 - i / 9 * 90 + i
        ));
    }
    for minutes in [6, 12] {
        for metric in ["shared", "good"] {
            server.ask::<i64>(&format!(
                "AGG.STAT n {metric} 5000 DIFF AT {}",
                t + minutes * 60_000
            ));
        }
    }
    let warnings = || -> Vec<String> {
        let log = server.log();
        let lines = log.lines().filter(|l| l.contains("restarts repeatedly"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(info(&server, "suspect-diff"), 1);
    assert_eq!(warnings().len(), 1, "{:?}", warnings());
    assert!(warnings()[0].contains("DIFF metric 'shared' of node 'n'"));
    // The next windows are counted; the log names each metric once in an hour.
    for metric in ["shared", "other"] {
        for i in 0..60 {
            let (total, at) = (1_000 * (1 + i % 2) + i, t + 900_000 + i * 20_000);
            server.ask::<i64>(&format!("AGG.STAT n {metric} {total} DIFF AT {at}"));
        }
    }
    let suspects = info(&server, "suspect-diff");
    assert!(suspects > 2 * 3, "{suspects}");
    assert_eq!(
        server.info_field::<i64>("agg", "agg_suspect_diff"),
        suspects
    );
    let warnings = warnings();
    let of = |metric: &str| {
        let name = format!("DIFF metric '{metric}' of node 'n'");
        warnings.iter().filter(|line| line.contains(&name)).count()
    };
    assert_eq!(
        (warnings.len(), of("shared"), of("other")),
        (2, 1, 1),
        "{warnings:?}"
    );
}

#[test]
fn slot_divides_the_short_window() {
    let Some(server) = Server::start() else {
        return;
    };
    let error = "agg.inc-slot must divide agg.min-window";
    for settings in [
        "agg.inc-slot 7",
        "agg.min-window 75",
        "agg.min-window 15 agg.hour-window 60",
    ] {
        let found = server.error(&format!("CONFIG SET {settings}"));
        assert!(found.ends_with(error), "{settings}: {found}");
    }
    server.ask::<i64>("AGG.STAT n m 1 INC");
    server.ask::<()>("CONFIG SET agg.min-window 75 agg.hour-window 150 agg.inc-slot 25");
    server.ask::<i64>("AGG.STAT other m 1 INC");
    server.ask::<()>("CONFIG SET agg.min-window 5 agg.hour-window 10");
    server.ask::<i64>("AGG.STAT third m 1 INC");
    let slot = |node: &str| int(&server.ask(&format!("AGG.INFO {node}")), "inc-slot");
    assert_eq!(["n", "other", "third"].map(slot), [10, 25, 5]);
}
