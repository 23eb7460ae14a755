//! The contents of window records: tags, the last value, exact sums.

use super::*;

#[test]
fn record_has_the_tags_of_the_last_sample_of_its_window() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    together(
        &server,
        &[
            format!("AGG.STAT n m 1 TAGS a:1 AT {t}"),
            format!("AGG.STAT n m 1 AT {}", t + 100),
            format!("AGG.STAT n m 1 TAGS 'b:2 word' AT {}", t + 1_000),
            format!("AGG.STAT n m 1 TAGS '' AT {}", t + 2_000),
        ],
    );
    let tags = of(&arrived(&server, "MIN", 3), "m", "tags");
    let expected = [r#"{"a":"1"}"#, r#"{"b":"2","word":true}"#, "{}"];
    let expected = expected.map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(tags, expected);
    let tags = of(&arrived(&server, "HOUR", 2), "m", "tags");
    assert_eq!(tags, expected[1..]);
    assert_eq!(int(&metric(&server, "m"), "tag-changes"), 2);
}

#[test]
fn last_of_a_window_is_the_value_with_the_newest_time_and_of_a_gauge_the_last_to_arrive() {
    let Some(server) = Server::with_settings(SHORT) else {
        return;
    };
    let t = past();
    let samples = [(1, 100), (2, 300), (3, 300), (4, 200)];
    together(
        &server,
        &samples.map(|(value, ms)| format!("AGG.STAT n m {value} AT {}", t + ms)),
    );
    assert_eq!(of(&arrived(&server, "MIN", 1), "m", "last"), [3.0]);
    let shown = metric(&server, "m");
    assert_eq!(
        (text(&shown, "last"), int(&shown, "at")),
        // The last value to arrive, to which ADD would add.
        ("4".into(), t + 300)
    );
}

#[test]
fn million_samples_of_a_tenth_sum_to_a_hundred_thousand() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    const AT_ONCE: i64 = 10_000;
    let mut command = redis::cmd("AGG.MSTAT");
    command.arg(&["n", "AT", &now_ms().to_string(), "VALUES"]);
    for _ in 0..AT_ONCE {
        command.arg(&["m", "0.1"]);
    }
    let mut connection = server.connection();
    for _ in 0..1_000_000 / AT_ONCE {
        let (taken, late, rejected): (i64, i64, Vec<Value>) =
            command.query(&mut connection).unwrap();
        assert_eq!((taken, late, rejected.len()), (AT_ONCE, 0, 0));
    }
    let open = open(&metric(&server, "m"), "min")[0].clone();
    assert!((double(&open, "sum") - 100_000.0).abs() < 1e-9);
    server.ask::<i64>("AGG.FORGET n METRIC m");
    for queue in ["MIN", "HOUR"] {
        let record = &look(&server, queue)[0].json();
        assert_eq!(record["count"], 1_000_000);
        let sum = record["sum"].as_f64().unwrap();
        assert!((sum - 100_000.0).abs() < 1e-9, "{sum}");
        assert_eq!(record["avg"], 0.1);
    }
}

#[test]
fn sum_or_rate_beyond_the_largest_double_saturates() {
    let Some(server) = Server::with_settings(&format!("{CALM} min-interval-ms 1")) else {
        return;
    };
    let (t, most) = (past(), f64::MAX);
    let line =
        format!("AGG.MSTAT n AT {t} VALUES m {most:e} m {most:e} low -{most:e} low -{most:e}");
    server.ask::<Value>(&line);
    for (name, sum) in [("m", most), ("low", -most)] {
        assert_eq!(double(&open(&metric(&server, name), "min")[0], "sum"), sum);
    }
    server.ask::<i64>(&format!("AGG.STAT n c 0 DIFF AT {t}"));
    server.ask::<i64>(&format!("AGG.STAT n c {most:e} DIFF AT {}", t + 1));
    let window = &open(&metric(&server, "c"), "min")[0];
    for field in ["sum", "avg", "max", "last"] {
        assert_eq!(double(window, field), most, "{field}");
    }
    server.ask::<i64>("AGG.FORGET n METRIC m");
    assert_eq!(look(&server, "MIN")[0].json()["sum"], most);
}
