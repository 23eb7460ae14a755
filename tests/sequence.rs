//! Reports with sequence numbers on a real server: a report that is sent again counts once, whatever happened to its
//! connection, to the server, or to its primary.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redis::{Connection, Value};
use testkit::proxy::Proxy;
use testkit::*;

fn nil(connection: &mut Connection, line: &str) {
    assert_eq!(ask::<Value>(connection, line), Value::Nil, "{line}");
}

/// Returns a field of `INFO agg`.
fn of_server(server: &Server, field: &str) -> i64 {
    server.info_field("agg", &format!("agg_{field}"))
}

const REPORTS: [&str; 5] = [
    "AGG.STAT n m 1 SEQ a 1",
    "AGG.MSTAT n SEQ a 2 VALUES m 2 k 3",
    "AGG.LOG n hello SEQ a 3",
    "AGG.ERROR n failed KEY e SEQ a 4",
    "AGG.HIST n h SEQ a 5 VALUES 1 2",
];

#[test]
fn repetition_returns_nil_in_both_protocols_and_changes_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    for line in REPORTS {
        assert_ne!(server.ask::<Value>(line), Value::Nil, "{line}");
    }
    let before = server.digest("n");
    for mut connection in [server.connection(), server.connection3()] {
        let dirty = |connection: &mut Connection| -> String {
            let info: String = ask(connection, "INFO persistence");
            let changes = info.lines().find(|line| line.starts_with("rdb_changes"));
            changes.unwrap().to_owned()
        };
        let changes = dirty(&mut connection);
        REPORTS.iter().for_each(|line| nil(&mut connection, line));
        assert_eq!(dirty(&mut connection), changes);
    }
    assert_eq!(server.digest("n"), before);
    let error: Value = server.ask("AGG.GET n ERROR e");
    assert_eq!(int(&error, "occurrences"), 1);
    assert_eq!(server.peek("n", "LOG").len(), 1);
}

#[test]
fn report_rejected_for_lack_of_memory_is_accepted_later_under_its_number() {
    let Some(server) = Server::with_settings("max-memory 1mb") else {
        return;
    };
    let mut connection = server.connection();
    let _: i64 = ask(&mut connection, "AGG.STAT n m 1 SEQ a 1");
    let long = "x".repeat(60_000);
    let fills = |i: i32| {
        let line = format!("AGG.REALITY n r{i} model \"{long}\"");
        send::<i64>(&mut server.connection(), &words(&line)).is_ok()
    };
    let full = (0..100).find(|i| !fills(*i)).expect("memory is limited");
    let line = format!("AGG.ERROR n {long} KEY e SEQ a 2");
    assert!(server.error(&line).starts_with("AGGFULL AGG.ERROR: "));
    nil(&mut connection, "AGG.STAT n m 1 SEQ a 1");
    // A metric that exists is counted, under a known source or a new one.
    let _: i64 = ask(&mut connection, "AGG.STAT n m 1 SEQ b 1");
    for i in 0..full {
        let _: i64 = ask(&mut connection, &format!("AGG.FORGET n REALITY r{i}"));
    }
    let _: Value = ask(&mut connection, "AGG.POP n REALITY COUNT 1000");
    let counted: Value = ask(&mut connection, &line);
    assert_eq!(list(&counted)[1], Value::Int(1));
    nil(&mut connection, &line);
}

#[test]
fn new_sources_do_not_exceed_the_memory_limit() {
    let Some(server) = Server::with_settings("max-memory 1mb max-sources 1000000") else {
        return;
    };
    let mut connection = server.connection();
    let _: i64 = ask(&mut connection, "AGG.STAT n m 1");
    for round in 0..30 {
        let lines: Vec<Vec<Vec<u8>>> = (0..1_000)
            .map(|i| {
                let source = format!("{round}-{i}-{}", "s".repeat(i % 200));
                let line = format!("AGG.STAT n m 1 SEQ {source} 1");
                words(&line).into_iter().map(<[u8]>::to_vec).collect()
            })
            .collect();
        for answer in burst(&mut connection, &lines) {
            assert_eq!(answer.unwrap(), Value::Int(1));
        }
        assert!(of_server(&server, "held") <= 1 << 20);
    }
    let info: Value = server.ask("AGG.INFO n");
    let [sources, dropped] = ["sources", "sources-dropped"].map(|field| int(&info, field));
    assert_eq!(sources + dropped, 30_000);
    assert_eq!(of_server(&server, "sources"), sources);
    assert_eq!(of_server(&server, "sources_dropped"), dropped);
    assert!(sources > 1_000 && dropped > 1_000, "{sources}, {dropped}");
}

/// Uses sources in a fixed order that evicts some.
fn use_sources(connection: &mut Connection, from: usize) {
    let mut random = Random(from as u64);
    for n in from..from + 300 {
        let source = random.below(30);
        let line = match n % 3 {
            0 => format!("AGG.STAT n m 1 SEQ s{source} {n}"),
            1 => format!("AGG.LOG n hello SEQ s{source} {n}"),
            _ => format!("AGG.MSTAT n SEQ s{source} {n} VALUES m x"),
        };
        let _: Value = ask(connection, &line);
    }
}

/// Returns which of the sources a node has: a report under one that it lacks returns something.
fn kept(connection: &mut Connection) -> Vec<bool> {
    let () = ask(connection, "CONFIG SET agg.max-sources 1000");
    (0..30)
        .map(|i| {
            let line = format!("AGG.STAT n m 1 SEQ s{i} 0");
            ask::<Value>(connection, &line) == Value::Nil
        })
        .collect()
}

#[test]
fn sources_survive_a_failover_and_files_with_their_order() {
    let arguments = [&SYNCED_AOF[..], &["--repl-diskless-sync-delay", "0"]].concat();
    let Some(mut primary) = Server::with_module(&arguments, "max-sources 20") else {
        return;
    };
    let port = primary.port.to_string();
    let arguments = [&arguments[..], &["--replicaof", "127.0.0.1", &port]].concat();
    let Some(mut replica) = Server::with_module(&arguments, "max-sources 3") else {
        return;
    };
    use_sources(&mut primary.connection(), 0);
    let all = |server: &Server| -> String { server.ask("DEBUG DIGEST") };
    until("the replica has the same value", || {
        (all(&replica) == all(&primary)).then_some(())
    });
    // The AOF, then the replica as a primary, then a copy, an RDB file and a rewritten AOF: each continues as the
    // primary does.
    let before = primary.digest("n");
    primary.restart();
    assert_eq!(primary.digest("n"), before);
    replica.restart();
    // A replica of Valkey 9.1 is empty at first, whatever its AOF has.
    until("the restarted replica has the same value", || {
        (replica.digest("n") == before).then_some(())
    });
    let () = replica.ask("REPLICAOF NO ONE");
    let () = replica.ask("CONFIG SET agg.max-sources 20");
    for server in [&primary, &replica] {
        let mut connection = server.connection();
        let _: Value = ask(&mut connection, "AGG.POP n LOG COUNT 10000");
        use_sources(&mut connection, 300);
        let _: i64 = ask(&mut connection, "COPY n other");
        let _: i64 = ask(&mut connection, "DEL n");
        let _: Value = ask(&mut connection, "RENAME other n");
        use_sources(&mut connection, 600);
        let () = ask(&mut connection, "DEBUG RELOAD");
        use_sources(&mut connection, 900);
        let dump: Vec<u8> = ask(&mut connection, "DUMP n");
        let restored: Value = send(
            &mut connection,
            &[b"RESTORE", b"n", b"0", &dump, b"REPLACE"],
        )
        .unwrap();
        assert_eq!(restored, Value::Okay);
        use_sources(&mut connection, 1_200);
    }
    let of_primary = kept(&mut primary.connection());
    assert_eq!(of_primary.iter().filter(|kept| **kept).count(), 20);
    assert_eq!(kept(&mut replica.connection()), of_primary);
}

#[test]
fn program_that_restarts_takes_a_new_source() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut connection = server.connection();
    for start in ["shop-1760000000", "shop-1760000060"] {
        for n in 1..=3 {
            let _: Value = ask(
                &mut connection,
                &format!("AGG.ERROR n failed KEY e SEQ {start} {n}"),
            );
        }
    }
    // Under the old source its numbers begin again, and nothing counts.
    for n in 1..=3 {
        let line = format!("AGG.ERROR n failed KEY e SEQ shop-1760000060 {n}");
        nil(&mut connection, &line);
    }
    let error: Value = server.ask("AGG.GET n ERROR e");
    assert_eq!(int(&error, "occurrences"), 6);
}

/// Connections that a test loses, and the programs that report meanwhile.
const LOSSES: [usize; 2] = [200, 10_000];
const PROGRAMS: usize = 4;

/// A program that reports through the proxy, several reports at a time, and sends those again whose replies it has not
/// got.
struct Program {
    source: String,
    number: u64,
    lost: usize,
    repeated: usize,
}

impl Program {
    fn connect(proxy: &Proxy) -> Connection {
        until("the proxy connects", || {
            let client = redis::Client::open(format!("redis://127.0.0.1:{}", proxy.port)).unwrap();
            let timeout = Duration::from_secs(30);
            let connection = client.get_connection_with_timeout(timeout).ok()?;
            connection.set_read_timeout(Some(timeout)).ok()?;
            Some(connection)
        })
    }

    /// Reports until it is stopped. Each round is an occurrence, a log entry, a sample and two samples.
    fn run(mut self, proxy: &Proxy, stop: &AtomicBool, losses: &AtomicUsize) -> Program {
        let mut connection = Program::connect(proxy);
        while !stop.load(Ordering::SeqCst) {
            let source = &self.source;
            let [a, b, c, d] = [1, 2, 3, 4].map(|i| self.number + i);
            let mut pipe = redis::pipe();
            for line in [
                format!("AGG.ERROR n failed KEY e SEQ {source} {a}"),
                format!("AGG.LOG n {source}-{b} SEQ {source} {b}"),
                format!("AGG.STAT n m 3 SEQ {source} {c}"),
                format!("AGG.MSTAT n SEQ {source} {d} VALUES m 4 m 5"),
            ] {
                let words = words(&line);
                pipe.cmd(std::str::from_utf8(words[0]).unwrap());
                words[1..].iter().for_each(|word| {
                    pipe.arg(*word);
                });
            }
            loop {
                match pipe.query::<Vec<Value>>(&mut connection) {
                    Ok(replies) => {
                        let nils = replies.iter().filter(|reply| **reply == Value::Nil);
                        self.repeated += nils.count();
                        break;
                    }
                    Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                        self.lost += 1;
                        losses.fetch_add(1, Ordering::SeqCst);
                        connection = Program::connect(proxy);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            self.number = d;
        }
        self
    }
}

#[test]
fn totals_are_exact_although_connections_are_lost() {
    let Some(server) = Server::with_settings("max-memory 1gb queue-log 512mb") else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let (stop, losses) = (AtomicBool::new(false), AtomicUsize::new(0));
    let most = amount(LOSSES[0], LOSSES[1]);
    let programs: Vec<Program> = std::thread::scope(|scope| {
        let guard = FlagOnDrop::new(&stop, true);
        let threads: Vec<_> = (0..PROGRAMS)
            .map(|i| Program {
                source: format!("program-{i}"),
                number: 0,
                lost: 0,
                repeated: 0,
            })
            .map(|program| scope.spawn(|| program.run(&proxy, &stop, &losses)))
            .collect();
        let mut random = Random(seed());
        while losses.load(Ordering::SeqCst) < most {
            // Only a program that fails ends before it is stopped, and loses no more connections.
            if threads.iter().any(|thread| thread.is_finished()) {
                break;
            }
            std::thread::sleep(Duration::from_micros(random.below(4_000) as u64));
            // Closes all connections; new ones go to the same server.
            proxy.point(server.port);
        }
        drop(guard);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let rounds: u64 = programs.iter().map(|program| program.number / 4).sum();
    let [lost, repeated] = [|p: &Program| p.lost, |p: &Program| p.repeated]
        .map(|of| programs.iter().map(of).sum::<usize>());
    println!("{rounds} rounds, {lost} connections lost, {repeated} repetitions");
    assert!(lost >= most && repeated > 0);
    let error: Value = server.ask("AGG.GET n ERROR e");
    assert_eq!(int(&error, "occurrences") as u64, rounds);
    let metric: Value = server.ask("AGG.GET n METRIC m");
    assert_eq!(int(&metric, "samples") as u64, 3 * rounds);
    let mut messages = std::collections::BTreeSet::new();
    let mut connection = server.connection();
    loop {
        let popped = records(&ask::<Value>(&mut connection, "AGG.POP n LOG COUNT 10000"));
        if popped.is_empty() {
            break;
        }
        for record in popped {
            let message = record["message"].as_str().unwrap().to_owned();
            assert!(messages.insert(message), "twice: {record}");
        }
    }
    assert_eq!(messages.len() as u64, rounds);
    let sum = |window: &Value| text(window, "sum").parse::<f64>().unwrap();
    let windows: Value = server.ask("AGG.RANGE n m HOUR");
    let total: f64 = list(&windows).iter().map(sum).sum();
    assert_eq!(total, 12.0 * rounds as f64);
}
