//! Crashes: records, leases and ids afterwards.

use super::*;

#[test]
fn leased_record_is_redelivered_after_a_restart() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, "") else {
        return;
    };
    let id: i64 = server.ask("AGG.LOG n hello");
    let fetch = "AGG.FETCH n LOG LEASE 3600000";
    assert_eq!(queued_records(&server.ask(fetch))[0].id, id);
    assert_eq!(queued_records(&server.ask(fetch)), []);
    server.stop();
    server.restart();
    let again = queued_records(&server.ask(fetch));
    assert_eq!((again.len(), again[0].id), (1, id));
    assert_eq!(queued_records(&server.ask(fetch)), []);
    assert_eq!(server.ask::<i64>(&format!("AGG.ACK n LOG {id}")), 1);
    server.stop();
    server.restart();
    assert_eq!(server.peek("n", "LOG"), [] as [serde_json::Value; 0]);
}

#[test]
fn pending_records_count_as_delivered_after_a_restart() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, "") else {
        return;
    };
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.REALITY n k m 1");
    let before = queued_records(&server.ask("AGG.PEEK n ERROR REALITY"));
    server.stop();
    server.restart();
    // Nobody knows whether the server delivered them before, and no id may have two contents.
    let _: Value = server.ask("AGG.ERROR n broken KEY e");
    let _: Value = server.ask("AGG.REALITY n k m 2");
    let after = queued_records(&server.ask("AGG.FETCH n ERROR REALITY"));
    assert_eq!(after.len(), 2);
    for (was, is) in before.iter().zip(&after) {
        assert!(was.id != is.id || was.text == is.text, "{was:?} and {is:?}");
    }
    assert_eq!(after[1].json()["json"], 2);
    let last = before.iter().map(|record| record.id).max().unwrap();
    assert!(after[1].id > last);
}

#[test]
fn ids_keep_growing_after_a_crash_that_lost_everything() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut last = 0;
    for _ in 0..2 {
        for _ in 0..1000 {
            let id: i64 = server.ask("AGG.LOG n hello");
            assert!(id > last, "{id} came after {last}");
            last = id;
        }
        server.stop();
        server.restart();
        assert!(!server.ask::<bool>("EXISTS n"));
    }
    assert!(last < 1 << 53);
}

#[test]
fn crash_loses_no_acknowledged_write() {
    let Some(mut server) = Server::with_module(&SYNCED_AOF, HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let writer = std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        let mut command = || -> redis::RedisResult<()> {
            let n = acknowledged.len().to_string();
            let stat = [&b"AGG.STAT"[..], b"n", b"total", b"1"];
            let taken: i64 = send(&mut c, &stat)?;
            assert_eq!(taken, 1);
            let id: i64 = send(&mut c, &[b"AGG.LOG", b"n", n.as_bytes()])?;
            acknowledged.push((id, n));
            Ok(())
        };
        while command().is_ok() {}
        acknowledged
    });
    until("some is written", || {
        (server.peek("n", "LOG").len() > 200).then_some(())
    });
    server.stop();
    let acknowledged = writer.join().unwrap();
    server.restart();
    let found: Vec<(i64, String)> = queued_records(&server.ask("AGG.PEEK n LOG COUNT 10000"))
        .iter()
        .map(|e| (e.id, e.json()["message"].as_str().unwrap().to_owned()))
        .collect();
    assert!(
        found.starts_with(&acknowledged),
        "{found:?} and {acknowledged:?}"
    );
    // Writes in flight may or may not have survived.
    let extra = found.len() - acknowledged.len();
    assert!(extra <= 1, "{extra}");
    let windows: Value = server.ask("AGG.RANGE n total HOUR");
    let samples: i64 = list(&windows).iter().map(|b| int(b, "count")).sum();
    let samples = samples as usize;
    let least = acknowledged.len();
    assert!((least..=least + 1).contains(&samples), "{samples}, {least}");
}
