//! Faults of the server: they are retried, and turn no record into a dead letter.

use std::time::Duration;

use crate::support::place::{end, left, log, until_empty, until_retried};
use crate::support::{of_queue, until};

use super::{assert_once, parts, place};

#[test]
fn errors_that_are_not_about_rows_are_retried() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    let mut running = place.start();
    let mut errors = running.errors();
    let _: i64 = server.ask("AGG.LOG n1 first");
    until_empty(&server, &["n1"], "LOG");
    for (fault, reason, repair) in [
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk is full' USING \
             ERRCODE = '53100'; END $$; CREATE TRIGGER refuse BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION refuse()",
            "disk is full (53100)",
            "DROP TRIGGER refuse ON logs",
        ),
        (
            "REVOKE INSERT ON logs FROM poller",
            "permission denied for table logs (42501)",
            "GRANT INSERT ON logs TO poller",
        ),
        (
            "ALTER TABLE logs RENAME COLUMN message TO text",
            "(42703)",
            "ALTER TABLE logs RENAME COLUMN text TO message",
        ),
        (
            "ALTER ROLE poller CONNECTION LIMIT 0; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE usename = 'poller'",
            "too many connections for role \"poller\" (53300)",
            "ALTER ROLE poller CONNECTION LIMIT -1",
        ),
        (
            "ALTER TABLE logs RENAME TO old; CREATE TABLE logs (LIKE old INCLUDING ALL) PARTITION BY RANGE (time); \
             ALTER TABLE logs OWNER TO poller",
            "no partition of relation \"logs\" found",
            "CREATE TABLE part PARTITION OF logs DEFAULT; GRANT ALL ON part TO poller",
        ),
    ] {
        postgres.execute(fault);
        for _ in 0..10 {
            let _: i64 = server.ask("AGG.LOG n1 again");
        }
        until_retried(&mut errors, reason);
        assert_eq!(left(&server, &["n1"], "LOG"), 10, "{reason}");
        postgres.execute(repair);
        until_empty(&server, &["n1"], "LOG");
    }
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn standby_is_waited_for_until_it_is_promoted() {
    let Some((server, mut postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "");
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = log(&server, &["n1"], 500, "x");
    until_empty(&server, &["n1"], "LOG");
    postgres.restart_as_standby();
    all.extend(log(&server, &["n1"], 500, "x"));
    until_retried(&mut errors, "read-only transaction (25006)");
    postgres.execute("SELECT pg_promote()");
    until_empty(&server, &["n1"], "LOG");
    assert_once(&postgres, &all);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn serialization_failure_is_retried() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    postgres.execute("ALTER ROLE poller SET default_transaction_isolation = 'repeatable read'");
    let place = place(&server, &postgres.uri(), "");
    let mut running = place.start();
    let mut errors = running.errors();
    let report = |json: &[u8]| {
        let _: redis::Value = server.send(&[b"AGG.REALITY", b"n1", b"k", b"m", json]);
    };
    report(b"1");
    until_empty(&server, &["n1"], "REALITY");
    // Another program changes the row while the sink waits to replace it.
    let mut other = postgres.client();
    let mut change = other.transaction().unwrap();
    change
        .execute("UPDATE reality SET gone = false", &[])
        .unwrap();
    report(b"2");
    until("the sink waits for the row", || {
        let waiting =
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'poller' AND wait_event_type = 'Lock'";
        (!postgres.rows(waiting).is_empty()).then_some(())
    });
    change.commit().unwrap();
    until_retried(
        &mut errors,
        "could not serialize access due to concurrent update (40001)",
    );
    until_empty(&server, &["n1"], "REALITY");
    let rows = postgres.rows("SELECT json FROM reality");
    assert_eq!(rows, [serde_json::json!({"json": 2})]);
    assert!(place.lines("dead").is_empty());
    end(running);
}

#[test]
fn slow_server_is_given_up_and_fills_no_memory() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "timeout = \"2s\"");
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    place.write(&format!("max-in-flight = \"4mb\"\n{text}"));
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = log(&server, &["n1"], 500, "x");
    until_empty(&server, &["n1"], "LOG");
    let mut other = postgres.client();
    let mut lock = other.transaction().unwrap();
    lock.execute("LOCK TABLE logs", &[]).unwrap();
    // 12 MB, which the queue has space for.
    all.extend(log(&server, &["n1"], 6000, &"x".repeat(2000)));
    until_retried(
        &mut errors,
        "canceling statement due to statement timeout (57014)",
    );
    std::thread::sleep(Duration::from_secs(2));
    let leased = of_queue(&server, "n1", "LOG", "leased");
    assert!(leased * 2000 < 4 << 20, "{leased} are held");
    lock.commit().unwrap();
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(of_queue(&server, "n1", "LOG", "dropped"), 0);
    assert_once(&postgres, &all);
    assert!(place.lines("dead").is_empty());
    let peak = peak_memory(running.0.id());
    assert!(peak < 64 << 20, "{peak} bytes for 4 MiB in flight");
    end(running);
}

/// Returns the maximum resident memory of a process so far, bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib << 10
}
