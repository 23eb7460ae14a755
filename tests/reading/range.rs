//! AGG.RANGE: the windows of a metric, closed and open.

use super::*;

fn range(server: &Server, line: &str) -> Vec<(i64, i64, f64, i64)> {
    let hour = line.contains(" HOUR");
    windows(&look(server, line), if hour { 3_600_000 } else { 300_000 })
}

#[test]
fn range_lists_windows_oldest_first_and_open_ones_last() {
    let Some(server) = Server::with_settings("flush-delay-ms 600000") else {
        return;
    };
    let start = past_hour();
    let window = |i: i64| start + i * 300_000;
    for i in 0..4 {
        server.ask::<()>(&format!("AGG.STAT n m {i} AT {}", window(i)));
        server.ask::<()>(&format!("AGG.STAT n m 0.5 AT {}", window(i) + 1));
    }
    let expected = [
        (window(0), 2, 0.5, 1),
        (window(1), 2, 1.5, 1),
        (window(2), 2, 2.5, 1),
        (window(3), 2, 3.5, 0),
    ];
    assert_eq!(range(&server, "AGG.RANGE n m MIN"), expected);
    assert_eq!(range(&server, "agg.range n m min"), expected);
    assert_eq!(range(&server, "AGG.RANGE n m HOUR"), [(start, 8, 8.0, 0)]);
    let reply = look(&server, "AGG.RANGE n m MIN");
    let Value::Array(all) = &reply else {
        unreachable!()
    };
    for (field, value) in [
        ("sum", "3.5"),
        ("avg", "1.75"),
        ("min", "0.5"),
        ("max", "3.0"),
        ("last", "0.5"),
    ] {
        assert_eq!(text(&all[3], field), value, "{field}");
    }
}

#[test]
fn range_lists_two_open_windows() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let this = now_ms() / 300_000 * 300_000;
    let before = this - 300_000;
    server.ask::<()>(&format!("AGG.STAT n m 1 AT {before}"));
    server.ask::<()>(&format!("AGG.STAT n m 2 AT {this}"));
    let open = range(&server, "AGG.RANGE n m MIN");
    assert_eq!(open, [(before, 1, 1.0, 0), (this, 1, 2.0, 0)]);
}

#[test]
fn range_includes_the_windows_that_from_and_to_touch() {
    let Some(server) = Server::with_settings("flush-delay-ms 600000") else {
        return;
    };
    let start = past_hour();
    let window = |i: i64| start + i * 300_000;
    for i in 0..4 {
        server.ask::<()>(&format!("AGG.STAT n m 1 AT {}", window(i)));
    }
    let (one, two) = (window(1), window(2));
    for (options, expected) in [
        ("FROM 0".to_owned(), vec![0, 1, 2, 3]),
        (format!("FROM {one}"), vec![1, 2, 3]),
        (format!("FROM {}", one - 1), vec![0, 1, 2, 3]),
        (format!("FROM {}", one + 1), vec![1, 2, 3]),
        (format!("TO {two}"), vec![0, 1, 2]),
        (format!("TO {}", two - 1), vec![0, 1]),
        (format!("FROM {one} TO {one}"), vec![1]),
        (format!("TO {} from {one}", window(3)), vec![1, 2, 3]),
        (format!("FROM {}", window(4)), vec![]),
        (format!("TO {}", start - 1), vec![]),
        (format!("FROM {two} TO {one}"), vec![]),
        ("FROM 18446744073709551615".to_owned(), vec![]),
        ("TO 18446744073709551615".to_owned(), vec![0, 1, 2, 3]),
        ("TO 0".to_owned(), vec![]),
    ] {
        let found = range(&server, &format!("AGG.RANGE n m MIN {options}"));
        let starts: Vec<i64> = found.iter().map(|window| window.0).collect();
        let expected: Vec<i64> = expected.into_iter().map(window).collect();
        assert_eq!(starts, expected, "{options}");
    }
    let hour = format!("AGG.RANGE n m HOUR FROM {two} TO {two}");
    assert_eq!(range(&server, &hour).len(), 1);
    let later = format!("AGG.RANGE n m HOUR FROM {}", start + 3_600_000);
    assert_eq!(range(&server, &later), []);
}

#[test]
fn range_shows_as_many_closed_windows_as_are_kept() {
    let settings = "flush-delay-ms 600000 min-history 2 hour-history 0";
    let Some(server) = Server::with_settings(settings) else {
        return;
    };
    // Within two hours, so that one of them has closed.
    let start = past_hour() - 3_600_000;
    for i in 0..15 {
        server.ask::<()>(&format!("AGG.STAT n m 1 AT {}", start + i * 300_000));
    }
    let window = |i: i64| start + i * 300_000;
    let expected = [
        (window(12), 1, 1.0, 1),
        (window(13), 1, 1.0, 1),
        (window(14), 1, 1.0, 0),
    ];
    assert_eq!(range(&server, "AGG.RANGE n m MIN"), expected);
    let hour = range(&server, "AGG.RANGE n m HOUR");
    assert_eq!(hour, [(window(12), 3, 3.0, 0)]);
}

#[test]
fn range_of_a_counter_shows_the_increase_and_the_rates() {
    let Some(server) = Server::with_settings(LATE) else {
        return;
    };
    let start = past_hour();
    for (total, seconds) in [(0, 0), (60, 60), (360, 120)] {
        let at = start + seconds * 1000;
        server.ask::<()>(&format!("AGG.STAT n m {total} DIFF AT {at}"));
    }
    let reply = look(&server, "AGG.RANGE n m MIN");
    assert_eq!(windows(&reply, 300_000), [(start, 2, 360.0, 0)]);
    for (field, value) in [
        ("avg", "3.0"),
        ("min", "1.0"),
        ("max", "5.0"),
        ("last", "5.0"),
    ] {
        assert_eq!(text(&list(&reply)[0], field), value, "{field}");
    }
}
