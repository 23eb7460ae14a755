//! Servers that belong together: a fleet on one port of many addresses, and a cluster.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::server::{Server, module, program};
use crate::wait::{free_port, missing, until};

/// Servers on 127.0.0.1, 127.0.0.2 and so on, all on one port.
pub struct Fleet {
    /// The port of all.
    pub port: u16,
    members: Vec<(Child, tempfile::TempDir)>,
}

impl Fleet {
    /// Starts `count` servers.
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

    /// Returns the address of a server, counted from 1.
    pub fn host(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, n)
    }

    /// Returns the URL of a server, counted from 1.
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

/// The arguments of a server that is a member of a cluster.
pub const MEMBER: [&str; 8] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    "--cluster-require-full-coverage",
    "no",
    "--repl-diskless-sync-delay",
    "0",
];

/// Three primaries, each with a replica.
pub struct Cluster {
    /// The servers: three primaries and their replicas at first.
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Starts the servers and waits until the cluster is up and its replicas follow.
    pub fn start() -> Option<Cluster> {
        let member = |_| {
            let bus = free_port().to_string();
            let arguments = [&MEMBER[..], &["--cluster-port", &bus]].concat();
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

    /// Returns the indices of the servers that are primaries now, except for one that does not run.
    pub fn primaries(&self, without: Option<usize>) -> Vec<usize> {
        let others = (0..self.servers.len()).filter(|i| Some(*i) != without);
        let is = |i: &usize| replication(&self.servers[*i]).contains("role:master");
        others.filter(is).collect()
    }

    /// Returns the URLs of these servers, sorted.
    pub fn urls(&self, of: &[usize]) -> Vec<String> {
        let mut urls: Vec<String> = of.iter().map(|i| self.servers[*i].url()).collect();
        urls.sort();
        urls
    }
}

fn replication(server: &Server) -> String {
    server.ask("INFO replication")
}
