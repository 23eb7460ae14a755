//! What applies to all reporting commands: names, tags and times that they reject, and how rejections are counted.

use super::*;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn empty_names_are_rejected_by_every_command() {
    let Some(server) = stocked("") else { return };
    for (line, what) in [
        ("AGG.STAT '' m 1", "node"),
        ("AGG.MSTAT '' VALUES m 1", "node"),
        ("AGG.HIST '' m VALUES 1 1", "node"),
        ("AGG.LOG '' text", "node"),
        ("AGG.ERROR '' text", "node"),
        ("AGG.REALITY '' k m {}", "node"),
        ("AGG.FORGET '' METRIC m", "node"),
        ("AGG.REQUEUE '' ERROR", "node"),
    ] {
        let command = words(line);
        let name = String::from_utf8_lossy(command[0]).into_owned();
        assert_rejected_once(
            &server,
            &command,
            &format!("ERR {name}: {what} must not be empty"),
        );
    }
    for (line, why) in [
        ("AGG.STAT n '' 1", "AGG.STAT: metric must not be empty"),
        (
            "AGG.HIST n '' VALUES 1 1",
            "AGG.HIST: metric must not be empty",
        ),
        (
            "AGG.MSTAT n ATOMIC VALUES '' 1",
            "AGG.MSTAT: sample 0: metric must not be empty; no sample was accepted",
        ),
        (
            "AGG.ERROR n text KEY ''",
            "AGG.ERROR: KEY must not be empty",
        ),
        (
            "AGG.REALITY n '' m {}",
            "AGG.REALITY: key must not be empty",
        ),
        (
            "AGG.REALITY n k '' {}",
            "AGG.REALITY: model must not be empty",
        ),
        (
            "AGG.FORGET n METRIC ''",
            "AGG.FORGET: name must not be empty",
        ),
        (
            "AGG.FORGET n ERROR ''",
            "AGG.FORGET: name must not be empty",
        ),
        (
            "AGG.FORGET n REALITY ''",
            "AGG.FORGET: name must not be empty",
        ),
    ] {
        assert_rejected(&server, line, &format!("ERR {why}"));
    }
}

/// One command of each kind that takes options, without them.
const WITH_OPTIONS: [&str; 6] = [
    "AGG.STAT n gauge 1",
    "AGG.MSTAT n VALUES gauge 1",
    "AGG.HIST n gauge VALUES 1 1",
    "AGG.LOG n line",
    "AGG.ERROR n failed",
    "AGG.REALITY n sda system.Disk {}",
];

/// Returns the name of the command, and the command with options.
fn with_options(line: &str, options: &str) -> (String, String) {
    let name = line.split(' ').next().unwrap().to_owned();
    let line = match line.split_once(" VALUES") {
        Some((before, values)) => format!("{before} {options} VALUES{values}"),
        None => format!("{line} {options}"),
    };
    (name, line)
}

#[test]
fn tag_without_a_name_is_rejected_by_every_command() {
    let Some(server) = stocked("") else { return };
    for command in WITH_OPTIONS {
        for (tags, word) in [
            (":x", ":x"),
            ("=x", "=x"),
            ("a=1 =b:2", "=b:2"),
            ("a:1 : b:2", ":"),
            ("a::1 ::", "::"),
        ] {
            let (name, line) = with_options(command, &format!("TAGS '{tags}'"));
            assert_rejected(
                &server,
                &line,
                &format!(
                    "ERR {name}: invalid tag '{word}' in TAGS: expected name:value or name=value"
                ),
            );
        }
    }
}

#[test]
fn invalid_time_or_time_in_seconds_is_rejected_by_every_command() {
    let Some(server) = stocked("") else { return };
    for command in WITH_OPTIONS {
        for text in [
            "",
            "now",
            "-1",
            "1.5e12",
            "+1700000000000",
            "01700000000000",
            " 1",
        ] {
            let (name, line) = with_options(command, &format!("AT '{text}'"));
            assert_rejected(
                &server,
                &line,
                &format!("ERR {name}: invalid AT '{text}': expected a time in Unix milliseconds"),
            );
        }
        for text in ["0", "1700000000", "99999999999"] {
            let (name, line) = with_options(command, &format!("AT {text}"));
            assert_rejected(
                &server,
                &line,
                &format!("ERR {name}: AT {text} looks like seconds: times are Unix milliseconds"),
            );
        }
    }
    assert_eq!(
        server.ask::<i64>("AGG.STAT n other 1 AT 100000000000"),
        1,
        "the year 1973 is a time"
    );
}

#[test]
fn time_too_far_ahead_of_the_clock_is_rejected_by_every_command() {
    let Some(server) = stocked("") else { return };
    for command in WITH_OPTIONS {
        let earliest = now_ms();
        let at = earliest + 120_000;
        let (name, line) = with_options(command, &format!("AT {at}"));
        for node in ["n", "new"] {
            let mut command = words(&line);
            command[1] = node.as_bytes();
            let before = state(&server);
            let message = rejection(&mut server.connection(), &command);
            let ahead = message
                .strip_prefix(&format!("ERR {name}: AT {at} is "))
                .and_then(|rest| {
                    rest.strip_suffix(
                        " ms ahead of the server's clock: agg.max-future-ms allows 60000",
                    )
                })
                .unwrap_or_else(|| panic!("{message}"));
            let ahead: i64 = ahead.parse().unwrap();
            assert!((60_001..=120_000).contains(&ahead), "{message}");
            assert_eq!(state(&server), before);
        }
    }
    assert_eq!(server_count(&server, "agg_refused_future"), 12);
    // Slightly ahead is the ordinary difference of clocks.
    for command in WITH_OPTIONS {
        let (_, line) = with_options(command, &format!("AT {}", now_ms() + 30_000));
        tell::<Value>(&server, &line);
    }
    assert_eq!(server_count(&server, "agg_refused_future"), 12);
}

#[test]
fn key_of_another_type_is_rejected_and_unchanged() {
    let Some(server) = stocked("") else { return };
    server.ask::<()>("SET s text");
    for line in [
        "AGG.STAT s m 1",
        "AGG.MSTAT s VALUES m 1",
        "AGG.MSTAT s ATOMIC VALUES m 1",
        "AGG.HIST s m VALUES 1 1",
        "AGG.LOG s line",
        "AGG.ERROR s failed",
        "AGG.REALITY s k m {}",
        "AGG.FORGET s METRIC m",
        "AGG.REQUEUE s ERROR",
    ] {
        assert_rejected_once(&server, &words(line), WRONG_TYPE);
    }
    assert_eq!(server.ask::<String>("GET s"), "text");
}

#[test]
fn every_rejection_is_counted_by_its_reason() {
    let Some(server) = stocked("max-series 2 max-realities 1") else {
        return;
    };
    let reasons = [
        ("AGG.STAT n gauge x".to_owned(), "argument"),
        ("AGG.LOG n line LEVEL 10".to_owned(), "argument"),
        (
            format!("AGG.STAT n gauge 1 AT {}", now_ms() + 600_000),
            "future",
        ),
        ("AGG.STAT n gauge 1 DIFF".to_owned(), "type"),
        ("AGG.STAT n third 1".to_owned(), "max-series"),
        (
            "AGG.REALITY n sdb system.Disk {}".to_owned(),
            "max-realities",
        ),
    ];
    for (line, reason) in reasons {
        let field = format!("agg_refused_{}", reason.replace('-', "_"));
        let (node, server_wide) = (
            node_rejections(&server, reason),
            server_count(&server, &field),
        );
        server.error(&line);
        assert_eq!(
            server_count(&server, &field),
            server_wide + 1,
            "by the server: {line}"
        );
        assert_eq!(
            node_rejections(&server, reason),
            node + 1,
            "by the node: {line}"
        );
    }
}

#[test]
fn node_never_shows_more_bytes_than_the_server_uses() {
    let Some(server) = stocked("") else { return };
    let line = format!("AGG.LOG n {}", "x".repeat(64 << 10));
    for _ in 0..20 {
        server.ask::<i64>(&line);
        server.ask::<Value>("AGG.POP n LOG");
    }
    let held = server_count(&server, "agg_held");
    let bytes = int(&server.ask("AGG.INFO n"), "bytes");
    assert!(bytes <= held, "{bytes} bytes, of {held} in all");
    let usage: i64 = server.ask("MEMORY USAGE n");
    assert!(usage < held + 1_024, "{usage} bytes, of {held} in all");
}

#[test]
fn rejection_inside_multi_leaves_the_rest_alone() {
    let Some(server) = stocked("") else { return };
    let mut connection = server.connection();
    ask::<()>(&mut connection, "MULTI");
    for line in [
        "AGG.STAT n gauge 5",
        "AGG.STAT n gauge x",
        "AGG.STAT n gauge 7",
    ] {
        ask::<()>(&mut connection, line);
    }
    // The client library shows the error only among the replies.
    assert_eq!(
        error(&mut connection, "EXEC"),
        "ERR AGG.STAT: invalid value 'x': expected a decimal number"
    );
    assert_eq!(int(&server.ask("AGG.GET n METRIC gauge"), "samples"), 3);
    assert_eq!(metric(&server, "gauge", "last"), "7");
}
