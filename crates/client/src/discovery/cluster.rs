//! Discovery in a Redis or Valkey Cluster: all primaries that serve slots.
//!
//! # Invariants
//!
//! - Any member may be asked. The view of a member that is cut off from the others, or that is older than the view of
//!   another before, is ignored.
//! - A replica that took the place of a primary keeps the primary's id, since it has its data.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep_until;

use crate::command::Cmd;
use crate::connect::{ClientError, Server};
use crate::reply::{self, Reply};
use crate::warn_once::WarnOnce;

use super::found::Found;
use super::persistent::PersistentConnection;
use super::slots::{self, Primary};

/// The time from one query of a member to the next.
const INTERVAL: Duration = Duration::from_secs(2);

/// A cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Members to start with.
    pub seeds: Vec<Server>,
}

/// The cluster as one member sees it.
struct View {
    /// Grows with each failover; 0 if the user may not ask for it.
    epoch: u64,
    primaries: Vec<(Primary, Server)>,
}

impl Cluster {
    /// Asks the members once. Returns the primaries in the newest view.
    ///
    /// # Errors
    ///
    /// No member answers, or none finds the cluster up. The error is that of the first.
    pub async fn resolve(&self) -> Result<Vec<Server>, ClientError> {
        let ask = async |seed: &Server| view(&mut PersistentConnection::new(seed.clone())).await;
        let views = join_all(self.seeds.iter().map(ask)).await;
        let (views, errors): (Vec<_>, Vec<_>) = views.into_iter().partition(Result::is_ok);
        let newest = views.into_iter().flatten().max_by_key(|view| view.epoch);
        match (newest, errors.into_iter().find_map(Result::err)) {
            (None, Some(error)) => Err(error),
            (view, _) => {
                let primaries = view.into_iter().flat_map(|view| view.primaries);
                Ok(primaries.map(|(_, server)| server).collect())
            }
        }
    }

    /// Watches the cluster without end.
    pub async fn watch(&self, news: &UnboundedSender<Found>) {
        let mut members: Vec<PersistentConnection> = self
            .seeds
            .iter()
            .cloned()
            .map(PersistentConnection::new)
            .collect();
        let mut once = WarnOnce::default();
        let mut known = Known::default();
        let mut epoch = 0;
        loop {
            let start = Instant::now();
            if let Some(view) = newest_view(&mut members, epoch, &mut once).await {
                epoch = view.epoch;
                self.remember(&mut members, &view);
                for found in known.update(view.primaries) {
                    // The receiver is dropped at the end of the program.
                    let _ = news.send(found);
                }
            }
            sleep_until((start + INTERVAL).into()).await;
        }
    }

    /// Sets the members to ask from now on: the one that answered, which is the first, the primaries, and the seeds, as
    /// these may be all that is left.
    fn remember(&self, members: &mut Vec<PersistentConnection>, view: &View) {
        let wanted = view.primaries.iter().map(|(_, server)| server);
        let wanted: Vec<&Server> = wanted.chain(&self.seeds).collect();
        let mut first = true;
        members.retain(|member| {
            std::mem::take(&mut first)
                || wanted
                    .iter()
                    .any(|server| server.endpoint() == member.server.endpoint())
        });
        for server in wanted {
            if !members
                .iter()
                .any(|member| member.server.endpoint() == server.endpoint())
            {
                members.push(PersistentConnection::new(server.clone()));
            }
        }
    }
}

/// Returns the view of the first member that is not behind; if all that answer are behind (the cluster was set up
/// again), the newest view. The member whose view is returned becomes the first.
async fn newest_view(
    members: &mut [PersistentConnection],
    epoch: u64,
    once: &mut WarnOnce,
) -> Option<View> {
    let mut best: Option<(usize, View)> = None;
    for (index, member) in members.iter_mut().enumerate() {
        match view(member).await {
            Ok(view) => {
                let enough = view.epoch >= epoch;
                if best.as_ref().is_none_or(|(_, b)| b.epoch < view.epoch) {
                    best = Some((index, view));
                }
                if enough {
                    break;
                }
            }
            Err(error) => once.warn(&error.to_string()),
        }
    }
    let (index, view) = best?;
    members.swap(0, index);
    Some(view)
}

async fn view(member: &mut PersistentConnection) -> Result<View, ClientError> {
    let command = |name: &str| {
        let mut command = Cmd::new("CLUSTER");
        command.arg(name);
        command
    };
    // CLUSTER SLOTS has all that is needed and is known everywhere; CLUSTER SHARDS is its successor.
    let commands = ["INFO", "SLOTS", "SHARDS"].map(command);
    let replies = member.call(&commands[..2]).await?;
    let server = &member.server;
    let endpoint = server.endpoint().to_owned();
    let encrypted = server.encrypted();
    let unexpected = || ClientError::UnexpectedReply {
        endpoint: endpoint.clone(),
        command: "CLUSTER SLOTS".into(),
    };
    let [info, by_slots]: [Reply; 2] = replies.try_into().map_err(|_| unexpected())?;
    let (up, epoch) = state(info);
    if !up {
        return Err(ClientError::ClusterDown {
            endpoint: endpoint.clone(),
        });
    }
    let primaries = match by_slots {
        Ok(value) => slots::by_slots(value),
        Err(error) => match member.call(&commands[2..]).await?.pop() {
            Some(Ok(value)) => slots::by_shards(value, encrypted),
            _ => {
                return Err(ClientError::Rejected {
                    endpoint: endpoint.clone(),
                    what: "CLUSTER SLOTS".into(),
                    error,
                });
            }
        },
    };
    let asked = member.server.host().unwrap_or("127.0.0.1");
    let server = |primary: &Primary| {
        let host = primary.host.as_deref().unwrap_or(asked);
        member.server.elsewhere(host, primary.port)
    };
    let primaries = primaries.ok_or_else(unexpected)?.into_iter();
    Ok(View {
        epoch,
        primaries: primaries.map(|p| (p.clone(), server(&p))).collect(),
    })
}

/// Returns whether a member finds its cluster up, and its newest epoch. A member that may not be asked counts as up.
fn state(info: Reply) -> (bool, u64) {
    let text = info.ok().and_then(reply::text).unwrap_or_default();
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let up = field("cluster_state").is_none_or(|state| state == "ok");
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    (up, epoch.unwrap_or(0))
}

/// A primary that was sent.
struct Sent {
    /// The cluster node that it is at present.
    node: String,
    endpoint: String,
    slots: Vec<RangeInclusive<u16>>,
}

/// The primaries that were sent, by their ids.
#[derive(Default)]
struct Known(HashMap<String, Sent>);

impl Known {
    /// Takes the present primaries, and returns what has changed.
    fn update(&mut self, primaries: Vec<(Primary, Server)>) -> Vec<Found> {
        let mut before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        let mut others = Vec::new();
        for (primary, server) in primaries {
            let same = before.iter().find(|(_, sent)| sent.node == primary.node);
            match same.map(|(id, _)| id.clone()) {
                Some(id) => self.keep(id, &mut before, primary, server, &mut news),
                None => others.push((primary, server)),
            }
        }
        for (primary, server) in others {
            let predecessor = before
                .iter()
                .map(|(id, sent)| (primary.overlap(&sent.slots), id))
                .filter(|(common, _)| *common > 0)
                .max();
            let id = match predecessor {
                Some((_, id)) => id.clone(),
                None => self.name(&primary.node, &before),
            };
            self.keep(id, &mut before, primary, server, &mut news);
        }
        news.extend(before.into_keys().map(|id| Found { id, server: None }));
        news
    }

    fn keep(
        &mut self,
        id: String,
        before: &mut HashMap<String, Sent>,
        primary: Primary,
        server: Server,
        news: &mut Vec<Found>,
    ) {
        let endpoint = server.endpoint().to_owned();
        if before
            .remove(&id)
            .is_none_or(|sent| sent.endpoint != endpoint)
        {
            news.push(Found {
                id: id.clone(),
                server: Some(server),
            });
        }
        let sent = Sent {
            node: primary.node,
            endpoint,
            slots: primary.slots,
        };
        self.0.insert(id, sent);
    }

    /// Returns an id for a primary that is new: the id of the node, unless another primary has it.
    fn name(&self, node: &str, before: &HashMap<String, Sent>) -> String {
        let first = format!("cluster:{node}");
        let others = (2..).map(|n| format!("{first}#{n}"));
        let mut ids = std::iter::once(first.clone()).chain(others);
        let free = |id: &String| !self.0.contains_key(id) && !before.contains_key(id);
        ids.find(free).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Access;

    fn primary(node: &str, port: u16, slots: RangeInclusive<u16>) -> (Primary, Server) {
        let primary = Primary {
            node: node.into(),
            host: None,
            port,
            slots: vec![slots],
        };
        let access = Access::default();
        (primary, Server::at("h", port, &access, false).unwrap())
    }

    /// Ids and ports, in order.
    fn news(known: &mut Known, now: &[(&str, u16, RangeInclusive<u16>)]) -> Vec<(String, String)> {
        let now = now.iter().map(|(n, port, s)| primary(n, *port, s.clone()));
        let pair = |found: Found| match found.server {
            Some(server) => (found.id, server.endpoint().to_owned()),
            None => (found.id, String::new()),
        };
        let mut news: Vec<_> = known.update(now.collect()).into_iter().map(pair).collect();
        news.sort();
        news
    }

    fn sent(id: &str, endpoint: &str) -> (String, String) {
        (format!("cluster:{id}"), endpoint.to_owned())
    }

    #[test]
    fn primaries_appear_move_and_disappear() {
        let mut known = Known::default();
        let first = [("a", 1, 0..=99), ("b", 2, 100..=199)];
        let all = [sent("a", "redis://h:1"), sent("b", "redis://h:2")];
        assert_eq!(news(&mut known, &first), all);
        assert_eq!(news(&mut known, &first), []);
        // Slots move, the nodes stay.
        let moved = [("a", 1, 0..=149), ("b", 2, 150..=199)];
        assert_eq!(news(&mut known, &moved), []);
        // A node has another address.
        let moved = [("a", 7, 0..=149), ("b", 2, 150..=199)];
        assert_eq!(news(&mut known, &moved), [sent("a", "redis://h:7")]);
        // A node without slots does not count.
        let fewer = [("b", 2, 0..=199)];
        assert_eq!(news(&mut known, &fewer), [sent("a", "")]);
    }

    #[test]
    fn successor_keeps_the_id() {
        let mut known = Known::default();
        news(&mut known, &[("a", 1, 0..=99), ("b", 2, 100..=199)]);
        let after = [("r", 3, 0..=99), ("b", 2, 100..=199)];
        assert_eq!(news(&mut known, &after), [sent("a", "redis://h:3")]);
        // The node that had the id before comes back with slots of its own.
        let back = [("r", 3, 0..=49), ("a", 1, 50..=99), ("b", 2, 100..=199)];
        assert_eq!(news(&mut known, &back), [sent("a#2", "redis://h:1")]);
        assert_eq!(news(&mut known, &back), []);
    }

    #[test]
    fn view_of_a_member_that_is_cut_off_is_ignored() {
        let info = |text: &str| state(Ok(reply::Value::BulkString(text.into())));
        let ok = "cluster_state:ok\r\ncluster_current_epoch:7\r\n";
        assert_eq!(info(ok), (true, 7));
        assert!(!info("cluster_state:fail\r\ncluster_current_epoch:7\r\n").0);
        assert_eq!(
            state(Err(crate::error::ServerError::parse("NOPERM"))),
            (true, 0)
        );
    }
}
