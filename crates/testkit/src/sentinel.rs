//! A primary and its replica that Sentinels monitor.

use crate::command::ask;
use crate::server::{Server, program};
use crate::wait::{free_port, now_ms, until};

/// Two servers that three Sentinels monitor under the name `grid`. The password of the servers is `s3rver`, that of the
/// Sentinels `s3ntinel`.
pub struct Monitored {
    /// The primary and its replica at first.
    pub pair: [Server; 2],
    /// The Sentinels.
    pub sentinels: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Monitored {
    /// Starts them and waits until the replica follows and the Sentinels know each other.
    pub fn start() -> Option<Monitored> {
        let program = program()?;
        let arguments = [
            "--requirepass",
            "s3rver",
            "--masterauth",
            "s3rver",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let pair = [
            Server::with_module(&arguments, "")?,
            Server::with_module(&arguments, "")?,
        ];
        let ask = |server: &Server, password: &str, line: &str| -> redis::Value {
            ask(&mut server.connection_as("default", password), line)
        };
        ask(
            &pair[1],
            "s3rver",
            &format!("REPLICAOF 127.0.0.1 {}", pair[0].port),
        );
        until("the replica is in touch", || {
            let info = ask(&pair[1], "s3rver", "INFO replication");
            format!("{info:?}")
                .contains("master_link_status:up")
                .then_some(())
        });
        let folder = tempfile::tempdir().unwrap();
        let sentinels = (0..3).map(|n| {
            let path = folder.path().join(format!("{n}-{}.conf", now_ms()));
            let text = format!(
                "requirepass s3ntinel\n\
                 sentinel sentinel-pass s3ntinel\n\
                 sentinel monitor grid 127.0.0.1 {} 2\n\
                 sentinel auth-pass grid s3rver\n\
                 sentinel down-after-milliseconds grid 1500\n\
                 sentinel failover-timeout grid 6000\n",
                pair[0].port
            );
            std::fs::write(&path, text).unwrap();
            let arguments = [path.display().to_string(), "--sentinel".into()];
            Server::of(&program, free_port(), &arguments)
        });
        let monitored = Monitored {
            sentinels: sentinels.collect(),
            pair,
            _folder: folder,
        };
        until("the Sentinels know all", || {
            let knows = |s: &Server| {
                let info = ask(s, "s3ntinel", "INFO sentinel");
                format!("{info:?}").contains("slaves=1,sentinels=3")
            };
            monitored.sentinels.iter().all(knows).then_some(())
        });
        Some(monitored)
    }
}
