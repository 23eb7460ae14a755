//! The duty of a drainer in a fleet: reads whose server it is, and how old its oldest record is.
//!
//! # Invariants
//!
//! A check of a server that another poller drains is one command, `INFO`, whatever the number of nodes. Only if that
//! shows an old record the nodes are read, since it may be one that no route takes.

use std::time::{Duration, Instant};

use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection};
use agg_client::reply;
use aggregator_protocol::Queue;

use crate::ownership::{Backlog, Duty, Step};

use super::Drainer;

/// The longest identity that a server is believed to have, bytes.
const MAX_IDENTITY: usize = 128;

impl Drainer {
    /// Takes the members of the fleet, if they have changed. Reads the identity of the server, by which all pollers of
    /// the fleet agree on its owner, if a fleet needs it for the first time on this connection.
    pub(super) async fn take_members(&mut self, wire: &mut Connection) -> Result<(), ClientError> {
        if !self.members.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let members = self.members.borrow_and_update().clone();
        let before = self.role.drains();
        match members {
            Some(members) => {
                let known = match self.identity.take() {
                    Some(known) => known,
                    None => identity(wire, &self.id).await?,
                };
                self.role.assign(&members, &known, Instant::now());
                self.identity = Some(known);
            }
            None => self.role.set_alone(),
        }
        self.changed_duty(before);
        Ok(())
    }

    /// Checks how old the oldest record is, if that is due, and takes over or stops draining.
    pub(super) async fn attend(&mut self, wire: &mut Connection) -> Result<(), ClientError> {
        let due = self.role.next_check();
        if due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        let before = self.role.drains();
        let backlog = self.backlog(wire).await?;
        if let Some(backlog) = backlog {
            self.status.lock().watched_lag = backlog.oldest;
        }
        if self.role.note(backlog, Instant::now()) == Step::Confirm {
            self.scan(wire).await?;
            let oldest = self.oldest_routed();
            self.status.lock().watched_lag = oldest;
            if self.role.confirm(oldest, Instant::now()) {
                let takeovers = self.status.lock().takeovers.clone();
                takeovers.note_taken(wire.endpoint(), oldest);
            }
        }
        self.changed_duty(before);
        Ok(())
    }

    /// Notes the duty. A drainer that does not drain forgets the nodes: reading them would be work for the server.
    fn changed_duty(&mut self, drained: bool) {
        let drains = self.role.drains();
        let duty = self.role.duty();
        let mut status = self.status.lock();
        if drained && !drains && duty == Duty::Watches {
            status.takeovers.note_returned(&status.address);
        }
        status.duty = duty;
        if drains {
            if !drained {
                self.next_scan = Instant::now();
            }
            return;
        }
        status.nodes.clear();
        drop(status);
        self.node_queues.clear();
        self.reserved = None;
        self.still_blocked = false;
    }

    /// Returns the records in the queues that any route takes, or `None` if the server does not show them.
    async fn backlog(&self, wire: &mut Connection) -> Result<Option<Backlog>, ClientError> {
        let Some(text) = ask(wire, Cmd::new("INFO").arg("agg_queues")).await? else {
            return Ok(None);
        };
        let is_routed = |queue: &Queue| {
            let mut routes = self.table.routes.iter();
            routes.any(|route| route.queues.contains(queue))
        };
        let queues: Vec<Queue> = Queue::ALL.into_iter().filter(is_routed).collect();
        Ok(read(&text, &queues))
    }

    /// Returns the age of the oldest record that a route takes, by the last scan.
    fn oldest_routed(&self) -> Duration {
        let status = self.status.lock();
        let ages = self.node_queues.iter().map(|queue| {
            let node = status.nodes.get(&queue.node.to_string());
            match node.and_then(|node| node.queues[queue.queue as usize]) {
                Some(queue) => Duration::from_millis(queue.oldest_ms),
                // A node that the user may not read may have a record of any age.
                None => Duration::MAX,
            }
        });
        ages.max().unwrap_or_default()
    }
}

/// Reads the identity of a server: something that is the same for all pollers, however their sources name the server.
///
/// - A service that Sentinels watch is the service, so that it keeps its owner in a failover.
/// - The members of a shard of a cluster are the shard, for the same reason. Redis 7.0 gives shards no identity: there it
///   is the lowest slot, which changes only if slots are moved.
/// - Any other server is this run of it. It changes with a restart, when all pollers connect again anyway.
/// - If the server does not tell, it is what the source calls it.
async fn identity(wire: &mut Connection, id: &str) -> Result<String, ClientError> {
    if id.starts_with("sentinel:") {
        return Ok(id.to_owned());
    }
    let info = ask(wire, Cmd::new("INFO").arg("server").arg("cluster")).await?;
    let text = info.unwrap_or_default();
    if field(&text, "cluster_enabled") == Some("1") {
        let shard = ask(wire, Cmd::new("CLUSTER").arg("MYSHARDID")).await?;
        if let Some(shard) = shard.filter(|id| is_plausible(id)) {
            return Ok(format!("shard:{shard}"));
        }
        let nodes = ask(wire, Cmd::new("CLUSTER").arg("NODES")).await?;
        if let Some(slot) = lowest_slot(&nodes.unwrap_or_default()) {
            return Ok(format!("slot:{slot}"));
        }
    }
    Ok(match field(&text, "run_id").filter(|id| is_plausible(id)) {
        Some(run) => format!("run:{run}"),
        None => id.to_owned(),
    })
}

/// Returns the text that the server replies, or `None` if the user may not run the command or the server lacks it.
async fn ask(wire: &mut Connection, command: &Cmd) -> Result<Option<String>, ClientError> {
    match wire.call(command).await {
        Ok(reply) => Ok(reply.ok().and_then(reply::text)),
        // What a client takes any unknown command for. Servers may have renamed INFO.
        Err(ClientError::NoModule { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_plausible(identity: &str) -> bool {
    (1..=MAX_IDENTITY).contains(&identity.len())
}

/// Returns a field of INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Returns the lowest slot of the server that replied to CLUSTER NODES, if it has one.
fn lowest_slot(nodes: &str) -> Option<u16> {
    let is_own = |line: &&str| {
        let flags = line.split_ascii_whitespace().nth(2);
        flags.is_some_and(|flags| flags.split(',').any(|flag| flag == "myself"))
    };
    let own = nodes.lines().find(is_own)?;
    // Behind the state of the link are ranges, single slots, and slots that move, which are in brackets.
    let ranges = own.split_ascii_whitespace().skip(8);
    let first = |range: &str| range.split('-').next()?.parse().ok();
    ranges.filter_map(first).min()
}

/// Reads the records of these queues from `INFO agg_queues`; `None` if it does not have them.
fn read(info: &str, queues: &[Queue]) -> Option<Backlog> {
    let mut sum = Backlog {
        oldest: Duration::ZERO,
        length: 0,
        dropped: 0,
    };
    for queue in queues {
        let name = queue.name().to_lowercase();
        let number = |what: &str| -> Option<u64> {
            field(info, &format!("agg_{name}_{what}"))?.parse().ok()
        };
        sum.oldest = sum.oldest.max(Duration::from_millis(number("oldest")?));
        sum.length = sum.length.saturating_add(number("length")?);
        sum.dropped = sum.dropped.saturating_add(number("dropped")?);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# agg_queues\r\nagg_min_length:3\r\nagg_min_bytes:9\r\nagg_min_oldest:70000\r\n\
        agg_min_leased:0\r\nagg_min_dropped:2\r\nagg_log_length:4\r\nagg_log_oldest:1500\r\nagg_log_dropped:1\r\n";

    #[test]
    fn backlog_is_of_the_routed_queues() {
        let of = |queues: &[Queue]| {
            read(INFO, queues).map(|sum| (sum.oldest.as_millis(), sum.length, sum.dropped))
        };
        assert_eq!(of(&[Queue::Log]), Some((1500, 4, 1)));
        assert_eq!(of(&[Queue::Min, Queue::Log]), Some((70_000, 7, 3)));
        assert_eq!(of(&[]), Some((0, 0, 0)));
        assert_eq!(of(&[Queue::Hour]), None);
    }

    #[test]
    fn lowest_slot_is_that_of_the_server_itself() {
        let nodes = "07c3 127.0.0.1:1@2,host 1 master - 0 17 4 connected 0-100\n\
            e7d1 127.0.0.1:3@4 myself,master - 0 0 2 connected 5461-10922 300 12000-16383 [7-<-07c3]\n";
        assert_eq!(lowest_slot(nodes), Some(300));
        let replica = "07c3 127.0.0.1:1@2 myself,slave e7d1 0 17 4 connected\n";
        for nodes in [replica, "", "myself", "a b myself d e f g h x-y 70000"] {
            assert_eq!(lowest_slot(nodes), None, "{nodes}");
        }
    }

    #[test]
    fn anything_but_numbers_is_not_read() {
        for info in [
            "",
            "agg_log_oldest:-1",
            "agg_log_oldest:x\nagg_log_length:1\nagg_log_dropped:0",
        ] {
            assert_eq!(read(info, &[Queue::Log]), None);
        }
    }
}
