//! Nodes of all kinds, commands for nodes that were restored from damaged data, and checks of the server's health.

use redis::{Connection, Value};

use super::dump::Dump;
use testkit::*;

/// Windows of a second that close soon; files and dumps without compression, so that damage hits the frames.
pub const SETTINGS: &str =
    "min-window 1 hour-window 2 flush-delay-ms 100 min-history 5 hour-history 3";
pub const PLAIN: [&str; 2] = ["--rdbcompression", "no"];

pub fn server() -> Option<Server> {
    Server::with_module(&PLAIN, SETTINGS)
}

/// Prints on failure which run it was and saves what was sent last: nodes depend on the clock, so the seed alone does
/// not reproduce the bytes. (`redis-cli --pipe < file` sends them.)
#[derive(Default)]
pub struct FailureReport {
    pub what: String,
    pub sent: Vec<Words>,
}

impl FailureReport {
    pub fn new(what: &str) -> FailureReport {
        let mut report = FailureReport::default();
        report.is(what, &[]);
        report
    }

    pub fn is(&mut self, what: &str, sent: &[Words]) {
        self.what = format!("{what}, AGG_SEED={}", seed());
        self.sent = sent.to_vec();
    }
}

impl Drop for FailureReport {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("this was {}", self.what);
        let mut sent = Vec::new();
        for words in &self.sent {
            let mut command = redis::Cmd::new();
            words.iter().for_each(|word| {
                command.arg(word.as_slice());
            });
            sent.extend(command.get_packed_command());
        }
        let file = std::env::temp_dir().join(format!("agg-damage-{}.resp", std::process::id()));
        if !sent.is_empty() && std::fs::write(&file, sent).is_ok() {
            eprintln!("what was sent is in {}", file.display());
        }
    }
}

/// Returns random commands for a node, with something of everything.
pub fn work(random: &mut Random, node: &str, amount: usize) -> Vec<Words> {
    let now = now_ms();
    let mut commands = Vec::new();
    for _ in 0..amount {
        let n = random.below(12);
        let at = now - random.below(20_000) as i64;
        let tags = *random.one(&["", " TAGS a:b", " TAGS a:b word", " TAGS é:ü"]);
        let line = match random.below(17) {
            0..4 => format!(
                "AGG.STAT {node} gauge{n} {}.5 AT {at}{tags}",
                random.below(1000)
            ),
            4 | 5 => format!("AGG.STAT {node} gauge{n} -1e{}", random.below(300)),
            6..8 => format!(
                "AGG.STAT {node} counter{n} {} DIFF{tags}",
                random.below(1 << 40)
            ),
            8 => format!("AGG.MSTAT {node}{tags} VALUES gauge1 1 gauge2 2 gauge{n} 3"),
            9 => format!(
                "AGG.LOG {node} {} LEVEL {}{tags}",
                random.text(n * 9),
                n % 10
            ),
            10 => format!(
                "AGG.ERROR {node} error{n} CODE {n} FILE f BACKTRACE {}{tags}",
                random.text(n * 5)
            ),
            11 => format!("AGG.ERROR {node} e KEY k{n} PUBLIC p TYPE BUG GID {n}"),
            12 => format!(
                "AGG.REALITY {node} o{n} m {{\"a\":[{},null,\"x\"]}}{tags}",
                random.below(9)
            ),
            13 => format!(
                "AGG.FORGET {node} {}",
                random.one(&["REALITY o1", "METRIC gauge3", "ERROR k2"])
            ),
            14 => format!(
                "AGG.HIST {node} hist{n}{tags} AT {at} VALUES 1 {} 5 2 1e{n} 20",
                n + 1
            ),
            15 => format!(
                "AGG.FETCH {node} ERROR REALITY LOG COUNT {} LEASE 1000",
                n + 1
            ),
            _ => format!("AGG.POP {node} MIN HOUR ERROR REALITY COUNT {}", n + 1),
        };
        commands.push(split(&line));
    }
    commands
}

/// Creates nodes of all kinds in a server and returns their dumps.
pub fn dumps(server: &Server) -> Vec<Dump> {
    let mut connection = server.connection();
    let mut random = Random(seed());
    let nodes = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    fill(&mut connection, nodes[0]);
    for (i, node) in nodes.iter().enumerate().skip(1) {
        let commands = work(&mut random, node, 20 << (i / 2));
        burst(&mut connection, &commands)
            .into_iter()
            .for_each(|answer| drop(answer.ok()));
    }
    // Histories and records of closed windows.
    until("windows have closed", || {
        (of_queue(server, nodes[7], "MIN", "length") > 3).then_some(())
    });
    let commands = work(&mut random, nodes[7], 30);
    burst(&mut connection, &commands);
    let dump = |node| Dump::parse(&ask::<Vec<u8>>(&mut connection, &format!("DUMP {node}")));
    nodes.into_iter().map(dump).collect()
}

/// Runs every command on a node: those that read first, then those that drain and change it.
pub fn exercise(connection: &mut Connection, node: &str) {
    let readers = [
        "AGG.INFO NODE",
        "AGG.SCAN NODE METRIC 0 COUNT 1000 WITHVALUES",
        "AGG.SCAN NODE METRIC 0 COUNT 1000 WITHLAST",
        "AGG.SCAN NODE ERROR 0 COUNT 1000 WITHVALUES",
        "AGG.SCAN NODE REALITY 0 COUNT 1000 WITHVALUES",
        "AGG.RANGE NODE gauge1 MIN",
        "AGG.RANGE NODE cpu.load@0 HOUR",
        "AGG.GET NODE ERROR k1",
        "AGG.PEEK NODE MIN HOUR LOG ERROR REALITY COUNT 10000",
        "AGG.PEEK NODE HOUR MIN COUNT 10000 REV FORMAT LINE",
        "MEMORY USAGE NODE",
        "DUMP NODE",
        "COPY NODE NODE.copy",
        "AGG.STAT NODE gauge1 1",
        "AGG.STAT NODE counter1 5 DIFF TAGS x:y",
        "AGG.STAT NODE new 5 DIFF",
        "AGG.LOG NODE hello",
        "AGG.ERROR NODE error1 CODE 1 FILE f",
        "AGG.REALITY NODE o1 m [1] TTL 1",
        "AGG.REALITY NODE o2 m [2]",
        "AGG.FORGET NODE REALITY o3",
        "AGG.FORGET NODE METRIC gauge2",
        "AGG.FORGET NODE ERROR k3",
        "AGG.REQUEUE NODE ERROR",
        "AGG.REQUEUE NODE REALITY",
        "AGG.FETCH NODE MIN HOUR LOG ERROR REALITY COUNT 3 LEASE 1",
        "AGG.POP NODE MIN HOUR LOG COUNT 5",
        "AGG.FETCH NODE ERROR REALITY COUNT 10000 LEASE 1000",
    ];
    let commands: Vec<Words> = readers
        .map(|line| split(&line.replace("NODE", node)))
        .into();
    let answers = burst(connection, &commands);
    let mut ids = Vec::new();
    for (answer, words) in answers.iter().zip(&commands) {
        check(answer, words);
        if let (Ok(reply @ Value::Array(_)), true) = (answer, words[0] == b"AGG.PEEK") {
            // A record of any node is valid JSON.
            let is_json = !words.iter().any(|word| word == b"LINE");
            for record in queued_records(reply).iter().filter(|_| is_json) {
                record.json();
                ids.push((record.queue.clone(), record.id));
            }
        }
    }
    let acks = ids
        .iter()
        .step_by(2)
        .map(|(queue, id)| split(&format!("AGG.ACK {node} {queue} {id}")));
    let acks: Vec<Words> = acks.collect();
    burst(connection, &acks)
        .iter()
        .zip(&acks)
        .for_each(|(answer, words)| check(answer, words));
    let rest = split(&format!(
        "AGG.POP {node} MIN HOUR LOG ERROR REALITY COUNT 10000"
    ));
    let rest = vec![rest.clone(), rest.clone(), rest];
    burst(connection, &rest)
        .iter()
        .for_each(|answer| check(answer, &rest[0]));
}

/// Asserts that a command succeeded or was rejected for a legitimate reason.
fn check(answer: &Result<Value, String>, words: &Words) {
    if let Err(error) = answer {
        let report = [
            "AGGFULL",
            "ERR the node is being restored",
            "ERR AGG.STAT: metric",
            // A copy that exists already, or is of an older clock.
            "ERR module key failed to copy",
        ];
        assert!(
            report.iter().any(|text| error.starts_with(text)),
            "{error}: {}",
            String::from_utf8_lossy(&words[0])
        );
    }
}

/// Runs DEBUG RELOAD and asserts equal digests before and after. The timer does not run in between.
pub fn reload(connection: &mut Connection, keys: &[String]) {
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("DEBUG").arg("DIGEST-VALUE").arg(keys);
    pipe.cmd("DEBUG").arg("RELOAD");
    pipe.cmd("DEBUG").arg("DIGEST-VALUE").arg(keys);
    let (before, (), after): (Vec<String>, (), Vec<String>) = pipe
        .query(connection)
        .unwrap_or_else(|error| panic!("DEBUG RELOAD: {error}"));
    for ((before, after), key) in before.iter().zip(&after).zip(keys) {
        assert_eq!(before, after, "{key} after DEBUG RELOAD");
    }
}

/// Asserts that the server replies, that its log has no internal error, and that at most `most` bytes beyond `before`
/// were resident.
pub fn is_well(server: &Server, before: u64, most: u64) -> u64 {
    assert_eq!(server.ask::<String>("PING"), "PONG");
    let log = server.log();
    assert!(
        !log.contains("internal error") && !log.contains("panicked"),
        "{log}"
    );
    let grew = resident(server.pid()).map_or(0, |(_, most)| most.saturating_sub(before));
    assert!(grew < most, "{grew} bytes more than before were resident");
    grew
}
