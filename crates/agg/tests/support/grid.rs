//! Several servers that belong together: a fleet at one port of many addresses, a cluster, and a pair that Sentinels
//! watch. Each ends with its value, by its pid.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::{Server, free_port, missing, module, now_ms, program, until};

/// Servers at 127.0.0.1 and so on, all at one port.
pub struct Fleet {
    pub port: u16,
    members: Vec<(Child, tempfile::TempDir)>,
}

impl Fleet {
    pub fn start(count: u8) -> Option<Fleet> {
        let program = program()?;
        let all = 1..=count;
        let is_free = |n: u8, port: u16| TcpListener::bind((Fleet::host(n), port)).is_ok();
        let port = until("a port is free at all addresses", || {
            let port = free_port();
            all.clone().all(|n| is_free(n, port)).then_some(port)
        });
        let start = |n: u8| {
            let dir = tempfile::tempdir().unwrap();
            let child = Command::new(&program)
                .args(["--port", &port.to_string(), "--save", "", "--dir"])
                .arg(dir.path())
                .args(["--bind", &Fleet::host(n).to_string()])
                .args(["--maxmemory", "32mb", "--hz", "1", "--loadmodule"])
                .arg(module())
                .stdout(Stdio::null())
                .spawn();
            (child.unwrap(), dir)
        };
        let fleet = Fleet {
            port,
            members: all.clone().map(start).collect(),
        };
        for n in all {
            let client = redis::Client::open(fleet.url(n)).unwrap();
            until("a server of the fleet answers", || {
                let mut connection = client.get_connection().ok()?;
                redis::cmd("PING").query::<String>(&mut connection).ok()
            });
        }
        Some(fleet)
    }

    pub fn host(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, n)
    }

    pub fn url(&self, n: u8) -> String {
        format!("redis://{}:{}", Fleet::host(n), self.port)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (child, _) in &mut self.members {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Three primaries, each with a replica.
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Option<Cluster> {
        let member = |_| {
            let bus = free_port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "2000",
                "--cluster-require-full-coverage",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ];
            Server::with_module(&arguments, "")
        };
        let servers: Option<Vec<Server>> = (0..6).map(member).collect();
        let cluster = Cluster { servers: servers? };
        let addresses = cluster
            .servers
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output();
        let Ok(created) = created else {
            return missing("redis-cli");
        };
        let said = String::from_utf8_lossy(&created.stdout).into_owned();
        assert!(created.status.success(), "{said}");
        until("the cluster is up", || {
            let up = |s: &Server| {
                let (info, nodes): (String, String) =
                    (s.ask("CLUSTER INFO"), s.ask("CLUSTER NODES"));
                info.contains("cluster_state:ok")
                    && nodes.matches(" slave ").count() + nodes.matches("myself,slave").count() == 3
            };
            cluster.servers.iter().all(up).then_some(())
        });
        until("the replicas are in touch", || {
            let linked = |s: &&Server| replication(s).contains("master_link_status:up");
            (cluster.servers.iter().filter(linked).count() == 3).then_some(())
        });
        Some(cluster)
    }

    /// Those that are primaries now, of those that run.
    pub fn primaries(&self, without: Option<usize>) -> Vec<usize> {
        let others = (0..self.servers.len()).filter(|i| Some(*i) != without);
        let is = |i: &usize| replication(&self.servers[*i]).contains("role:master");
        others.filter(is).collect()
    }

    /// The places of these servers, in order.
    pub fn places(&self, of: &[usize]) -> Vec<String> {
        let mut places: Vec<String> = of.iter().map(|i| self.servers[*i].url()).collect();
        places.sort();
        places
    }
}

fn replication(server: &Server) -> String {
    server.ask("INFO replication")
}

/// Two servers that three Sentinels watch under the name `grid`. The servers' password is `s3rver`, the Sentinels'
/// `s3ntinel`.
pub struct Watched {
    pub pair: [Server; 2],
    pub sentinels: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Watched {
    pub fn start() -> Option<Watched> {
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
            super::ask(&mut server.connection_as("default", password), line)
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
        let watched = Watched {
            sentinels: sentinels.collect(),
            pair,
            _folder: folder,
        };
        until("the Sentinels know all", || {
            let knows = |s: &Server| {
                let info = ask(s, "s3ntinel", "INFO sentinel");
                format!("{info:?}").contains("slaves=1,sentinels=3")
            };
            watched.sentinels.iter().all(knows).then_some(())
        });
        Some(watched)
    }
}
