//! Collects what all servers have at a time. Requests at the same time share a collection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agg_client::WarnOnce;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::page::{Page, Process, ServerState, page};
use super::reader::Reading;
use super::series::SeriesSet;
use super::settings::Settings;
use super::targets::{Target, Targets};
use crate::web::held::Responses;

/// The number of servers whose nodes are read at the same time. Each may have a full set of series in memory.
const CONCURRENT: usize = 8;
/// The time for which a collection is used for further requests.
const LIFETIME: Duration = Duration::from_millis(500);

/// Collects from servers.
pub struct Collector {
    targets: Targets,
    settings: Arc<Settings>,
    /// The responses of this process, if pages have the families of the process.
    process: Option<Arc<Responses>>,
    /// The last collection. Who collects holds it.
    last: tokio::sync::Mutex<Option<Collection>>,
    /// The warnings about each server that is down.
    warnings: Mutex<BTreeMap<String, WarnOnce>>,
    created: SystemTime,
}

struct Collection {
    started: Instant,
    ended: Instant,
    page: Arc<Page>,
}

impl Collector {
    /// Creates a collector of these servers. With `process`, its pages have the families of the process.
    pub fn new(targets: Targets, settings: Settings, process: Option<Arc<Responses>>) -> Collector {
        Collector {
            targets,
            settings: Arc::new(settings),
            process,
            last: tokio::sync::Mutex::new(None),
            warnings: Mutex::default(),
            created: SystemTime::now(),
        }
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the page of a request that arrives now: that of a collection that starts now, has just ended, or starts
    /// when the one in progress has ended.
    pub async fn page(self: Arc<Self>) -> Option<Arc<Page>> {
        let arrived = Instant::now();
        // A task of its own: a client that disconnects does not end a collection that others wait for.
        let collect = tokio::spawn(async move {
            let mut last = self.last.lock().await;
            if let Some(last) = &*last
                && (last.started >= arrived || last.ended.elapsed() < LIFETIME)
            {
                return last.page.clone();
            }
            let started = Instant::now();
            let page = Arc::new(self.collect(started).await);
            *last = Some(Collection {
                started,
                ended: Instant::now(),
                page: page.clone(),
            });
            page
        });
        // It fails only if it panics.
        collect.await.ok()
    }

    async fn collect(self: &Arc<Self>, started: Instant) -> Page {
        let settings = self.settings.clone();
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        let targets = self.targets.all();
        let mut tasks = JoinSet::new();
        for (index, target) in targets.iter().cloned().enumerate() {
            let (settings, permits) = (settings.clone(), permits.clone());
            tasks.spawn(async move { (index, read(&target, &settings, &permits, started).await) });
        }
        let mut series = SeriesSet::new(settings.max_series);
        let mut servers: Vec<ServerState> = Vec::new();
        let mut states: BTreeMap<usize, (Result<Reading, String>, Duration)> = BTreeMap::new();
        while let Some(ended) = tasks.join_next().await {
            // A task that panicked leaves its server without a state: it is down.
            if let Ok((index, result)) = ended {
                states.insert(index, (result, started.elapsed()));
            }
        }
        // In the order of the servers, so that of two equal series that of the first stays.
        for (index, target) in targets.iter().enumerate() {
            let (result, duration) = states
                .remove(&index)
                .unwrap_or_else(|| (Err("its reading failed".to_owned()), started.elapsed()));
            self.note(&target.id, result.as_ref().err());
            let mut state = ServerState {
                id: target.id.clone(),
                info: None,
                duration,
                nodes: 0,
                old_nodes: 0,
            };
            if let Ok(reading) = result {
                state.info = Some(reading.info);
                state.nodes = reading.nodes;
                state.old_nodes = reading.old_nodes;
                series.extend(reading.series);
            }
            servers.push(state);
        }
        let process = self.process.as_ref().map(|responses| Process {
            created: self.created,
            rejected: responses.rejected(),
        });
        let limit = settings.max_series;
        let make = move || page(&servers, series, limit, started, process);
        // Sorting and writing takes a while. It does not panic.
        let made = tokio::task::spawn_blocking(make).await;
        made.unwrap_or_default()
    }

    /// Logs that a server is down, or up again.
    fn note(&self, id: &str, error: Option<&String>) {
        let mut warnings = self.warnings.lock();
        match error {
            Some(error) => warnings.entry(id.to_owned()).or_default().warn(error),
            None if warnings.remove(id).is_some() => tracing::info!("{id} is up again"),
            None => {}
        }
    }
}

/// Reads a server.
async fn read(
    target: &Target,
    settings: &Settings,
    permits: &Semaphore,
    started: Instant,
) -> Result<Reading, String> {
    let deadline = tokio::time::Instant::from_std(started + settings.timeout);
    let server = target.address.lock().clone();
    let mut reader = target.reader.lock().await;
    let reading = reader.read(&target.id, &server, settings, permits);
    match timeout_at(deadline, reading).await {
        Ok(Ok(reading)) => Ok(reading),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "{} was not read within {} s",
            server.endpoint(),
            settings.timeout.as_secs()
        )),
    }
}
