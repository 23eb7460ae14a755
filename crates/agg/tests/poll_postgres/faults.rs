//! Faults of the server: they are retried, and turn no record into a dead letter.

use crate::support::place::{end, left, log, until_empty, until_retried};
use crate::support::until;

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
fn statement_that_waits_too_long_is_cancelled_and_retried() {
    let Some((server, postgres)) = parts() else {
        return;
    };
    let place = place(&server, &postgres.uri(), "timeout = \"2s\"");
    let mut running = place.start();
    let mut errors = running.errors();
    let mut all = log(&server, &["n1"], 500, "x");
    until_empty(&server, &["n1"], "LOG");
    let mut other = postgres.client();
    let mut lock = other.transaction().unwrap();
    lock.execute("LOCK TABLE logs", &[]).unwrap();
    all.extend(log(&server, &["n1"], 500, "x"));
    until_retried(
        &mut errors,
        "canceling statement due to statement timeout (57014)",
    );
    lock.commit().unwrap();
    until_empty(&server, &["n1"], "LOG");
    assert_once(&postgres, &all);
    assert!(place.lines("dead").is_empty());
    end(running);
}
