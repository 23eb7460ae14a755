//! The settings `agg.*`: their defaults and bounds, where they can be set, their errors, and the effect of each.

use redis::Value;
use testkit::*;

/// Name, default, minimum and maximum; sizes in bytes.
const SETTINGS: [(&str, i64, i64, i64); 21] = [
    ("max-memory", 256 << 20, 1 << 20, 1 << 40),
    ("max-node-memory", 0, 0, 1 << 40),
    ("max-series", 20_000, 1, 100_000_000),
    ("max-errors", 10_000, 1, 10_000_000),
    ("max-realities", 10_000, 1, 10_000_000),
    ("queue-min", 64 << 20, 1024, 1 << 40),
    ("queue-hour", 32 << 20, 1024, 1 << 40),
    ("queue-log", 16 << 20, 1024, 1 << 40),
    ("max-item-size", 64 << 10, 64, 16 << 20),
    ("min-window", 300, 1, 28 * 86_400),
    ("hour-window", 3600, 1, 28 * 86_400),
    ("min-history", 12, 0, 100_000),
    ("hour-history", 24, 0, 100_000),
    ("flush-delay-ms", 5000, 0, 3_600_000),
    ("max-future-ms", 60_000, 0, 28 * 86_400_000),
    ("min-interval-ms", 500, 1, 3_600_000),
    ("max-gap", 7200, 1, 21 * 86_400),
    ("error-interval-ms", 300_000, 1, 28 * 86_400_000),
    ("series-ttl", 86_400, 0, 36_600 * 86_400),
    ("error-ttl", 604_800, 0, 36_600 * 86_400),
    ("reality-ttl", 0, 0, 36_600 * 86_400),
];

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

fn all(server: &Server) -> Vec<(String, i64)> {
    let mut found: Vec<(String, i64)> = server.ask("CONFIG GET agg.*");
    found.sort();
    found
}

fn value(server: &Server, name: &str) -> i64 {
    let found: Vec<(String, i64)> = server.ask(&format!("CONFIG GET agg.{name}"));
    assert_eq!(found.len(), 1, "{name}");
    found[0].1
}

fn set(server: &Server, settings: &str) {
    let () = server.ask(&format!("CONFIG SET {settings}"));
}

/// A configuration file and its directory.
struct File {
    dir: tempfile::TempDir,
}

impl File {
    /// Writes a file in which `MODULE` stands for the line that loads the module; the words after it are its arguments.
    fn new(text: &str) -> File {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("loadmodule {}", module().display());
        let text = format!("enable-debug-command yes\n{text}").replace("MODULE", &line);
        std::fs::write(dir.path().join("redis.conf"), text).unwrap();
        File { dir }
    }

    fn path(&self) -> String {
        let path = self.dir.path().join("redis.conf");
        path.to_str().unwrap().into()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn start(&self) -> Option<Server> {
        // Prints that the module is missing.
        Server::start()?;
        Server::with(&[&self.path()])
    }
}

fn refusal_by_arguments(arguments: &str, why: &str) {
    if let Some(log) = Server::refusal(&[], arguments) {
        assert!(log.contains(why), "{arguments}: {log}");
    }
}

fn refusal_by_file(text: &str, why: &str) {
    let file = File::new(text);
    if let Some(log) = Server::refusal(&[&file.path()], "") {
        assert!(log.contains(why), "{text}: {log}");
    }
}

fn dropped(server: &Server, queue: &str) -> i64 {
    let info: Value = server.ask("AGG.INFO n");
    int(at(at(&info, "queues").unwrap(), queue).unwrap(), "dropped")
}

/// A time long ago, at the start of an hour.
fn long_ago() -> i64 {
    (now_ms() / 3_600_000 - 100) * 3_600_000
}

#[test]
fn defaults_are_the_documented_ones() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut expected = SETTINGS.map(|(name, default, ..)| (format!("agg.{name}"), default));
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
        let max = if name == "flush-delay-ms" {
            3 * 300_000
        } else {
            max
        };
        for right in [min, max] {
            set(&server, &format!("agg.{name} {right}"));
            assert_eq!(value(&server, name), right, "{name}");
        }
    }
    set(&server, "agg.flush-delay-ms 5000");
    for window in [1, 28 * 86_400] {
        set(
            &server,
            &format!("agg.min-window {window} agg.hour-window {window}"),
        );
    }
}

#[test]
fn invalid_numbers_are_refused() {
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

/// The limit follows from the number of open windows.
#[test]
fn flush_delay_is_at_most_three_min_windows() {
    let why = "agg.flush-delay-ms must be at most 3 times agg.min-window";
    refusal_by_arguments("min-window 2 hour-window 4 flush-delay-ms 60000", why);
    refusal_by_file("agg.flush-delay-ms 900001\n", why);
    let Some(server) = Server::start() else {
        return;
    };
    let refuses = |settings: &str| {
        let error = server.error(&format!("CONFIG SET {settings}"));
        assert!(error.ends_with(&format!(" - {why}")), "{error}");
    };
    refuses("agg.flush-delay-ms 900001");
    refuses("agg.max-series 5 agg.flush-delay-ms 900001");
    assert_eq!(value(&server, "flush-delay-ms"), 5_000);
    assert_eq!(value(&server, "max-series"), 20_000);
    set(&server, "agg.flush-delay-ms 900000");
    refuses("agg.min-window 150");
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
fn arguments_of_loadmodule_set_every_setting() {
    let arguments: Vec<String> = SETTINGS
        .iter()
        .map(|(name, default, ..)| format!("{name} {}", default + 300))
        .collect();
    let Some(server) = Server::with_settings(&arguments.join(" ").replace("3900", "1200")) else {
        return;
    };
    for (name, default, ..) in SETTINGS {
        let expected = match name {
            "hour-window" => 1200,
            _ => default + 300,
        };
        assert_eq!(value(&server, name), expected, "{name}");
    }
}

#[test]
fn invalid_arguments_refuse_the_load() {
    refusal_by_arguments(
        "nonsense 1",
        "agg: unknown setting 'nonsense' in the arguments of loadmodule",
    );
    refusal_by_arguments(
        "max-series",
        "agg: setting 'max-series' in the arguments of loadmodule has no value",
    );
    refusal_by_arguments(
        "max-series 0",
        "agg: invalid value '0' for 'max-series' in the arguments of loadmodule: expected a whole number from 1 to 100000000",
    );
    refusal_by_arguments(
        "max-errors 10 max-series 5mb",
        "agg: invalid value '5mb' for 'max-series' in the arguments of loadmodule: expected a whole number from 1 to 100000000",
    );
    refusal_by_arguments(
        "max-memory 1kb",
        "agg: invalid value '1kb' for 'max-memory' in the arguments of loadmodule: expected a size from 1048576 to \
         1099511627776",
    );
    refusal_by_arguments(
        "max-memory -5mb",
        "agg: invalid value '-5mb' for 'max-memory' in the arguments of loadmodule: expected a size",
    );
    refusal_by_arguments(
        "max-memory 99999999999999999999gb",
        "agg: invalid value '99999999999999999999gb' for 'max-memory' in the arguments of loadmodule: expected a size",
    );
    refusal_by_arguments(
        "min-window 7",
        "agg: agg.hour-window must be a multiple of agg.min-window",
    );
}

#[test]
fn configuration_file_sets_settings_before_and_after_the_module() {
    let file = File::new("agg.max-series 11\nagg.queue-log 3mb\nMODULE\nagg.max-errors 12\n");
    let Some(server) = file.start() else {
        return;
    };
    assert_eq!(value(&server, "max-series"), 11);
    assert_eq!(value(&server, "queue-log"), 3 << 20);
    assert_eq!(value(&server, "max-errors"), 12);
    assert_eq!(value(&server, "max-realities"), 10_000);
}

#[test]
fn both_windows_may_be_set_in_a_file_in_any_order() {
    for text in [
        "agg.min-window 7\nMODULE\nagg.hour-window 21\n",
        "agg.hour-window 21\nMODULE\nagg.min-window 7\n",
        "MODULE min-window 7 hour-window 14\nagg.hour-window 21\n",
    ] {
        let Some(server) = File::new(text).start() else {
            return;
        };
        assert_eq!(value(&server, "min-window"), 7, "{text}");
        assert_eq!(value(&server, "hour-window"), 21, "{text}");
    }
}

#[test]
fn configuration_file_overrides_arguments() {
    for text in [
        "agg.max-series 11\nMODULE max-series 5 max-errors 6\n",
        "MODULE max-series 5 max-errors 6\nagg.max-series 11\n",
    ] {
        let Some(server) = File::new(text).start() else {
            return;
        };
        assert_eq!(value(&server, "max-series"), 11, "{text}");
        assert_eq!(value(&server, "max-errors"), 6, "{text}");
    }
}

#[test]
fn invalid_setting_in_a_file_refuses_the_load() {
    refusal_by_file("agg.max-series 0\n", "agg.max-series");
    refusal_by_file("agg.max-memory much\n", "agg.max-memory");
    refusal_by_file(
        "agg.min-window 7\n",
        "agg.hour-window must be a multiple of agg.min-window",
    );
}

#[test]
fn rewritten_configuration_file_restores_the_settings() {
    let file = File::new("agg.max-errors 12\nMODULE max-series 5 max-realities 6\n");
    let Some(mut server) = file.start() else {
        return;
    };
    set(&server, "agg.max-series 50 agg.max-memory 300mb");
    set(&server, "agg.min-window 7 agg.hour-window 21");
    set(&server, "agg.reality-ttl 99");
    let () = server.ask("CONFIG REWRITE");
    let text = file.text();
    for line in [
        "agg.max-series 50",
        "agg.max-memory 300mb",
        "agg.min-window 7",
        "agg.hour-window 21",
        "agg.max-errors 12",
        "agg.reality-ttl 99",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let before = all(&server);
    server.shut_down();
    server.restart();
    assert_eq!(all(&server), before);
    assert_eq!(value(&server, "max-realities"), 6);
}

#[test]
fn module_is_loaded_or_refused_while_the_server_runs() {
    let Some(server) = Server::start() else {
        return;
    };
    drop(server);
    let server = Server::with(&["--enable-module-command", "yes"]).unwrap();
    let module = module();
    let module = module.to_str().unwrap();
    for wrong in [
        format!("MODULE LOAD {module} nonsense 1"),
        format!("MODULE LOAD {module} min-window 7"),
        format!("MODULE LOADEX {module} CONFIG agg.max-series 0"),
        format!("MODULE LOADEX {module} CONFIG agg.min-window 7"),
    ] {
        server.error(&wrong);
        // Neither a timer nor an event calls code that was unloaded.
        std::thread::sleep(std::time::Duration::from_millis(300));
        for line in ["SET a x", "RENAME a b", "FLUSHALL", "SWAPDB 0 1"] {
            let () = server.ask(line);
        }
        assert!(server.error("AGG.LOG n hello").contains("unknown command"));
    }
    let line = format!("MODULE LOADEX {module} CONFIG agg.max-series 7 ARGS max-errors 3");
    let () = server.ask(&line);
    assert_eq!(value(&server, "max-series"), 7);
    assert_eq!(value(&server, "max-errors"), 3);
    let _: i64 = server.ask("AGG.LOG n hello");
    assert!(
        server.error("MODULE UNLOAD agg").contains("data types"),
        "unloading would take the type of a key away"
    );
    assert_eq!(server.peek("n", "LOG").len(), 1);
}

#[test]
fn eviction_policy_that_affects_all_keys_is_warned_about() {
    for (policy, warns) in [
        ("allkeys-lru", true),
        ("allkeys-random", true),
        ("noeviction", false),
        ("volatile-lru", false),
    ] {
        let Some(server) = Server::with_module(&["--maxmemory-policy", policy], "") else {
            return;
        };
        let log = server.log();
        let line = log.lines().find(|l| l.contains("maxmemory-policy"));
        assert_eq!(line.is_some(), warns, "{policy}: {log}");
        if let Some(line) = line {
            assert!(line.contains('#') && line.contains(policy), "{line}");
        }
    }
}

#[test]
fn max_series_bounds_the_metrics_of_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: Value = server.ask("AGG.MSTAT n VALUES a 1 b 1");
    set(&server, "agg.max-series 2");
    let error = server.error("AGG.STAT n c 1");
    assert!(
        error.starts_with("AGGFULL ") && error.contains("agg.max-series (2)"),
        "{error}"
    );
    assert_eq!(server.ask::<i64>("AGG.STAT n a 2"), 1);
    assert_eq!(server.ask::<i64>("AGG.STAT other c 2"), 1);
    set(&server, "agg.max-series 3");
    assert_eq!(server.ask::<i64>("AGG.STAT n c 1"), 1);
}

#[test]
fn max_errors_bounds_the_errors_of_a_node() {
    let Some(server) = Server::with_settings("max-errors 3") else {
        return;
    };
    for i in 0..5 {
        let _: Value = server.ask(&format!("AGG.ERROR n e KEY e{i}"));
    }
    assert_eq!(int(&server.ask("AGG.INFO n"), "errors"), 3);
    set(&server, "agg.max-errors 4");
    for i in 5..8 {
        let _: Value = server.ask(&format!("AGG.ERROR n e KEY e{i}"));
    }
    assert_eq!(int(&server.ask("AGG.INFO n"), "errors"), 4);
}

#[test]
fn max_realities_bounds_the_objects_of_a_node() {
    let Some(server) = Server::start() else {
        return;
    };
    set(&server, "agg.max-realities 1");
    assert_eq!(server.ask::<i64>("AGG.REALITY n a m {}"), 1);
    let error = server.error("AGG.REALITY n b m {}");
    assert!(
        error.starts_with("AGGFULL ") && error.contains("agg.max-realities (1)"),
        "{error}"
    );
    assert_eq!(server.ask::<i64>("AGG.REALITY n a m []"), 1);
}

#[test]
fn max_memory_bounds_what_is_held() {
    let Some(server) = Server::start() else {
        return;
    };
    set(&server, "agg.max-memory 1mb");
    let mut c = server.connection();
    let mut n = 0;
    let error = until("memory is full", || {
        n += 1;
        assert!(n < 20_000, "20000 errors fit a megabyte");
        let line = format!("AGG.ERROR n e{n} PUBLIC {}", "x".repeat(400));
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        send::<Value>(&mut c, &words).err()
    });
    assert_eq!(error.code(), Some("AGGFULL"));
    let detail = error.detail().unwrap();
    assert!(
        detail.contains("agg.max-memory") && detail.contains("1048576"),
        "{detail}"
    );
    set(&server, "agg.max-memory 2mb");
    let _: Value = server.ask("AGG.ERROR n one.more");
}

#[test]
fn max_memory_bounds_what_a_requeue_holds() {
    let Some(server) = Server::with_settings("max-memory 1mb") else {
        return;
    };
    // Errors that are held and do not wait, until there is no room.
    let script = "for i = 1, 100000 do
        local reply = redis.pcall('AGG.ERROR', KEYS[1], 'e', 'KEY', ARGV[1] .. i)
        if reply.err then return reply.err end
    end";
    for prefix in ["a", "b", "c"] {
        let why: String = server.send(&[b"EVAL", script.as_bytes(), b"1", b"n", prefix.as_bytes()]);
        assert!(why.starts_with("AGGFULL "), "{why}");
        let _: Value = server.ask("AGG.POP n ERROR COUNT 10000");
    }
    let _: String = server.send(&[b"EVAL", script.as_bytes(), b"1", b"n", b"d"]);
    let held = || -> i64 {
        let info: String = server.ask("INFO agg");
        let line = info.lines().find_map(|l| l.strip_prefix("agg_held:"));
        line.unwrap().parse().unwrap()
    };
    assert!(held() <= 1 << 20, "{} are held", held());
    // It is refused, or it fits.
    let _ = send::<i64>(&mut server.connection(), &[b"AGG.REQUEUE", b"n", b"ERROR"]);
    assert!(held() <= 1 << 20, "{} are held after a requeue", held());
}

#[test]
fn queues_are_bounded_in_bytes() {
    let Some(server) = Server::start() else {
        return;
    };
    set(
        &server,
        "agg.queue-log 4kb agg.queue-min 4kb agg.queue-hour 4kb",
    );
    let start = long_ago() - 60 * 3_600_000;
    for i in 0..150 {
        let _: i64 = server.ask(&format!("AGG.LOG n {}", "x".repeat(200)));
        let at = start + i * 3_600_000;
        let _: i64 = server.ask(&format!("AGG.STAT n a.metric {i} AT {at}"));
    }
    for queue in ["LOG", "MIN", "HOUR"] {
        assert!(dropped(&server, queue) > 0, "{queue}");
        let info: Value = server.ask("AGG.INFO n");
        let queue = at(at(&info, "queues").unwrap(), queue).unwrap().clone();
        assert!(int(&queue, "bytes") <= 4096, "{queue:?}");
        assert!(int(&queue, "length") > 5, "{queue:?}");
    }
    // Another setting holds for the next entry.
    let before = dropped(&server, "LOG");
    set(&server, "agg.queue-log 1mb");
    (0..90).for_each(|_| {
        let _: i64 = server.ask(&format!("AGG.LOG n {}", "x".repeat(200)));
    });
    assert_eq!(dropped(&server, "LOG"), before);
}

#[test]
fn max_item_size_bounds_one_text() {
    let Some(server) = Server::start() else {
        return;
    };
    set(&server, "agg.max-item-size 64");
    let long = "x".repeat(100);
    let _: i64 = server.ask(&format!("AGG.LOG n {long}"));
    let message = server.peek("n", "LOG")[0]["message"].clone();
    let message = message.as_str().unwrap();
    assert!(message.starts_with("xxx"), "{message}");
    let (kept, mark) = message.split_once('…').unwrap();
    assert_eq!(mark, format!("[+{} bytes]", 100 - kept.len()));
    assert!(kept.len() <= 64);
    for line in [
        format!("AGG.STAT n {long} 1"),
        format!("AGG.REALITY n k m \"{long}\""),
        format!("AGG.LOG n hello TAGS {long}"),
    ] {
        assert!(server.error(&line).starts_with("ERR "), "{line}");
    }
    set(&server, "agg.max-item-size 100");
    assert_eq!(server.ask::<i64>(&format!("AGG.STAT n {long} 1")), 1);
}

#[test]
fn window_settings_apply_to_new_nodes() {
    let Some(server) = Server::start() else {
        return;
    };
    let windows = |node: &str| {
        let info = server.ask(&format!("AGG.INFO {node}"));
        (int(&info, "min-window"), int(&info, "hour-window"))
    };
    let _: i64 = server.ask("AGG.LOG old hello");
    set(&server, "agg.min-window 60 agg.hour-window 600");
    let _: i64 = server.ask("AGG.LOG new hello");
    let _: i64 = server.ask("AGG.LOG old hello");
    assert_eq!(windows("old"), (300, 3600));
    assert_eq!(windows("new"), (60, 600));
    let start = long_ago();
    for at in [start, start + 60_000, start + 700_000] {
        for node in ["old", "new"] {
            let _: i64 = server.ask(&format!("AGG.STAT {node} m 1 AT {at}"));
        }
    }
    let of = |node: &str| -> Vec<(i64, i64)> {
        let records = server.peek(node, "MIN");
        let start_of = |r: &serde_json::Value| r["start"].as_i64().unwrap() - start;
        let one = |r: &serde_json::Value| (r["window"].as_i64().unwrap(), start_of(r));
        records.iter().map(one).collect()
    };
    assert_eq!(of("old"), [(300, 0)]);
    assert_eq!(of("new"), [(60, 0), (60, 60_000)]);
}

#[test]
fn histories_are_as_long_as_configured() {
    let Some(server) = Server::with_settings("min-history 3 hour-history 0") else {
        return;
    };
    let start = long_ago();
    let closed = |window: &str| -> usize {
        let buckets: Value = server.ask(&format!("AGG.RANGE n m {window}"));
        let is_closed = |bucket: &&Value| int(bucket, "closed") == 1;
        list(&buckets).iter().filter(is_closed).count()
    };
    let mut hour = 0;
    let mut report = |hours: i64| {
        for _ in 0..hours {
            let at = start + hour * 3_600_000;
            let _: i64 = server.ask(&format!("AGG.STAT n m 1 AT {at}"));
            hour += 1;
        }
    };
    report(10);
    assert_eq!((closed("MIN"), closed("HOUR")), (3, 0));
    set(&server, "agg.min-history 5 agg.hour-history 2");
    report(10);
    assert_eq!((closed("MIN"), closed("HOUR")), (5, 2));
    set(&server, "agg.min-history 0 agg.hour-history 1");
    report(1);
    assert_eq!((closed("MIN"), closed("HOUR")), (0, 1));
}

#[test]
fn flush_delay_keeps_windows_open() {
    let Some(server) = Server::with_settings(HELD_OPEN) else {
        return;
    };
    make_short(&mut server.connection(), "n");
    let _: i64 = server.ask("AGG.STAT n m 1");
    let start = now_ms();
    until("the window is over", || {
        (now_ms() > start + 1300).then_some(())
    });
    assert_eq!(server.peek("n", "MIN").len(), 0);
    set(&server, "agg.flush-delay-ms 0");
    until("the window closes", || server.peek("n", "MIN").pop());
}

#[test]
fn max_future_bounds_times_ahead_of_the_clock() {
    let Some(server) = Server::start() else {
        return;
    };
    let ahead = |ms: i64| format!("AGG.LOG n hello AT {}", now_ms() + ms);
    assert!(server.error(&ahead(90_000)).contains("max-future-ms"));
    let _: i64 = server.ask(&ahead(30_000));
    set(&server, "agg.max-future-ms 1000");
    assert!(server.error(&ahead(30_000)).contains("max-future-ms"));
    set(&server, "agg.max-future-ms 7200000");
    let _: i64 = server.ask(&ahead(3_600_000));
}

#[test]
fn min_interval_is_the_shortest_time_of_a_rate() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = long_ago();
    let average = |metric: &str| {
        for (after, total) in [(0, 0), (100, 10)] {
            let at = start + after;
            let _: i64 = server.ask(&format!("AGG.STAT n {metric} {total} DIFF AT {at}"));
        }
        let buckets: Value = server.ask(&format!("AGG.RANGE n {metric} MIN"));
        double(&list(&buckets)[0], "avg")
    };
    assert_eq!(average("a"), 20.0);
    set(&server, "agg.min-interval-ms 50");
    assert_eq!(average("b"), 100.0);
}

#[test]
fn max_gap_is_the_longest_time_between_samples_of_a_counter() {
    let Some(server) = Server::start() else {
        return;
    };
    let start = long_ago();
    let gaps = |metric: &str| {
        for (after, total) in [(0, 0), (10_000, 10)] {
            let at = start + after;
            let _: i64 = server.ask(&format!("AGG.STAT n {metric} {total} DIFF AT {at}"));
        }
        int(&server.ask(&format!("AGG.GET n METRIC {metric}")), "gaps")
    };
    assert_eq!(gaps("a"), 0);
    set(&server, "agg.max-gap 5");
    assert_eq!(gaps("b"), 1);
}

#[test]
fn error_interval_is_the_time_until_an_error_is_requeued() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.POP n ERROR");
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(server.peek("n", "ERROR").len(), 0);
    set(&server, "agg.error-interval-ms 100");
    let record = until("the error comes again", || server.peek("n", "ERROR").pop());
    assert_eq!(record["occurrences"], 2);
}

#[test]
fn lifetimes_expire_metrics_errors_and_objects() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT n m 1");
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.POP n ERROR");
    let _: i64 = server.ask("AGG.REALITY n k m {}");
    let _: i64 = server.ask("AGG.REALITY n stays m {} TTL 0");
    let held = || {
        let info = server.ask("AGG.INFO n");
        (
            int(&info, "metrics"),
            int(&info, "errors"),
            int(&info, "realities"),
        )
    };
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(held(), (1, 1, 2));
    set(&server, "agg.series-ttl 1");
    until("the metric ends", || (held().0 == 0).then_some(()));
    set(&server, "agg.error-ttl 1");
    until("the error ends", || (held().1 == 0).then_some(()));
    set(&server, "agg.reality-ttl 1");
    until("the object ends", || {
        let records = server.peek("n", "REALITY");
        records.iter().any(|r| r["gone"] == true).then_some(())
    });
    let stays: Value = server.ask("AGG.GET n REALITY stays");
    assert_ne!(stays, Value::Nil);
}
