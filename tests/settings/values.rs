//! Defaults, bounds and units of the settings, and the rules between them.

use super::*;

/// Settings in bytes.
fn is_size(name: &str) -> bool {
    let sizes = ["max-memory", "max-node-memory", "max-item-size"];
    sizes.contains(&name) || name.starts_with("queue-")
}

/// The units of Redis.
const UNITS: [(&str, i64); 8] = [
    ("3000000", 3_000_000),
    ("3000000b", 3_000_000),
    ("3000k", 3_000_000),
    ("3000kb", 3000 << 10),
    ("3m", 3_000_000),
    ("3MB", 3 << 20),
    ("3g", 3_000_000_000),
    ("3gb", 3 << 30),
];

#[test]
fn defaults_are_the_documented_ones() {
    let Some(server) = Server::start() else {
        return;
    };
    let numbers = SETTINGS.map(|(name, default, ..)| (name, default.to_string()));
    let others = OTHERS.map(|(name, default)| (name, default.to_owned()));
    let mut expected: Vec<(String, String)> = numbers
        .into_iter()
        .chain(others)
        .map(|(name, default)| (format!("agg.{name}"), default))
        .collect();
    expected.sort();
    assert_eq!(all(&server), expected);
}

#[test]
fn every_setting_accepts_its_bounds_and_nothing_beyond() {
    let Some(server) = Server::start() else {
        return;
    };
    for (name, default, min, max) in SETTINGS {
        for wrong in [min - 1, max + 1] {
            // The server words the error differently if a size is not even a number.
            let why = match wrong {
                -1 if is_size(name) => "argument must be a memory value".to_owned(),
                _ => format!("argument must be between {min} and {max} inclusive"),
            };
            assert_eq!(
                server.error(&format!("CONFIG SET agg.{name} {wrong}")),
                format!(
                    "ERR CONFIG SET failed (possibly related to argument 'agg.{name}') - {why}"
                )
            );
        }
        assert_eq!(value(&server, name), default, "{name}");
        if name.ends_with("-window") {
            continue;
        }
        // A delay requires windows that cover it.
        let max = match name {
            "flush-delay-ms" => 3 * 300_000,
            "flush-jitter-ms" => 3 * 300_000 - 5_000,
            _ => max,
        };
        for right in [min, max] {
            set(&server, &format!("agg.{name} {right}"));
            assert_eq!(value(&server, name), right, "{name}");
        }
        if name.starts_with("flush-") {
            set(&server, &format!("agg.{name} {default}"));
        }
    }
    for window in [1, 28 * 86_400] {
        set(
            &server,
            &format!("agg.min-window {window} agg.hour-window {window}"),
        );
    }
}

#[test]
fn invalid_numbers_are_rejected() {
    let Some(server) = Server::start() else {
        return;
    };
    for (name, ..) in SETTINGS {
        let why = match is_size(name) {
            true => "argument must be a memory value",
            false => "argument couldn't be parsed into an integer",
        };
        for wrong in ["many", "1x", "1e3", "0x10", "1.5"] {
            assert_eq!(
                server.error(&format!("CONFIG SET agg.{name} {wrong}")),
                format!(
                    "ERR CONFIG SET failed (possibly related to argument 'agg.{name}') - {why}"
                )
            );
        }
    }
    let before = all(&server);
    let unknown = server.error("CONFIG SET agg.nonsense 1");
    assert!(unknown.contains("agg.nonsense"), "{unknown}");
    assert_eq!(all(&server), before);
}

#[test]
fn sizes_take_the_units_of_the_server() {
    for (text, bytes) in UNITS {
        let Some(server) = Server::with_settings(&format!("max-memory {text}")) else {
            return;
        };
        assert_eq!(value(&server, "max-memory"), bytes, "argument {text}");
        set(&server, &format!("agg.queue-log {text}"));
        assert_eq!(value(&server, "queue-log"), bytes, "CONFIG SET {text}");
    }
}

#[test]
fn hour_window_is_a_multiple_of_the_min_window() {
    let Some(server) = Server::start() else {
        return;
    };
    let windows = || (value(&server, "min-window"), value(&server, "hour-window"));
    for wrong in [
        "agg.min-window 7",
        "agg.hour-window 3601",
        "agg.hour-window 299",
        "agg.min-window 7 agg.hour-window 20",
        "agg.hour-window 20 agg.min-window 7",
        "agg.max-series 5 agg.min-window 7",
    ] {
        let error = server.error(&format!("CONFIG SET {wrong}"));
        assert!(
            error.starts_with("ERR CONFIG SET failed")
                && error.ends_with(" - agg.hour-window must be a multiple of agg.min-window"),
            "{error}"
        );
        assert_eq!(windows(), (300, 3600), "{wrong}");
        assert_eq!(value(&server, "max-series"), 20_000, "{wrong}");
    }
    set(&server, "agg.min-window 7 agg.hour-window 21");
    assert_eq!(windows(), (7, 21));
    set(&server, "agg.hour-window 5 agg.min-window 5");
    assert_eq!(windows(), (5, 5));
    set(&server, "agg.hour-window 10");
    assert_eq!(windows(), (5, 10));
}

#[test]
fn flush_delay_and_jitter_are_at_most_three_min_windows() {
    let why = "agg.flush-delay-ms and agg.flush-jitter-ms together must be at most 3 times agg.min-window";
    rejected_by_arguments("flush-jitter-ms 895001", why);
    rejected_by_file("agg.flush-jitter-ms 895001\n", why);
    let Some(server) = Server::start() else {
        return;
    };
    let rejects = |settings: &str| {
        let error = server.error(&format!("CONFIG SET {settings}"));
        assert!(error.ends_with(&format!(" - {why}")), "{error}");
    };
    rejects("agg.flush-jitter-ms 895001");
    set(&server, "agg.flush-jitter-ms 895000");
    rejects("agg.flush-delay-ms 5001");
    rejects("agg.min-window 150");
    set(&server, "agg.flush-delay-ms 0 agg.flush-jitter-ms 900000");
}

/// The limit follows from the number of open windows.
#[test]
fn flush_delay_is_at_most_three_min_windows() {
    let why = "agg.flush-delay-ms must be at most 3 times agg.min-window";
    rejected_by_arguments("min-window 2 hour-window 4 flush-delay-ms 60000", why);
    rejected_by_file("agg.flush-delay-ms 900001\n", why);
    let Some(server) = Server::start() else {
        return;
    };
    let rejects = |settings: &str| {
        let error = server.error(&format!("CONFIG SET {settings}"));
        assert!(error.ends_with(&format!(" - {why}")), "{error}");
    };
    rejects("agg.flush-delay-ms 900001");
    rejects("agg.max-series 5 agg.flush-delay-ms 900001");
    assert_eq!(value(&server, "flush-delay-ms"), 5_000);
    assert_eq!(value(&server, "max-series"), 20_000);
    set(&server, "agg.flush-delay-ms 900000");
    rejects("agg.min-window 150");
    assert_eq!(value(&server, "min-window"), 300);
    set(&server, "agg.min-window 20 agg.flush-delay-ms 60000");
    // The default fits any window and is at most three of them.
    set(&server, "agg.flush-delay-ms 5000");
    set(&server, "agg.min-window 1 agg.hour-window 60");
    // The id is the time at which the window closed.
    until("a window closes after three seconds", || {
        let _: i64 = server.ask("AGG.STAT n m 1");
        let records = server.peek("n", "MIN");
        let field = |r: &serde_json::Value, name: &str| r[name].as_i64().unwrap();
        let delays = records
            .iter()
            .map(|r| field(r, "id") / 1_000 - field(r, "end"));
        let delays: Vec<i64> = delays.collect();
        assert!(delays.iter().all(|delay| *delay >= 3_000), "{delays:?}");
        delays.iter().any(|delay| *delay < 5_000).then_some(())
    });
}

#[test]
fn texts_and_switches_are_checked() {
    let Some(server) = Server::start() else {
        return;
    };
    let before = all(&server);
    let failed = |name: &str, value: &str| {
        let line = format!("CONFIG SET agg.{name} {value}");
        let error = rejection(&mut server.connection(), &words(&line));
        let start = format!("ERR CONFIG SET failed (possibly related to argument 'agg.{name}') - ");
        match error.strip_prefix(&start) {
            Some(why) => why.to_owned(),
            None => panic!("{error}"),
        }
    };
    assert_eq!(
        failed("percentiles", "'50 x'"),
        "invalid percentile 'x': expected a decimal number"
    );
    assert_eq!(
        failed("percentiles", "101"),
        "'101' is not above 0 and at most 100"
    );
    assert_eq!(failed("percentiles", "'50 50.0'"), "'50.0' is given twice");
    assert_eq!(
        failed("percentiles", "'1 2 3 4 5 6 7 8 9'"),
        "more than 8 percentiles"
    );
    assert_eq!(
        failed("percentiles", "0.00000001"),
        "'0.00000001' has more than 7 decimals"
    );
    assert_eq!(
        failed("hist-match", &"a".repeat(1025)),
        "1025 bytes of patterns: the maximum is 1024"
    );
    assert_eq!(
        failed("hist-records", "maybe"),
        "argument must be 'yes' or 'no'"
    );
    assert_eq!(all(&server), before);
    set(&server, "agg.percentiles '99.90 50' agg.hist-records yes");
    set(&server, "agg.hist-match 'http.* *.ms'");
    assert_eq!(text(&server, "percentiles"), "99.90 50");
    assert_eq!(text(&server, "hist-records"), "yes");
    assert_eq!(text(&server, "hist-match"), "http.* *.ms");
}
