//! Nodes with contents of every kind, and settings that keep windows open or let them close.

use redis::Value;

use crate::command::{ask, send, words};
use crate::reply::{at, int};
use crate::server::Server;
use crate::wait::now_ms;

/// Gives a node something of everything: open and closed windows, and in every queue records that are pending, leased
/// and consumed.
pub fn fill(connection: &mut redis::Connection, node: &str) {
    let old = now_ms() - 4 * 3_600_000;
    let (second, third) = (old + 60_000, old + 7_200_000);
    for line in [
        format!("AGG.STAT {node} cpu.load@0 1.5 TAGS unit:load AT {old}"),
        format!("AGG.STAT {node} cpu.load@0 2.5 TAGS unit:other AT {second}"),
        format!("AGG.STAT {node} net.rx 100 DIFF TAGS unit:bytes AT {old}"),
        format!("AGG.STAT {node} net.rx 700 DIFF AT {second}"),
        format!("AGG.STAT {node} net.rx 60 DIFF AT {third}"),
        format!("AGG.STAT {node} net.rx 90 DIFF"),
        format!("AGG.MSTAT {node} ABS VALUES cpu.load@0 3.5 temp -40.25 disk@sda 1e300"),
        format!("AGG.LOG {node} taken"),
        format!("AGG.POP {node} LOG"),
        format!("AGG.LOG {node} leased LEVEL 3 TAGS a:b"),
        format!("AGG.FETCH {node} LOG COUNT 1 LEASE 3600000"),
        format!("AGG.LOG {node} waiting"),
        format!(
            "AGG.ERROR {node} taken KEY taken LEVEL 9 TYPE BUG CODE c FUNC f FILE p GID 1 NID 2"
        ),
        format!("AGG.POP {node} ERROR"),
        format!("AGG.ERROR {node} taken KEY taken"),
        format!("AGG.ERROR {node} leased PUBLIC oops BACKTRACE b"),
        format!("AGG.FETCH {node} ERROR LEASE 3600000"),
        format!("AGG.ERROR {node} waiting KEY waiting TAGS t:1"),
        format!("AGG.REALITY {node} taken system.Disk {{\"size\":1}} TAGS a:b"),
        format!("AGG.REALITY {node} gone system.Nic {{}}"),
        format!("AGG.POP {node} REALITY"),
        format!("AGG.FORGET {node} REALITY gone"),
        format!("AGG.REALITY {node} leased system.Disk {{\"size\":[1,2]}} TTL 86400"),
        format!("AGG.FETCH {node} REALITY COUNT 1 LEASE 3600000"),
        format!("AGG.REALITY {node} waiting system.Vm null"),
    ] {
        ask::<Value>(connection, &line);
    }
}

/// Imports records into a node: pending and consumed ones.
pub fn fill_imported(connection: &mut redis::Connection, node: &str) {
    let id = now_ms() * 1000 - 5_000_000;
    for line in [
        format!(
            "AGG.IMPORT {node} LOG {}{}",
            imported(node, "LOG", id),
            imported(node, "LOG", id + 7)
        ),
        format!("AGG.ACK {node} LOG {}", id + 7),
        format!(
            "AGG.IMPORT {node} MIN FLOOR {id}{}",
            imported(node, "MIN", id)
        ),
        format!("AGG.IMPORT {node} HOUR{}", imported(node, "HOUR", id)),
    ] {
        send::<Value>(connection, &words(&line)).unwrap();
    }
}

/// Returns the id and the text of a record for AGG.IMPORT, each after a blank.
pub fn imported(node: &str, queue: &str, id: i64) -> String {
    let values = r#""metric":"m","window":300,"start":0,"count":1,"sum":1.5,"avg":1.5,"min":1.5,"max":1.5,"last":1.5"#;
    format!(
        r#" {id} '{{"node":"{node}","queue":"{queue}","id":{id},{values},"tags":{{"a b":true}}}}'"#
    )
}

/// Settings that keep windows open for an hour, as far as four windows reach. A delay that long needs windows of 20
/// minutes; nodes that [`make_short`] makes have shorter windows nevertheless.
pub const HELD_OPEN: &str = "min-window 1200 hour-window 1200 flush-delay-ms 3600000";

/// Applies [`HELD_OPEN`] to a running server.
pub fn hold_windows_open(server: &Server) {
    let () = server.ask(HOLD);
}

const HOLD: &str = "CONFIG SET agg.min-window 1200 agg.hour-window 1200 agg.flush-delay-ms 3600000";

/// Lets short windows close as soon as they end, and gives new nodes short windows.
pub fn let_windows_close(server: &Server) {
    let () = server.ask(CLOSE);
}

const CLOSE: &str = "CONFIG SET agg.min-window 1 agg.hour-window 2 agg.flush-delay-ms 0";

/// Makes a node with windows of one and two seconds, on a server that then keeps windows open.
pub fn make_short(connection: &mut redis::Connection, node: &str) {
    let lines = [
        "MULTI",
        CLOSE,
        &format!("AGG.LOG {node} first"),
        &format!("AGG.POP {node} LOG"),
        HOLD,
        "EXEC",
    ];
    for line in lines {
        let _: Value = ask(connection, line);
    }
}

/// Makes a node by [`make_short`] and fills it by [`fill`].
pub fn fill_short(connection: &mut redis::Connection, node: &str) {
    make_short(connection, node);
    fill(connection, node);
}

/// Gives a node a few megabytes: 4000 metrics, 1000 log entries of 500 bytes, 1000 errors and 1000 objects.
pub fn fill_much(connection: &mut redis::Connection, node: &str) {
    let long = "x".repeat(500);
    for part in 0..20 {
        let mut mstat = format!("AGG.MSTAT {node} VALUES");
        for i in 0..200 {
            mstat += &format!(" metric.{part}.{i} {i}");
        }
        let _: Value = ask(connection, &mstat);
        for i in 0..50 {
            let _: i64 = ask(connection, &format!("AGG.LOG {node} {long}"));
            let _: Value = ask(connection, &format!("AGG.ERROR {node} e{part}.{i}"));
            let _: i64 = ask(
                connection,
                &format!("AGG.REALITY {node} o{part}.{i} m [{i}]"),
            );
        }
    }
}

/// Settings with short windows that close as soon as they end, without further samples.
pub const CLOSING: &str = "min-window 1 hour-window 2 flush-delay-ms 0";

/// Settings with windows of four weeks: during a test none closes by the clock and the timer has nothing to do.
pub const CALM: &str = "min-window 2419200 hour-window 2419200";

/// Returns the start of an hour whose windows ended long ago.
pub fn past_hour() -> i64 {
    now_ms() / 3_600_000 * 3_600_000 - 7_200_000
}

/// Returns a number that AGG.INFO shows for a queue.
pub fn of_queue(server: &Server, node: &str, queue: &str, field: &str) -> i64 {
    let info: Value = server.ask(&format!("AGG.INFO {node}"));
    int(at(at(&info, "queues").unwrap(), queue).unwrap(), field)
}
