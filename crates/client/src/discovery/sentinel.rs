//! Discovery of a service that Sentinels watch: the server that is its primary.
//!
//! # Invariants
//!
//! Of several answers the one of the newest failover counts (`config-epoch`), so a Sentinel that is cut off does not
//! lead back to a primary that was replaced.

use std::time::{Duration, Instant};

use crate::command::Cmd;
use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep_until, timeout};

use crate::connect::{ClientError, Server};
use crate::reply::{self, Reply, Value};
use crate::warn_once::WarnOnce;

use super::found::Found;
use super::persistent::PersistentConnection;
use super::slots::is_host;

/// The time from one query of all Sentinels to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// A service.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentinel {
    /// The Sentinels.
    pub sentinels: Vec<Server>,
    /// The name of the service.
    pub service: String,
    /// The credentials and encryption of the service's servers; its address is not used.
    pub pattern: Server,
}

/// The answer of one Sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    /// Grows with each failover; 0 if the user may not ask for it.
    epoch: u64,
    host: String,
    port: u16,
}

impl Sentinel {
    /// Returns the identity of the service, wherever it is. Two sites may give their services the same name, so the
    /// first Sentinel in the order of their addresses is part of it, in whatever order they are listed.
    fn id(&self) -> String {
        let endpoints = self.sentinels.iter().map(Server::endpoint);
        let endpoint = endpoints.min().unwrap_or_default();
        let address = endpoint
            .split_once("://")
            .map_or(endpoint, |(_, rest)| rest);
        format!("sentinel:{}@{address}", self.service)
    }

    /// Asks the Sentinels once. Returns the primary by the newest answer.
    ///
    /// # Errors
    ///
    /// No Sentinel answers, or none knows the service. The error is that of the first.
    pub async fn resolve(&self) -> Result<Server, ClientError> {
        let sentinels = self.sentinels.iter().cloned();
        let mut sentinels: Vec<_> = sentinels.map(PersistentConnection::new).collect();
        let answers = join_all(sentinels.iter_mut().map(|one| self.ask(one))).await;
        let unknown = || ClientError::UnknownService {
            endpoint: self.id(),
            service: self.service.clone(),
        };
        let mut first_error = None;
        let good = answers.into_iter().filter_map(|answer| match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                first_error.get_or_insert(error);
                None
            }
        });
        match good.max_by_key(|answer| answer.epoch) {
            Some(answer) => Ok(self.pattern.elsewhere(&answer.host, answer.port)),
            None => Err(first_error.unwrap_or_else(unknown)),
        }
    }

    /// Asks without end.
    pub async fn watch(&self, news: &UnboundedSender<Found>) {
        let mut sentinels: Vec<PersistentConnection> = self
            .sentinels
            .iter()
            .cloned()
            .map(PersistentConnection::new)
            .collect();
        let mut once = WarnOnce::default();
        let mut present: Option<Answer> = None;
        loop {
            let start = Instant::now();
            let answers = join_all(sentinels.iter_mut().map(|one| self.ask(one))).await;
            let mut good = Vec::new();
            for answer in answers {
                match answer {
                    Ok(answer) => good.push(answer),
                    Err(error) => once.warn(&error.to_string()),
                }
            }
            let all = good.len() == sentinels.len();
            if let Some(answer) = newer(present.as_ref(), good, all) {
                let moved = present.as_ref().is_none_or(|present| {
                    (&present.host, present.port) != (&answer.host, answer.port)
                });
                let server = self.pattern.elsewhere(&answer.host, answer.port);
                if !moved {
                    present = Some(answer);
                } else if !is_replica(&server).await {
                    present = Some(answer);
                    // The receiver is dropped at the end of the program.
                    let _ = news.send(Found {
                        id: self.id(),
                        server: Some(server),
                    });
                }
            }
            sleep_until((start + INTERVAL).into()).await;
        }
    }

    async fn ask(&self, one: &mut PersistentConnection) -> Result<Answer, ClientError> {
        let command = |name: &str| {
            let mut command = Cmd::new("SENTINEL");
            command.arg(name).arg(&self.service);
            command
        };
        let commands: [Cmd; 2] = [command("MASTER"), command("GET-MASTER-ADDR-BY-NAME")];
        let replies = one.call(&commands).await?;
        answer(replies).ok_or_else(|| ClientError::UnknownService {
            endpoint: one.server.endpoint().to_owned(),
            service: self.service.clone(),
        })
    }
}

/// Reads the replies to both commands: the first has everything, but the user may not be allowed to run it.
fn answer(replies: Vec<Reply>) -> Option<Answer> {
    read(replies).filter(|answer| is_host(&answer.host))
}

fn read(replies: Vec<Reply>) -> Option<Answer> {
    let [master, address] = replies.try_into().ok()?;
    if let Some(answer) = master.ok().and_then(by_master) {
        return Some(answer);
    }
    let [host, port] = reply::items(address.ok()?)?.try_into().ok()?;
    Some(Answer {
        epoch: 0,
        host: reply::text(host)?,
        port: reply::text(port)?.parse().ok()?,
    })
}

fn by_master(master: Value) -> Option<Answer> {
    let mut words = reply::items(master)?.into_iter().map(reply::text);
    let (mut host, mut port, mut epoch) = (None, None, 0);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match (name?.as_str(), value?) {
            ("ip", value) => host = Some(value),
            ("port", value) => port = value.parse().ok(),
            ("config-epoch", value) => epoch = value.parse().ok()?,
            _ => {}
        }
    }
    Some(Answer {
        epoch,
        host: host?,
        port: port?,
    })
}

/// Returns the answer that counts, if any: the newest, but none older than the present one, unless it is the answer of
/// `all` Sentinels (they were set up again).
fn newer(present: Option<&Answer>, answers: Vec<Answer>, all: bool) -> Option<Answer> {
    let best = answers.into_iter().max_by_key(|answer| answer.epoch)?;
    let old = present.is_some_and(|present| best.epoch < present.epoch);
    (!old || all).then_some(best)
}

/// Returns whether a server reports that it is a replica: then the failover is still under way. A server that does not
/// answer is taken for what the Sentinels say it is.
async fn is_replica(server: &Server) -> bool {
    let role = async {
        let mut connection = server.connect().await.ok()?;
        let role = connection.call(&Cmd::new("ROLE")).await.ok()?.ok()?;
        reply::text(reply::items(role)?.into_iter().next()?)
    };
    matches!(timeout(INTERVAL, role).await, Ok(Some(role)) if role == "slave")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerError;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn words(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| bulk(word)).collect())
    }

    fn at(epoch: u64, port: u16) -> Answer {
        let host = "10.0.0.1".to_owned();
        Answer { epoch, host, port }
    }

    #[test]
    fn answers_of_a_sentinel_are_read() {
        let master = words(&[
            "name",
            "grid",
            "ip",
            "::1",
            "port",
            "7",
            "config-epoch",
            "3",
        ]);
        let address = words(&["::1", "7"]);
        let full = Answer {
            epoch: 3,
            host: "::1".into(),
            port: 7,
        };
        assert_eq!(
            answer(vec![Ok(master), Ok(address.clone())]),
            Some(full.clone())
        );
        let denied = || Err(ServerError::parse("NOPERM no"));
        let plain = Answer { epoch: 0, ..full };
        assert_eq!(answer(vec![denied(), Ok(address)]), Some(plain));
        let unknown = || Err(ServerError::parse("ERR No such master with that name"));
        assert_eq!(answer(vec![unknown(), Ok(Value::Nil)]), None);
        assert_eq!(
            answer(vec![Ok(words(&["ip", "h"])), Ok(words(&["h", "x"]))]),
            None
        );
    }

    #[test]
    fn newest_failover_counts() {
        let old = at(2, 1);
        assert_eq!(newer(None, vec![at(1, 1), at(3, 2)], true), Some(at(3, 2)));
        assert_eq!(
            newer(Some(&old), vec![at(3, 2), at(2, 1)], true),
            Some(at(3, 2))
        );
        // The only Sentinel that answers was cut off.
        assert_eq!(newer(Some(&old), vec![at(1, 2)], false), None);
        assert_eq!(
            newer(Some(&old), vec![at(0, 2), at(0, 2)], true),
            Some(at(0, 2))
        );
        assert_eq!(newer(Some(&old), vec![], false), None);
    }
}
