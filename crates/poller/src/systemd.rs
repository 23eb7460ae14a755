//! Notifies systemd, which started the poller as `Type=notify`: ready, reloading, stopping, the heartbeat of
//! `WatchdogSec=`, and a status line for `systemctl status`. The protocol is sd_notify(3).
//!
//! Without a notification socket nothing is sent. A notification that cannot be sent is ignored.

use std::time::{Duration, Instant, SystemTime};

use sd_notify::NotifyState;

use aggregator_protocol::masking;

use super::status::Status;
use super::web::view::{State, View};
use aggregator_protocol::format::count;

/// The pause between two status lines while all is healthy: the line summarizes the state of many servers. Otherwise
/// there is one with each heartbeat, so that nobody reads of a failure that is over, as at the start.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The time that stopping takes beyond the grace period of the configuration.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Sends the notifications.
pub struct SystemdNotifier {
    is_enabled: bool,
    next_status: Option<Instant>,
}

impl SystemdNotifier {
    /// Creates a notifier for the socket that the environment names.
    pub fn from_env() -> SystemdNotifier {
        SystemdNotifier {
            is_enabled: std::env::var_os("NOTIFY_SOCKET").is_some(),
            next_status: None,
        }
    }

    /// Reports that the poller has started or reloaded.
    pub fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    /// Reports that the poller reloads its configuration.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        match now {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// Reports that the poller stops, and extends the timeout of the unit to the grace period.
    pub fn stopping(&self, grace: Duration) {
        let time = u32::try_from(grace.saturating_add(STOP_MARGIN).as_micros());
        notify(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(time.unwrap_or(u32::MAX)),
            NotifyState::Status("stopping: records that no sink has stored return to the queues"),
        ]);
    }

    /// Reports that the poller is alive, and from time to time its status line.
    pub fn heartbeat(&mut self, status: &Status) {
        if !self.is_enabled {
            return;
        }
        notify(&[NotifyState::Watchdog]);
        let now = Instant::now();
        if self.next_status.is_none_or(|next| next <= now) {
            let view = View::of(status, &Default::default(), SystemTime::now());
            self.next_status = (view.state == State::Ok).then_some(now + STATUS_INTERVAL);
            notify(&[NotifyState::Status(&status_line(&view))]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Does nothing without a socket.
    let _ = sd_notify::notify(states);
}

/// Returns the state of the poller in one line.
fn status_line(view: &View) -> String {
    let totals = &view.totals;
    let servers = count(totals.servers as u64, "server");
    let mut text = format!(
        "{} of {servers} up, {}, {} pending, {} stored",
        totals.servers_up,
        count(totals.nodes as u64, "node"),
        count(totals.waiting, "record"),
        totals.stored
    );
    if let Some(worst) = view.problems.first()
        && view.state != State::Ok
    {
        // The protocol is line-based, and names may contain any character.
        text = format!("{text}; {}", masking::text(&worst.text));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures;

    #[test]
    fn status_line_shows_the_totals_and_the_worst_problem() {
        let good = status_line(&fixtures::view(&fixtures::good(300)));
        assert!(good.contains("300 nodes") && !good.contains(';'), "{good}");
        let bad = status_line(&fixtures::view(&fixtures::bad(300)));
        assert!(
            bad.contains("; sink influx has been failing for 3 min"),
            "{bad}"
        );
        assert!(!bad.contains(masking::is_hidden), "{bad}");
    }
}
