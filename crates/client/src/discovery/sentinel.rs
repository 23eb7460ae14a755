//! A service that Sentinels watch: which server is its primary now.
//!
//! What holds: of several answers that of the newest failover counts (`config-epoch`), so a Sentinel that is cut off
//! does not lead back to a primary that was replaced.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep_until, timeout};

use crate::connect::{ClientError, Server};
use crate::messages::WarnOnce;
use crate::reply::{self, Reply};

use super::Found;
use super::persistent::PersistentConnection;
use super::slots::is_host;

/// How often all Sentinels are asked.
const EVERY: Duration = Duration::from_secs(1);

/// A service.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentinel {
    /// What knows where it is.
    pub sentinels: Vec<Server>,
    /// What it is called there.
    pub service: String,
    /// What is said to the service's servers: any of them, whatever its address.
    pub pattern: Server,
}

/// What one Sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    /// Grows by each failover; 0 where it may not be asked.
    epoch: u64,
    host: String,
    port: u16,
}

impl Sentinel {
    /// What the service is known by, wherever it is. Two grids may well name theirs alike.
    fn id(&self) -> String {
        let place = self.sentinels.first().map_or("", |first| first.endpoint());
        let place = place.split_once("://").map_or(place, |(_, rest)| rest);
        format!("sentinel:{}@{place}", self.service)
    }

    /// Asks until nobody listens.
    pub async fn watch(&self, news: &UnboundedSender<Found>) {
        let mut asked: Vec<PersistentConnection> = self
            .sentinels
            .iter()
            .cloned()
            .map(PersistentConnection::new)
            .collect();
        let mut once = WarnOnce::default();
        let mut told: Option<Answer> = None;
        loop {
            let start = Instant::now();
            let answers = join_all(asked.iter_mut().map(|one| self.ask(one))).await;
            let mut good = Vec::new();
            for answer in answers {
                match answer {
                    Ok(answer) => good.push(answer),
                    Err(failure) => once.say(&failure.to_string()),
                }
            }
            let all = good.len() == asked.len();
            if let Some(answer) = newer(told.as_ref(), good, all) {
                let moved = told
                    .as_ref()
                    .is_none_or(|told| (&told.host, told.port) != (&answer.host, answer.port));
                let server = self.pattern.elsewhere(&answer.host, answer.port);
                if !moved {
                    told = Some(answer);
                } else if !follows(&server).await {
                    told = Some(answer);
                    // Nobody listens at the end of the program.
                    let _ = news.send(Found {
                        id: self.id(),
                        server: Some(server),
                    });
                }
            }
            sleep_until((start + EVERY).into()).await;
        }
    }

    async fn ask(&self, one: &mut PersistentConnection) -> Result<Answer, ClientError> {
        let command = |name: &str| {
            let mut command = redis::cmd("SENTINEL");
            command.arg(name).arg(&self.service);
            command
        };
        let commands: [Cmd; 2] = [command("MASTER"), command("GET-MASTER-ADDR-BY-NAME")];
        let replies = one.ask(&commands).await?;
        let place = one.server.endpoint();
        answer(replies).ok_or_else(|| {
            ClientError::Refused(format!(
                "the Sentinel {place} does not tell where {:?} is: is it its name, and may this user ask?",
                self.service
            ))
        })
    }
}

/// The answer to both commands: the first tells all, but a user may not be allowed it.
fn answer(replies: Vec<Reply>) -> Option<Answer> {
    told(replies).filter(|answer| is_host(&answer.host))
}

fn told(replies: Vec<Reply>) -> Option<Answer> {
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

/// Of several answers the one to go by, if any: the newest, but none older than what was told, unless `all` Sentinels
/// say so (they were set up anew).
fn newer(told: Option<&Answer>, answers: Vec<Answer>, all: bool) -> Option<Answer> {
    let best = answers.into_iter().max_by_key(|answer| answer.epoch)?;
    let old = told.is_some_and(|told| best.epoch < told.epoch);
    (!old || all).then_some(best)
}

/// Whether a server says that it follows another: then the failover is still under way. One that does not say is
/// taken for what the Sentinels say it is.
async fn follows(server: &Server) -> bool {
    let role = async {
        let mut wire = server.dial().await.ok()?;
        let role = wire.call(&redis::cmd("ROLE")).await.ok()?.ok()?;
        reply::text(reply::items(role)?.into_iter().next()?)
    };
    matches!(timeout(EVERY, role).await, Ok(Some(role)) if role == "slave")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_a_sentinel_answers() {
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
        let told = Answer {
            epoch: 3,
            host: "::1".into(),
            port: 7,
        };
        assert_eq!(
            answer(vec![Ok(master), Ok(address.clone())]),
            Some(told.clone())
        );
        let denied = || Err("NOPERM no".to_owned());
        let plain = Answer { epoch: 0, ..told };
        assert_eq!(answer(vec![denied(), Ok(address)]), Some(plain));
        let unknown = || Err("ERR No such master with that name".to_owned());
        assert_eq!(answer(vec![unknown(), Ok(Value::Nil)]), None);
        assert_eq!(
            answer(vec![Ok(words(&["ip", "h"])), Ok(words(&["h", "x"]))]),
            None
        );
    }

    #[test]
    fn the_newest_failover_counts() {
        let old = at(2, 1);
        assert_eq!(newer(None, vec![at(1, 1), at(3, 2)], true), Some(at(3, 2)));
        assert_eq!(
            newer(Some(&old), vec![at(3, 2), at(2, 1)], true),
            Some(at(3, 2))
        );
        // The only one that answers was cut off.
        assert_eq!(newer(Some(&old), vec![at(1, 2)], false), None);
        assert_eq!(
            newer(Some(&old), vec![at(0, 2), at(0, 2)], true),
            Some(at(0, 2))
        );
        assert_eq!(newer(Some(&old), vec![], false), None);
    }
}
