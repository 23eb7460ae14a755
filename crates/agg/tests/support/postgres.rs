//! A real PostgreSQL (Debian's package `postgresql`) on a free loopback port, in a directory of its own. It ends with its
//! value, by its process id.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postgres::{Client, NoTls};

use super::certs::Certs;
use super::{free_port, missing, until};

/// The user of root's tests: PostgreSQL does not run as root. The numbers are Debian's `nobody`.
const NOBODY: u32 = 65534;

/// A running database server, with a database `grid` and the users `agg` (the superuser) and `poller`, without passwords.
pub struct Postgres {
    child: Child,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Postgres {
    /// Starts an empty one; `None` if the program is missing.
    pub fn start() -> Option<Postgres> {
        Postgres::prepared(|_| {})
    }

    /// Starts one with the server's certificate of a CA, where the user `poller` needs TLS and this password.
    pub fn with_tls(certs: &Certs, password: &str) -> Option<Postgres> {
        let postgres = Postgres::prepared(|data| {
            for (from, to) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
                give(data, to, &std::fs::read(certs.path(from)).unwrap());
            }
            let hba =
                "host all agg 127.0.0.1/32 trust\nhostssl all poller 127.0.0.1/32 scram-sha-256\n";
            give(data, "pg_hba.conf", hba.as_bytes());
            give(data, "postgresql.auto.conf", b"ssl = on\n");
        })?;
        postgres.execute(&format!("ALTER ROLE poller PASSWORD '{password}'"));
        Some(postgres)
    }

    /// Starts one whose data directory was changed before the first start.
    fn prepared(change: impl FnOnce(&Path)) -> Option<Postgres> {
        let Some(programs) = programs() else {
            return missing("postgres");
        };
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let created = unprivileged(&programs.join("initdb"), dir.path())
            .args([
                "-U",
                "agg",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
                "-D",
            ])
            .arg(dir.path().join("data"))
            .status();
        assert!(created.unwrap().success());
        change(&dir.path().join("data"));
        let port = free_port();
        let child = spawn(dir.path(), port);
        let mut postgres = Postgres { child, port, dir };
        postgres.wait_for_answer();
        postgres.execute_in("postgres", "CREATE DATABASE grid");
        postgres
            .execute("CREATE ROLE poller LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO poller");
        Some(postgres)
    }

    pub fn uri(&self) -> String {
        uri(self.port)
    }

    pub fn client(&self) -> Client {
        let target = format!("postgresql://agg@127.0.0.1:{}/grid", self.port);
        Client::connect(&target, NoTls).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        self.client().batch_execute(sql).unwrap();
    }

    fn execute_in(&self, database: &str, sql: &str) {
        let target = format!("postgresql://agg@127.0.0.1:{}/{database}", self.port);
        let mut client = Client::connect(&target, NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }

    /// Returns the rows of a query, each as an object.
    pub fn rows(&self, query: &str) -> Vec<serde_json::Value> {
        let sql = format!("SELECT row_to_json(t)::text FROM ({query}) t");
        let rows = self.client().query(&sql, &[]).unwrap();
        let rows = rows.iter().map(|row| row.get::<_, String>(0));
        rows.map(|row| serde_json::from_str(&row).unwrap())
            .collect()
    }

    /// Ends it, as a crash does.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // The server ends its other processes.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.child.wait();
    }

    /// Restarts it with its data.
    pub fn restart(&mut self) {
        self.child = spawn(self.dir.path(), self.port);
        self.wait_for_answer();
    }

    /// Restarts it as a standby, which has no primary and is read-only.
    pub fn restart_as_standby(&mut self) {
        self.stop();
        give(&self.dir.path().join("data"), "standby.signal", b"");
        self.restart();
    }

    fn wait_for_answer(&mut self) {
        let target = format!("postgresql://agg@127.0.0.1:{}/postgres", self.port);
        until("postgres answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("postgres ended with {status}");
            }
            Client::connect(&target, NoTls).ok()
        });
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the URI for a server, or a proxy, on this port.
pub fn uri(port: u16) -> String {
    format!("postgresql://127.0.0.1:{port}/grid")
}

/// Writes a file of the data directory, which only the server can read.
fn give(data: &Path, name: &str, content: &[u8]) {
    let path = data.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Returns the directory of the programs of the newest version, which Debian does not put in PATH.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let directories = versions.flatten().map(|version| version.path().join("bin"));
    let mut found: Vec<PathBuf> = directories
        .filter(|directory| directory.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

fn spawn(dir: &Path, port: u16) -> Child {
    let programs = programs().unwrap();
    unprivileged(&programs.join("postgres"), dir)
        .arg("-D")
        .arg(dir.join("data"))
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        // What a crash of the machine would lose is not tested.
        .args(["-c", "fsync=off"])
        .spawn()
        .unwrap()
}

fn unprivileged(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
