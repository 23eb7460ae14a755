//! The connection of a client to the server of a node. It looks for the server again after a connection broke or a
//! server redirected it, and distinguishes commands that were certainly not carried out from those of unknown outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, ConnectionLike, Value};

/// Finds the server of a node as a port, if it is known.
pub type Find = Arc<dyn Fn(&str) -> Option<u16> + Send + Sync>;

/// Why a command has no reply.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// The connection broke: the command may have been carried out.
    Unknown,
    /// It was rejected, or nobody listened.
    Rejected(String),
}

/// See the file's header.
pub struct Link {
    find: Find,
    connection: Option<(u16, Connection)>,
    /// The server to ask next, as a server redirected; and whether only once.
    reported: Option<(u16, bool)>,
    /// Incremented with every new connection.
    pub era: u64,
}

/// How long a command is retried that was certainly not carried out.
const PATIENCE: Duration = Duration::from_secs(120);

/// Errors of servers that do not serve the node now, or not yet.
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
            reported: None,
            era: 0,
        }
    }

    /// Sends a command for a node. If it was certainly not carried out it is sent again, as long as `goes_on` permits.
    pub fn call(
        &mut self,
        node: &str,
        words: &[&str],
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Value, Failure> {
        let start = Instant::now();
        let mut last = String::from("nobody was there");
        while start.elapsed() < PATIENCE && goes_on() {
            let once = self.reported.is_some_and(|(_, once)| once);
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
                self.reported = port.map(|port| (port, code == "ASK"));
                self.connection = None;
            } else if NOT_HERE.contains(&code.as_str()) {
                self.connection = None;
                std::thread::sleep(Duration::from_millis(20));
            } else if error.is_io_error() || code.is_empty() {
                self.connection = None;
                return Err(Failure::Unknown);
            } else {
                return Err(Failure::Rejected(last));
            }
        }
        Err(Failure::Rejected(last))
    }

    /// Returns how many replicas have confirmed the writes of this connection.
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
        let reported = self.reported.take();
        if let (Some(_), None) = (&self.connection, reported) {
            return true;
        }
        self.era += 1;
        let port = reported.map(|(port, _)| port).or_else(|| (self.find)(node));
        self.connection = port.and_then(|port| Some((port, open(port)?)));
        self.connection.is_some()
    }
}

/// Connects to a server, if it listens.
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
