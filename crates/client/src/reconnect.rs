//! Staying in touch with a server that may go away: says once what is wrong, tries again with growing pauses, says
//! when it is over, and gives up where there is a limit.

use std::time::{Duration, Instant};

use crate::Shutdown;
use crate::connect::{BlockingConnection, ClientError, Server};
use crate::messages::{say, warn};

/// A server and how patient we are with it.
pub struct Reconnector<'a> {
    server: &'a Server,
    stop: &'a Shutdown,
    /// How long to try; without one, for ever.
    limit: Option<Duration>,
    since: Option<Instant>,
    pauses: Backoff,
    told: Option<String>,
    /// Something went well before: then even a refusal may pass (a server that was restarted without its module),
    /// while at the start it is a mistake that a person should see.
    worked: bool,
}

impl<'a> Reconnector<'a> {
    /// Tries for `limit` at each loss (zero: not again), without one for ever.
    pub fn new(server: &'a Server, stop: &'a Shutdown, limit: Option<Duration>) -> Self {
        let pauses = Backoff::default();
        Reconnector {
            server,
            stop,
            limit,
            since: None,
            pauses,
            told: None,
            worked: false,
        }
    }

    /// A new connection; none where the end was asked for.
    ///
    /// Returns an error when the limit has passed or trying again is of no use.
    pub fn link(&mut self) -> Result<Option<BlockingConnection>, ClientError> {
        while !self.stop.is_requested() {
            match self.server.connect() {
                Ok(link) => return Ok(Some(link)),
                Err(failure) => self.failed(failure)?,
            }
        }
        Ok(None)
    }

    /// Notes that a call failed, and pauses. The link is to be dropped.
    ///
    /// Returns the failure when the limit has passed or trying again is of no use.
    pub fn failed(&mut self, failure: ClientError) -> Result<(), ClientError> {
        if matches!(failure, ClientError::Refused(_)) && !(self.worked && self.limit.is_none()) {
            return Err(failure);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = match self.limit {
            Some(limit) => limit.saturating_sub(since.elapsed()),
            None => Duration::MAX,
        };
        if left.is_zero() {
            return Err(failure);
        }
        let text = failure.to_string();
        if self.told.as_ref() != Some(&text) {
            warn(&format!("{text}; trying again"));
            self.told = Some(text);
        }
        self.stop.wait(self.pauses.next_pause().min(left));
        Ok(())
    }

    /// Notes that a call went well.
    pub fn worked(&mut self) {
        self.worked = true;
        self.since = None;
        self.pauses = Backoff::default();
        if self.told.take().is_some() {
            say(&format!("{} answers again", self.server.endpoint()));
        }
    }
}

/// Backoff that double, up to half a minute.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(Duration::from_millis(250))
    }
}

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(30);

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Access;

    fn lost() -> ClientError {
        ClientError::Lost("gone".into())
    }

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let mut pauses = Backoff::default();
        let seconds: Vec<f64> = (0..10).map(|_| pauses.next_pause().as_secs_f64()).collect();
        assert_eq!(
            seconds,
            [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        );
    }

    #[test]
    fn without_patience_the_first_failure_is_the_last() {
        let (server, stop) = (
            Server::parse("redis://h", &Access::default()).unwrap(),
            Shutdown::default(),
        );
        let mut reach = Reconnector::new(&server, &stop, Some(Duration::ZERO));
        assert_eq!(reach.failed(lost()), Err(lost()));
    }

    #[test]
    fn a_limit_counts_from_the_first_failure_in_a_row() {
        let (server, stop) = (
            Server::parse("redis://h", &Access::default()).unwrap(),
            Shutdown::default(),
        );
        stop.request(); // so that pauses end at once
        let mut reach = Reconnector::new(&server, &stop, Some(Duration::from_secs(60)));
        assert_eq!(reach.failed(lost()), Ok(()));
        reach.since = Instant::now().checked_sub(Duration::from_secs(61));
        assert_eq!(reach.failed(lost()), Err(lost()));
        reach.worked();
        assert_eq!(reach.failed(lost()), Ok(()));
    }

    #[test]
    fn a_refusal_ends_at_the_start_and_is_sat_out_later() {
        let (server, stop) = (
            Server::parse("redis://h", &Access::default()).unwrap(),
            Shutdown::default(),
        );
        stop.request();
        let refused = ClientError::Refused("no module".into());
        let mut reach = Reconnector::new(&server, &stop, None);
        assert_eq!(reach.failed(refused.clone()), Err(refused.clone()));
        reach.worked();
        assert_eq!(reach.failed(refused), Ok(()));
    }
}
