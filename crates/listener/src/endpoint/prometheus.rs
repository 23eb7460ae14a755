//! Prometheus: scrapes targets at a steady interval.
//!
//! # Invariants
//!
//! - Each target has a time of its own within the interval, so that not all are scraped at once.
//! - At most [`MAX_CONCURRENT_SCRAPES`] scrapes run at the same time, each with a bounded body.

use std::collections::{BTreeMap, HashMap};
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

/// Scrapes at the same time.
const MAX_CONCURRENT_SCRAPES: usize = 16;

/// Maximum targets.
const MAX_TARGETS: usize = 10_000;

/// The formats that are asked for.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A target: what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Target {
    address: String,
    path: String,
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
}

/// Scrapes the targets of a configuration.
pub struct Scraper {
    intake: Arc<Intake>,
    config: Prometheus,
    bodies: Bodies,
    client: Client<HttpConnector, Body>,
    free: Semaphore,
    states: Arc<TargetStates>,
    limits: Limits,
}

impl Scraper {
    /// Creates a scraper.
    pub fn new(
        intake: Arc<Intake>,
        config: Prometheus,
        bodies: Bodies,
        states: Arc<TargetStates>,
    ) -> Scraper {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.timeout()));
        Scraper {
            intake,
            config,
            bodies,
            client: Client::builder(TokioExecutor::new()).build(connector),
            free: Semaphore::new(MAX_CONCURRENT_SCRAPES),
            states,
            limits: Limits::default(),
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
                let is_kept = targets.contains(target);
                if !is_kept {
                    task.abort();
                    scraper.states.0.lock().remove(&target.url());
                }
                is_kept
            });
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
        let mut state = State::new(self.limits);
        let length = self.config.interval.0;
        let mut tick = interval_at(TokioInstant::now() + target.offset(length), length);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let start = Instant::now();
        let mut warnings = WarnOnce::default();
        loop {
            tick.tick().await;
            let result = self.scrape(&target, start, &mut state).await;
            if let Err(error) = &result {
                warnings.warn(&format!("prometheus: {}: {error}", target.url()));
            }
            self.states.0.lock().insert(target.url(), result.err());
        }
    }

    async fn scrape(
        &self,
        target: &Target,
        start: Instant,
        state: &mut State,
    ) -> Result<(), String> {
        let _permit = self
            .free
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let uri: Uri = target
            .url()
            .parse()
            .map_err(|_| "not a valid address".to_owned())?;
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
        let (headers, body) = timeout(limit, response)
            .await
            .map_err(|_| format!("the target took longer than {limit:?}"))??;
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
            now_ms: i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX),
        };
        self.intake.feed_long(body.bytes.len(), |collector| {
            prometheus::parse(&body.bytes, &scrape, state, collector);
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
        // Labels that begin with __ are for Prometheus itself.
        all.extend(
            labels
                .into_iter()
                .filter(|(name, _)| !name.starts_with("__")),
        );
        Target {
            address: address.to_owned(),
            path: job.path.clone(),
            labels: all,
        }
    }

    fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
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
