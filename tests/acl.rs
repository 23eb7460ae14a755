//! ACL users: who may report, drain or read, and on which node, by commands and key patterns, and by the categories of
//! the module if the server supports them.

use std::collections::BTreeSet;

use redis::Connection;
use testkit::*;

const REPORTS: [&str; 7] = [
    "AGG.STAT NODE m 1",
    "AGG.MSTAT NODE VALUES m 1",
    "AGG.HIST NODE m VALUES 1 2",
    "AGG.LOG NODE hello",
    "AGG.ERROR NODE broken KEY e",
    "AGG.REALITY NODE k m {}",
    "AGG.FORGET NODE METRIC m",
];

const DRAINS: [&str; 6] = [
    "AGG.FETCH NODE LOG COUNT 1",
    "AGG.NACK NODE LOG 1",
    "AGG.EXTEND NODE LOG 1000 1",
    "AGG.ACK NODE LOG 1",
    "AGG.REQUEUE NODE ERROR",
    "AGG.POP NODE LOG COUNT 1",
];

const LOOKS: [&str; 5] = [
    "AGG.PEEK NODE LOG",
    "AGG.GET NODE ERROR e",
    "AGG.RANGE NODE m MIN",
    "AGG.SCAN NODE ERROR 0",
    "AGG.INFO NODE",
];

/// What a relay sends. Reporters must not: imported records are never evicted.
const IMPORT: &str = r#"AGG.IMPORT NODE LOG 1 {"node":"NODE","queue":"LOG","id":1}"#;

/// Commands of the server that would read or delete a node.
const ELSE: [&str; 7] = [
    "DEL NODE",
    "UNLINK NODE",
    "DUMP NODE",
    "RENAME NODE mine",
    "COPY NODE mine",
    "EXPIRE NODE 1",
    "DEBUG DIGEST-VALUE NODE",
];

const APPLY: &str = "AGG.APPLY NODE payload";

const REPORTER: &str =
    "+agg.stat +agg.mstat +agg.hist +agg.log +agg.error +agg.reality +agg.forget";
const RELAY: &str = "+agg.import";
const POLLER: &str = "+agg.pop +agg.fetch +agg.ack +agg.nack +agg.extend +agg.requeue";
const READER: &str = "+agg.peek +agg.get +agg.range +agg.scan +agg.info +agg.help";

/// Why a command is denied.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Done,
    /// The command is not permitted.
    NoCommand,
    /// The key is not permitted.
    NoKey,
}

/// Starts a server with a node of each name and a user with these rules, and connects as that user.
fn user(rules: &str) -> Option<(Server, Connection)> {
    let server = Server::start()?;
    for node in ["node1", "node2"] {
        fill(&mut server.connection(), node);
        let _: redis::Value = server.ask(&format!("AGG.ERROR {node} broken KEY e"));
    }
    let () = server.ask(&format!("ACL SETUSER someone on >secret resetkeys {rules}"));
    let connection = server.connection_as("someone", "secret");
    Some((server, connection))
}

fn answer(connection: &mut Connection, line: &str, node: &str) -> Answer {
    let line = line.replace("NODE", node);
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    match send::<redis::Value>(connection, &words) {
        Ok(_) => Answer::Done,
        Err(error) => match (error.code(), error.detail()) {
            (Some("NOPERM"), Some(why)) if why.contains("run the") => Answer::NoCommand,
            (Some("NOPERM"), Some(why)) if why.contains("key") => Answer::NoKey,
            _ => panic!("{line}: {error}"),
        },
    }
}

fn all_answer(connection: &mut Connection, lines: &[&str], node: &str, expected: Answer) {
    for line in lines {
        assert_eq!(answer(connection, line, node), expected, "{line} of {node}");
    }
}

#[test]
fn reporter_writes_to_its_node_and_reads_nothing() {
    let Some((server, mut c)) = user(&format!("%W~node1 {REPORTER}")) else {
        return;
    };
    let other = server.digest("node2");
    all_answer(&mut c, &REPORTS, "node1", Answer::Done);
    all_answer(&mut c, &REPORTS, "node2", Answer::NoKey);
    for lines in [
        &DRAINS[..],
        &LOOKS[..],
        &ELSE[..],
        &[APPLY, IMPORT, "INFO agg"],
    ] {
        for node in ["node1", "node2"] {
            all_answer(&mut c, lines, node, Answer::NoCommand);
        }
    }
    assert_eq!(server.digest("node2"), other);
}

#[test]
fn relay_imports_into_its_nodes_and_does_nothing_else() {
    let Some((_server, mut c)) = user(&format!("%W~node1 {RELAY}")) else {
        return;
    };
    all_answer(&mut c, &[IMPORT], "node1", Answer::Done);
    all_answer(&mut c, &[IMPORT], "node2", Answer::NoKey);
    for lines in [&REPORTS[..], &DRAINS[..], &LOOKS[..], &ELSE[..], &[APPLY]] {
        all_answer(&mut c, lines, "node1", Answer::NoCommand);
    }
}

#[test]
fn write_only_pattern_denies_all_commands_that_read_or_consume() {
    // Even if no command is forbidden.
    let Some((server, mut c)) = user("%W~node1 +@all") else {
        return;
    };
    all_answer(&mut c, &REPORTS, "node1", Answer::Done);
    let before = server.digest("node1");
    for lines in [&DRAINS[..], &LOOKS[..], &[APPLY, "DUMP NODE"]] {
        all_answer(&mut c, lines, "node1", Answer::NoKey);
    }
    assert_eq!(server.digest("node1"), before);
}

#[test]
fn read_only_pattern_denies_all_commands_that_write() {
    let Some((server, mut c)) = user("%R~node1 +@all") else {
        return;
    };
    let before = server.digest("node1");
    all_answer(&mut c, &LOOKS, "node1", Answer::Done);
    for lines in [&REPORTS[..], &DRAINS[..], &[APPLY, "DEL NODE"]] {
        all_answer(&mut c, lines, "node1", Answer::NoKey);
    }
    assert_eq!(server.digest("node1"), before);
}

#[test]
fn poller_drains_and_reads_and_cannot_report() {
    let Some((server, mut c)) = user(&format!("~node1 {POLLER} {READER}")) else {
        return;
    };
    let other = server.digest("node2");
    for lines in [&DRAINS[..], &LOOKS[..]] {
        all_answer(&mut c, lines, "node1", Answer::Done);
        all_answer(&mut c, lines, "node2", Answer::NoKey);
    }
    for lines in [&REPORTS[..], &ELSE[..], &[APPLY, IMPORT]] {
        all_answer(&mut c, lines, "node1", Answer::NoCommand);
    }
    assert_eq!(server.digest("node2"), other);
}

#[test]
fn reader_only_reads() {
    let Some((_server, mut c)) = user(&format!("%R~node* {READER}")) else {
        return;
    };
    for node in ["node1", "node2"] {
        all_answer(&mut c, &LOOKS, node, Answer::Done);
        for lines in [&REPORTS[..], &DRAINS[..], &ELSE[..], &[APPLY]] {
            all_answer(&mut c, lines, node, Answer::NoCommand);
        }
    }
    all_answer(&mut c, &LOOKS, "other", Answer::NoKey);
}

#[test]
fn transactions_and_scripts_do_not_bypass_the_acl() {
    let Some((server, mut c)) = user(&format!("%W~node1 {REPORTER} +multi +exec +eval")) else {
        return;
    };
    let before = server.digest("node1");
    let () = ask(&mut c, "MULTI");
    assert_eq!(
        answer(&mut c, "AGG.POP NODE LOG", "node1"),
        Answer::NoCommand
    );
    assert!(error(&mut c, "EXEC").starts_with("EXECABORT "));
    for line in [
        "EVAL return(redis.call('AGG.POP','node1','LOG')) 0",
        "EVAL return(redis.call('AGG.LOG','node2','x')) 0",
        "EVAL return(redis.call('AGG.APPLY','node1','x')) 0",
    ] {
        let why = error(&mut c, line);
        // The wording of Redis 7.0, and of later servers.
        let field = ["executing the script can't", "ACL failure in script"];
        assert!(field.iter().any(|t| why.contains(t)), "{line}: {why}");
    }
    assert_eq!(server.digest("node1"), before);
}

#[test]
fn internal_command_requires_all_permissions() {
    let Some((server, mut c)) = user("~* +@all -agg.apply") else {
        return;
    };
    assert_eq!(answer(&mut c, APPLY, "node1"), Answer::NoCommand);
    // The payload is parsed only after the permission check.
    let why = server.error("AGG.APPLY node1 payload");
    assert!(why.starts_with("ERR AGG.APPLY: "), "{why}");
}

/// Returns whether modules can add categories: Redis 7.4 and Valkey.
fn has_categories(server: &Server) -> bool {
    version(server) >= (7, 4)
}

/// Returns the versions of the server: of Valkey itself, and of Redis.
fn version(server: &Server) -> (u32, u32) {
    let info: String = server.ask("INFO server");
    let field = |name| info.lines().find_map(|line| line.strip_prefix(name));
    let version = field("valkey_version:").or_else(|| field("redis_version:"));
    let mut parts = version
        .unwrap()
        .split('.')
        .map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// Returns the names of the commands of a category in lower case.
fn in_category(server: &Server, category: &str) -> Vec<String> {
    let lower = |commands: Vec<String>| -> BTreeSet<String> {
        commands.iter().map(|name| name.to_lowercase()).collect()
    };
    let commands = lower(server.ask(&format!("COMMAND LIST FILTERBY ACLCAT {category}")));
    // Redis before 8 omits the commands of modules here.
    let field = lower(server.ask(&format!("ACL CAT {category}")));
    if field.iter().any(|name| name.starts_with("agg.")) || version(server) >= (8, 0) {
        let ours = |all: &BTreeSet<String>| -> Vec<String> {
            let ours = all.iter().filter(|name| name.starts_with("agg."));
            ours.cloned().collect()
        };
        assert_eq!(ours(&field), ours(&commands), "{category}");
    }
    commands.into_iter().collect()
}

#[test]
fn categories_contain_the_documented_commands() {
    let Some(server) = Server::start() else {
        return;
    };
    let all: Vec<String> = server.ask("ACL CAT");
    let named = ["agg-report", "agg-drain", "agg-read", "agg-relay"];
    let found = named.map(|name| all.iter().any(|cat| cat == name));
    assert_eq!(found, [has_categories(&server); 4], "{all:?}");
    if !has_categories(&server) {
        return;
    }
    for (name, rules) in named.iter().zip([REPORTER, POLLER, READER, RELAY]) {
        let mut expected: Vec<&str> = rules.split(' ').map(|rule| &rule[1..]).collect();
        let mut commands = in_category(&server, name);
        commands.sort();
        expected.sort();
        assert_eq!(commands, expected, "{name}");
    }
    for category in ["admin", "dangerous"] {
        let commands = in_category(&server, category);
        let ours: Vec<&String> = commands.iter().filter(|c| c.starts_with("agg.")).collect();
        assert_eq!(ours, ["agg.apply"], "{category}");
    }
}

#[test]
fn users_by_category_equal_users_by_command() {
    for (rules, done, rejected) in [
        (
            "%W~node1 +@agg-report",
            &[&REPORTS[..]][..],
            &[&DRAINS[..], &LOOKS[..], &ELSE[..], &[APPLY, IMPORT]][..],
        ),
        (
            "%W~node1 +@agg-relay",
            &[&[IMPORT][..]],
            &[&REPORTS[..], &DRAINS[..], &LOOKS[..], &ELSE[..], &[APPLY]],
        ),
        (
            "~node1 +@agg-drain +@agg-read",
            &[&DRAINS[..], &LOOKS[..]],
            &[&REPORTS[..], &ELSE[..], &[APPLY, IMPORT]],
        ),
        (
            "%R~node1 +@agg-read",
            &[&LOOKS[..]],
            &[&REPORTS[..], &DRAINS[..], &ELSE[..], &[APPLY]],
        ),
        (
            "~node1 +@all -@dangerous",
            &[&REPORTS[..], &DRAINS[..], &LOOKS[..], &[IMPORT]],
            &[&[APPLY]],
        ),
    ] {
        let Some(server) = Server::start() else {
            return;
        };
        if !has_categories(&server) {
            return;
        }
        let Some((_server, mut c)) = user(rules) else {
            return;
        };
        for lines in done {
            all_answer(&mut c, lines, "node1", Answer::Done);
            all_answer(&mut c, lines, "node2", Answer::NoKey);
        }
        for lines in rejected {
            all_answer(&mut c, lines, "node1", Answer::NoCommand);
        }
    }
}
