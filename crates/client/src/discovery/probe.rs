//! A probe of whatever answers at an address: whether it is a server with the module, and what it says of itself.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::command::Cmd;
use crate::connect::{ClientError, Connection, Server};
use crate::reply::{self, Value};

/// The time that a probe may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The memory that an answer may take, bytes; the answers of a server take some kilobytes.
const REPLY_LIMIT: usize = 1 << 20;

/// The state of whatever answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A server with the module that can be drained.
    Ok,
    /// A server with the module that is a replica: only its primary can be drained.
    Replica,
    /// A server without the module.
    NoModule,
    /// A server that requires a password, and none was given.
    WantsPassword,
    /// A server that does not accept the user or password.
    WrongPassword,
    /// A server that rejects the commands of the probe.
    #[serde(rename = "refuses")]
    Rejects,
    /// Not a server, or one that cannot answer at present.
    NoServer,
}

impl State {
    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Replica => "a replica",
            State::NoModule => "no module",
            State::WantsPassword => "wants a password",
            State::WrongPassword => "wrong password",
            State::Rejects => "refuses",
            State::NoServer => "no server",
        }
    }
}

/// The result of a probe. A field that the server did not send is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// The state.
    pub state: State,
    /// `redis` or `valkey`.
    pub server: Option<&'static str>,
    /// The version of the server.
    pub version: Option<String>,
    /// The version of the module.
    pub module: Option<String>,
    /// The number of its nodes.
    pub nodes: Option<u64>,
    /// The memory that the module uses, bytes.
    pub memory: Option<u64>,
    /// The memory limit of the module, bytes.
    pub max_memory: Option<u64>,
    /// The reason for the state, if it is not `Ok`.
    pub why: Option<String>,
}

impl About {
    /// Returns a result with a state alone.
    pub fn only(state: State, why: Option<String>) -> About {
        About {
            state,
            server: None,
            version: None,
            module: None,
            nodes: None,
            memory: None,
            max_memory: None,
            why,
        }
    }

    /// Returns the name and version of the server, and the version of the module.
    pub fn description(&self) -> String {
        let server = match (self.server, &self.version) {
            (Some("valkey"), Some(version)) => format!("Valkey {version}"),
            (_, Some(version)) => format!("Redis {version}"),
            (_, None) => "version unknown (INFO is not permitted)".into(),
        };
        match &self.module {
            Some(module) => format!("{server}, module version {module}"),
            None => server,
        }
    }
}

/// Probes over a connection that is established.
pub async fn probe(server: &Server, stream: TcpStream) -> About {
    match timeout(TIMEOUT, run(server, stream)).await {
        Ok(about) => about,
        Err(_) => {
            let why = format!("no answer within {} s", TIMEOUT.as_secs());
            About::only(State::NoServer, Some(why))
        }
    }
}

async fn run(server: &Server, stream: TcpStream) -> About {
    match server.connect_over(stream, REPLY_LIMIT).await {
        Ok(mut connection) => examine(&mut connection).await,
        Err(error) if error.is_retriable() => not(State::NoServer, error),
        Err(error) => not(State::WrongPassword, error),
    }
}

fn not(state: State, error: ClientError) -> About {
    About::only(state, Some(error.to_string()))
}

/// Probes over a connection that is authenticated. The server changes nothing.
pub async fn examine(connection: &mut Connection) -> About {
    // Apart from the rest: a user who may do nothing at all needs a password.
    match connection.call(&Cmd::new("PING")).await {
        Err(error) if error.is_retriable() => return not(State::NoServer, error),
        Err(error) => return not(State::WantsPassword, error),
        // DENIED: the server is in protected mode, and ends the connection.
        Ok(Err(error)) if !error.is_permission_denied() => {
            return not(State::Rejects, connection.rejected("PING", &error));
        }
        Ok(_) => {}
    }
    match has_module(connection).await {
        Ok(true) => {}
        Ok(false) => {
            let mut info = describe(connection).await.unwrap_or_default();
            return read_about(State::NoModule, &mut info);
        }
        Err(error) if error.is_retriable() => return not(State::NoServer, error),
        Err(error) => return not(State::Rejects, error),
    }
    match describe(connection).await {
        Ok(mut info) => {
            let replica = info.get("role").is_some_and(|role| role == "slave");
            let state = if replica { State::Replica } else { State::Ok };
            read_about(state, &mut info)
        }
        Err(error) => not(State::NoServer, error),
    }
}

/// Returns whether the server knows the module's commands. If the user may not run COMMAND, one of them is called
/// without arguments, which cannot be carried out: a server reports an unknown command before anything else.
async fn has_module(connection: &mut Connection) -> Result<bool, ClientError> {
    let mut command = Cmd::new("COMMAND");
    command.arg("INFO").arg("AGG.FETCH");
    if let Ok(value) = connection.call(&command).await? {
        let known = reply::items(value).unwrap_or_default();
        return Ok(matches!(&known[..], [Value::Array(_)]));
    }
    match connection.call(&Cmd::new("AGG.FETCH")).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_retriable() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Returns the fields of INFO that matter here; none if the user may not run it.
async fn describe(connection: &mut Connection) -> Result<HashMap<String, String>, ClientError> {
    let mut command = Cmd::new("INFO");
    command.args(["server", "replication", "modules", "agg"]);
    let text = connection.call(&command).await?.ok().and_then(reply::text);
    Ok(fields(&text.unwrap_or_default()))
}

fn fields(info: &str) -> HashMap<String, String> {
    let field = |line: &str| {
        // Several modules have a line each.
        if let Some(module) = line.strip_prefix("module:name=agg,ver=") {
            let version = module.split(',').next().unwrap_or_default();
            return Some(("module".to_owned(), version.to_owned()));
        }
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.to_owned()))
    };
    info.lines().filter_map(field).collect()
}

fn read_about(state: State, info: &mut HashMap<String, String>) -> About {
    let number = |name: &str| info.get(name)?.parse().ok();
    let (nodes, memory, max_memory) = (
        number("agg_nodes"),
        number("agg_held"),
        number("agg_max_memory"),
    );
    // Valkey has a version of Redis too, for old clients.
    let (server, version) = match info.remove("valkey_version") {
        Some(version) => (Some("valkey"), Some(version)),
        None => match info.remove("redis_version") {
            Some(version) => (Some("redis"), Some(version)),
            None => (None, None),
        },
    };
    About {
        server,
        version,
        module: info.remove("module"),
        nodes,
        memory,
        max_memory,
        ..About::only(state, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_of_a_server_is_read() {
        let info = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.1\r\n\r\n# Replication\r\nrole:master\r\n\
                    # Modules\r\nmodule:name=json,ver=7,api=1\r\nmodule:name=agg,ver=3,api=1\r\n\
                    agg_nodes:2\r\nagg_held:69208\r\nagg_max_memory:268435456\r\n";
        let about = read_about(State::Ok, &mut fields(info));
        assert_eq!(
            (about.server, about.version),
            (Some("valkey"), Some("8.1.1".into()))
        );
        assert_eq!((about.module, about.nodes), (Some("3".into()), Some(2)));
        assert_eq!(
            (about.memory, about.max_memory),
            (Some(69_208), Some(1 << 28))
        );
        let about = read_about(
            State::NoModule,
            &mut fields("redis_version:7.0.15\r\nx\r\n"),
        );
        assert_eq!(
            (about.server, about.version),
            (Some("redis"), Some("7.0.15".into()))
        );
        assert_eq!((about.module, about.nodes), (None, None));
    }
}
