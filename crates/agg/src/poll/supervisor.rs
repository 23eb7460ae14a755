//! What systemd is told of a poller that it started as `Type=notify`: that it is ready, reads its settings anew, ends,
//! that it still works (`WatchdogSec=`), and how things are, for `systemctl status`. Where nobody asked for it nothing is
//! told, and that it could not be told is no reason to do anything else. The words are those of sd_notify(3).

use std::time::{Duration, Instant, SystemTime};

use sd_notify::NotifyState;

use aggregator_protocol::masking;

use super::status::Status;
use super::web::view::{State, View, count};

/// Between two words on how things are while all is well: the state of many servers is put together for it. Else there is
/// one at each look, so that nobody reads of trouble that is over, as at the start.
const EVERY: Duration = Duration::from_secs(10);

/// What the end takes beyond the grace that the settings give it.
const MORE: Duration = Duration::from_secs(5);

/// Who started the poller, where somebody wants to be told.
pub struct Supervisor {
    listens: bool,
    next: Option<Instant>,
}

impl Supervisor {
    /// As the environment says.
    pub fn of_environment() -> Supervisor {
        Supervisor {
            listens: std::env::var_os("NOTIFY_SOCKET").is_some(),
            next: None,
        }
    }

    /// It works, or works on with settings that were read anew.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// It reads its settings anew.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        match now {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// It comes to its end, for which it has this time, whatever the unit says.
    pub fn ending(&self, grace: Duration) {
        let time = u32::try_from(grace.saturating_add(MORE).as_micros()).unwrap_or(u32::MAX);
        tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(time),
            NotifyState::Status("ending: gives back what the sinks do not have"),
        ]);
    }

    /// It still works, and how.
    pub fn works(&mut self, status: &Status) {
        if !self.listens {
            return;
        }
        tell(&[NotifyState::Watchdog]);
        let now = Instant::now();
        if self.next.is_none_or(|next| next <= now) {
            let view = View::of(status, &Default::default(), SystemTime::now());
            self.next = (view.state == State::Ok).then_some(now + EVERY);
            tell(&[NotifyState::Status(&sentence(&view))]);
        }
    }
}

fn tell(words: &[NotifyState<'_>]) {
    // It does nothing where nobody listens.
    let _ = sd_notify::notify(words);
}

/// How things are, in one line.
fn sentence(view: &View) -> String {
    let totals = &view.totals;
    let servers = count(totals.servers as u64, "server");
    let mut text = format!(
        "{} of {servers} up, {}, {} waiting, {} stored",
        totals.servers_up,
        count(totals.nodes as u64, "node"),
        count(totals.waiting, "record"),
        totals.stored
    );
    if let Some(worst) = view.problems.first()
        && view.state != State::Ok
    {
        // A line of this protocol is one: a name may hold anything.
        text = format!("{text}; {}", masking::text(&worst.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::web::made_up;

    #[test]
    fn a_line_says_how_it_is_and_what_is_worst() {
        let good = sentence(&made_up::view(&made_up::good(300)));
        assert!(good.contains("300 nodes") && !good.contains(';'), "{good}");
        let bad = sentence(&made_up::view(&made_up::bad(300)));
        assert!(
            bad.contains("; the sink influx has failed for 3 min"),
            "{bad}"
        );
        assert!(!bad.contains(masking::is_hidden), "{bad}");
    }
}
