//! The role of a poller for one server: it owns the server, watches it, or took it over from its owner. No I/O.
//!
//! A poller that does not own a server reads how old its oldest record is (a [`Backlog`]). The poller of rank n takes over
//! when that exceeds n × `takeover_after`, so that not all take over at once.
//!
//! A poller that took over cannot see whether the owner is back, since both would drain. So from time to time it stops
//! and waits: a trial. During a trial it takes over again as soon as a record is older than the patience, ten seconds.
//! Each failed trial doubles the time to the next one, so a dead owner costs half a minute of lag per quarter of an
//! hour at most, not `takeover_after` each time. The trial ends when records leave the queues without this poller: another
//! one drains.
//!
//! # Invariants
//!
//! Ages come from the server. Times are of this machine's monotonic clock, and only their differences are used.

use std::time::{Duration, Instant};

use super::Members;

/// The checks in each `takeover_after`.
const CHECKS: u32 = 4;
/// The shortest pause between two checks during a trial: half a command per second.
const TRIAL_PAUSE: Duration = Duration::from_secs(2);
/// The age of a record at which a trial fails, unless the poll interval or `takeover_after` call for another one. An owner
/// that drains may find a new node five seconds late ([`agg_client::nodes::LIST_TTL`]).
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time between two trials is this many times `takeover_after`.
const MAX_PAUSE: u32 = 16;

/// The duty of a poller for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing, since the members are not known yet.
    Waits,
    /// It drains the server.
    Owns,
    /// It watches whether another poller drains the server.
    Watches,
    /// It drains the server because no member before it does.
    TookOver,
}

/// The records in the queues of a server that are routed to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The age of the oldest record, by the server's clock.
    pub oldest: Duration,
    /// The number of records.
    pub length: u64,
    /// The number of records that the server has dropped.
    pub dropped: u64,
}

/// The consequence of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// The old record may be one that no route takes: the nodes have to be read one by one, for [`Role::confirm`].
    Confirm,
}

/// The role of a poller for one server.
#[derive(Debug)]
pub struct Role {
    duty: Duty,
    rank: usize,
    takeover_after: Duration,
    patience: Duration,
    /// The time of the next check.
    check_at: Option<Instant>,
    /// Confirmations are as rare as checks, also if they find nothing.
    confirm_at: Option<Instant>,
    /// The pause between two checks of a trial, if there is one.
    trial: Option<Duration>,
    /// The time to drain before the next trial.
    pause: Duration,
    last: Option<Backlog>,
}

impl Default for Role {
    /// Creates the role for a server about which nothing is known yet.
    fn default() -> Role {
        Role {
            duty: Duty::Waits,
            rank: 0,
            takeover_after: Duration::MAX,
            patience: Duration::MAX,
            check_at: None,
            confirm_at: None,
            trial: None,
            pause: Duration::MAX,
            last: None,
        }
    }
}

impl Role {
    /// Returns what to do about the server.
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// Returns whether to drain the server.
    pub fn drains(&self) -> bool {
        matches!(self.duty, Duty::Owns | Duty::TookOver)
    }

    /// Returns when to read the backlog, if ever.
    pub fn next_check(&self) -> Option<Instant> {
        self.check_at
    }

    /// Notes that there is no fleet: this poller drains the server.
    pub fn set_alone(&mut self) {
        self.rank = 0;
        self.own();
    }

    fn own(&mut self) {
        self.duty = Duty::Owns;
        self.pause = self.takeover_after;
        (self.check_at, self.trial, self.last) = (None, None, None);
    }

    /// Takes the present members, and the identity of the server. As long as no members are known nothing changes.
    pub fn assign(&mut self, members: &Members, server: &str, now: Instant) {
        if members.names.is_empty() {
            return;
        }
        if self.takeover_after != members.takeover_after {
            self.pause = members.takeover_after;
        }
        self.takeover_after = members.takeover_after;
        self.patience = PATIENCE
            .max(4 * members.poll_interval)
            .min(members.takeover_after / 2);
        self.rank = members.rank(server);
        match (self.rank, self.duty) {
            (0, Duty::Owns) | (1.., Duty::Watches | Duty::TookOver) => {}
            (0, _) => self.own(),
            (_, Duty::Waits | Duty::Owns) => {
                self.duty = Duty::Watches;
                self.check_at = Some(now + self.interval().mul_f64(members.phase(server)));
            }
        }
    }

    /// Takes the backlog that was read at a check; `None` if the server does not show it for all nodes at once.
    pub fn note(&mut self, backlog: Option<Backlog>, now: Instant) -> Step {
        let last = std::mem::replace(&mut self.last, backlog);
        if let (Some(last), Some(backlog)) = (last, backlog)
            && self.duty == Duty::Watches
            && backlog.length < last.length
            && backlog.dropped == last.dropped
        {
            // Records left the queues, and this poller did not fetch them: another one drains.
            (self.trial, self.pause) = (None, self.takeover_after);
        }
        let is_old = backlog.is_none_or(|backlog| backlog.oldest >= self.threshold());
        let may_confirm = self.confirm_at.is_none_or(|at| at <= now);
        match (self.duty, is_old) {
            (Duty::Watches | Duty::TookOver, true) if may_confirm => {
                self.confirm_at = Some(now + self.interval());
                return Step::Confirm;
            }
            (Duty::TookOver, false) => self.start_trial(now),
            _ => self.wait(now),
        }
        Step::Stay
    }

    /// Takes the age of the oldest record that a route takes. Returns whether the poller takes over.
    pub fn confirm(&mut self, oldest: Duration, now: Instant) -> bool {
        let is_old = oldest >= self.threshold();
        match (self.duty, is_old) {
            (Duty::Watches, true) => {
                if self.trial.take().is_some() {
                    self.pause = (self.pause * 2).min(self.takeover_after * MAX_PAUSE);
                }
                self.duty = Duty::TookOver;
                self.check_at = Some(now + self.pause);
                (self.last, self.confirm_at) = (None, None);
                true
            }
            (Duty::TookOver, false) => {
                self.start_trial(now);
                false
            }
            _ => {
                self.wait(now);
                false
            }
        }
    }

    /// The age of a record at which no poller seems to drain the server.
    fn threshold(&self) -> Duration {
        match (self.duty, self.trial) {
            (Duty::TookOver, _) | (_, Some(_)) => self.patience,
            _ => {
                let rank = u32::try_from(self.rank).unwrap_or(u32::MAX);
                self.takeover_after.saturating_mul(rank)
            }
        }
    }

    fn interval(&self) -> Duration {
        self.takeover_after / CHECKS
    }

    fn start_trial(&mut self, now: Instant) {
        self.duty = Duty::Watches;
        self.trial = Some(TRIAL_PAUSE.min(self.interval()));
        self.wait(now);
    }

    /// Sets the time of the next check. The checks of a trial become rarer.
    fn wait(&mut self, now: Instant) {
        let interval = self.interval();
        let pause = match &mut self.trial {
            Some(pause) => {
                let this = *pause;
                *pause = (*pause * 3 / 2).min(interval);
                this
            }
            None => interval,
        };
        self.check_at = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn members(me: &str, names: &[&str]) -> Members {
        Members {
            me: me.into(),
            names: names.iter().map(|name| name.to_string()).collect(),
            takeover_after: 60 * SECOND,
            poll_interval: SECOND,
        }
    }

    /// A server whose order is p1, p2, p3.
    fn server() -> String {
        let names = ["p1", "p2", "p3"];
        let in_order = |server: &String| {
            let ranks = names.map(|me| members(me, &names).rank(server));
            ranks == [0, 1, 2]
        };
        let mut servers = (0..).map(|n| format!("s{n}"));
        servers.find(in_order).unwrap()
    }

    fn role(me: &str, now: Instant) -> Role {
        let mut role = Role::default();
        role.assign(&members(me, &["p1", "p2", "p3"]), &server(), now);
        role
    }

    fn backlog(oldest: u64, length: u64) -> Option<Backlog> {
        Some(Backlog {
            oldest: seconds(oldest),
            length,
            dropped: 0,
        })
    }

    /// A role, and the time of the test.
    struct Sim {
        role: Role,
        start: Instant,
        now: Instant,
    }

    impl Sim {
        fn new(me: &str) -> Sim {
            let now = Instant::now();
            let role = role(me, now);
            Sim {
                role,
                start: now,
                now,
            }
        }

        /// Runs the next check, at which the oldest record was queued at this second of the test, if there is one.
        fn check(&mut self, queued: Option<u64>) -> Duty {
            self.now = self.now.max(self.role.next_check().unwrap());
            let age = queued.map_or(Duration::ZERO, |at| self.elapsed() - seconds(at));
            let backlog = Backlog {
                oldest: age,
                length: queued.is_some().into(),
                dropped: 0,
            };
            if self.role.note(Some(backlog), self.now) == Step::Confirm {
                self.role.confirm(age, self.now);
            }
            self.role.duty()
        }

        fn elapsed(&self) -> Duration {
            self.now - self.start
        }
    }

    #[test]
    fn first_member_drains_and_the_others_watch() {
        let now = Instant::now();
        assert_eq!(role("p1", now).duty(), Duty::Owns);
        assert_eq!(role("p1", now).next_check(), None);
        for me in ["p2", "p3"] {
            let role = role(me, now);
            assert_eq!(role.duty(), Duty::Watches);
            assert!(role.next_check().unwrap() <= now + 15 * SECOND);
        }
        assert_eq!(Role::default().duty(), Duty::Waits);
        assert!(!Role::default().drains());
    }

    #[test]
    fn second_member_takes_over_before_the_third() {
        for (me, limit) in [("p2", 60), ("p3", 120)] {
            let mut sim = Sim::new(me);
            while sim.check(Some(0)) == Duty::Watches {}
            let took = sim.elapsed();
            assert!(
                (limit * SECOND..(limit + 15) * SECOND).contains(&took),
                "{me}: {took:?}"
            );
        }
    }

    #[test]
    fn record_that_no_route_takes_is_no_reason() {
        let mut role = role("p2", Instant::now());
        let mut confirmations = 0;
        let start = Instant::now();
        let mut now = start;
        while now < start + 3600 * SECOND {
            now = role.next_check().unwrap();
            if role.note(backlog(7200, 9), now) == Step::Confirm {
                confirmations += 1;
                assert!(!role.confirm(SECOND, now));
            }
        }
        assert!((230..=241).contains(&confirmations), "{confirmations}");
        assert_eq!(role.duty(), Duty::Watches);
    }

    #[test]
    fn server_that_shows_no_backlog_is_read_node_by_node() {
        let mut role = role("p2", Instant::now());
        let now = role.next_check().unwrap();
        assert_eq!(role.note(None, now), Step::Confirm);
        assert!(role.confirm(60 * SECOND, now));
    }

    #[test]
    fn dead_owner_costs_less_each_time() {
        // A record each 10 s, which is stored within the poll interval while this poller drains.
        let mut sim = Sim::new("p2");
        let mut delays = Vec::new();
        let mut taken_at = None;
        while sim.elapsed() < 6 * 3600 * SECOND {
            let check = (sim.role.next_check().unwrap() - sim.start).as_secs_f64();
            let newest = (check / 10.0).floor() as u64 * 10;
            let drained = match (sim.role.drains(), taken_at) {
                (true, _) => newest,
                (false, last) => last.unwrap_or(0),
            };
            let before = sim.role.duty();
            let oldest = (drained < newest).then_some(drained + 10);
            let after = sim.check(oldest);
            if (before, after) == (Duty::Watches, Duty::TookOver) {
                delays.push(sim.elapsed() - seconds(drained + 10));
            }
            if before == Duty::TookOver {
                taken_at = Some(newest);
            }
        }
        assert!(
            delays[0] >= 60 * SECOND && delays[0] <= 75 * SECOND,
            "{delays:?}"
        );
        assert!(
            delays[1..].iter().all(|delay| *delay <= 25 * SECOND),
            "{delays:?}"
        );
        // Pauses of 1, 2, 4, 8, 16, 16 ... minutes.
        assert!((20..30).contains(&delays.len()), "{}", delays.len());
    }

    #[test]
    fn trial_ends_when_somebody_drains() {
        let mut sim = Sim::new("p2");
        while sim.check(Some(0)) == Duty::Watches {}
        assert_eq!(sim.check(None), Duty::Watches);
        // A record waits, and is gone: then one may wait for as long as at first.
        let now = sim.elapsed().as_secs();
        sim.check(Some(now));
        sim.check(None);
        let now = sim.elapsed().as_secs();
        while sim.check(Some(now)) == Duty::Watches {}
        assert!(sim.elapsed() - seconds(now) >= 59 * SECOND);
    }

    #[test]
    fn dropped_records_do_not_end_a_trial() {
        let mut sim = Sim::new("p2");
        while sim.check(Some(0)) == Duty::Watches {}
        sim.check(None);
        for (length, dropped) in [(5, 0), (1, 4)] {
            let backlog = Backlog {
                oldest: SECOND,
                length,
                dropped,
            };
            sim.role.note(Some(backlog), sim.now);
        }
        assert!(sim.role.trial.is_some());
    }

    #[test]
    fn idle_watcher_checks_four_times_per_takeover_time() {
        let mut sim = Sim::new("p3");
        let mut checks = 0;
        while sim.elapsed() < 3600 * SECOND {
            sim.check(None);
            checks += 1;
        }
        assert!((240..=242).contains(&checks), "{checks}");
    }

    #[test]
    fn change_of_members_moves_the_server() {
        let (now, server) = (Instant::now(), server());
        let mut role = role("p2", now);
        role.assign(&members("p2", &["p2", "p3"]), &server, now);
        assert_eq!(role.duty(), Duty::Owns);
        role.assign(&members("p2", &["p1", "p2", "p3"]), &server, now);
        assert_eq!(role.duty(), Duty::Watches);
        // One that took over stays, whatever its rank.
        let mut sim = Sim::new("p3");
        while sim.check(Some(0)) == Duty::Watches {}
        sim.role
            .assign(&members("p3", &["p1", "p3"]), &server, sim.now);
        assert_eq!(sim.role.duty(), Duty::TookOver);
    }
}
