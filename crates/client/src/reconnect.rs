//! Reconnection to a server that may be down: reports once what is wrong, tries again with growing pauses, reports when
//! the server is up again, and gives up after a limit.

use std::time::{Duration, Instant};

use crate::connect::{ClientError, Connection, Server};
use crate::shutdown::Shutdown;

/// Keeps the connection to one server.
pub struct Reconnector<'a> {
    server: &'a Server,
    shutdown: &'a Shutdown,
    /// The time for which to try; none is without end.
    limit: Option<Duration>,
    /// Since when calls have failed.
    since: Option<Instant>,
    backoff: Backoff,
    /// The pauses from the first failure in a row.
    pauses: Backoff,
    /// The error that was reported last.
    reported: Option<String>,
    /// A call has succeeded. From then on even a rejection may pass (a server that was restarted without its module),
    /// while at the start it is a mistake that a person should see.
    has_worked: bool,
}

impl<'a> Reconnector<'a> {
    /// Tries for `limit` at each loss of the connection (zero: once), or without end if there is none.
    pub fn new(server: &'a Server, shutdown: &'a Shutdown, limit: Option<Duration>) -> Self {
        Reconnector {
            server,
            shutdown,
            limit,
            since: None,
            backoff: Backoff::default(),
            pauses: Backoff::default(),
            reported: None,
            has_worked: false,
        }
    }

    /// Sets the longest pause, half a minute by default.
    pub fn longest_pause(mut self, longest: Duration) -> Self {
        self.pauses = Backoff::up_to(longest);
        self.backoff = self.pauses;
        self
    }

    /// Connects; returns none if the end is requested.
    ///
    /// # Errors
    ///
    /// The limit has passed, or trying again does not help.
    pub async fn connect(&mut self) -> Result<Option<Connection>, ClientError> {
        while !self.shutdown.is_requested() {
            match self.server.connect().await {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) => self.failed(error).await?,
            }
        }
        Ok(None)
    }

    /// Notes that a call failed, and pauses. The caller drops the connection.
    ///
    /// # Errors
    ///
    /// The error itself, if the limit has passed or trying again does not help.
    pub async fn failed(&mut self, error: ClientError) -> Result<(), ClientError> {
        let pause = self.pause(error)?;
        self.shutdown.sleep(pause).await;
        Ok(())
    }

    fn pause(&mut self, error: ClientError) -> Result<Duration, ClientError> {
        let may_pass = error.is_retriable() || (self.has_worked && self.limit.is_none());
        if !may_pass {
            return Err(error);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = match self.limit {
            Some(limit) => limit.saturating_sub(since.elapsed()),
            None => Duration::MAX,
        };
        if left.is_zero() {
            return Err(error);
        }
        let text = error.to_string();
        if self.reported.as_ref() != Some(&text) {
            tracing::warn!("{text}; trying again");
            self.reported = Some(text);
        }
        Ok(self.backoff.next_pause().min(left))
    }

    /// Notes that a call succeeded.
    pub fn worked(&mut self) {
        self.has_worked = true;
        self.since = None;
        self.backoff = self.pauses;
        if self.reported.take().is_some() {
            tracing::info!("{} answers again", self.server.endpoint());
        }
    }
}

/// Pauses that double from a quarter of a second to half a minute. Each is up to a fifth shorter, at random, so that
/// many clients of a server that was restarted do not come back all at once.
#[derive(Clone, Copy)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::up_to(Duration::from_secs(30))
    }
}

impl Backoff {
    /// The maximum part by which a pause is shortened.
    const JITTER: f64 = 0.2;

    /// Creates pauses that grow up to `longest`.
    pub fn up_to(longest: Duration) -> Self {
        Backoff {
            next: Duration::from_millis(250),
            longest,
        }
    }

    /// Returns the pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(1.0 - Self::JITTER * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{Access, ServerError};

    fn lost() -> ClientError {
        ClientError::Lost {
            endpoint: "redis://h".into(),
            reason: "gone".into(),
        }
    }

    fn rejected() -> ClientError {
        ClientError::Rejected {
            endpoint: "redis://h".into(),
            what: "AUTH".into(),
            error: ServerError::parse("NOPERM"),
        }
    }

    fn server() -> Server {
        Server::parse("redis://h", &Access::default()).unwrap()
    }

    /// A request to end, so that pauses end at once.
    fn ended() -> Shutdown {
        let shutdown = Shutdown::default();
        shutdown.request();
        shutdown
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_less_jitter() {
        let mut backoff = Backoff::default();
        for full in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            let pause = backoff.next_pause().as_secs_f64();
            assert!((full * 0.8..=full).contains(&pause), "{pause} of {full}");
        }
        let first = || Backoff::default().next_pause();
        assert!((0..100).any(|_| first() != first()));
    }

    #[test]
    fn longest_pause_can_be_set() {
        let (server, shutdown) = (server(), ended());
        let mut reconnector =
            Reconnector::new(&server, &shutdown, None).longest_pause(Duration::from_secs(1));
        for full in [0.25, 0.5, 1.0, 1.0, 1.0] {
            let pause = reconnector.pause(lost()).unwrap().as_secs_f64();
            assert!((full * 0.8..=full).contains(&pause), "{pause} of {full}");
        }
    }

    #[tokio::test]
    async fn first_failure_is_the_last_without_patience() {
        let (server, shutdown) = (server(), Shutdown::default());
        let mut reconnector = Reconnector::new(&server, &shutdown, Some(Duration::ZERO));
        assert_eq!(reconnector.failed(lost()).await, Err(lost()));
    }

    #[tokio::test]
    async fn limit_counts_from_the_first_failure_in_a_row() {
        let (server, shutdown) = (server(), ended());
        let mut reconnector = Reconnector::new(&server, &shutdown, Some(Duration::from_secs(60)));
        assert_eq!(reconnector.failed(lost()).await, Ok(()));
        reconnector.since = Instant::now().checked_sub(Duration::from_secs(61));
        assert_eq!(reconnector.failed(lost()).await, Err(lost()));
        reconnector.worked();
        assert_eq!(reconnector.failed(lost()).await, Ok(()));
    }

    #[tokio::test]
    async fn refusal_ends_at_the_start_and_is_retried_later() {
        let (server, shutdown) = (server(), ended());
        let mut reconnector = Reconnector::new(&server, &shutdown, None);
        assert_eq!(reconnector.failed(rejected()).await, Err(rejected()));
        reconnector.worked();
        assert_eq!(reconnector.failed(rejected()).await, Ok(()));
    }
}
