//! A sink for streams of Redis and Valkey: one stream per queue.
//!
//! # Invariants
//!
//! - A write succeeds when the server has replied to the commands of all its records.
//! - An error reply fails the whole write, which is retried: it is about the server or the key, never about a record. A
//!   record that is larger than the server accepts is known before it is sent.
//! - With `deduplicate` a record that is written again is not added again, as long as the server remembers it
//!   (commands.rs).

mod commands;

use agg_client::command::Cmd;
use agg_client::reply::{self, Reply, Value};
use agg_client::{ClientError, Connection, ServerError};
use aggregator_protocol::Queue;
use async_trait::async_trait;

use crate::config;

use self::commands::Item;
use super::identity::Identity;
use super::{BatchLimits, Rejection, Sink, SinkError};

/// The longest string that a server accepts by default, bytes.
const MAX_STRING: usize = 512 << 20;
/// The characters that a description of the server takes from its replies.
const MAX_VERSION: usize = 40;

/// Streams of a server.
pub struct RedisStream {
    settings: config::RedisStream,
    connection: Option<Connected>,
}

/// A connection, and what is known of its server.
struct Connected {
    connection: Connection,
    /// The longest string that the server accepts, bytes.
    max_string: usize,
}

impl RedisStream {
    /// Creates a sink for the server of these settings. Nothing is sent yet.
    pub fn new(settings: config::RedisStream) -> RedisStream {
        RedisStream {
            settings,
            connection: None,
        }
    }

    fn stream(&self, queue: Queue) -> String {
        format!("{}{}", self.settings.prefix, queue.name().to_lowercase())
    }

    /// Connects if there is no connection.
    async fn connected(&mut self) -> Result<&mut Connected, ClientError> {
        let connected = match self.connection.take() {
            Some(connected) => connected,
            None => {
                let mut connection = self.settings.server.connect().await?;
                let max_string = max_string(&mut connection).await?;
                Connected {
                    connection,
                    max_string,
                }
            }
        };
        Ok(self.connection.insert(connected))
    }

    /// Sends commands. Each belongs to the stream of the same index.
    async fn send(&mut self, streams: &[String], commands: &[Cmd]) -> Result<(), SinkError> {
        let result = match self.connected().await {
            Err(error) => Err(error),
            Ok(Connected { connection, .. }) => {
                let mut failed = None;
                let pipeline = connection.pipeline(commands, |index, reply| {
                    if let Some(error) = error_in(reply) {
                        failed.get_or_insert((index, error));
                    }
                });
                pipeline.await.map(|()| failed)
            }
        };
        match result {
            Ok(None) => Ok(()),
            Ok(Some((index, error))) => Err(self.rejected(&streams[index], &error)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Creates the error for an error reply about a stream. The next write connects again: the name of the server may
    /// lead to another one after a failover.
    fn rejected(&mut self, stream: &str, error: &ServerError) -> SinkError {
        self.connection = None;
        let endpoint = self.settings.server.endpoint();
        let text = error.to_string();
        // Behind it is the place in the script.
        let text = text.split(" script: ").next().unwrap_or_default();
        let text = text.trim_end_matches('.');
        let help = match error.code.as_str() {
            "WRONGTYPE" => ": the key of the stream, or of what it remembers, has another type",
            "MOVED" | "CROSSSLOT" => {
                ": name the member of the cluster that has the slot of the stream"
            }
            "READONLY" => ": the server is a replica",
            _ => "",
        };
        SinkError::retriable(format!("{endpoint}, stream {stream}: {text}{help}"))
    }

    /// Creates the error for a call that failed.
    fn failed(&mut self, error: &ClientError) -> SinkError {
        self.connection = None;
        SinkError::retriable(match error {
            ClientError::NoModule { endpoint } => {
                format!("{endpoint} does not have a command of the sink: it needs XADD and EVAL")
            }
            error => error.to_string(),
        })
    }

    /// Describes the server, and checks the types of the keys and what the user may do.
    async fn inspect(&mut self) -> Result<String, ClientError> {
        let streams = Queue::ALL.map(|queue| self.stream(queue));
        let has_script = self.settings.deduplicate > 0;
        let endpoint = self.settings.server.endpoint().to_owned();
        let Connected { connection, .. } = self.connected().await?;
        for stream in &streams {
            let reply = connection.call(Cmd::new("TYPE").arg(stream)).await?;
            // A user may lack the permission for TYPE.
            let Ok(r#type) = reply else { continue };
            let r#type = reply::text(r#type).unwrap_or_default();
            if !["none", "stream"].contains(&&*r#type) {
                let error = format!("WRONGTYPE {stream} is a {}", short(&r#type));
                return Err(ClientError::Rejected {
                    endpoint,
                    what: "a stream".into(),
                    error: ServerError::parse(&error),
                });
            }
        }
        for stream in &streams {
            let denied = denied(connection, stream, has_script).await?;
            if let Some((command, error)) = denied {
                let what = format!("{command} to {stream}");
                return Err(connection.rejected(&what, &error));
            }
        }
        let info = connection.call(&Cmd::new("INFO")).await?;
        let info = info.ok().and_then(reply::text).unwrap_or_default();
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        if field("role") == Some("slave") {
            return Err(ClientError::Rejected {
                endpoint,
                what: "writes".into(),
                error: ServerError::parse("READONLY the server is a replica"),
            });
        }
        let version = match (field("valkey_version"), field("redis_version")) {
            (Some(version), _) => format!("Valkey {}", short(version)),
            (None, Some(version)) => format!("Redis {}", short(version)),
            (None, None) => "a server".into(),
        };
        Ok(format!("{version} at {endpoint}"))
    }
}

#[async_trait]
impl Sink for RedisStream {
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            records: self.settings.batch_lines,
            bytes: self.settings.batch_bytes,
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        match self.inspect().await {
            Ok(description) => Ok(description),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let max = match self.connected().await {
            Ok(connected) => connected.max_string,
            Err(error) => return Err(self.failed(&error)),
        };
        let mut rejections = Vec::new();
        let mut by_queue: [Vec<Item>; Queue::ALL.len()] = Default::default();
        for (index, record) in records.iter().enumerate() {
            let identity = match record.len() {
                bytes if bytes > max => Err(format!(
                    "{bytes} bytes: the server accepts {max} (proto-max-bulk-len)"
                )),
                _ => Identity::parse(record),
            };
            match identity {
                Ok(identity) => by_queue[identity.queue as usize].push((identity, record)),
                Err(reason) => rejections.push(Rejection { index, reason }),
            }
        }
        let (mut streams, mut commands) = (Vec::new(), Vec::new());
        for items in by_queue.iter().filter(|items| !items.is_empty()) {
            let stream = self.stream(items[0].0.queue);
            let of_queue = commands::commands(&self.settings, &stream, items);
            streams.resize(streams.len() + of_queue.len(), stream);
            commands.extend(of_queue);
        }
        self.send(&streams, &commands).await?;
        Ok(rejections)
    }
}

/// Returns the command that the user may not run on a stream, and the error. Nothing changes: an entry without a valid id is
/// rejected, and the script does nothing.
async fn denied(
    connection: &mut Connection,
    stream: &String,
    has_script: bool,
) -> Result<Option<(&'static str, ServerError)>, ClientError> {
    let mut xadd = Cmd::new("XADD");
    xadd.arg(stream).args(["no id", "field", "value"]);
    let mut eval = Cmd::new("EVAL");
    eval.args(["return 0", "1"]).arg(stream);
    let commands = [("XADD", xadd), ("EVAL", eval)];
    for (name, command) in &commands[..if has_script { 2 } else { 1 }] {
        match connection.call(command).await? {
            Err(error) if error.is_permission_denied() => return Ok(Some((name, error))),
            _ => {}
        }
    }
    Ok(None)
}

/// Returns the error of a reply that does not confirm a command: the script replies with 1, XADD with the id of the entry.
fn error_in(reply: Reply) -> Option<ServerError> {
    match reply {
        Ok(Value::Int(1) | Value::BulkString(_)) => None,
        Ok(_) => Some(ServerError::parse("the server sent an unexpected reply")),
        Err(error) => Some(error),
    }
}

/// Returns the longest string that a server accepts. A user who may not ask is taken to have the default.
async fn max_string(connection: &mut Connection) -> Result<usize, ClientError> {
    let mut command = Cmd::new("CONFIG");
    command.arg("GET").arg("proto-max-bulk-len");
    // A service may have no CONFIG at all.
    let reply = match connection.call(&command).await {
        Err(ClientError::NoModule { .. }) => return Ok(MAX_STRING),
        reply => reply?,
    };
    Ok(setting(reply).unwrap_or(MAX_STRING))
}

/// Reads the value of the only setting in the reply of CONFIG GET.
fn setting(reply: Reply) -> Option<usize> {
    let value = reply::items(reply.ok()?)?.pop()?;
    reply::text(value)?.parse().ok()
}

/// Cuts a text of the server.
fn short(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(MAX_VERSION).collect()
}
