//! A pair that three Sentinels monitor: unplanned and requested failovers under load. Whatever WAIT confirmed survives.

use std::sync::Arc;

use crate::calls::{Find, open};
use crate::load::Load;
use crate::programs::{Program, main_program, say};
use crate::support::*;
use crate::tally::{Fate, check};
use testkit::*;

/// See the file's header.
struct Watched {
    pair: [Server; 2],
    sentinels: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Watched {
    fn start(program: &Program) -> Watched {
        let arguments = ["--repl-diskless-sync-delay", "0"];
        let first = program.start(&arguments, BRISK);
        let second = program.start(&arguments, BRISK);
        let () = second.ask(&format!("REPLICAOF 127.0.0.1 {}", first.port));
        until("the replica is in touch", || {
            is_linked(&second).then_some(())
        });
        let folder = tempfile::tempdir().unwrap();
        let sentinels = (0..3).map(|i| {
            let settings = folder.path().join(format!("sentinel{i}.conf"));
            let text = format!(
                "sentinel monitor grid 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds grid 1500\n\
                 sentinel failover-timeout grid 6000\n",
                first.port
            );
            std::fs::write(&settings, text).unwrap();
            let arguments = [settings.display().to_string(), "--sentinel".into()];
            Server::of(&program.path, free_port(), &arguments)
        });
        let watched = Watched {
            sentinels: sentinels.collect(),
            pair: [first, second],
            _folder: folder,
        };
        until("the Sentinels know all", || {
            let knows = |s: &Server| {
                let info: String = s.ask("INFO sentinel");
                info.contains("slaves=1,sentinels=3")
            };
            watched.sentinels.iter().all(knows).then_some(())
        });
        watched
    }

    /// The primary as the Sentinels report it.
    fn find(&self) -> Find {
        let ports: Vec<u16> = self.sentinels.iter().map(|s| s.port).collect();
        Arc::new(move |_: &str| {
            ports.iter().find_map(|port| {
                let mut c = open(*port)?;
                let words = [&b"SENTINEL"[..], b"GET-MASTER-ADDR-BY-NAME", b"grid"];
                let address: Vec<String> = send(&mut c, &words).ok()?;
                address.get(1)?.parse().ok()
            })
        })
    }

    /// Returns which of the pair is the primary according to the Sentinels, once it confirms that itself.
    fn primary(&self, find: &Find) -> usize {
        until("there is a primary", || {
            let port = find("")?;
            let i = self.pair.iter().position(|server| server.port == port)?;
            let mut c = open(port)?;
            let info: String = ask(&mut c, "INFO replication");
            info.contains("role:master").then_some(i)
        })
    }

    fn pair_is_whole(&self, find: &Find) -> usize {
        until("the pair is whole", || {
            let primary = self.primary(find);
            is_linked(&self.pair[1 - primary]).then_some(primary)
        })
    }
}

fn go_on(load: &Load) {
    let done = load.done();
    until("the load continues", || {
        (load.done() > done + 300).then_some(())
    });
}

#[test]
fn failover_by_sentinel_keeps_what_wait_confirmed() {
    let Some(program) = main_program() else {
        return;
    };
    let mut watched = Watched::start(&program);
    let find = watched.find();
    let load = Load::start(find.clone(), &["a", "b"], 2, 1);
    let kills = amount(1, 8);
    for _ in 0..kills {
        let primary = watched.pair_is_whole(&find);
        go_on(&load);
        watched.pair[primary].stop();
        until("the other takes over", || {
            (watched.primary(&find) != primary).then_some(())
        });
        // Alone it replies, but nothing is confirmed.
        let_pass(500);
        watched.pair[primary].restart();
        watched.pair_is_whole(&find);
        // Requested: the Sentinels promote a replica without waiting for it to catch up.
        if is_heavy() {
            let primary = watched.pair_is_whole(&find);
            go_on(&load);
            until("the Sentinels agree to a failover", || {
                let words = [&b"SENTINEL"[..], b"FAILOVER", b"grid"];
                send::<()>(&mut watched.sentinels[0].connection(), &words).ok()
            });
            until("the other takes over", || {
                (watched.primary(&find) != primary).then_some(())
            });
        }
    }
    let primary = watched.pair_is_whole(&find);
    go_on(&load);
    let (books, seen) = load.finish();
    let when = "failovers by Sentinel";
    let sums = check(when, &find, &books, &seen, Fate::Lossy, &|when| {
        when.confirmed
    });
    let [here, there] = [primary, 1 - primary].map(|i| &watched.pair[i]);
    assert_equal(when, here, &[there]);
    say(&format!("{when}: {kills} kills, {sums:?}"));
}
