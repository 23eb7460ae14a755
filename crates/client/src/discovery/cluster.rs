//! A Redis or Valkey Cluster: all primaries that serve slots.
//!
//! What holds: any member may be asked; one that is cut off from the others, or knows less than another said before,
//! is not believed. A replica that took the place of a primary goes on under that one's id, since it holds what that
//! one held.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep_until;

use crate::connect::{ClientError, Server};
use crate::messages::WarnOnce;
use crate::reply::{self, Reply};

use super::Found;
use super::persistent::PersistentConnection;
use super::slots::{self, Primary};

/// How often a member is asked.
const EVERY: Duration = Duration::from_secs(2);

/// A cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Members to begin with.
    pub seeds: Vec<Server>,
}

/// What one member says.
struct View {
    /// Grows by each failover; 0 where it may not be asked.
    epoch: u64,
    primaries: Vec<(Primary, Server)>,
}

impl Cluster {
    /// Asks until nobody listens.
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
            if let Some(view) = look(&mut members, epoch, &mut once).await {
                epoch = view.epoch;
                self.remember(&mut members, &view);
                for found in known.update(view.primaries) {
                    // Nobody listens at the end of the program.
                    let _ = news.send(found);
                }
            }
            sleep_until((start + EVERY).into()).await;
        }
    }

    /// Whom to ask from now on: the one that answered (it is the first), the primaries, and the seeds, as these may
    /// be all that is left.
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

/// What the first member says that is not behind; if all that answer are (the cluster was set up anew), the newest of
/// these. Whoever is gone by becomes the first.
async fn look(
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
            Err(failure) => once.say(&failure.to_string()),
        }
    }
    let (index, view) = best?;
    members.swap(0, index);
    Some(view)
}

async fn view(member: &mut PersistentConnection) -> Result<View, ClientError> {
    let command = |name: &str| {
        let mut command = redis::cmd("CLUSTER");
        command.arg(name);
        command
    };
    // Slots tell all that is needed and are known everywhere; the other is their successor.
    let commands = ["INFO", "SLOTS", "SHARDS"].map(command);
    let replies = member.ask(&commands[..2]).await?;
    let server = &member.server;
    let place = server.endpoint().to_owned();
    let encrypted = server.encrypted();
    let [info, by_slots]: [Reply; 2] = replies
        .try_into()
        .map_err(|_| ClientError::Lost(format!("{place} answers what was not asked")))?;
    let (up, epoch) = state(info);
    if !up {
        let text = format!("{place} says that its cluster is down: it is not gone by");
        return Err(ClientError::Lost(text));
    }
    let primaries = match by_slots {
        Ok(value) => slots::by_slots(value),
        Err(text) => match member.ask(&commands[2..]).await?.pop() {
            Some(Ok(value)) => slots::by_shards(value, encrypted),
            _ => {
                let text = format!("{place} refuses to tell of its cluster: {text}");
                return Err(ClientError::Refused(text));
            }
        },
    };
    let strange =
        || ClientError::Refused(format!("{place} tells of its cluster in an unknown way"));
    let asked = member.server.host().unwrap_or("127.0.0.1");
    let server = |primary: &Primary| {
        let host = primary.host.as_deref().unwrap_or(asked);
        member.server.elsewhere(host, primary.port)
    };
    let primaries = primaries.ok_or_else(strange)?.into_iter();
    Ok(View {
        epoch,
        primaries: primaries.map(|p| (p.clone(), server(&p))).collect(),
    })
}

/// Whether a member finds its cluster up, and the newest epoch it heard of. One that may not be asked is believed.
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

/// A primary that was told of.
struct Told {
    /// The node that it is now.
    node: String,
    place: String,
    slots: Vec<RangeInclusive<u16>>,
}

/// The primaries that were told of, by their ids.
#[derive(Default)]
struct Known(HashMap<String, Told>);

impl Known {
    /// Takes what holds now; what is news of it.
    fn update(&mut self, primaries: Vec<(Primary, Server)>) -> Vec<Found> {
        let mut before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        let mut others = Vec::new();
        for (primary, server) in primaries {
            let same = before.iter().find(|(_, told)| told.node == primary.node);
            match same.map(|(id, _)| id.clone()) {
                Some(id) => self.keep(id, &mut before, primary, server, &mut news),
                None => others.push((primary, server)),
            }
        }
        for (primary, server) in others {
            let heir = before
                .iter()
                .map(|(id, told)| (primary.overlap(&told.slots), id))
                .filter(|(common, _)| *common > 0)
                .max();
            let id = match heir {
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
        before: &mut HashMap<String, Told>,
        primary: Primary,
        server: Server,
        news: &mut Vec<Found>,
    ) {
        let place = server.endpoint().to_owned();
        if before.remove(&id).is_none_or(|told| told.place != place) {
            news.push(Found {
                id: id.clone(),
                server: Some(server),
            });
        }
        let told = Told {
            node: primary.node,
            place,
            slots: primary.slots,
        };
        self.0.insert(id, told);
    }

    /// An id for a primary that nobody was before: that of the node, unless another went on under it.
    fn name(&self, node: &str, before: &HashMap<String, Told>) -> String {
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
        let place = |found: Found| match found.server {
            Some(server) => (found.id, server.endpoint().to_owned()),
            None => (found.id, String::new()),
        };
        let mut news: Vec<_> = known.update(now.collect()).into_iter().map(place).collect();
        news.sort();
        news
    }

    fn told(id: &str, place: &str) -> (String, String) {
        (format!("cluster:{id}"), place.to_owned())
    }

    #[test]
    fn primaries_come_move_and_go() {
        let mut known = Known::default();
        let first = [("a", 1, 0..=99), ("b", 2, 100..=199)];
        let all = [told("a", "redis://h:1"), told("b", "redis://h:2")];
        assert_eq!(news(&mut known, &first), all);
        assert_eq!(news(&mut known, &first), []);
        // Slots move, the nodes stay.
        let moved = [("a", 1, 0..=149), ("b", 2, 150..=199)];
        assert_eq!(news(&mut known, &moved), []);
        // A node has another address.
        let moved = [("a", 7, 0..=149), ("b", 2, 150..=199)];
        assert_eq!(news(&mut known, &moved), [told("a", "redis://h:7")]);
        // One without slots is none.
        let fewer = [("b", 2, 0..=199)];
        assert_eq!(news(&mut known, &fewer), [told("a", "")]);
    }

    #[test]
    fn an_heir_goes_on_under_the_id() {
        let mut known = Known::default();
        news(&mut known, &[("a", 1, 0..=99), ("b", 2, 100..=199)]);
        let after = [("r", 3, 0..=99), ("b", 2, 100..=199)];
        assert_eq!(news(&mut known, &after), [told("a", "redis://h:3")]);
        // The one that had it before comes back with slots of its own.
        let back = [("r", 3, 0..=49), ("a", 1, 50..=99), ("b", 2, 100..=199)];
        assert_eq!(news(&mut known, &back), [told("a#2", "redis://h:1")]);
        assert_eq!(news(&mut known, &back), []);
    }

    #[test]
    fn a_member_that_is_cut_off_is_not_believed() {
        let info = |text: &str| state(Ok(redis::Value::BulkString(text.into())));
        let ok = "cluster_state:ok\r\ncluster_current_epoch:7\r\n";
        assert_eq!(info(ok), (true, 7));
        assert!(!info("cluster_state:fail\r\ncluster_current_epoch:7\r\n").0);
        assert_eq!(state(Err("NOPERM".into())), (true, 0));
    }
}
