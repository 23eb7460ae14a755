//! Asks what answers at an address whether it is ours, and what it says of itself.

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connect::{ClientError, Connection, Server};
use crate::reply;

/// How long all of the questions may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer in memory; those of a server are some kilobytes.
const MOST: usize = 1 << 20;

/// What answers at an address is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A server with the module that gives out what waits.
    Ok,
    /// A server with the module that follows another: only that one gives out.
    Replica,
    /// A server without the module.
    NoModule,
    /// A server that wants a password, and none was given.
    WantsPassword,
    /// A server that does not accept the user or password.
    WrongPassword,
    /// A server that refuses what was asked.
    Refuses,
    /// Nothing that answers as a server does, or none that can now.
    NoServer,
}

impl State {
    /// For a person.
    pub fn words(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Replica => "a replica",
            State::NoModule => "no module",
            State::WantsPassword => "wants a password",
            State::WrongPassword => "wrong password",
            State::Refuses => "refuses",
            State::NoServer => "no server",
        }
    }
}

/// What was learned of a server; what it did not say is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// What it is to us.
    pub state: State,
    /// `redis` or `valkey`.
    pub server: Option<&'static str>,
    /// The server's.
    pub version: Option<String>,
    /// The module's.
    pub module: Option<String>,
    /// The number of its nodes.
    pub nodes: Option<u64>,
    /// Bytes that the module holds.
    pub memory: Option<u64>,
    /// Bytes that it may hold.
    pub max_memory: Option<u64>,
    /// What went wrong, in words.
    pub why: Option<String>,
}

impl About {
    /// Nothing was learned but this.
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
}

/// Asks over a connection that is there.
pub async fn ask(server: &Server, stream: TcpStream) -> About {
    match timeout(PATIENCE, questions(server, stream)).await {
        Ok(about) => about,
        Err(_) => {
            let why = format!("no answer within {} s", PATIENCE.as_secs());
            About::only(State::NoServer, Some(why))
        }
    }
}

async fn questions(server: &Server, stream: TcpStream) -> About {
    let no = |state, failure: ClientError| About::only(state, Some(failure.to_string()));
    let mut wire = match server.dial_over(stream, MOST).await {
        Ok(wire) => wire,
        Err(failure @ ClientError::Lost(_)) => return no(State::NoServer, failure),
        Err(failure @ ClientError::Refused(_)) => return no(State::WrongPassword, failure),
    };
    // Apart from the rest: whoever may do nothing at all wants a password.
    match wire.call(&redis::cmd("PING")).await {
        Err(failure @ ClientError::Refused(_)) => return no(State::WantsPassword, failure),
        Err(failure) => return no(State::NoServer, failure),
        // DENIED: the server is in protected mode, and ends the connection.
        Ok(Err(text)) if !text.starts_with("NOPERM") => {
            return no(State::Refuses, wire.refused("to be asked", &text));
        }
        Ok(_) => {}
    }
    match has_module(&mut wire).await {
        Ok(true) => {}
        Ok(false) => {
            let mut about = describe(&mut wire).await.unwrap_or_default();
            return told(State::NoModule, &mut about);
        }
        Err(failure @ ClientError::Lost(_)) => return no(State::NoServer, failure),
        Err(failure) => return no(State::Refuses, failure),
    }
    match describe(&mut wire).await {
        Ok(mut info) => {
            let replica = info.get("role").is_some_and(|role| role == "slave");
            let state = if replica { State::Replica } else { State::Ok };
            told(state, &mut info)
        }
        Err(failure) => no(State::NoServer, failure),
    }
}

/// Whether the server knows our commands. Who may not look into the list of commands calls one in a way that cannot
/// be carried out: that it is unknown is said before all else.
async fn has_module(wire: &mut Connection) -> Result<bool, ClientError> {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("AGG.FETCH");
    if let Ok(value) = wire.call(&command).await? {
        let known = reply::items(value).unwrap_or_default();
        return Ok(matches!(&known[..], [Value::Array(_)]));
    }
    match wire.call(&redis::cmd("AGG.FETCH")).await {
        Ok(_) => Ok(true),
        Err(ClientError::Refused(_)) => Ok(false),
        Err(lost) => Err(lost),
    }
}

/// The fields of INFO that matter here; none where it may not be asked.
async fn describe(wire: &mut Connection) -> Result<HashMap<String, String>, ClientError> {
    let mut command = redis::cmd("INFO");
    command.arg(&["server", "replication", "modules", "agg"]);
    let text = wire.call(&command).await?.ok().and_then(reply::text);
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

fn told(state: State, info: &mut HashMap<String, String>) -> About {
    let number = |name: &str| info.get(name)?.parse().ok();
    let (nodes, memory, max_memory) = (
        number("agg_nodes"),
        number("agg_held"),
        number("agg_max_memory"),
    );
    // Valkey tells a version of Redis too, for the sake of old clients.
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
    fn what_a_server_says_of_itself() {
        let info = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.1\r\n\r\n# Replication\r\nrole:master\r\n\
                    # Modules\r\nmodule:name=json,ver=7,api=1\r\nmodule:name=agg,ver=3,api=1\r\n\
                    agg_nodes:2\r\nagg_held:69208\r\nagg_max_memory:268435456\r\n";
        let about = told(State::Ok, &mut fields(info));
        assert_eq!(
            (about.server, about.version),
            (Some("valkey"), Some("8.1.1".into()))
        );
        assert_eq!((about.module, about.nodes), (Some("3".into()), Some(2)));
        assert_eq!(
            (about.memory, about.max_memory),
            (Some(69_208), Some(1 << 28))
        );
        let about = told(
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
