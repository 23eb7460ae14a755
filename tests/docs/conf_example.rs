//! redis.conf.example: a server starts with it, it names every setting with its default, and its users have exactly the
//! permissions that it describes.

use std::collections::BTreeMap;

use redis::Connection;
use testkit::*;

const FILE: &str = include_str!("../../redis.conf.example");

/// Starts a server with the file, changed as its first lines say, followed by these lines.
fn start(more: &str) -> Option<(Server, tempfile::TempDir)> {
    let module = module();
    let path = "/usr/lib/redis/modules/libaggregator.so";
    assert!(FILE.contains(&format!("\nloadmodule {path}\n")));
    let text = FILE
        .replace(path, module.to_str().unwrap())
        .replace("CHANGE-ME-", "secret-of-");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, text + more).unwrap();
    if !module.exists() {
        // Says that it is missing.
        return Server::start().map(|server| (server, dir));
    }
    // Port, address and directory of the testkit override those of the file.
    Some((Server::with(&[file.to_str().unwrap()])?, dir))
}

fn log_in(server: &Server, user: &str) -> Connection {
    server.connection_as(user, &format!("secret-of-{user}"))
}

/// Returns the settings in lines of a file, sizes in bytes.
fn settings(text: &str) -> BTreeMap<String, String> {
    let setting = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        let name = name.strip_prefix("agg.")?;
        if !value.starts_with(|c: char| c.is_ascii_digit()) {
            return Some((name.to_owned(), value.trim_matches('"').to_owned()));
        }
        let digits = value.trim_end_matches(char::is_alphabetic);
        let unit = match &value[digits.len()..] {
            "" => 1,
            "kb" => 1 << 10,
            "mb" => 1 << 20,
            unit => panic!("{line}: the unit {unit} is new here"),
        };
        let number = digits.parse::<u64>().unwrap() * unit;
        Some((name.to_owned(), number.to_string()))
    };
    text.lines().filter_map(setting).collect()
}

#[test]
fn every_setting_is_explained_with_its_default() {
    let Some(server) = Server::start() else {
        return;
    };
    let defaults: BTreeMap<String, String> = server.ask("CONFIG GET agg.*");
    let defaults: BTreeMap<_, _> = defaults
        .into_iter()
        .map(|(name, value)| (name["agg.".len()..].to_owned(), value))
        .collect();
    assert_eq!(settings(FILE), defaults);
    let lines: Vec<&str> = FILE.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with("agg.")) {
        assert!(pair[0].starts_with("# "), "{} is not explained", pair[1]);
    }
}

#[test]
fn memory_and_persistence_are_configured_as_described() {
    let Some((server, _dir)) = start("") else {
        return;
    };
    let mut admin = log_in(&server, "admin");
    let mut get = |name: &str| -> String {
        let pair: (String, String) = ask(&mut admin, &format!("CONFIG GET {name}"));
        pair.1
    };
    assert_eq!(get("maxmemory-policy"), "noeviction");
    assert_eq!(get("appendonly"), "yes");
    assert_eq!(get("appendfsync"), "everysec");
    let (server, module): (u64, u64) = (
        get("maxmemory").parse().unwrap(),
        get("agg.max-memory").parse().unwrap(),
    );
    assert_eq!(server, 2 * module);
}

/// Sends commands as a user and asserts that each is permitted or denied by the ACL.
fn try_all(server: &Server, user: &str, may: bool, lines: &[&str]) {
    let mut connection = log_in(server, user);
    for line in lines {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match send::<redis::Value>(&mut connection, &words) {
            Err(error) if error.code() == Some("NOPERM") => assert!(!may, "{user}: {line}"),
            Err(error) => panic!("{user}: {line}: {error}"),
            Ok(_) => assert!(may, "{user}: {line} was not rejected"),
        }
    }
}

fn check_users(server: &Server) {
    let report = [
        "PING",
        "AGG.STAT node1 cpu.load 1 TAGS a:b",
        "AGG.MSTAT node1 DIFF VALUES net.rx 1",
        "AGG.HIST node1 http.ms VALUES 1 1",
        "AGG.LOG node1 line",
        "AGG.ERROR node1 broken",
        "AGG.REALITY node1 sda system.Disk {}",
        "AGG.FORGET node1 METRIC cpu.load",
    ];
    let drain = [
        "AGG.FETCH node1 LOG ERROR REALITY",
        "AGG.NACK node1 LOG 1",
        "AGG.ACK node1 LOG 1",
        "AGG.EXTEND node1 LOG 1000 1",
        "AGG.REQUEUE node1 ERROR",
        "AGG.POP node1 LOG ERROR REALITY",
    ];
    let read = [
        "AGG.PEEK node1 MIN",
        "AGG.GET node1 METRIC net.rx",
        "AGG.RANGE node1 net.rx MIN",
        "AGG.SCAN node1 METRIC 0",
        "AGG.INFO node1",
    ];
    let find = ["SCAN 0 TYPE aggr-node", "INFO agg", "INFO memory"];
    let elsewhere = [
        "AGG.STAT node2 cpu.load 1",
        "AGG.LOG node2 line",
        "AGG.FORGET node2 METRIC cpu.load",
    ];
    let never = [
        "AGG.APPLY node1 x",
        "GET node1",
        "SET node1 x",
        "DEL node1",
        "DUMP node1",
        "FLUSHALL",
        "CONFIG GET agg.*",
        "ACL LIST",
        "SHUTDOWN",
        "SUBSCRIBE x",
    ];
    try_all(server, "node1", true, &report);
    for lines in [&drain[..], &read, &find, &elsewhere, &never] {
        try_all(server, "node1", false, lines);
    }
    for lines in [&drain[..], &read, &find, &["PING"]] {
        try_all(server, "poller", true, lines);
    }
    for lines in [&report[1..], &elsewhere, &never] {
        try_all(server, "poller", false, lines);
    }
    for lines in [&report[..], &drain, &read, &find, &elsewhere] {
        try_all(server, "admin", true, lines);
    }
    try_all(server, "admin", true, &["ACL LIST", "CONFIG GET agg.*"]);
    for lines in [&report[1..], &drain, &read, &find, &never] {
        try_all(server, "replica", false, lines);
    }
}

#[test]
fn users_have_exactly_the_described_permissions() {
    let Some((server, _dir)) = start("") else {
        return;
    };
    let rejection = error(&mut server.connection(), "PING");
    assert!(rejection.starts_with("NOAUTH"), "{rejection}");
    check_users(&server);
}

#[test]
fn lines_for_newer_servers_do_the_same() {
    let Some((server, _dir)) = start("") else {
        return;
    };
    let mut admin = log_in(&server, "admin");
    let categories: Vec<String> = ask(&mut admin, "ACL CAT");
    if !categories.iter().any(|name| name == "agg-report") {
        // An older server: nothing to test.
        return;
    }
    let mut users = 0;
    for line in FILE.lines() {
        if let Some(user) = line.strip_prefix("# Newer servers: user ") {
            let user = user.replace("CHANGE-ME-", "secret-of-");
            let (name, rules) = user.split_once(' ').unwrap();
            let _: () = ask(&mut admin, &format!("ACL SETUSER {name} reset {rules}"));
            users += 1;
        }
    }
    assert_eq!(users, 2);
    check_users(&server);
}

#[test]
fn replica_follows_with_the_lines_for_replicas() {
    let Some((primary, _dir)) = start("") else {
        return;
    };
    let mut admin = log_in(&primary, "admin");
    // The first sync waits for more replicas otherwise.
    let _: () = ask(&mut admin, "CONFIG SET repl-diskless-sync-delay 0");
    let _: i64 = ask(&mut log_in(&primary, "node1"), "AGG.LOG node1 line");

    let commented = FILE.lines().filter_map(|line| line.strip_prefix("# "));
    let mut lines: Vec<String> = commented
        .filter(|line| line.starts_with("replica") || line.starts_with("master"))
        .map(|line| line.replace("10.0.0.5 7777", &format!("127.0.0.1 {}", primary.port)))
        .map(|line| line.replace("CHANGE-ME-", "secret-of-"))
        .collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    lines.insert(0, String::new());
    let (replica, _dir) = start(&lines.join("\n")).unwrap();
    let mut poller = log_in(&replica, "poller");
    until("the replica holds the line", || {
        let reply = send::<redis::Value>(&mut poller, &[b"AGG.PEEK", b"node1", b"LOG"]).ok()?;
        (queued_records(&reply).len() == 1).then_some(())
    });
    assert!(error(&mut poller, "AGG.POP node1 LOG").starts_with("READONLY"));
}
