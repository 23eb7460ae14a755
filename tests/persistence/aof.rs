//! The AOF: its size, rewrites under load, and replay into another server.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

#[test]
fn writes_after_an_aof_rewrite_survive() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        let Some(mut server) = Server::with_module(arguments, HELD_OPEN) else {
            return;
        };
        let mut c = server.connection();
        fill_short(&mut c, "a");
        rewrite_aof(&server);
        // Each of these depends on the rewritten part.
        for line in [
            "AGG.STAT a cpu.load@0 4",
            "AGG.STAT a net.rx 1000 DIFF",
            "AGG.STAT a after.rewrite 1 TAGS x:y",
            "AGG.ERROR a waiting KEY waiting",
            "AGG.REALITY a waiting system.Vm true",
            "AGG.FORGET a METRIC temp",
            "AGG.REQUEUE a ERROR",
            "AGG.POP a LOG COUNT 1",
            "AGG.LOG a more",
        ] {
            let _: Value = ask(&mut c, line);
        }
        let before = state(&server, (0, "a"));
        shut_down_and_restart(&mut server);
        assert_same(&before, &state(&server, (0, "a")));
    }
}

#[test]
fn saved_aof_is_replayed_into_another_server() {
    let (Some(server), Some(other)) = (
        Server::with_module(&SYNCED_AOF, CLOSING),
        Server::with_settings(&format!("max-series 1 {HELD_OPEN}")),
    ) else {
        return;
    };
    for (db, node) in [(0, "a"), (5, "a")] {
        let mut c = server.connection_to(db);
        fill(&mut c, node);
        closes(&mut c, node, "temp");
    }
    rewrite_aof(&server);
    for (db, node) in [(0, "a"), (5, "a")] {
        let mut c = server.connection_to(db);
        let _: Value = ask(&mut c, &format!("AGG.STAT {node} later 1"));
        closes(&mut c, node, "later");
    }
    hold_windows_open(&server);
    // Like `redis-cli --pipe`.
    let mut link = TcpStream::connect(("127.0.0.1", other.port)).unwrap();
    for ending in [".base.aof", ".incr.aof"] {
        let part = aof_files(&server, ending);
        assert!(part.windows(9).any(|w| w == b"AGG.APPLY"), "{ending}");
        link.write_all(&part).unwrap();
    }
    link.write_all(b"QUIT\r\n").unwrap();
    let mut replies = String::new();
    link.read_to_string(&mut replies).unwrap();
    assert!(!replies.contains('-'), "{replies}");
    for place in [(0, "a"), (5, "a")] {
        assert_same(&state(&server, place), &state(&other, place));
    }
}

#[test]
fn sample_adds_at_most_60_bytes_to_the_aof_beyond_its_arguments() {
    let Some(server) = Server::with_module(&SYNCED_AOF, HELD_OPEN) else {
        return;
    };
    let mut c = server.connection();
    let size = |server: &Server| -> u64 {
        let files = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    // The rules of the node are written once, with the first sample.
    let _: i64 = ask(&mut c, "AGG.STAT node1 first 1");
    for line in [
        "AGG.STAT node1 cpu.load 12.5",
        "AGG.STAT node1 net.rx@eth0 123456789 DIFF",
        "AGG.STAT node1 disk.iops@sda 18446744073709551615 DIFF TAGS dim:iops",
    ] {
        let own: usize = 5 + line.split(' ').map(|word| word.len() + 6).sum::<usize>();
        // One per millisecond, so that each is written as a payload; and many at once, which are written verbatim.
        for pause in [2, 0] {
            let before = size(&server);
            for _ in 0..50 {
                let _: i64 = ask(&mut c, line);
                std::thread::sleep(std::time::Duration::from_millis(pause));
            }
            let each = (size(&server) - before) as usize / 50;
            assert!(each <= own + 60, "{line}: {each} bytes for {own}");
        }
    }
}

#[test]
fn aof_rewritten_under_load_contains_everything() {
    for arguments in [&SYNCED_AOF[..], &AOF_WITH_PREAMBLE[..]] {
        let Some(mut server) = Server::with_module(arguments, "min-window 1 hour-window 2") else {
            return;
        };
        fill_much(&mut server.connection(), "much");
        let goes_on = std::sync::atomic::AtomicBool::new(true);
        let reported: Vec<i64> = std::thread::scope(|scope| {
            let guard = FlagOnDrop::new(&goes_on, false);
            let reporters: Vec<_> = (0..2)
                .map(|i| {
                    let (server, goes_on) = (&server, &goes_on);
                    scope.spawn(move || {
                        let mut c = server.connection();
                        let mut reported = 0;
                        // On a loaded machine the rewrites can end before a reporter has done much.
                        while reported <= 10 || goes_on.load(std::sync::atomic::Ordering::Relaxed) {
                            reported += 1;
                            let _: i64 =
                                ask(&mut c, &format!("AGG.STAT much total{i} {reported} DIFF"));
                            let _: i64 = ask(&mut c, &format!("AGG.LOG lines{i} {reported}"));
                            let _: Value = ask(&mut c, &format!("AGG.ERROR much e{i} KEY e{i}"));
                        }
                        reported
                    })
                })
                .collect();
            for _ in 0..3 {
                rewrite_aof(&server);
            }
            drop(guard);
            reporters.into_iter().map(|r| r.join().unwrap()).collect()
        });
        shut_down_and_restart(&mut server);
        for (i, reported) in reported.iter().enumerate() {
            assert!(*reported > 10, "{reported}");
            let metric: Value = server.ask(&format!("AGG.GET much METRIC total{i}"));
            assert_eq!(text(&metric, "last"), reported.to_string());
            let error: Value = server.ask(&format!("AGG.GET much ERROR e{i}"));
            assert_eq!(int(&error, "occurrences"), *reported);
            assert_eq!(
                of_queue(&server, &format!("lines{i}"), "LOG", "length"),
                *reported
            );
        }
    }
}
