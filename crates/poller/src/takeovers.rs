//! The servers that this poller takes over from other members of its fleet and hands back: a counter, and messages that
//! name several servers at once. When a member with 3,000 servers dies, its successors would otherwise log a line for
//! each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aggregator_protocol::format::count;
use parking_lot::Mutex;

/// The shortest pause between two messages of the same kind. The servers of a dead member are taken over within a quarter
/// of `takeover-after`, 15 s by default: that is two or three messages.
const PAUSE: Duration = Duration::from_secs(10);
/// The maximum number of servers that a message names.
const MAX_NAMES: usize = 3;

/// The servers taken over and handed back.
#[derive(Default)]
pub struct Takeovers {
    count: AtomicU64,
    taken: Mutex<Group>,
    returned: Mutex<Group>,
}

/// Servers that no message has named yet.
#[derive(Default)]
struct Group {
    servers: u64,
    /// The addresses of the first of them.
    names: Vec<String>,
    /// The age of the oldest record of all.
    oldest: Duration,
    /// The time of the last message.
    written_at: Option<Instant>,
}

impl Takeovers {
    /// Returns how many times a server was taken over.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Notes that a server was taken over because its oldest record had this age.
    pub fn note_taken(&self, address: &str, oldest: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.taken.lock().add(address, oldest);
    }

    /// Notes that a server that was drained is left to its owner.
    pub fn note_returned(&self, address: &str) {
        self.returned.lock().add(address, Duration::ZERO);
    }

    /// Logs a message for the servers since the last one, unless that was a moment ago. To be called every few seconds.
    pub fn report(&self, now: Instant) {
        let [taken, returned] = [&self.taken, &self.returned].map(|group| group.lock().take(now));
        if let Some(group) = taken {
            tracing::warn!("{}", group.taken());
        }
        if let Some(group) = returned {
            tracing::info!("{}", group.returned());
        }
    }
}

impl Group {
    fn add(&mut self, address: &str, oldest: Duration) {
        self.servers += 1;
        self.oldest = self.oldest.max(oldest);
        if self.names.len() < MAX_NAMES {
            self.names.push(address.to_owned());
        }
    }

    /// Returns the servers for a message, if there are any and the last message was not a moment ago.
    fn take(&mut self, now: Instant) -> Option<Group> {
        let is_due = self.written_at.is_none_or(|at| now >= at + PAUSE);
        if self.servers == 0 || !is_due {
            return None;
        }
        let empty = Group {
            written_at: Some(now),
            ..Group::default()
        };
        Some(std::mem::replace(self, empty))
    }

    fn taken(&self) -> String {
        let (names, seconds) = (self.list(), self.oldest.as_secs());
        match self.servers {
            1 => format!(
                "no poller drains {names}: its oldest record is {seconds} s old; taking it over"
            ),
            _ => format!(
                "no poller drains {names}: the oldest record is {seconds} s old; taking them over"
            ),
        }
    }

    fn returned(&self) -> String {
        let names = self.list();
        match self.servers {
            1 => format!("{names} is left to the poller that owns it"),
            _ => format!("{names} are left to the pollers that own them"),
        }
    }

    /// Lists the servers: `a`, `2 servers (a, b)`, `9 servers (a, b, c, ...)`.
    fn list(&self) -> String {
        let names = self.names.join(", ");
        let rest = match self.servers > self.names.len() as u64 {
            true => ", ...",
            false => "",
        };
        match self.servers {
            1 => names,
            servers => format!("{} ({names}{rest})", count(servers, "server")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_server_is_named() {
        let (takeovers, now) = (Takeovers::default(), Instant::now());
        takeovers.note_taken("redis://a", 61 * SECOND);
        takeovers.note_returned("redis://a");
        assert_eq!(
            takeovers.taken.lock().take(now).unwrap().taken(),
            "no poller drains redis://a: its oldest record is 61 s old; taking it over"
        );
        assert_eq!(
            takeovers.returned.lock().take(now).unwrap().returned(),
            "redis://a is left to the poller that owns it"
        );
    }

    #[test]
    fn many_servers_are_one_message_with_some_names() {
        let (takeovers, now) = (Takeovers::default(), Instant::now());
        for server in 0..3000 {
            takeovers.note_taken(&format!("s{server}"), (61 + server % 9) * SECOND);
        }
        for server in ["s8", "s9"] {
            takeovers.note_returned(server);
        }
        assert_eq!(
            takeovers.taken.lock().take(now).unwrap().taken(),
            "no poller drains 3,000 servers (s0, s1, s2, ...): the oldest record is 69 s old; taking them over"
        );
        assert_eq!(
            takeovers.returned.lock().take(now).unwrap().returned(),
            "2 servers (s8, s9) are left to the pollers that own them"
        );
        assert_eq!(takeovers.count(), 3000);
    }

    #[test]
    fn messages_are_rare_and_name_each_server_once() {
        let (takeovers, start) = (Takeovers::default(), Instant::now());
        let (mut messages, mut servers) = (0, 0);
        // 3,000 servers within 15 s, as after the death of a member, and checks every two seconds.
        for second in 0..60 {
            for _ in 0..(if second < 15 { 200 } else { 0 }) {
                takeovers.note_taken("s", SECOND);
            }
            if second % 2 == 1 {
                let group = takeovers.taken.lock().take(start + second * SECOND);
                messages += usize::from(group.is_some());
                servers += group.map_or(0, |group| group.servers);
            }
        }
        assert_eq!((messages, servers), (3, 3000));
    }
}
