//! The commands that report, on a real server: AGG.STAT, AGG.MSTAT, AGG.LOG, AGG.ERROR, AGG.REALITY, and with them
//! AGG.FORGET and AGG.REQUEUE. Every option, every answer, and every refusal with its text, after which nothing may have
//! changed.

mod support;

use redis::Value;
use support::*;

/// Windows of four weeks: while a test looks, the timer has nothing to do.
const CALM: &str = "min-window 2419200 hour-window 2419200";

const STAT: &str = "AGG.STAT node metric value [ABS|DIFF] [TAGS tags] [AT ms]";
const MSTAT: &str =
    "AGG.MSTAT node [ABS|DIFF] [TAGS tags] [AT ms] [ATOMIC] VALUES metric value [metric value ...]";
const LOG: &str = "AGG.LOG node message [LEVEL 0..9] [TAGS tags] [AT ms]";
const ERROR: &str = "AGG.ERROR node message [PUBLIC text] [LEVEL 0..9] [TYPE BUG|PERF|OPS|UNKNOWN] [TAGS tags] \
                     [CODE c] [FUNC f] [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] [AT ms]";
const REALITY: &str = "AGG.REALITY node key model json [TAGS tags] [AT ms] [TTL seconds]";

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// A server whose node `n` holds something of everything.
fn stocked(settings: &str) -> Option<Server> {
    let server = Server::with_settings(&format!("{CALM} {settings}"))?;
    for line in [
        "AGG.STAT n gauge 1 TAGS a:1",
        "AGG.STAT n counter 1 DIFF",
        "AGG.LOG n line",
        "AGG.ERROR n failed KEY known",
        "AGG.REALITY n sda system.Disk {}",
    ] {
        server.ask::<Value>(line);
    }
    Some(server)
}

/// All keys and the digests of what they hold.
fn state(server: &Server) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut keys: Vec<Vec<u8>> = server.ask("KEYS *");
    keys.sort();
    let mut digest: Vec<&[u8]> = words("DEBUG DIGEST-VALUE");
    digest.extend(keys.iter().map(Vec::as_slice));
    let digests = server.send(&digest);
    (keys, digests)
}

/// Asserts that a command is refused with this text, and that nothing was changed.
fn refused_as_it_is(server: &Server, command: &[&[u8]], text: &str) {
    let before = state(server);
    assert_eq!(refusal(&mut server.connection(), command), text);
    assert_eq!(state(server), before, "changed by what gave: {text}");
}

/// The same of a command, once for the node that it names and once for one that is not there.
fn refused_in_words(server: &Server, command: &[&[u8]], text: &str) {
    refused_as_it_is(server, command, text);
    let mut elsewhere = command.to_vec();
    elsewhere[1] = b"new";
    refused_as_it_is(server, &elsewhere, text);
}

/// The same of a line.
fn refused(server: &Server, line: &str, text: &str) {
    refused_in_words(server, &words(line), text);
}

/// Sends a line in which quotes hold words together.
fn tell<T: redis::FromRedisValue>(server: &Server, line: &str) -> T {
    server.send(&words(line))
}

/// A field of what AGG.GET shows of a metric, as text.
fn metric(server: &Server, name: &str, field: &str) -> String {
    text(&tell(server, &format!("AGG.GET n METRIC '{name}'")), field)
}

/// The names in a map, in order.
fn names(map: &Value) -> Vec<String> {
    list(map)
        .iter()
        .step_by(2)
        .map(|name| redis::from_redis_value(name.clone()).unwrap())
        .collect()
}

/// A number of `INFO agg`.
fn server_count(server: &Server, name: &str) -> i64 {
    let info: String = server.ask("INFO agg");
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {name} in {info}"))
        .parse()
        .unwrap()
}

/// How often a reason is counted in the node's AGG.INFO.
fn node_refusals(server: &Server, reason: &str) -> i64 {
    let info: Value = server.ask("AGG.INFO n");
    int(at(&info, "refused").unwrap(), reason)
}

/// The entries of a queue, looked at.
fn look(server: &Server, queue: &str) -> Vec<Entry> {
    entries(&server.ask(&format!("AGG.PEEK n {queue}")))
}

/// The only entry of a queue.
fn only(server: &Server, queue: &str) -> Entry {
    let all = look(server, queue);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

// AGG.STAT

#[test]
fn a_sample_is_counted() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    assert_eq!(server.ask::<i64>("AGG.STAT n m 1.5"), 1);
    assert_eq!(
        server.error("AGG.STAT n m 0x10"),
        "ERR AGG.STAT: value '0x10' is not a decimal number"
    );
    assert_eq!(server.ask::<String>("TYPE n"), "aggr-node");
}

#[test]
fn what_is_told_with_a_sample_is_shown_whatever_the_order_and_case_of_the_options() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 1_000;
    let options = [
        format!("ABS TAGS 'dim:iops location:elgouna' AT {t}"),
        format!("at {t} tags 'dim:iops location:elgouna' abs"),
        format!("Tags ' location:elgouna  dim:iops ' At {t}"),
    ];
    for (i, options) in options.iter().enumerate() {
        let name = format!("disk.iops@sd{i}");
        assert_eq!(
            tell::<i64>(&server, &format!("agg.stat n {name} 12.5 {options}")),
            1
        );
        let shown: Value = server.ask(&format!("AGG.GET n METRIC {name}"));
        assert_eq!(
            names(&shown),
            words(
                "name type tags last at min hour samples late late-min restarts gaps tag-changes"
            )
            .iter()
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect::<Vec<_>>()
        );
        assert_eq!(
            (text(&shown, "name"), text(&shown, "type")),
            (name, "ABS".into())
        );
        assert_eq!((double(&shown, "last"), int(&shown, "at")), (12.5, t));
        let tags = at(&shown, "tags").unwrap();
        assert_eq!(
            (text(tags, "dim"), text(tags, "location")),
            ("iops".into(), "elgouna".into())
        );
        assert_eq!((int(&shown, "samples"), int(&shown, "tag-changes")), (1, 0));
        for open in ["min", "hour"] {
            let open = list(at(&shown, open).unwrap());
            assert_eq!(open.len(), 1);
            assert_eq!((int(&open[0], "count"), int(&open[0], "closed")), (1, 0));
        }
    }
}

#[test]
fn a_sample_that_names_no_time_is_of_the_servers_clock() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    server.ask::<i64>("AGG.STAT n m 1");
    let at = int(&server.ask("AGG.GET n METRIC m"), "at");
    assert!((before..=now_ms()).contains(&at), "{at}");
}

#[test]
fn a_differential_sample_sets_a_total_first_and_brings_increases_then() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 60_000;
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n c 1000 DIFF AT {t}")),
        1
    );
    let first: Value = server.ask("AGG.GET n METRIC c");
    assert_eq!(text(&first, "type"), "DIFF");
    assert_eq!(at(&first, "min"), Some(&Value::Array(vec![])));
    assert_eq!(
        server.ask::<i64>(&format!("AGG.STAT n c 1100 diff AT {}", t + 10_000)),
        1
    );
    let second: Value = server.ask("AGG.GET n METRIC c");
    let open = &list(at(&second, "min").unwrap())[0];
    assert_eq!((double(open, "sum"), double(open, "avg")), (100.0, 10.0));
    assert_eq!(text(&second, "last"), "1100");
}

#[test]
fn a_value_is_a_decimal_number_as_json_writes_it() {
    let Some(server) = stocked("") else { return };
    for (given, last) in [
        ("0", "0"),
        ("-0", "0.0"),
        ("+7", "7"),
        ("-1.5", "-1.5"),
        ("1e3", "1000.0"),
        ("+1E-2", "0.01"),
        ("1.5e+3", "1500.0"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e308"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.STAT n gauge {given}")),
            1,
            "{given}"
        );
        assert_eq!(metric(&server, "gauge", "last"), last, "{given}");
    }
}

#[test]
fn a_value_that_is_no_number_or_that_no_double_holds_is_refused() {
    let Some(server) = stocked("") else { return };
    for value in [
        "", "+", "-", "+-1", "--1", "1 ", " 1", "1 2", "0x10", "0X1p3", "1.", ".5", "01", "-01",
        "1e", "1e+", "1.5.2", "1,5", "1_000", "NaN", "nan", "inf", "-inf", "Infinity", "true",
        "one", "١",
    ] {
        refused(
            &server,
            &format!("AGG.STAT n gauge '{value}'"),
            &format!("ERR AGG.STAT: value '{value}' is not a decimal number"),
        );
    }
    for (value, why) in [
        ("1e309", "larger than a double can hold"),
        ("-1e309", "larger than a double can hold"),
        ("1e-400", "smaller than a double can hold"),
    ] {
        refused(
            &server,
            &format!("AGG.STAT n gauge {value}"),
            &format!("ERR AGG.STAT: value '{value}' is {why}"),
        );
    }
    refused_in_words(
        &server,
        &[b"AGG.STAT", b"n", b"gauge", b"1\0\n\xff'"],
        r"ERR AGG.STAT: value '1\x00\n\xff\'' is not a decimal number",
    );
    refused(
        &server,
        "AGG.STAT n counter -1 DIFF",
        "ERR AGG.STAT: value '-1' is negative: a DIFF metric counts up from 0",
    );
}

#[test]
fn a_sample_with_arguments_missing_unknown_or_given_twice_is_refused() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.STAT' command";
    refused_as_it_is(&server, &words("AGG.STAT"), arity);
    refused(&server, "AGG.STAT n", arity);
    refused(&server, "AGG.STAT n gauge", arity);
    for (options, why) in [
        ("FOO", format!("'FOO' is not an option here: {STAT}")),
        ("''", format!("'' is not an option here: {STAT}")),
        ("ABS 2", format!("'2' is not an option here: {STAT}")),
        ("LEVEL 5", format!("'LEVEL' is not an option here: {STAT}")),
        ("TAGS", format!("the list behind TAGS is missing: {STAT}")),
        ("ABS AT", format!("AT is missing: {STAT}")),
        ("ABS abs", "ABS is given twice".into()),
        ("DIFF DIFF", "DIFF is given twice".into()),
        ("TAGS a:1 TAGS a:1", "TAGS is given twice".into()),
        (
            "AT 1700000000000 AT 1700000000000",
            "AT is given twice".into(),
        ),
        (
            "ABS DIFF",
            "ABS and DIFF are both given: a metric is one of them".into(),
        ),
    ] {
        refused(
            &server,
            &format!("AGG.STAT n gauge 1 {options}"),
            &format!("ERR AGG.STAT: {why}"),
        );
    }
}

#[test]
fn empty_names_are_refused_by_every_command() {
    let Some(server) = stocked("") else { return };
    for (line, what) in [
        ("AGG.STAT '' m 1", "node"),
        ("AGG.MSTAT '' VALUES m 1", "node"),
        ("AGG.LOG '' text", "node"),
        ("AGG.ERROR '' text", "node"),
        ("AGG.REALITY '' k m {}", "node"),
        ("AGG.FORGET '' METRIC m", "node"),
        ("AGG.REQUEUE '' ERROR", "node"),
    ] {
        let command = words(line);
        let name = String::from_utf8_lossy(command[0]).into_owned();
        refused_as_it_is(&server, &command, &format!("ERR {name}: {what} is empty"));
    }
    for (line, why) in [
        ("AGG.STAT n '' 1", "AGG.STAT: metric is empty"),
        (
            "AGG.MSTAT n ATOMIC VALUES '' 1",
            "AGG.MSTAT: sample 0: metric is empty; nothing was taken",
        ),
        ("AGG.ERROR n text KEY ''", "AGG.ERROR: KEY is empty"),
        ("AGG.REALITY n '' m {}", "AGG.REALITY: key is empty"),
        ("AGG.REALITY n k '' {}", "AGG.REALITY: model is empty"),
        ("AGG.FORGET n METRIC ''", "AGG.FORGET: name is empty"),
        ("AGG.FORGET n ERROR ''", "AGG.FORGET: name is empty"),
        ("AGG.FORGET n REALITY ''", "AGG.FORGET: name is empty"),
    ] {
        refused(&server, line, &format!("ERR {why}"));
    }
}

/// A command of each kind that takes options, to which they are added.
const WITH_OPTIONS: [&str; 5] = [
    "AGG.STAT n gauge 1",
    "AGG.MSTAT n VALUES gauge 1",
    "AGG.LOG n line",
    "AGG.ERROR n failed",
    "AGG.REALITY n sda system.Disk {}",
];

/// The command's name, and the command with options.
fn with_options(line: &str, options: &str) -> (String, String) {
    let name = line.split(' ').next().unwrap().to_owned();
    let line = match line.split_once(" VALUES") {
        Some((before, values)) => format!("{before} {options} VALUES{values}"),
        None => format!("{line} {options}"),
    };
    (name, line)
}

#[test]
fn a_tag_without_a_name_is_refused_by_every_command() {
    let Some(server) = stocked("") else { return };
    for command in WITH_OPTIONS {
        for (tags, word) in [(":x", ":x"), ("a:1 : b:2", ":"), ("a::1 ::", "::")] {
            let (name, line) = with_options(command, &format!("TAGS '{tags}'"));
            refused(
                &server,
                &line,
                &format!(
                    "ERR {name}: TAGS has a word without a name, '{word}': name:value was expected"
                ),
            );
        }
    }
}

#[test]
fn a_time_that_is_none_or_looks_like_seconds_is_refused_by_every_command() {
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
            refused(
                &server,
                &line,
                &format!("ERR {name}: AT '{text}' is not a time in Unix milliseconds"),
            );
        }
        for text in ["0", "1700000000", "99999999999"] {
            let (name, line) = with_options(command, &format!("AT {text}"));
            refused(
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
fn a_time_too_far_ahead_of_the_clock_is_refused_by_every_command() {
    let Some(server) = stocked("") else { return };
    for command in WITH_OPTIONS {
        let earliest = now_ms();
        let at = earliest + 120_000;
        let (name, line) = with_options(command, &format!("AT {at}"));
        for node in ["n", "new"] {
            let mut command = words(&line);
            command[1] = node.as_bytes();
            let before = state(&server);
            let told = refusal(&mut server.connection(), &command);
            let ahead = told
                .strip_prefix(&format!("ERR {name}: AT {at} is "))
                .and_then(|rest| {
                    rest.strip_suffix(
                        " ms ahead of the server's clock: agg.max-future-ms allows 60000",
                    )
                })
                .unwrap_or_else(|| panic!("{told}"));
            let ahead: i64 = ahead.parse().unwrap();
            assert!((60_001..=120_000).contains(&ahead), "{told}");
            assert_eq!(state(&server), before);
        }
    }
    assert_eq!(server_count(&server, "agg_refused_future"), 10);
    // A little ahead is the ordinary difference of clocks.
    for command in WITH_OPTIONS {
        let (_, line) = with_options(command, &format!("AT {}", now_ms() + 30_000));
        tell::<Value>(&server, &line);
    }
    assert_eq!(server_count(&server, "agg_refused_future"), 10);
}

#[test]
fn what_is_too_long_is_refused_whole() {
    let Some(server) = stocked("max-item-size 64") else {
        return;
    };
    let (most, long) = ("a".repeat(64), "a".repeat(65));
    for (line, what) in [
        ("AGG.STAT n LONG 1", "AGG.STAT: metric"),
        ("AGG.STAT n gauge 1 TAGS LONG", "AGG.STAT: TAGS"),
        ("AGG.MSTAT n TAGS LONG VALUES gauge 1", "AGG.MSTAT: TAGS"),
        ("AGG.LOG n line TAGS LONG", "AGG.LOG: TAGS"),
        ("AGG.ERROR n failed TAGS LONG", "AGG.ERROR: TAGS"),
        ("AGG.ERROR n failed CODE LONG", "AGG.ERROR: CODE"),
        ("AGG.ERROR n failed FUNC LONG", "AGG.ERROR: FUNC"),
        ("AGG.ERROR n failed FILE LONG", "AGG.ERROR: FILE"),
        ("AGG.ERROR n failed KEY LONG", "AGG.ERROR: KEY"),
        ("AGG.REALITY n LONG m {}", "AGG.REALITY: key"),
        ("AGG.REALITY n k LONG {}", "AGG.REALITY: model"),
        ("AGG.REALITY n k m LONG", "AGG.REALITY: json"),
        ("AGG.REALITY n k m {} TAGS LONG", "AGG.REALITY: TAGS"),
        ("AGG.FORGET n METRIC LONG", "AGG.FORGET: name"),
    ] {
        let why = format!("ERR {what} '{most}…' has 65 bytes: agg.max-item-size allows 64");
        refused(&server, &line.replace("LONG", &long), &why);
    }
    for line in [
        "AGG.STAT LONG m 1",
        "AGG.MSTAT LONG VALUES m 1",
        "AGG.LOG LONG line",
        "AGG.ERROR LONG failed",
        "AGG.REALITY LONG k m {}",
        "AGG.FORGET LONG METRIC m",
        "AGG.REQUEUE LONG ERROR",
    ] {
        let line = line.replace("LONG", &long);
        let (name, _) = line.split_once(' ').unwrap();
        let why = format!("ERR {name}: node '{most}…' has 65 bytes: agg.max-item-size allows 64");
        refused_as_it_is(&server, &words(&line), &why);
    }
    let many: Value = server.ask(&format!("AGG.MSTAT n VALUES {long} 1"));
    assert_eq!(
        many,
        mstat(
            0,
            0,
            &[(
                0,
                &format!("metric '{most}…' has 65 bytes: agg.max-item-size allows 64")
            )]
        )
    );
    // What is just as long as it may be is taken.
    let json = format!("\"{}\"", &most[2..]);
    for line in [
        format!("AGG.STAT {most} {most} 1 TAGS {most}"),
        format!("AGG.ERROR n {most} CODE {most} FUNC {most} FILE {most} KEY {most}"),
        format!("AGG.REALITY n {most} {most} {json}"),
    ] {
        server.ask::<Value>(&line);
    }
    let info: Value = server.ask("AGG.INFO n");
    assert_eq!(int(&info, "truncated"), 0);
}

#[test]
fn a_pattern_that_is_too_long_is_refused_as_everything_else() {
    let Some(server) = stocked("max-item-size 64") else {
        return;
    };
    server.ask::<Value>("AGG.POP n ERROR");
    let before = state(&server);
    let told = server.error(&format!("AGG.REQUEUE n ERROR MATCH {}", "*".repeat(65)));
    assert!(
        told.starts_with("ERR AGG.REQUEUE: ")
            && told.ends_with("has 65 bytes: agg.max-item-size allows 64"),
        "{told}"
    );
    assert_eq!(state(&server), before);
}

#[test]
fn names_and_tags_are_binary_safe() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    // Blanks, line ends, NUL, what separates elsewhere, what is no UTF-8: all of it is a part of the name.
    let names: [&[u8]; 6] = [b"a b", b"a\nb", b"a\0b", b"a\0c", b"a|b:c", b"\xff\xfe"];
    for (i, name) in names.into_iter().enumerate() {
        let value = i.to_string();
        let tags = [b"t\0:", name].concat().replace_blanks();
        let command: [&[u8]; 6] = [b"AGG.STAT", name, name, value.as_bytes(), b"TAGS", &tags];
        assert_eq!(server.send::<i64>(&command), 1);
    }
    let mut nodes: Vec<Vec<u8>> = server.ask("KEYS *");
    nodes.sort();
    let mut expected = names.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(nodes, expected);
    for (i, name) in names.into_iter().enumerate() {
        let shown: Value = server.send(&[b"AGG.GET", name, b"METRIC", name]);
        assert_eq!(at(&shown, "name"), Some(&Value::BulkString(name.to_vec())));
        assert_eq!(text(&shown, "last"), i.to_string());
        let tags: Vec<Vec<u8>> =
            redis::from_redis_value(at(&shown, "tags").unwrap().clone()).unwrap();
        assert_eq!(tags, [b"t\0".to_vec(), name.replace_blanks()]);
    }
}

/// For tags, whose words end at a blank.
trait ReplaceBlanks {
    fn replace_blanks(&self) -> Vec<u8>;
}

impl ReplaceBlanks for [u8] {
    fn replace_blanks(&self) -> Vec<u8> {
        self.iter()
            .map(|b| if *b == b' ' { b'_' } else { *b })
            .collect()
    }
}

#[test]
fn tags_that_arrived_last_hold_and_a_change_is_counted() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (options, tags, changes) in [
        ("", &[][..], 0),
        ("TAGS 'b:2 a:1'", &["a", "1", "b", "2"], 0),
        ("TAGS 'a:1  b:2'", &["a", "1", "b", "2"], 0),
        ("", &["a", "1", "b", "2"], 0),
        ("TAGS 'a:1 a:x:y word'", &["a", "x:y", "word", "true"], 1),
        ("TAGS 'empty:'", &["empty", ""], 2),
        ("TAGS ''", &[], 3),
    ] {
        tell::<i64>(&server, &format!("AGG.STAT n m 1 {options}"));
        let shown: Value = server.ask("AGG.GET n METRIC m");
        let shown_tags: Vec<String> =
            redis::from_redis_value(at(&shown, "tags").unwrap().clone()).unwrap();
        assert_eq!(shown_tags, tags, "{options}");
        assert_eq!(int(&shown, "tag-changes"), changes, "{options}");
    }
}

#[test]
fn a_sample_of_the_other_type_says_how_to_get_out_of_it() {
    let Some(server) = stocked("") else { return };
    let way_out = "AGG.FORGET node METRIC name lets it begin anew";
    for (line, why) in [
        (
            "AGG.STAT n gauge 2 DIFF",
            "ERR AGG.STAT: metric 'gauge' is ABS, the sample DIFF",
        ),
        (
            "AGG.STAT n counter 2",
            "ERR AGG.STAT: metric 'counter' is DIFF, the sample ABS",
        ),
        (
            "AGG.STAT n counter 2 ABS",
            "ERR AGG.STAT: metric 'counter' is DIFF, the sample ABS",
        ),
    ] {
        refused_as_it_is(&server, &words(line), &format!("{why}: {way_out}"));
    }
    assert_eq!(node_refusals(&server, "type"), 3);
    // The way out is one.
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC counter"), 1);
    assert_eq!(server.ask::<i64>("AGG.STAT n counter 2"), 1);
    assert_eq!(metric(&server, "counter", "type"), "ABS");
}

#[test]
fn a_key_of_another_type_is_refused_and_left_alone() {
    let Some(server) = stocked("") else { return };
    server.ask::<()>("SET s text");
    for line in [
        "AGG.STAT s m 1",
        "AGG.MSTAT s VALUES m 1",
        "AGG.MSTAT s ATOMIC VALUES m 1",
        "AGG.LOG s line",
        "AGG.ERROR s failed",
        "AGG.REALITY s k m {}",
        "AGG.FORGET s METRIC m",
        "AGG.REQUEUE s ERROR",
    ] {
        refused_as_it_is(&server, &words(line), WRONG_TYPE);
    }
    assert_eq!(server.ask::<String>("GET s"), "text");
}

#[test]
fn a_new_metric_beyond_max_series_is_refused_and_the_others_go_on() {
    let Some(server) = stocked("max-series 2") else {
        return;
    };
    let why = "metric 'third' is new, and the node has agg.max-series (2) metrics";
    refused_as_it_is(
        &server,
        &words("AGG.STAT n third 1"),
        &format!("AGGFULL AGG.STAT: {why}"),
    );
    refused_as_it_is(
        &server,
        &words("AGG.MSTAT n ATOMIC VALUES gauge 1 third 1"),
        &format!("AGGFULL AGG.MSTAT: sample 1: {why}; nothing was taken"),
    );
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT n VALUES third 1 gauge 5"),
        mstat(1, 0, &[(0, why)])
    );
    assert_eq!(metric(&server, "gauge", "last"), "5");
    assert_eq!(node_refusals(&server, "max-series"), 3);
    // The limit is each node's own, and what is forgotten makes room.
    assert_eq!(server.ask::<i64>("AGG.STAT other third 1"), 1);
    server.ask::<i64>("AGG.FORGET n METRIC gauge");
    assert_eq!(server.ask::<i64>("AGG.STAT n third 1"), 1);
}

#[test]
fn a_new_node_may_not_begin_with_more_metrics_than_max_series() {
    let Some(server) = stocked("max-series 2") else {
        return;
    };
    refused_as_it_is(
        &server,
        &words("AGG.MSTAT new ATOMIC VALUES a 1 b 1 a 2 c 1"),
        "AGGFULL AGG.MSTAT: sample 3: metric 'c' is new, and the node has agg.max-series (2) metrics; nothing was taken",
    );
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT new VALUES a 1 b 1 a 2 c 1"),
        mstat(
            3,
            0,
            &[(
                3,
                "metric 'c' is new, and the node has agg.max-series (2) metrics"
            )]
        )
    );
}

// AGG.MSTAT

/// What AGG.MSTAT answers.
fn mstat(taken: i64, late: i64, refused: &[(i64, &str)]) -> Value {
    let refused = refused.iter().map(|(i, why)| {
        Value::Array(vec![
            Value::Int(*i),
            Value::BulkString(why.as_bytes().to_vec()),
        ])
    });
    Value::Array(vec![
        Value::Int(taken),
        Value::Int(late),
        Value::Array(refused.collect()),
    ])
}

#[test]
fn many_samples_share_their_type_tags_and_time() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!("agg.mstat n at {t} tags 'host:a' diff values a 1 b 2 c 3");
    assert_eq!(tell::<Value>(&server, &line), mstat(3, 0, &[]));
    for (name, last) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let shown: Value = server.ask(&format!("AGG.GET n METRIC {name}"));
        assert_eq!(
            (text(&shown, "type"), text(&shown, "last")),
            ("DIFF".into(), last.into())
        );
        assert_eq!(int(&shown, "at"), t);
        assert_eq!(text(at(&shown, "tags").unwrap(), "host"), "a");
    }
    // One metric may be named many times, and every sample counts, whatever their time.
    let line = format!("AGG.MSTAT n AT {t} VALUES g 1 g 2 g 6");
    assert_eq!(server.ask::<Value>(&line), mstat(3, 0, &[]));
    let shown: Value = server.ask("AGG.GET n METRIC g");
    let open = &list(at(&shown, "min").unwrap())[0];
    assert_eq!((int(open, "count"), double(open, "avg")), (3, 3.0));
    assert_eq!(text(&shown, "last"), "6");
}

#[test]
fn many_samples_are_taken_but_for_the_bad_ones_which_are_named() {
    let Some(server) = stocked("") else { return };
    let line = "AGG.MSTAT n VALUES gauge 5 counter 7 '' 1 x 0x10 x 1e309 x 1e-400 x 2";
    assert_eq!(
        tell::<Value>(&server, line),
        mstat(
            2,
            0,
            &[
                (
                    1,
                    "metric 'counter' is DIFF, the sample ABS: AGG.FORGET node METRIC name lets it begin anew"
                ),
                (2, "metric is empty"),
                (3, "value '0x10' is not a decimal number"),
                (4, "value '1e309' is larger than a double can hold"),
                (5, "value '1e-400' is smaller than a double can hold"),
            ]
        )
    );
    assert_eq!(metric(&server, "gauge", "last"), "5");
    assert_eq!(metric(&server, "x", "last"), "2");
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT n DIFF VALUES counter -3 counter 9"),
        mstat(
            1,
            0,
            &[(0, "value '-3' is negative: a DIFF metric counts up from 0")]
        )
    );
}

#[test]
fn where_no_sample_is_good_nothing_was_changed() {
    let Some(server) = stocked("") else { return };
    let before = state(&server);
    for node in ["n", "new"] {
        assert_eq!(
            server.ask::<Value>(&format!("AGG.MSTAT {node} TAGS b:2 VALUES gauge x")),
            mstat(0, 0, &[(0, "value 'x' is not a decimal number")])
        );
    }
    assert_eq!(state(&server), before);
}

#[test]
fn late_samples_are_told_apart_from_those_taken() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    server.ask::<i64>(&format!("AGG.STAT n c 100 DIFF AT {t}"));
    let before = state(&server);
    let line = format!("AGG.MSTAT n DIFF AT {} VALUES c 90 c 95", t - 1);
    assert_eq!(server.ask::<Value>(&line), mstat(0, 2, &[]));
    assert_eq!(state(&server), before, "late samples change nothing");
    let line = format!("AGG.MSTAT n DIFF AT {} VALUES d 1 c 90 c x", t - 1);
    assert_eq!(
        server.ask::<Value>(&line),
        mstat(1, 1, &[(2, "value 'x' is not a decimal number")])
    );
    assert_eq!(metric(&server, "c", "last"), "100");
    assert_eq!(int(&server.ask("AGG.GET n METRIC c"), "late"), 3);
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 3);
}

#[test]
fn with_atomic_all_samples_are_taken_or_none() {
    let Some(server) = stocked("") else { return };
    for (options, samples, why) in [
        (
            "",
            "gauge 5 x 1 x 0x10",
            "sample 2: value '0x10' is not a decimal number",
        ),
        ("", "gauge 5 '' 1", "sample 1: metric is empty"),
        (
            "DIFF",
            "x 5 y -1",
            "sample 1: value '-1' is negative: a DIFF metric counts up from 0",
        ),
    ] {
        let line = format!("AGG.MSTAT n {options} TAGS b:2 ATOMIC VALUES {samples}");
        let why = format!("ERR AGG.MSTAT: {why}; nothing was taken");
        refused(&server, &line, &why);
    }
    refused_as_it_is(
        &server,
        &words("AGG.MSTAT n ATOMIC VALUES gauge 5 counter 7"),
        "ERR AGG.MSTAT: sample 1: metric 'counter' is DIFF, the sample ABS: AGG.FORGET node METRIC name lets it begin anew; nothing was taken",
    );
    assert_eq!(
        server.ask::<Value>("AGG.MSTAT n atomic VALUES gauge 5 x 6"),
        mstat(2, 0, &[])
    );
}

#[test]
fn with_atomic_a_late_sample_is_no_bad_one() {
    let Some(server) = stocked("") else { return };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.STAT n c 100 DIFF AT {t}"));
    let line = format!("AGG.MSTAT n DIFF AT {} ATOMIC VALUES c 90 d 1", t - 1);
    assert_eq!(server.ask::<Value>(&line), mstat(1, 1, &[]));
}

#[test]
fn many_samples_with_arguments_missing_unknown_or_given_twice_are_refused() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.MSTAT' command";
    refused_as_it_is(&server, &words("AGG.MSTAT"), arity);
    refused(&server, "AGG.MSTAT n VALUES", arity);
    refused(&server, "AGG.MSTAT n VALUES gauge", arity);
    for (arguments, why) in [
        (
            "gauge 1 x 2",
            format!("'gauge' is not an option here: {MSTAT}"),
        ),
        ("ABS TAGS a:1", format!("an option is missing: {MSTAT}")),
        ("ATOMIC ABS AT", format!("AT is missing: {MSTAT}")),
        (
            "ATOMIC ABS TAGS",
            format!("the list behind TAGS is missing: {MSTAT}"),
        ),
        (
            "ATOMIC ABS VALUES",
            "VALUES takes pairs of metric and value, and 0 arguments follow".into(),
        ),
        (
            "VALUES gauge 1 x",
            "VALUES takes pairs of metric and value, and 3 arguments follow".into(),
        ),
        (
            "ATOMIC VALUES gauge",
            "VALUES takes pairs of metric and value, and 1 arguments follow".into(),
        ),
        ("ABS ABS VALUES gauge 1", "ABS is given twice".into()),
        (
            "DIFF ABS VALUES gauge 1",
            "ABS and DIFF are both given: a metric is one of them".into(),
        ),
        (
            "ATOMIC ATOMIC VALUES gauge 1",
            "ATOMIC is given twice".into(),
        ),
        (
            "TAGS a:1 TAGS a:1 VALUES gauge 1",
            "TAGS is given twice".into(),
        ),
        (
            "AT 1700000000000 AT 1700000000000 VALUES gauge 1",
            "AT is given twice".into(),
        ),
    ] {
        refused(
            &server,
            &format!("AGG.MSTAT n {arguments}"),
            &format!("ERR AGG.MSTAT: {why}"),
        );
    }
}

// AGG.LOG

#[test]
fn a_line_is_queued_with_all_that_was_told() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!("agg.log n 'disk is \"full\"' at {t} tags 'job:x word' level 0");
    let id: i64 = tell(&server, &line);
    let entry = only(&server, "LOG");
    assert_eq!((entry.queue.as_str(), entry.id), ("LOG", id));
    assert_eq!(
        entry.text,
        format!(
            r#"{{"node":"n","queue":"LOG","id":{id},"message":"disk is \"full\"","level":0,"tags":{{"job":"x","word":true}},"epoch":{t}}}"#
        )
    );
}

#[test]
fn a_line_is_of_level_5_and_of_the_servers_clock_and_ids_grow() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    let ids: Vec<i64> = (0..100).map(|_| server.ask("AGG.LOG n the_same")).collect();
    let after = now_ms();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let entries = look(&server, "LOG");
    assert_eq!(
        entries.iter().map(|e| e.id).collect::<Vec<_>>(),
        ids,
        "the id that was answered is the entry's"
    );
    for entry in entries {
        let record = entry.json();
        assert_eq!(record["level"], 5);
        assert_eq!(record["tags"], serde_json::json!({}));
        let epoch = record["epoch"].as_i64().unwrap();
        assert!((before..=after).contains(&epoch), "{record}");
        // An id is about the clock in microseconds.
        assert!(
            (before..=after + 1).contains(&(entry.id / 1000)),
            "{record}"
        );
    }
}

#[test]
fn a_line_may_hold_anything_and_leaves_as_valid_json() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).collect();
    server.send::<i64>(&[b"AGG.LOG", b"n\xff", &bytes, b"TAGS", b"a\0:\xfe\n"]);
    let reply: Value = server.send(&[b"AGG.PEEK", b"n\xff", b"LOG"]);
    let record = entries(&reply)[0].json();
    assert_eq!(record["node"], "n\u{fffd}");
    assert_eq!(record["message"], String::from_utf8_lossy(&bytes).as_ref());
    assert_eq!(record["tags"], serde_json::json!({"a\0": "\u{fffd}\n"}));
}

#[test]
fn a_line_with_bad_arguments_is_refused() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.LOG' command";
    refused_as_it_is(&server, &words("AGG.LOG"), arity);
    refused(&server, "AGG.LOG n", arity);
    for (options, why) in [
        ("more", format!("'more' is not an option here: {LOG}")),
        ("DIFF", format!("'DIFF' is not an option here: {LOG}")),
        ("LEVEL", format!("LEVEL is missing: {LOG}")),
        ("LEVEL 5 AT", format!("AT is missing: {LOG}")),
        ("TAGS", format!("the list behind TAGS is missing: {LOG}")),
        ("LEVEL 5 LEVEL 5", "LEVEL is given twice".into()),
        ("TAGS a tags a", "TAGS is given twice".into()),
    ] {
        refused(
            &server,
            &format!("AGG.LOG n line {options}"),
            &format!("ERR AGG.LOG: {why}"),
        );
    }
    bad_levels(&server, "AGG.LOG n line");
}

/// A level is one digit.
fn bad_levels(server: &Server, command: &str) {
    let name = command.split(' ').next().unwrap();
    for level in [
        "10",
        "-1",
        "+5",
        "05",
        "5.0",
        "",
        "high",
        "99999999999999999999",
    ] {
        refused(
            server,
            &format!("{command} LEVEL '{level}'"),
            &format!("ERR {name}: LEVEL '{level}' is not a whole number from 0 to 9"),
        );
    }
}

/// Text of 75 bytes of which 64 may be kept, but a character lies across that place; and what is kept of it.
fn too_long() -> (String, String) {
    let kept = "a".repeat(63);
    (
        format!("{kept}ü{}", "b".repeat(10)),
        format!("{kept}…[+12 bytes]"),
    )
}

#[test]
fn a_line_that_is_too_long_is_cut_at_a_character_marked_and_counted() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-item-size 64")) else {
        return;
    };
    let (long, kept) = too_long();
    server.ask::<i64>(&format!("AGG.LOG n {}", "a".repeat(64)));
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 0);
    server.ask::<i64>(&format!("AGG.LOG n {long}"));
    server.ask::<i64>(&format!("AGG.LOG n {}", "a".repeat(70)));
    let messages: Vec<_> = server
        .peek("n", "LOG")
        .into_iter()
        .map(|record| record["message"].as_str().unwrap().to_owned())
        .collect();
    let whole = "a".repeat(64);
    assert_eq!(
        messages,
        [whole.clone(), kept, format!("{whole}…[+6 bytes]")]
    );
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 2);
    assert_eq!(server_count(&server, "agg_truncated"), 2);
}

// AGG.ERROR

#[test]
fn an_error_is_queued_with_all_that_was_told() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!(
        "agg.error n 'it failed' nid 9223372036854775807 GID 7 public 'try again' level 9 type perf \
         tags 'b:2 a:1' code E42 func f() file main.c backtrace 'at f\nat g' key mine at {t}"
    );
    assert_eq!(
        tell::<(String, i64)>(&server, &line),
        ("mine".to_owned(), 1)
    );
    let entry = only(&server, "ERROR");
    assert_eq!(
        entry.text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"ERROR","id":{},"key":"mine","message":"it failed","public":"try again","#,
                r#""level":9,"type":"PERF","tags":{{"a":"1","b":"2"}},"code":"E42","func":"f()","file":"main.c","#,
                r#""backtrace":"at f\nat g","gid":7,"nid":9223372036854775807,"occurrences":1,"first":{},"last":{}}}"#
            ),
            entry.id, t, t
        )
    );
}

#[test]
fn what_an_error_was_not_told_is_empty_or_0() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let before = now_ms();
    let (key, occurrences): (String, i64) = server.ask("AGG.ERROR n failed");
    assert_eq!(occurrences, 1);
    assert!(
        key.len() == 32 && key.bytes().all(|b| b"0123456789abcdef".contains(&b)),
        "{key}"
    );
    let entry = only(&server, "ERROR");
    let first = entry.json()["first"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&first));
    assert_eq!(
        entry.text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"ERROR","id":{},"key":"{}","message":"failed","public":"","level":5,"#,
                r#""type":"UNKNOWN","tags":{{}},"code":"","func":"","file":"","backtrace":"","gid":0,"nid":0,"#,
                r#""occurrences":1,"first":{},"last":{}}}"#
            ),
            entry.id, key, first, first
        )
    );
}

#[test]
fn an_error_has_the_type_that_it_was_given() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (word, shown) in [
        ("BUG", "BUG"),
        ("perf", "PERF"),
        ("Ops", "OPS"),
        ("UNKNOWN", "UNKNOWN"),
    ] {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {word} TYPE {word}"));
        assert_eq!(
            text(&server.ask(&format!("AGG.GET n ERROR {word}")), "type"),
            shown
        );
    }
}

#[test]
fn occurrences_are_counted_and_the_last_to_arrive_is_shown() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    for (i, (message, at)) in [("one", t), ("two", t + 2_000), ("three", t + 1_000)]
        .into_iter()
        .enumerate()
    {
        let line = format!("AGG.ERROR n {message} KEY k LEVEL {i} AT {at}");
        assert_eq!(
            server.ask::<(String, i64)>(&line),
            ("k".to_owned(), i as i64 + 1)
        );
    }
    let record = only(&server, "ERROR").json();
    assert_eq!(
        (&record["message"], &record["level"], &record["occurrences"]),
        (&"three".into(), &2.into(), &3.into())
    );
    assert_eq!(
        (&record["first"], &record["last"]),
        (&t.into(), &(t + 1_000).into())
    );
    let shown: Value = server.ask("AGG.GET n ERROR k");
    assert_eq!(
        names(&shown).join(" "),
        "node queue id key message public level type tags code func file backtrace gid nid occurrences first last seen"
    );
    assert!(int(&shown, "seen") >= t + 5_000, "when it arrived");
}

#[test]
fn errors_are_the_same_by_message_public_code_func_and_file_alone() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let base = "AGG.ERROR n m PUBLIC p CODE c FUNC f FILE i";
    let (key, _): (String, i64) = server.ask(base);
    let others = "LEVEL 1 TYPE BUG TAGS a:1 BACKTRACE b GID 1 NID 2 AT 1700000000000";
    assert_eq!(
        server.ask::<(String, i64)>(&format!("{base} {others}")),
        (key.clone(), 2)
    );
    assert_eq!(
        server.ask::<(String, i64)>("agg.error n m file i func f code c public p"),
        (key, 3)
    );
    for line in [
        "AGG.ERROR n M PUBLIC p CODE c FUNC f FILE i",
        "AGG.ERROR n m PUBLIC P CODE c FUNC f FILE i",
        "AGG.ERROR n m PUBLIC p CODE C FUNC f FILE i",
        "AGG.ERROR n m PUBLIC p CODE c FUNC F FILE i",
        "AGG.ERROR n m PUBLIC p CODE c FUNC f FILE I",
        "AGG.ERROR n m PUBLIC p CODE c FUNC f",
    ] {
        assert_eq!(server.ask::<(String, i64)>(line).1, 1, "{line}");
    }
    // The key is the same on every node and server.
    let (one, _): (String, i64) = server.ask("AGG.ERROR n m");
    let Some(another) = Server::with_settings(CALM) else {
        return;
    };
    assert_eq!(another.ask::<(String, i64)>("AGG.ERROR other m").0, one);
}

#[test]
fn texts_of_an_error_do_not_run_into_each_other() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let fields = ["PUBLIC", "CODE", "FUNC", "FILE"];
    for field in fields {
        let (one, _): (String, i64) = server.ask(&format!("AGG.ERROR n ab {field} c"));
        let (two, _): (String, i64) = server.ask(&format!("AGG.ERROR n a {field} bc"));
        assert_ne!(one, two, "message and {field}");
    }
    for pair in fields.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let (one, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {a} ab {b} c"));
        let (two, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {a} a {b} bc"));
        let (three, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {a} abc"));
        let (four, _): (String, i64) = server.ask(&format!("AGG.ERROR n m {b} abc"));
        let mut keys = [one, two, three, four];
        keys.sort();
        assert!(keys.windows(2).all(|two| two[0] != two[1]), "{a} and {b}");
    }
    // Nor by a NUL or a separator of any kind.
    let (one, _): (String, i64) = server.send(&[b"AGG.ERROR", b"n", b"a\0b", b"PUBLIC", b"c"]);
    let (two, _): (String, i64) = server.send(&[b"AGG.ERROR", b"n", b"a", b"PUBLIC", b"b\0c"]);
    assert_ne!(one, two);
}

#[test]
fn free_texts_of_an_error_are_cut_and_counted_and_the_hash_is_over_the_whole() {
    let Some(server) = Server::with_settings(&format!("{CALM} max-item-size 64")) else {
        return;
    };
    let (long, kept) = too_long();
    let (key, _): (String, i64) = server.ask(&format!(
        "AGG.ERROR n {long} PUBLIC {long} BACKTRACE {long}"
    ));
    let record = only(&server, "ERROR").json();
    for field in ["message", "public", "backtrace"] {
        assert_eq!(record[field], kept, "{field}");
    }
    assert_eq!(int(&server.ask("AGG.INFO n"), "truncated"), 3);
    // The same up to where it is cut, but not the same.
    let other = long.replace('b', "c");
    let (another, occurrences): (String, i64) =
        server.ask(&format!("AGG.ERROR n {other} PUBLIC {long}"));
    assert_ne!(key, another);
    assert_eq!(occurrences, 1);
    assert_eq!(
        server.ask::<(String, i64)>(&format!("AGG.ERROR n {long} PUBLIC {long}")),
        (key, 2)
    );
}

#[test]
fn an_error_with_bad_arguments_is_refused() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.ERROR' command";
    refused_as_it_is(&server, &words("AGG.ERROR"), arity);
    refused(&server, "AGG.ERROR n", arity);
    for (options, why) in [
        ("more", format!("'more' is not an option here: {ERROR}")),
        ("TTL 5", format!("'TTL' is not an option here: {ERROR}")),
        (
            "TYPE FATAL",
            "TYPE 'FATAL' is not one of BUG, PERF, OPS, UNKNOWN".into(),
        ),
        (
            "TYPE ''",
            "TYPE '' is not one of BUG, PERF, OPS, UNKNOWN".into(),
        ),
        ("TAGS", format!("the list behind TAGS is missing: {ERROR}")),
    ] {
        refused(
            &server,
            &format!("AGG.ERROR n failed {options}"),
            &format!("ERR AGG.ERROR: {why}"),
        );
    }
    for (option, good) in [
        ("PUBLIC", "p"),
        ("LEVEL", "5"),
        ("TYPE", "BUG"),
        ("CODE", "c"),
        ("FUNC", "f"),
        ("FILE", "p"),
        ("BACKTRACE", "b"),
        ("GID", "1"),
        ("NID", "1"),
        ("KEY", "k"),
        ("AT", "1700000000000"),
    ] {
        refused(
            &server,
            &format!("AGG.ERROR n failed {option}"),
            &format!("ERR AGG.ERROR: {option} is missing: {ERROR}"),
        );
        refused(
            &server,
            &format!("AGG.ERROR n failed {option} {good} {option} {good}"),
            &format!("ERR AGG.ERROR: {option} is given twice"),
        );
    }
    for option in ["GID", "NID"] {
        for bad in ["-1", "+1", "01", "1.5", "", "root", "9223372036854775808"] {
            refused(
                &server,
                &format!("AGG.ERROR n failed {option} '{bad}'"),
                &format!(
                    "ERR AGG.ERROR: {option} '{bad}' is not a whole number from 0 to 9223372036854775807"
                ),
            );
        }
    }
    bad_levels(&server, "AGG.ERROR n failed");
}

// AGG.REALITY

#[test]
fn an_object_is_queued_when_it_is_new_or_changed_and_not_else() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for (json, options, answer) in [
        (r#"{"size":1,"name":"sda"}"#, "", 1),
        (r#"{"size":1,"name":"sda"}"#, "", 0),
        // Spacing and the order of members do not count, nor how a character is written.
        ("{ \"name\" : \"s\\u0064a\",\n\t\"size\":1 }", "", 0),
        // Numbers compare as written.
        (r#"{"size":1.0,"name":"sda"}"#, "", 1),
        (r#"{"size":1.0,"name":"sda"}"#, "TAGS 'a:1 b'", 1),
        (r#"{"size":1.0,"name":"sda"}"#, "TAGS 'b a:1'", 0),
        // No TAGS means no tags.
        (r#"{"size":1.0,"name":"sda"}"#, "", 1),
        // The TTL is no part of the object.
        (r#"{"size":1.0,"name":"sda"}"#, "TTL 100", 0),
        ("[1,2]", "", 1),
        ("[2,1]", "", 1),
        ("null", "", 1),
    ] {
        let line = format!("AGG.REALITY n sda system.Disk '{json}' {options}");
        assert_eq!(tell::<i64>(&server, &line), answer, "{line}");
        assert_eq!(look(&server, "REALITY").len(), 1, "one entry for an object");
    }
    assert_eq!(
        tell::<i64>(&server, "AGG.REALITY n sda system.Volume null"),
        1,
        "a change of model"
    );
    assert_eq!(
        tell::<i64>(&server, "AGG.REALITY n sdb system.Volume null"),
        1
    );
    assert_eq!(look(&server, "REALITY").len(), 2);
}

#[test]
fn an_object_leaves_as_it_was_given_less_spacing() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 5_000;
    let line = format!(
        "agg.reality n sda system.Disk '{{ \"b\" : 1.50,\n \"a\":\" x \" }} ' ttl 1000 at {t} tags 'rack:7 spare'"
    );
    assert_eq!(tell::<i64>(&server, &line), 1);
    let entry = only(&server, "REALITY");
    assert_eq!(
        entry.text,
        format!(
            concat!(
                r#"{{"node":"n","queue":"REALITY","id":{},"key":"sda","model":"system.Disk","#,
                r#""json":{{"b":1.50,"a":" x "}},"tags":{{"rack":"7","spare":true}},"epoch":{},"gone":false}}"#
            ),
            entry.id, t
        )
    );
    let shown: Value = server.ask("AGG.GET n REALITY sda");
    assert_eq!(
        names(&shown).join(" "),
        "node queue id key model json tags epoch gone seen"
    );
    assert_eq!(text(&shown, "json"), r#"{"b":1.50,"a":" x "}"#);
}

#[test]
fn an_object_is_as_the_newest_report_says() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 50_000;
    let report =
        |json: &str, at: i64| server.ask::<i64>(&format!("AGG.REALITY n k m {json} AT {at}"));
    assert_eq!(report("1", t), 1);
    assert_eq!(report("2", t - 1), -1, "older");
    assert_eq!(report("1", t - 1), -1, "older, if the same");
    assert_eq!(
        report("2", t),
        1,
        "of equal times the later to arrive holds"
    );
    assert_eq!(report("2", t + 1_000), 0, "the same again");
    let epoch = |server: &Server| only(server, "REALITY").json()["epoch"].as_i64();
    assert_eq!(epoch(&server), Some(t), "the time of the last change");
    assert_eq!(report("3", t + 999), -1, "older than the newest report");
    assert_eq!(report("3", t + 1_001), 1);
    assert_eq!(epoch(&server), Some(t + 1_001));
}

#[test]
fn an_ignored_report_changes_nothing() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 50_000;
    server.ask::<i64>(&format!("AGG.REALITY n k m 1 AT {t}"));
    let before = state(&server);
    let line = format!("AGG.REALITY n k other 2 TAGS a TTL 1 AT {}", t - 1);
    assert_eq!(server.ask::<i64>(&line), -1);
    assert_eq!(state(&server), before);
}

#[test]
fn a_report_older_than_the_end_of_its_object_is_ignored() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms();
    server.ask::<i64>(&format!("AGG.REALITY n k m 1 AT {t}"));
    server.ask::<i64>("AGG.FORGET n REALITY k");
    assert_eq!(
        server.ask::<i64>(&format!("AGG.REALITY n k m 1 AT {}", t - 1)),
        -1
    );
    assert_eq!(only(&server, "REALITY").json()["gone"], true);
    assert_eq!(
        server.ask::<i64>("AGG.REALITY n k m 1"),
        1,
        "it is there again"
    );
    assert_eq!(only(&server, "REALITY").json()["gone"], false);
}

#[test]
fn json_that_is_none_is_refused_with_the_place() {
    let Some(server) = stocked("") else { return };
    for (json, why) in [
        ("", "the end where a value was expected at byte 0"),
        (" ", "the end where a value was expected at byte 1"),
        ("{", "no name where one was expected at byte 1"),
        ("{\"a\":1,}", "no name where one was expected at byte 7"),
        ("{\"a\" 1}", "no ':' behind a name at byte 5"),
        ("{\"a\":1 \"b\"}", "no ',' or '}' behind a member at byte 7"),
        ("[1 2]", "no ',' or ']' behind an element at byte 3"),
        ("[1,]", "no value at byte 3"),
        ("[1] 2", "something behind the value at byte 4"),
        ("NaN", "no value at byte 0"),
        ("True", "no value at byte 0"),
        ("0x10", "something behind the value at byte 1"),
        ("01", "a malformed number at byte 0"),
        ("1.", "a malformed number at byte 0"),
        ("\"a", "a string that does not end at byte 2"),
        ("\"\\x\"", "an unknown escape at byte 1"),
        ("\"\\u12\"", "a malformed \\u escape at byte 1"),
        ("\"\\ud800\"", "half a surrogate pair at byte 1"),
        ("\u{feff}1", "a byte order mark at byte 0"),
        (
            "{\"a\":1,\"a\":1}",
            "a name that is given twice in the object ending at byte 13",
        ),
        (
            "[{\"a\":1,\"\\u0061\":2},3]",
            "a name that is given twice in the object ending at byte 19",
        ),
    ] {
        let shown = json.replace('\\', r"\\");
        refused(
            &server,
            &format!("AGG.REALITY n sda system.Disk '{json}'"),
            &format!("ERR AGG.REALITY: json '{shown}' is not valid: {why}"),
        );
    }
    for (json, shown, why) in [
        (&b"\"\xff\""[..], r#""\xff""#, "invalid UTF-8 at byte 1"),
        (
            b"\"\n\"",
            r#""\n""#,
            "a control character in a string at byte 1",
        ),
        (b"1\0", r"1\x00", "something behind the value at byte 1"),
        (b"'a'", r"\'a\'", "no value at byte 0"),
    ] {
        refused_in_words(
            &server,
            &[b"AGG.REALITY", b"n", b"sda", b"system.Disk", json],
            &format!("ERR AGG.REALITY: json '{shown}' is not valid: {why}"),
        );
    }
}

#[test]
fn json_is_nested_128_deep_at_most() {
    let Some(server) = stocked("") else { return };
    let arrays = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let objects = |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n);
    for json in [arrays(128), objects(128)] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REALITY n sda system.Disk {json}")),
            1
        );
    }
    refused(
        &server,
        &format!("AGG.REALITY n sda system.Disk {}", arrays(129)),
        &format!(
            "ERR AGG.REALITY: json '{}…' (258 bytes) is not valid: nesting deeper than 128 at byte 128",
            "[".repeat(64)
        ),
    );
    let deep = objects(129);
    refused(
        &server,
        &format!("AGG.REALITY n sda system.Disk {deep}"),
        &format!(
            "ERR AGG.REALITY: json '{}…' ({} bytes) is not valid: nesting deeper than 128 at byte 640",
            &deep[..64],
            deep.len()
        ),
    );
}

#[test]
fn an_object_with_bad_arguments_is_refused() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.REALITY' command";
    refused_as_it_is(&server, &words("AGG.REALITY"), arity);
    refused(&server, "AGG.REALITY n sda", arity);
    refused(&server, "AGG.REALITY n sda system.Disk", arity);
    for (options, why) in [
        ("more", format!("'more' is not an option here: {REALITY}")),
        (
            "LEVEL 5",
            format!("'LEVEL' is not an option here: {REALITY}"),
        ),
        ("AT", format!("AT is missing: {REALITY}")),
        ("TTL", format!("TTL is missing: {REALITY}")),
        (
            "TAGS",
            format!("the list behind TAGS is missing: {REALITY}"),
        ),
        ("TTL 1 TTL 1", "TTL is given twice".into()),
        ("TAGS a TAGS a", "TAGS is given twice".into()),
        (
            "AT 1700000000000 at 1700000000000",
            "AT is given twice".into(),
        ),
    ] {
        refused(
            &server,
            &format!("AGG.REALITY n sda system.Disk {{}} {options}"),
            &format!("ERR AGG.REALITY: {why}"),
        );
    }
    // A hundred years is long enough.
    for ttl in ["-1", "+1", "01", "1.5", "", "never", "3162240001"] {
        refused(
            &server,
            &format!("AGG.REALITY n sda system.Disk {{}} TTL '{ttl}'"),
            &format!("ERR AGG.REALITY: TTL '{ttl}' is not a whole number from 0 to 3162240000"),
        );
    }
}

#[test]
fn names_of_objects_and_models_are_binary_safe() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for key in [&b"a\0b"[..], b"a\0c", b"a:b", b"\xff"] {
        let command: [&[u8]; 5] = [b"AGG.REALITY", b"n", key, b"m\0\xff|", b"1"];
        assert_eq!(server.send::<i64>(&command), 1);
        let shown: Value = server.send(&[b"AGG.GET", b"n", b"REALITY", key]);
        assert_eq!(at(&shown, "key"), Some(&Value::BulkString(key.to_vec())));
        assert_eq!(
            at(&shown, "model"),
            Some(&Value::BulkString(b"m\0\xff|".to_vec()))
        );
    }
    let records = server.peek("n", "REALITY");
    assert_eq!(records.len(), 4);
    assert_eq!(records[0]["key"], "a\0b");
    assert_eq!(records[3]["key"], "\u{fffd}");
    assert_eq!(records[3]["model"], "m\0\u{fffd}|");
}

#[test]
fn a_new_object_beyond_max_realities_is_refused_and_the_others_go_on() {
    let Some(server) = stocked("max-realities 2") else {
        return;
    };
    server.ask::<i64>("AGG.REALITY n sdb system.Disk {}");
    let full =
        "AGGFULL AGG.REALITY: object 'sdc' is new, and the node has agg.max-realities (2) objects";
    refused_as_it_is(&server, &words("AGG.REALITY n sdc system.Disk {}"), full);
    assert_eq!(node_refusals(&server, "max-realities"), 1);
    assert_eq!(server.ask::<i64>("AGG.REALITY n sdb system.Disk [1]"), 1);
    assert_eq!(server.ask::<i64>("AGG.REALITY other sdc system.Disk {}"), 1);
    // Those that are gone and not yet delivered are counted apart.
    server.ask::<i64>("AGG.FORGET n REALITY sdb");
    assert_eq!(server.ask::<i64>("AGG.REALITY n sdc system.Disk {}"), 1);
    assert_eq!(int(&server.ask("AGG.INFO n"), "realities"), 2);
    assert_eq!(look(&server, "REALITY").len(), 3);
}

// AGG.FORGET

#[test]
fn a_metric_is_forgotten_with_its_windows_closed() {
    let Some(server) = stocked("") else { return };
    assert_eq!(server.ask::<i64>("AGG.FORGET n metric gauge"), 1);
    assert_eq!(server.ask::<Value>("AGG.GET n METRIC gauge"), Value::Nil);
    for queue in ["MIN", "HOUR"] {
        let record = only(&server, queue).json();
        assert_eq!(
            (&record["metric"], &record["count"], &record["sum"]),
            (&"gauge".into(), &1.into(), &1.0.into())
        );
        assert_eq!(record["tags"], serde_json::json!({"a": "1"}));
    }
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC gauge"), 0);
    assert_eq!(
        server.ask::<i64>("AGG.FORGET n METRIC counter"),
        1,
        "it had a first sample only: no record"
    );
    assert_eq!(look(&server, "MIN").len(), 1);
}

#[test]
fn an_error_is_forgotten_with_its_waiting_entry() {
    let Some(server) = stocked("") else { return };
    let id = only(&server, "ERROR").id;
    assert_eq!(server.ask::<i64>("AGG.FORGET n Error known"), 1);
    assert!(look(&server, "ERROR").is_empty());
    assert_eq!(server.ask::<Value>("AGG.GET n ERROR known"), Value::Nil);
    assert_eq!(server.ask::<i64>("AGG.FORGET n ERROR known"), 0);
    assert_eq!(
        server.ask::<(String, i64)>("AGG.ERROR n failed KEY known"),
        ("known".to_owned(), 1)
    );
    assert!(only(&server, "ERROR").id > id);
}

#[test]
fn an_object_that_is_forgotten_is_queued_once_as_gone_and_leaves_when_delivered() {
    let Some(server) = stocked("") else { return };
    let first: Value = server.ask("AGG.POP n REALITY");
    assert_eq!(records(&first)[0]["gone"], false);
    assert_eq!(server.ask::<i64>("AGG.FORGET n REALITY sda"), 1);
    assert_eq!(
        server.ask::<i64>("AGG.FORGET n REALITY sda"),
        0,
        "it is gone already"
    );
    assert_eq!(int(&server.ask("AGG.INFO n"), "realities"), 0);
    let last = entries(&server.ask("AGG.POP n REALITY"));
    assert_eq!(last.len(), 1);
    let record = last[0].json();
    assert_eq!(
        (&record["key"], &record["model"], &record["gone"]),
        (&"sda".into(), &"system.Disk".into(), &true.into())
    );
    assert!(last[0].id > entries(&first)[0].id);
    assert_eq!(server.ask::<Value>("AGG.GET n REALITY sda"), Value::Nil);
}

#[test]
fn what_is_not_there_cannot_be_forgotten() {
    let Some(server) = stocked("") else { return };
    let before = state(&server);
    for node in ["n", "new"] {
        for family in ["METRIC", "ERROR", "REALITY"] {
            assert_eq!(
                server.ask::<i64>(&format!("AGG.FORGET {node} {family} nothing")),
                0
            );
        }
    }
    assert_eq!(state(&server), before);
}

#[test]
fn forgetting_with_bad_arguments_is_refused() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.FORGET' command";
    for line in [
        "AGG.FORGET",
        "AGG.FORGET n",
        "AGG.FORGET n METRIC",
        "AGG.FORGET n METRIC gauge counter",
    ] {
        refused_as_it_is(&server, &words(line), arity);
    }
    for kind in ["LOG", "gauge", ""] {
        refused(
            &server,
            &format!("AGG.FORGET n '{kind}' gauge"),
            &format!("ERR AGG.FORGET: the kind '{kind}' is not one of METRIC, ERROR, REALITY"),
        );
    }
}

// AGG.REQUEUE

#[test]
fn what_is_held_is_queued_once_more() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    for key in ["disk.a", "disk.b", "nic.a"] {
        server.ask::<Value>(&format!("AGG.ERROR n failed KEY {key}"));
        server.ask::<Value>(&format!("AGG.REALITY n {key} m {{}}"));
    }
    for queue in ["ERROR", "REALITY"] {
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")),
            0,
            "all of it waits, and none was handed out"
        );
        let popped = entries(&server.ask(&format!("AGG.POP n {queue}")));
        assert_eq!(
            server.ask::<i64>(&format!("agg.requeue n {queue} match disk.*")),
            2
        );
        let again = look(&server, queue);
        let keys: Vec<_> = again.iter().map(|e| e.json()["key"].clone()).collect();
        assert_eq!(keys, ["disk.a", "disk.b"]);
        assert!(
            again
                .iter()
                .all(|e| e.id > popped[2].id && e.deliveries == 0)
        );
        assert_eq!(
            server.ask::<i64>(&format!("AGG.REQUEUE n {queue} MATCH nothing")),
            0
        );
        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 1);
        assert_eq!(look(&server, queue).len(), 3);
    }
}

#[test]
fn what_somebody_has_in_hand_gets_a_new_entry_by_a_requeue() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    server.ask::<Value>("AGG.ERROR n failed");
    server.ask::<Value>("AGG.REALITY n k m {}");
    for queue in ["ERROR", "REALITY"] {
        let fetched = entries(&server.ask(&format!("AGG.FETCH n {queue}")));
        let old = fetched[0].id;
        assert_eq!(server.ask::<i64>(&format!("AGG.REQUEUE n {queue}")), 1);
        let new = only(&server, queue);
        assert!(new.id > old);
        assert_eq!(
            server.ask::<i64>(&format!("AGG.ACK n {queue} {old}")),
            0,
            "the old entry is gone"
        );
        assert_eq!(only(&server, queue), new);
    }
}

#[test]
fn a_requeue_of_a_node_that_is_not_there_queues_nothing() {
    let Some(server) = stocked("") else { return };
    let before = state(&server);
    assert_eq!(server.ask::<i64>("AGG.REQUEUE new ERROR"), 0);
    assert_eq!(server.ask::<i64>("AGG.REQUEUE new REALITY MATCH *"), 0);
    assert_eq!(state(&server), before);
}

#[test]
fn a_requeue_with_bad_arguments_is_refused() {
    let Some(server) = stocked("") else { return };
    let usage = "AGG.REQUEUE node ERROR|REALITY [MATCH glob]";
    let arity = "ERR wrong number of arguments for 'AGG.REQUEUE' command";
    refused_as_it_is(&server, &words("AGG.REQUEUE"), arity);
    refused(&server, "AGG.REQUEUE n", arity);
    // What there is would be queued, were the command not refused.
    server.ask::<Value>("AGG.POP n ERROR REALITY");
    for (arguments, why) in [
        (
            "LOG",
            "the queue 'LOG' is not one of ERROR, REALITY".to_owned(),
        ),
        ("''", "the queue '' is not one of ERROR, REALITY".to_owned()),
        (
            "ERROR REALITY",
            format!("'REALITY' is not an option here: {usage}"),
        ),
        (
            "ERROR MATCH",
            format!("the pattern behind MATCH is missing: {usage}"),
        ),
        ("ERROR MATCH * MATCH *", "MATCH is given twice".to_owned()),
    ] {
        refused(
            &server,
            &format!("AGG.REQUEUE n {arguments}"),
            &format!("ERR AGG.REQUEUE: {why}"),
        );
    }
}

// What holds for all of them

#[test]
fn every_refusal_is_counted_by_its_reason() {
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
            node_refusals(&server, reason),
            server_count(&server, &field),
        );
        server.error(&line);
        assert_eq!(
            server_count(&server, &field),
            server_wide + 1,
            "by the server: {line}"
        );
        assert_eq!(
            node_refusals(&server, reason),
            node + 1,
            "by the node: {line}"
        );
    }
}

#[test]
fn a_node_shows_no_more_bytes_than_the_server_holds_after_long_texts_came_and_went() {
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
fn a_refusal_inside_multi_leaves_the_rest_alone() {
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
    // The client shows the error among the answers alone.
    assert_eq!(
        error(&mut connection, "EXEC"),
        "ERR AGG.STAT: value 'x' is not a decimal number"
    );
    assert_eq!(int(&server.ask("AGG.GET n METRIC gauge"), "samples"), 3);
    assert_eq!(metric(&server, "gauge", "last"), "7");
}
