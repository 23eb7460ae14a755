//! Prometheus: scrapes targets at a steady interval.
//!
//! # Invariants
//!
//! - Each target has a time of its own within the interval, so that not all are scraped at once.
//! - A bounded number of scrapes runs at the same time. Targets that were too slow are limited on their own, so targets that
//!   do not answer do not delay the others.
//! - The totals of histograms outlive a reload. All targets share their limits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agg_client::WarnOnce;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant as TokioInstant, interval_at, timeout};

use crate::config::{Job, Prometheus};
use crate::intake::Intake;
use crate::net::body::{Bodies, BodyError};
use crate::prometheus::{self, Format, Limits, Scrape, State, TargetGroup};
use crate::report::Attribute;

/// The name of the protocol.
pub const NAME: &str = "prometheus";

/// Scrapes at the same time, of targets whose last scrape was in time.
const MAX_SCRAPES: usize = 192;

/// Scrapes at the same time, of targets that took too long.
const MAX_SLOW_SCRAPES: usize = 64;

/// The limits of the totals of histograms.
const LIMITS: Limits = Limits {
    max_series: 200_000,
    max_bytes: 128 << 20,
    idle_ms: 600_000,
};

/// Maximum targets.
const MAX_TARGETS: usize = 10_000;

/// The formats that are asked for.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A target: what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Target {
    scheme: String,
    address: String,
    path: String,
    /// The parameters of the URL, with `?`; empty if there are none.
    query: String,
    labels: BTreeMap<String, String>,
}

/// The content of lists of targets, by their files.
type Lists = HashMap<PathBuf, Vec<TargetGroup>>;

/// The outcomes of the last scrapes.
#[derive(Debug, Default)]
pub struct TargetStates(Mutex<BTreeMap<String, Option<String>>>);

impl TargetStates {
    /// Returns the targets with the errors of their last scrapes.
    pub fn all(&self) -> BTreeMap<String, Option<String>> {
        self.0.lock().clone()
    }

    /// Removes all targets: none is scraped any more.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// The totals of histograms at the previous scrapes of all targets.
pub struct Totals {
    state: Mutex<State>,
    /// The zero of the times in `state`.
    start: Instant,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            state: Mutex::new(State::new(LIMITS)),
            start: Instant::now(),
        }
    }
}

/// Scrapes the targets of a configuration.
pub struct Scraper {
    intake: Arc<Intake>,
    config: Prometheus,
    bodies: Bodies,
    client: Client<HttpConnector, Body>,
    free: Semaphore,
    free_slow: Semaphore,
    states: Arc<TargetStates>,
    totals: Arc<Totals>,
}

/// A scrape that has failed.
enum ScrapeError {
    /// The target took too long.
    Slow(String),
    Failed(String),
}

impl Scraper {
    /// Creates a scraper.
    pub fn new(
        intake: Arc<Intake>,
        config: Prometheus,
        bodies: Bodies,
        states: Arc<TargetStates>,
        totals: Arc<Totals>,
    ) -> Scraper {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.timeout()));
        Scraper {
            intake,
            config,
            bodies,
            client: Client::builder(TokioExecutor::new()).build(connector),
            free: Semaphore::new(MAX_SCRAPES),
            free_slow: Semaphore::new(MAX_SLOW_SCRAPES),
            states,
            totals,
        }
    }

    /// Scrapes until it is dropped. Lists of targets are read again at each interval.
    pub async fn run(self) {
        let scraper = Arc::new(self);
        let mut running: HashMap<Target, tokio::task::AbortHandle> = HashMap::new();
        let mut tasks = JoinSet::new();
        let (mut lists, mut warnings) = (Lists::default(), WarnOnce::default());
        let mut tick = tokio::time::interval(scraper.config.interval.0);
        loop {
            tick.tick().await;
            let targets = scraper.targets(&mut lists, &mut warnings).await;
            running.retain(|target, task| {
                let is_kept = targets.binary_search(target).is_ok();
                if !is_kept {
                    task.abort();
                }
                is_kept
            });
            // Also those of the configuration before.
            let urls: HashSet<String> = targets.iter().map(Target::url).collect();
            scraper.states.0.lock().retain(|url, _| urls.contains(url));
            for target in targets {
                let scraped = target.clone();
                let start = || tasks.spawn(scraper.clone().scrape_often(scraped));
                running.entry(target).or_insert_with(start);
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Returns the targets of all jobs. `lists` has the lists that were read before: one that cannot be read keeps its
    /// targets.
    async fn targets(&self, lists: &mut Lists, warnings: &mut WarnOnce) -> Vec<Target> {
        let mut targets = Vec::new();
        for job in &self.config.job {
            targets.extend(
                job.targets
                    .iter()
                    .map(|address| Target::of(job, address, [])),
            );
            let Some(path) = &job.file_sd else { continue };
            let read = match tokio::fs::read_to_string(path).await {
                Ok(text) => prometheus::targets(&text).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(groups) => {
                    lists.insert(path.clone(), groups);
                }
                Err(error) => warnings.warn(&format!("prometheus: {}: {error}", path.display())),
            }
            for group in lists.get(path).into_iter().flatten() {
                let of = |address: &String| Target::of(job, address, group.labels.iter().cloned());
                targets.extend(group.targets.iter().map(of));
            }
        }
        targets.sort();
        targets.dedup();
        if targets.len() > MAX_TARGETS {
            let left = targets.len() - MAX_TARGETS;
            warnings.warn(&format!(
                "prometheus: {left} targets beyond {MAX_TARGETS} are not scraped"
            ));
            targets.truncate(MAX_TARGETS);
        }
        targets
    }

    async fn scrape_often(self: Arc<Self>, target: Target) {
        let length = self.config.interval.0;
        let mut tick = interval_at(TokioInstant::now() + target.offset(length), length);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut warnings = WarnOnce::default();
        let mut free = &self.free;
        loop {
            tick.tick().await;
            // Never an error: the semaphores are not closed.
            let place = free.acquire().await;
            let result = self.scrape(&target).await;
            drop(place);
            free = match &result {
                Err(ScrapeError::Slow(_)) => &self.free_slow,
                _ => &self.free,
            };
            let error = result.err().map(|error| match error {
                ScrapeError::Slow(text) | ScrapeError::Failed(text) => text,
            });
            if let Some(error) = &error {
                warnings.warn(&format!("prometheus: {}: {error}", target.url()));
            }
            self.states.0.lock().insert(target.url(), error);
        }
    }

    async fn scrape(&self, target: &Target) -> Result<(), ScrapeError> {
        if target.scheme != "http" {
            let text = format!("the scheme {} is not supported: use http", target.scheme);
            return Err(ScrapeError::Failed(text));
        }
        let uri: Uri = target
            .url()
            .parse()
            .map_err(|_| ScrapeError::Failed("not a valid address".to_owned()))?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        let gzip = HeaderValue::from_static("gzip");
        request.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
        let agent = HeaderValue::from_static(concat!("agg/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        let response = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| describe(&error))?;
            let (head, body) = response.into_parts();
            if !head.status.is_success() {
                return Err(format!("the target answers {}", head.status));
            }
            let body = self.bodies.read(&head.headers, Body::new(body)).await;
            let body = body.map_err(|BodyError(_, text)| text)?;
            Ok((head.headers, body))
        };
        let limit = self.config.timeout();
        let slow = |_| ScrapeError::Slow(format!("the target took longer than {limit:?}"));
        let response = timeout(limit, response).await.map_err(slow)?;
        let (headers, body) = response.map_err(ScrapeError::Failed)?;
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let labels: Vec<Attribute<'_>> = target
            .labels
            .iter()
            .map(|(name, value)| Attribute::new(name, value))
            .collect();
        let scrape = Scrape {
            format: Format::of_content_type(kind.unwrap_or_default()),
            labels: &labels,
            honor_labels: false,
            honor_timestamps: true,
            now_ms: i64::try_from(self.totals.start.elapsed().as_millis()).unwrap_or(i64::MAX),
        };
        self.intake.feed_long(body.bytes.len(), |collector| {
            let state = &mut self.totals.state.lock();
            prometheus::parse(&body.bytes, &scrape, state, collector);
            self.intake.counts().set_evicted(NAME, state.evicted());
        });
        Ok(())
    }
}

impl Target {
    fn of(job: &Job, address: &str, labels: impl IntoIterator<Item = (String, String)>) -> Target {
        let mut all: BTreeMap<String, String> = [
            ("job".to_owned(), job.name.clone()),
            ("instance".to_owned(), address.to_owned()),
        ]
        .into();
        all.extend(
            job.labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        let mut target = Target {
            scheme: "http".to_owned(),
            address: address.to_owned(),
            path: job.path.clone(),
            query: String::new(),
            labels: all,
        };
        for (name, value) in labels {
            target.take(name, value);
        }
        target
    }

    /// Takes a label of a list. Those that begin with `__` are for Prometheus itself:
    /// <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.
    fn take(&mut self, name: String, value: String) {
        match name.as_str() {
            "__scheme__" => self.scheme = value,
            "__metrics_path__" if value.starts_with('/') => self.path = value,
            "__metrics_path__" => self.path = format!("/{value}"),
            _ => match name.strip_prefix("__param_") {
                Some(parameter) => {
                    let separator = if self.query.is_empty() { '?' } else { '&' };
                    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
                    let (name, value) = (encoded(parameter), encoded(&value));
                    self.query += &format!("{separator}{name}={value}");
                }
                None if name.starts_with("__") => {}
                None => {
                    self.labels.insert(name, value);
                }
            },
        }
    }

    fn url(&self) -> String {
        let Target {
            scheme,
            address,
            path,
            query,
            ..
        } = self;
        format!("{scheme}://{address}{path}{query}")
    }

    /// Returns a time within the interval: the same at each start.
    fn offset(&self, interval: Duration) -> Duration {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(self);
        interval.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Returns an error with its causes: the error of the client only says that a request failed.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(labels: &[(&str, &str)]) -> Target {
        let job = Job {
            name: "node".into(),
            targets: Vec::new(),
            file_sd: None,
            path: "/metrics".into(),
            labels: [("site".into(), "a".into())].into(),
        };
        let labels = labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Target::of(&job, "h:1", labels)
    }

    #[test]
    fn lists_have_labels_for_the_scrape() {
        assert_eq!(target(&[]).url(), "http://h:1/metrics");
        let found = target(&[
            ("__metrics_path__", "stats"),
            ("__param_collect[]", "a b"),
            ("__param_x", "1"),
            ("__meta_x", "y"),
            ("rack", "7"),
        ]);
        assert_eq!(found.url(), "http://h:1/stats?collect%5B%5D=a%20b&x=1");
        let labels: Vec<_> = found.labels.keys().collect();
        assert_eq!(labels, ["instance", "job", "rack", "site"]);
        assert_eq!(
            target(&[("__scheme__", "https")]).url(),
            "https://h:1/metrics"
        );
    }
}
