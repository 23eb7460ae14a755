//! Whole nodes: RESTORE and COPY beyond the memory limit are rejected and leave nothing behind. A file is always loaded;
//! then new data is rejected until memory used is below the limit.

use redis::Value;

use crate::support::*;
use testkit::*;

#[test]
fn restore_and_copy_beyond_the_memory_limit_are_rejected_and_leave_nothing() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 64mb")) else {
        return;
    };
    let mut connection = server.connection();
    // No metrics, for which memory is reserved, and no log entries, which are evicted.
    for i in 0..2000 {
        let json = format!("\"{}\"", "o".repeat(1000));
        let _: i64 = ask(&mut connection, &format!("AGG.REALITY n o{i} m {json}"));
    }
    let dump: Vec<u8> = ask(&mut connection, "DUMP n");
    let usage: i64 = ask(&mut connection, "MEMORY USAGE n");
    let limit = agg(&server, "agg_held") + usage / 2;
    let _: () = ask(
        &mut connection,
        &format!("CONFIG SET agg.max-memory {limit}"),
    );
    let before = Look::at(&mut connection);
    for _ in 0..20 {
        let message = rejection(&mut connection, &[b"RESTORE", b"m", b"0", &dump]);
        assert!(message.contains("Bad data format"), "{message}");
        let message = error(&mut connection, "COPY n m");
        assert!(message.contains("failed to copy"), "{message}");
    }
    let after = Look::at(&mut connection);
    assert!(
        (after.held - before.held).abs() < 4096,
        "{before:?} {after:?}"
    );
    assert!(
        (after.net() - before.net()).abs() < 256 << 10,
        "{before:?} {after:?}"
    );
    assert_eq!(server.ask::<i64>("EXISTS m"), 0);
    assert!(
        server.log().contains(&format!(
            "a node was not loaded: it does not fit agg.max-memory ({limit} bytes)"
        )),
        "{}",
        server.log()
    );
    // It fits in place of what is deleted. A key that RESTORE replaces still exists while the new one is loaded.
    let _: () = ask(
        &mut connection,
        &format!("CONFIG SET agg.max-memory {}", limit + usage),
    );
    let _: Value = send(&mut connection, &[b"RESTORE", b"m", b"0", &dump]).unwrap();
    assert_eq!(server.digest("m"), server.digest("n"));
}

#[test]
fn nodes_that_come_by_restore_and_copy_never_exceed_the_memory_limit() {
    let _beside = beside();
    let Some(server) = server(&format!("{CALM} max-memory 24mb")) else {
        return;
    };
    let mut connection = server.connection();
    fill_much(&mut connection, "n");
    let dump: Vec<u8> = ask(&mut connection, "DUMP n");
    let (mut taken, mut rejected) = (0, 0);
    // How many fit depends on how much the timer drops meanwhile; finally data that cannot be dropped fills the memory.
    for i in 0..1000 {
        if taken > 1 && rejected > 4 {
            break;
        }
        let key = format!("r{i}");
        let done = if i % 2 == 0 {
            send::<Value>(&mut connection, &[b"RESTORE", key.as_bytes(), b"0", &dump])
        } else {
            send::<Value>(&mut connection, &[b"COPY", b"n", key.as_bytes()])
        };
        match done {
            Ok(_) => taken += 1,
            Err(_) => rejected += 1,
        }
        let look = Look::at(&mut connection);
        assert!(look.held <= look.max, "{look:?} after {taken} copies");
    }
    assert!(taken > 1 && rejected > 1, "{taken} {rejected}");
}

#[test]
fn file_beyond_the_memory_limit_is_loaded_and_trimmed_and_new_data_is_rejected_until_then() {
    let _beside = beside();
    let Some(mut server) = server(CALM) else {
        return;
    };
    let mut connection = server.connection();
    fill_much(&mut connection, "n");
    for i in 0..20_000 {
        if i % 4 == 0 {
            let _: i64 = ask(
                &mut connection,
                &format!("AGG.LOG logs {}", "y".repeat(1000)),
            );
        }
    }
    let held = agg(&server, "agg_held");
    let _: () = ask(&mut connection, "SAVE");
    let digest = server.digest("n");
    let file = server.dir().join("dump.rdb");
    let copy = std::fs::read(&file).unwrap();
    drop(connection);
    server.stop();
    let module = module();
    let program = program().unwrap();
    let args: Vec<String> = PLAIN
        .iter()
        .map(|word| word.to_string())
        .chain(["--enable-debug-command", "yes", "--loadmodule"].map(str::to_owned))
        .chain([module.to_str().unwrap().to_owned()])
        .chain(
            "max-memory 6mb min-window 2419200 hour-window 2419200"
                .split(' ')
                .map(str::to_owned),
        )
        .collect();
    let mut small = Server::of(&program, free_port(), &args);
    small.stop();
    std::fs::write(small.dir().join("dump.rdb"), copy).unwrap();
    small.restart();
    let mut connection = small.connection();
    let metrics = agg(&small, "agg_metrics");
    assert_eq!(metrics, 4000, "{} bytes held before", held);
    until("the timer has trimmed", || {
        (agg(&small, "agg_held") <= 6 * MB).then_some(())
    });
    assert!(agg(&small, "agg_dropped_max_memory") > 0);
    assert_eq!(agg(&small, "agg_errors"), 1000);
    assert_eq!(agg(&small, "agg_realities"), 1000);
    let _: i64 = ask(&mut connection, "AGG.STAT n metric.1.1 5");
    // Everything except for dropped records is unchanged.
    let _: () = ask(&mut connection, "CONFIG SET agg.max-memory 256mb");
    assert_ne!(small.digest("n"), digest);
}

/// Returns the contents of an AOF that was just rewritten without a preamble.
fn rewritten(server: &Server) -> Vec<Words> {
    let _: String = server.ask("BGREWRITEAOF");
    until("the AOF is rewritten", || {
        let info: String = server.ask("INFO persistence");
        ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
            .iter()
            .all(|name| info_field::<i64>(&info, name) == 0)
            .then_some(())
    });
    let files = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
    let base = files
        .map(|file| file.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with(".base.aof"))
        .unwrap();
    commands_of(&std::fs::read(base).unwrap())
}

#[test]
fn payloads_of_a_client_that_exceed_the_memory_limit_are_rejected() {
    let _beside = beside();
    let aof = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no"];
    let Some(source) = Server::with_module(&aof, CALM) else {
        return;
    };
    let mut connection = source.connection();
    fill_much(&mut connection, "n");
    let payloads: Vec<Words> = rewritten(&source)
        .into_iter()
        .filter(|words| words[0] == b"AGG.APPLY")
        .collect();
    let Some(server) = server(&format!("{CALM} max-memory 24mb")) else {
        return;
    };
    let mut connection = server.connection();
    let (mut whole, mut rejected) = (0, 0);
    for i in 0..30 {
        let node = format!("r{i}");
        let mut is_whole = true;
        for words in &payloads {
            let sent = send::<Value>(&mut connection, &[b"AGG.APPLY", node.as_bytes(), &words[2]]);
            if let Err(why) = sent {
                let message = why.to_string();
                assert!(
                    message.contains("AGGFULL") && message.contains("agg.max-memory"),
                    "{message}"
                );
                is_whole = false;
                break;
            }
            let look = Look::at(&mut connection);
            assert!(look.held <= look.max, "{look:?}, {whole} nodes whole");
        }
        if is_whole {
            whole += 1;
        } else {
            rejected += 1;
            let _: i64 = ask(&mut connection, &format!("DEL {node}"));
        }
    }
    assert!(
        whole > 0 && rejected > 0,
        "{whole} whole, {rejected} rejected"
    );
    assert!(agg(&server, "agg_refused_max_memory") > 0);
}

#[test]
fn client_that_sent_agg_apply_obeys_all_limits() {
    let _beside = beside();
    let aof = ["--appendonly", "yes", "--aof-use-rdb-preamble", "no"];
    let Some(source) = Server::with_module(&aof, CALM) else {
        return;
    };
    let _: i64 = source.ask("AGG.STAT n known 1");
    let payloads = rewritten(&source)
        .into_iter()
        .filter(|words| words[0] == b"AGG.APPLY");
    let payloads: Vec<Words> = payloads.collect();
    let Some(server) = server(&format!("{CALM} max-memory 2mb max-series 10 max-errors 5")) else {
        return;
    };
    let mut connection = server.connection();
    for words in &payloads {
        let _: String = send(&mut connection, &[b"AGG.APPLY", b"n", &words[2]]).unwrap();
    }
    let long = "m".repeat(70_000);
    for line in [
        format!("AGG.STAT n {long} 1"),
        format!("AGG.STAT n m 1 TAGS {long}"),
        format!("AGG.STAT n m 1 AT {}", now_ms() + 3_600_000),
        format!("AGG.REALITY n k m \"{long}\""),
    ] {
        let message = error(&mut connection, &line);
        assert!(message.starts_with("ERR"), "{message}");
    }
    let (mut taken, mut full) = (0, 0);
    for i in 0..1000 {
        let name = format!("{i}.{}", &long[..60_000]);
        for line in [
            format!("AGG.STAT n {name} 1"),
            format!("AGG.LOG n {name}"),
            format!("AGG.ERROR n {name}"),
            format!("AGG.REALITY n k{i} m \"{name}\""),
        ] {
            match send::<Value>(&mut connection, &words(&line)) {
                Ok(_) => taken += 1,
                Err(_) => full += 1,
            }
        }
        let look = Look::at(&mut connection);
        assert!(
            look.held <= look.max,
            "{look:?} after {taken} taken, {full} rejected"
        );
        if i > 100 && full > 100 {
            break;
        }
    }
    assert!(taken > 0 && full > 0);
    assert!(agg(&server, "agg_metrics") <= 10 && agg(&server, "agg_errors") <= 5);
    // It may set the time of the payload as long as it obeys the limits, because it may replay a file.
    let _: String = ask(&mut connection, "AGG.STAT n known 2");
}
