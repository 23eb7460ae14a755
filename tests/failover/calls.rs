//! The connection of a client to the server of a node. It looks for the server again after a connection broke or a
//! server redirected it, and distinguishes commands that were certainly not carried out from those of unknown outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, ConnectionLike, Value};

/// Where a node is served, as far as is known: a port.
pub type Find = Arc<dyn Fn(&str) -> Option<u16> + Send + Sync>;

/// Why a command has no answer.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// The link broke: it may have been done.
    Unknown,
    /// It was refused, or nobody was there.
    Refused(String),
}

/// See the file's header.
pub struct Link {
    find: Find,
    connection: Option<(u16, Connection)>,
    /// Where to go next, told by a server; and whether only for once.
    told: Option<(u16, bool)>,
    /// Raised whenever another connection is taken.
    pub era: u64,
}

/// A command is tried again for so long where it was surely not done.
const PATIENCE: Duration = Duration::from_secs(120);

/// Servers that say so do not serve the node now, or not yet.
const NOT_HERE: [&str; 7] = [
    "READONLY",
    "LOADING",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "UNBLOCKED",
    "NOREPLICAS",
];

impl Link {
    pub fn new(find: &Find) -> Link {
        Link {
            find: find.clone(),
            connection: None,
            told: None,
            era: 0,
        }
    }

    /// Sends a command about a node; where it was surely not done it is sent again, as long as `goes_on` says so.
    pub fn call(
        &mut self,
        node: &str,
        words: &[&str],
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Value, Failure> {
        let start = Instant::now();
        let mut last = String::from("nobody was there");
        while start.elapsed() < PATIENCE && goes_on() {
            let once = self.told.is_some_and(|(_, once)| once);
            if !self.connect(node) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let Some((_, connection)) = &mut self.connection else {
                continue;
            };
            let error = match send(connection, words, once) {
                Ok(reply) => {
                    if once {
                        self.connection = None;
                    }
                    return Ok(reply);
                }
                Err(error) => error,
            };
            let code = error.code().unwrap_or_default().to_owned();
            last = error.to_string();
            if let Some((address, _)) = error.redirect_node() {
                let port = address.rsplit(':').next().and_then(|p| p.parse().ok());
                self.told = port.map(|port| (port, code == "ASK"));
                self.connection = None;
            } else if NOT_HERE.contains(&code.as_str()) {
                self.connection = None;
                std::thread::sleep(Duration::from_millis(20));
            } else if error.is_io_error() || code.is_empty() {
                self.connection = None;
                return Err(Failure::Unknown);
            } else {
                return Err(Failure::Refused(last));
            }
        }
        Err(Failure::Refused(last))
    }

    /// How many replicas have confirmed what this connection wrote.
    pub fn wait(&mut self, replicas: i64, ms: u64) -> i64 {
        let Some((_, connection)) = &mut self.connection else {
            return 0;
        };
        let words = ["WAIT", &replicas.to_string(), &ms.to_string()];
        match send(connection, &words, false) {
            Ok(Value::Int(confirmed)) => confirmed,
            _ => {
                self.connection = None;
                0
            }
        }
    }

    fn connect(&mut self, node: &str) -> bool {
        let told = self.told.take();
        if let (Some(_), None) = (&self.connection, told) {
            return true;
        }
        self.era += 1;
        let port = told.map(|(port, _)| port).or_else(|| (self.find)(node));
        self.connection = port.and_then(|port| Some((port, open(port)?)));
        self.connection.is_some()
    }
}

/// A connection to a server, if there is one.
pub fn open(port: u16) -> Option<Connection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let timeout = Duration::from_secs(5);
    let connection = client.get_connection_with_timeout(timeout).ok()?;
    connection.set_read_timeout(Some(timeout)).ok()?;
    connection.set_write_timeout(Some(timeout)).ok()?;
    Some(connection)
}

fn send(connection: &mut Connection, words: &[&str], asking: bool) -> redis::RedisResult<Value> {
    if asking {
        redis::cmd("ASKING").query::<()>(connection)?;
    }
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    connection.req_command(&command)?.extract_error()
}
