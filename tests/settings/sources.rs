//! Where settings are set: arguments of `loadmodule`, the configuration file, and MODULE LOADEX.

use super::*;

#[test]
fn arguments_of_loadmodule_set_every_setting() {
    // The long window is a multiple of the short one, and the slot a part of it.
    let other = |name: &str, default: i64| match name {
        "hour-window" => 1200,
        "inc-slot" => 200,
        _ => default + 300,
    };
    let arguments: Vec<String> = SETTINGS
        .iter()
        .map(|(name, default, ..)| format!("{name} {}", other(name, *default)))
        .collect();
    let Some(server) = Server::with_settings(&arguments.join(" ")) else {
        return;
    };
    for (name, default, ..) in SETTINGS {
        assert_eq!(value(&server, name), other(name, default), "{name}");
    }
}

#[test]
fn invalid_arguments_reject_the_load() {
    rejected_by_arguments(
        "nonsense 1",
        "agg: unknown setting 'nonsense' in the arguments of loadmodule",
    );
    rejected_by_arguments(
        "max-series",
        "agg: setting 'max-series' in the arguments of loadmodule has no value",
    );
    rejected_by_arguments(
        "max-series 0",
        "agg: invalid value '0' for 'max-series' in the arguments of loadmodule: expected a whole number from 1 to 100000000",
    );
    rejected_by_arguments(
        "max-errors 10 max-series 5mb",
        "agg: invalid value '5mb' for 'max-series' in the arguments of loadmodule: expected a whole number from 1 to 100000000",
    );
    rejected_by_arguments(
        "max-memory 1kb",
        "agg: invalid value '1kb' for 'max-memory' in the arguments of loadmodule: expected a size from 1048576 to \
         1099511627776",
    );
    rejected_by_arguments(
        "max-memory -5mb",
        "agg: invalid value '-5mb' for 'max-memory' in the arguments of loadmodule: expected a size",
    );
    rejected_by_arguments(
        "max-memory 99999999999999999999gb",
        "agg: invalid value '99999999999999999999gb' for 'max-memory' in the arguments of loadmodule: expected a size",
    );
    rejected_by_arguments(
        "percentiles 0",
        "agg: invalid value '0' for 'percentiles' in the arguments of loadmodule: '0' is not above 0 and at most 100",
    );
    rejected_by_arguments(
        "hist-records 1",
        "agg: invalid value '1' for 'hist-records' in the arguments of loadmodule: expected yes or no",
    );
    rejected_by_arguments(
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
fn invalid_setting_in_a_file_rejects_the_load() {
    rejected_by_file("agg.max-series 0\n", "agg.max-series");
    rejected_by_file("agg.max-memory much\n", "agg.max-memory");
    rejected_by_file(
        "agg.min-window 7\n",
        "agg.hour-window must be a multiple of agg.min-window",
    );
}

#[test]
fn rewritten_configuration_file_restores_the_settings() {
    let file = File::new(
        "agg.max-errors 12\nagg.percentiles \"50 99\"\nMODULE max-series 5 max-realities 6 percentiles 1 hist-records yes\n",
    );
    let Some(mut server) = file.start() else {
        return;
    };
    set(&server, "agg.max-series 50 agg.max-memory 300mb");
    set(&server, "agg.min-window 7 agg.hour-window 21");
    set(&server, "agg.reality-ttl 99");
    assert_eq!(text(&server, "percentiles"), "50 99");
    assert_eq!(text(&server, "hist-records"), "yes");
    set(&server, "agg.hist-match 'a* b*'");
    let () = server.ask("CONFIG REWRITE");
    let file_text = file.text();
    for line in [
        "agg.max-series 50",
        "agg.max-memory 300mb",
        "agg.min-window 7",
        "agg.hour-window 21",
        "agg.max-errors 12",
        "agg.reality-ttl 99",
        "agg.hist-match \"a* b*\"",
    ] {
        assert!(file_text.lines().any(|l| l == line), "{line}: {file_text}");
    }
    let before = all(&server);
    server.shut_down();
    server.restart();
    assert_eq!(all(&server), before);
    assert_eq!(value(&server, "max-realities"), 6);
}

#[test]
fn module_is_loaded_or_rejected_while_the_server_runs() {
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
