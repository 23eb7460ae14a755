//! The heartbeat of a poller: its entry in a list on a Redis server, by which the pollers of a fleet know each other.
//!
//! The entries are members of a sorted set: the name of a poller, and a random text that differs with each start of the
//! program. The score is the time of the last heartbeat.
//!
//! # Invariants
//!
//! - All times are the server's, so the clocks of the pollers do not matter.
//! - A server that is down changes nothing: the last list stays in force, for however long.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection};
use agg_client::reply::{self, Value};
use agg_client::{Shutdown, WarnOnce};
use aggregator_protocol::format;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::config::{Registry, is_member_name};

/// The heartbeats in each `forget_after`: some may be late or lost.
const BEATS: u32 = 6;
/// The time that a heartbeat may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A poller that cannot read the list at its start drains everything after this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// The maximum number of entries that are read.
const MAX_ENTRIES: usize = 1000;

/// Adds an entry, removes those that are too old or, after the clock was set back, too far in the future, and returns the
/// others.
const BEAT: &str = "\
local time = redis.call('TIME')
local now, age = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
local text = function(ms) return string.format('%.0f', ms) end
redis.call('ZADD', KEYS[1], text(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. text(now - age))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. text(now + age), '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZREVRANGE', KEYS[1], 0, ARGV[3] - 1, 'WITHSCORES')";

/// Returns the number of entries, by a command that heartbeats need as well.
const COUNT: &str = "return #redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)";

/// Connects to the server of a fleet and reads the list, without adding an entry. Returns a description.
///
/// # Errors
///
/// The server cannot be reached, or the user may not run a script or read the list.
pub async fn check(registry: &Registry) -> Result<String, String> {
    let read = async {
        let mut connection = registry.server.connect().await?;
        let mut command = Cmd::new("EVAL");
        command.arg(COUNT).arg(1).arg(&registry.key);
        match connection.call(command.arg(MAX_ENTRIES)).await? {
            Ok(count) => Ok(reply::int(&count).unwrap_or_default()),
            Err(error) => Err(connection.rejected("EVAL", &error)),
        }
    };
    let count: Result<i64, ClientError> = read.await;
    match count {
        Ok(count) => Ok(format!(
            "{} in {}",
            format::count(count.unsigned_abs(), "poller"),
            registry.key
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// The heartbeat of this poller.
pub struct Heartbeat {
    registry: Registry,
    me: String,
    entry: String,
    connection: Option<Connection>,
    /// The last heartbeat of each other entry with the same name.
    twins: BTreeMap<String, u64>,
    once: WarnOnce,
    has_failed: bool,
}

impl Heartbeat {
    /// Creates the heartbeat of the poller of this name. Nothing is sent yet.
    pub fn new(registry: Registry, me: &str) -> Heartbeat {
        // Each state of the hasher is random.
        let random = RandomState::new().build_hasher().finish();
        Heartbeat {
            registry,
            me: me.to_owned(),
            entry: format!("{me} {random:016x}"),
            connection: None,
            twins: BTreeMap::new(),
            once: WarnOnce::default(),
            has_failed: false,
        }
    }

    /// Beats until `stop` is dropped or shutdown is requested, and passes on the names of all pollers after each beat. Then
    /// removes the entry, so that the other pollers need not wait until it is too old.
    pub async fn run(
        mut self,
        mut stop: oneshot::Receiver<()>,
        shutdown: Shutdown,
        publish: impl Fn(Vec<String>),
    ) {
        let start = Instant::now();
        let mut is_known = false;
        let mut next = start;
        loop {
            tokio::select! {
                names = self.beat() => match names {
                    Some(names) => {
                        publish(names);
                        is_known = true;
                    }
                    None if !is_known && start.elapsed() >= PATIENCE => {
                        publish(vec![self.me.clone()]);
                        is_known = true;
                    }
                    None => {}
                },
                _ = &mut stop => break,
                () = shutdown.requested() => break,
            }
            let pause = self.registry.forget_after / BEATS;
            // Soon, until there is a list.
            next = match is_known {
                true => (next + pause).max(Instant::now()),
                false => Instant::now() + pause.min(Duration::from_secs(1)),
            };
            tokio::select! {
                () = sleep_until(next) => {}
                _ = &mut stop => break,
                () = shutdown.requested() => break,
            }
        }
        let mut remove = Cmd::new("ZREM");
        remove.arg(&self.registry.key).arg(&self.entry);
        // If it fails, the entry expires.
        let _ = timeout(TIMEOUT, self.call(&remove)).await;
    }

    /// Beats once. Returns the names of all pollers, or `None` if the server does not answer.
    async fn beat(&mut self) -> Option<Vec<String>> {
        let mut command = Cmd::new("EVAL");
        command.arg(BEAT).arg(1).arg(&self.registry.key);
        command.arg(&self.entry);
        command.arg(self.registry.forget_after.as_millis() as u64);
        command.arg(MAX_ENTRIES);
        let endpoint = self.registry.server.endpoint().to_owned();
        let reason = match timeout(TIMEOUT, self.call(&command)).await {
            Ok(Ok(value)) => match entries(value) {
                Some(entries) => {
                    if std::mem::take(&mut self.has_failed) {
                        tracing::info!("fleet: {endpoint} answers again");
                    }
                    self.once = WarnOnce::default();
                    self.note_twins(&entries);
                    return Some(self.names(&entries));
                }
                None => format!("{endpoint}: unexpected reply to EVAL"),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{endpoint}: no answer within {} s", TIMEOUT.as_secs()),
        };
        self.connection = None;
        self.has_failed = true;
        self.once.warn(&format!(
            "fleet: {reason}; keeping the last list of members"
        ));
        None
    }

    async fn call(&mut self, command: &Cmd) -> Result<Value, ClientError> {
        // Kept only after a success: a connection whose call was cut off cannot be used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.registry.server.connect().await?,
        };
        let value = match connection.call(command).await? {
            Ok(value) => value,
            Err(error) => return Err(connection.rejected("EVAL", &error)),
        };
        self.connection = Some(connection);
        Ok(value)
    }

    fn names(&self, entries: &[(String, u64)]) -> Vec<String> {
        let names = entries.iter().filter_map(|(entry, _)| name(entry));
        let names = names.chain([self.me.as_str()]);
        let names: BTreeSet<&str> = names.collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Warns of another poller with the same name. The entry of this poller's last run is no such poller: nobody renews
    /// it.
    fn note_twins(&mut self, entries: &[(String, u64)]) {
        for (entry, beat) in entries {
            if name(entry) != Some(&self.me) || *entry == self.entry {
                continue;
            }
            let first = *self.twins.entry(entry.clone()).or_insert(*beat);
            if *beat > first {
                tracing::warn!(
                    "fleet: another poller has the name {:?}: both drain the same servers",
                    self.me
                );
                // Once for each.
                self.twins.insert(entry.clone(), u64::MAX);
            }
        }
        let is_present = |entry: &String| entries.iter().any(|(present, _)| present == entry);
        self.twins.retain(|entry, _| is_present(entry));
    }
}

/// Returns the name of an entry, if it is one.
fn name(entry: &str) -> Option<&str> {
    let (name, _) = entry.split_once(' ')?;
    is_member_name(name).then_some(name)
}

/// Reads the entries and their times.
fn entries(value: Value) -> Option<Vec<(String, u64)>> {
    let mut items = reply::items(value)?.into_iter();
    let mut entries = Vec::new();
    while let (Some(entry), Some(time)) = (items.next(), items.next()) {
        if entries.len() == MAX_ENTRIES {
            return None;
        }
        // Who else may write the key may write anything.
        let Some(entry) = reply::text(entry) else {
            continue;
        };
        let time: f64 = reply::text(time)?.parse().ok()?;
        entries.push((entry, time as u64));
    }
    // This poller's own is always among them.
    (!entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agg_client::{Access, Server};

    use super::*;

    fn heartbeat() -> Heartbeat {
        let registry = Registry {
            server: Server::parse("redis://h", &Access::default()).unwrap(),
            key: "agg:fleet:agg".into(),
            forget_after: Duration::from_secs(30),
        };
        Heartbeat::new(registry, "p1")
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn entries_become_names() {
        let list = [
            "p2 0001", "10", "p1 0002", "11", "p1 0003", "12", "no-blank", "1", "a/b 1", "1",
        ];
        let value = Value::Array(list.iter().map(|text| bulk(text)).collect());
        let entries = entries(value).unwrap();
        assert_eq!(entries.len(), 5);
        assert_eq!(heartbeat().names(&entries), ["p1", "p2"]);
        assert_eq!(heartbeat().names(&[]), ["p1"]);
        assert!(super::entries(Value::Nil).is_none());
        let no_time = Value::Array(vec![bulk("p1 1"), bulk("x")]);
        assert!(super::entries(no_time).is_none());
    }

    #[test]
    fn entry_that_nobody_renews_is_no_twin() {
        let mut heartbeat = heartbeat();
        let own = heartbeat.entry.clone();
        let entries = |time| vec![(own.clone(), time), ("p1 0001".to_owned(), time)];
        heartbeat.note_twins(&entries(5));
        heartbeat.note_twins(&entries(5));
        assert_eq!(heartbeat.twins["p1 0001"], 5);
        heartbeat.note_twins(&entries(6));
        assert_eq!(heartbeat.twins["p1 0001"], u64::MAX);
        heartbeat.note_twins(&[]);
        assert!(heartbeat.twins.is_empty());
    }
}
