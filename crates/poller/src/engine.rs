//! A running poller: its sinks, its servers, and the configuration, which is reloaded when the file, or a file of a
//! secret or certificate that it names, has changed, or on request.
//!
//! # Invariants
//!
//! A configuration with errors changes nothing. On a reload, sinks and servers whose settings are unchanged continue with
//! what they have. A poller that silently does half of its work is worse than one that ended: if a task panics, shutdown
//! is requested.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use agg_client::FileStamps;
use agg_client::Shutdown;

use super::config::{self, Config, WebLimits};
use super::error::PollError;
use super::heartbeat::Heartbeat;
use super::live::{Families, Live, Targets};
use super::ownership::Members;
use super::routing::RoutingTable;
use super::servers::Servers;
use super::sinks::Sinks;
use super::status::Status;
use super::systemd::SystemdNotifier;
use super::tasks::Tasks;
use super::web;
use super::web::held::Responses;

/// The pause between two checks of the files and the tasks.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Controls a poller from the program that runs it. Clones control the same poller.
#[derive(Clone)]
pub struct Control {
    /// Reloads the configuration.
    pub reload: Arc<Notify>,
    grace: Arc<Mutex<Duration>>,
}

impl Control {
    /// Creates a control for a poller that is started with this configuration.
    pub fn new(config: &Config) -> Control {
        Control {
            reload: Arc::default(),
            grace: Arc::new(Mutex::new(config.shutdown_grace)),
        }
    }

    /// Returns the grace period of the configuration in force. A poller that has not ended by then is stuck; what it had
    /// leased returns to the queues when the leases end.
    pub fn grace(&self) -> Duration {
        *self.grace.lock()
    }
}

/// Drains as the configuration at `path` says, which was read as `config` when its files were as in `stamps`. Runs until
/// `shutdown` is requested; requests it itself if a part of the poller failed permanently.
///
/// # Errors
///
/// Returns an error if the poller cannot start, or if a part of it failed permanently.
pub async fn run(
    path: &Path,
    config: Config,
    stamps: FileStamps,
    control: Control,
    shutdown: Shutdown,
) -> Result<(), PollError> {
    Engine::start(path, config, stamps, control, shutdown)?
        .run()
        .await
}

/// A running poller.
struct Engine {
    path: PathBuf,
    /// The state in which the configuration and the files that it names were read.
    stamps: FileStamps,
    config: Config,
    control: Control,
    shutdown: Shutdown,
    tasks: Tasks,
    status: Arc<Status>,
    sinks: Sinks,
    /// The fleet in force, and what keeps its members up to date.
    registration: Option<Registration>,
    /// The status page, if the configuration has one.
    web: Option<StatusPage>,
    web_limits: watch::Sender<WebLimits>,
    /// The responses of the status page that clients have not received yet.
    responses: Arc<Responses>,
    /// The servers whose live values can be read.
    targets: Targets,
    /// The live values, which the status page serves if the configuration says so.
    live: Live,
    /// The number of open files that the system allows.
    max_descriptors: u64,
    systemd: SystemdNotifier,
}

impl Engine {
    /// Starts the sinks of a configuration that was read from `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if a sink cannot be started.
    fn start(
        path: &Path,
        config: Config,
        stamps: FileStamps,
        control: Control,
        shutdown: Shutdown,
    ) -> Result<Engine, PollError> {
        let tasks = Tasks::new(shutdown.clone());
        let (responses, targets) = (Arc::<Responses>::default(), Targets::default());
        let mut engine = Engine {
            path: path.to_owned(),
            stamps,
            sinks: Sinks::new(tasks.clone()),
            shutdown,
            tasks,
            control,
            status: Arc::new(Status::new()),
            registration: None,
            web: None,
            web_limits: watch::channel(WebLimits::default()).0,
            live: Live::new(targets.clone(), responses.clone(), Families::WithoutProcess),
            responses,
            targets,
            max_descriptors: raise_descriptor_limit(),
            systemd: SystemdNotifier::from_env(),
            config: Config::default(),
        };
        engine.apply(config)?;
        Ok(engine)
    }

    /// Runs until shutdown is requested.
    ///
    /// # Errors
    ///
    /// Returns an error if a sink failed permanently, a task panicked, or the status page cannot listen.
    async fn run(mut self) -> Result<(), PollError> {
        let (tables, table) = watch::channel(Arc::new(self.routing_table()));
        if let Some(address) = self.config.listen {
            let listener = web::bind(address).await?;
            self.web = Some(self.serve(address, listener));
        }
        let (pollers, members) = watch::channel(None);
        self.set_members(&pollers);
        let mut servers = Servers::new(
            table,
            members,
            self.status.clone(),
            self.targets.clone(),
            self.tasks.clone(),
        );
        servers.watch(self.config.sources.clone());
        self.systemd.ready();

        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settle_at = None;
        while !self.shutdown.is_requested() {
            let settled = async {
                match settle_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let reload = tokio::select! {
                news = servers.next_event() => {
                    servers.handle(news);
                    false
                }
                () = self.control.reload.notified() => true,
                _ = checks.tick() => {
                    self.status.takeovers.report(Instant::now().into());
                    servers.sweep();
                    self.sinks.sweep();
                    self.systemd.heartbeat(&self.status);
                    self.stamps.changed()
                }
                () = settled => {
                    servers.settle();
                    settle_at = None;
                    false
                }
                () = self.shutdown.requested() => false,
            };
            if reload {
                self.systemd.reloading();
                if self.reload().await {
                    // The servers hold a receiver.
                    let _ = tables.send(Arc::new(self.routing_table()));
                    self.set_members(&pollers);
                    let time = servers.watch(self.config.sources.clone());
                    settle_at = Some(Instant::now() + time);
                }
                self.systemd.ready();
            }
        }
        self.status.ending.store(true, Ordering::Relaxed);
        self.systemd.stopping(self.config.shutdown_grace);
        self.sinks.drain_now();
        if let Some(registration) = self.registration.take() {
            registration.end().await;
        }
        servers.end().await;
        drop(tables);
        // A little before the program is ended by force, so that the counts are shown.
        let since = self
            .shutdown
            .requested_at()
            .map_or_else(Instant::now, Instant::from);
        let deadline = since + self.config.shutdown_grace * 7 / 8;
        self.sinks.end(deadline).await?;
        self.tasks.check()
    }

    fn routing_table(&self) -> RoutingTable {
        RoutingTable {
            routes: self.config.routes.clone(),
            sinks: self.sinks.handles(),
            poll_interval: self.config.poll_interval,
            lease: self.config.lease,
            // The last quarter is for releasing what is in flight.
            grace: self.config.shutdown_grace * 3 / 4,
        }
    }

    /// Tells the drainers which pollers share the servers.
    fn set_members(&mut self, pollers: &watch::Sender<Option<Arc<Members>>>) {
        let poll_interval = self.config.poll_interval;
        let fleet = self.config.fleet.clone();
        let key = fleet.clone().map(|fleet| (fleet, poll_interval));
        if self.registration.as_ref().map(|present| &present.settings) == key.as_ref() {
            return;
        }
        // Its entry is removed in the background.
        self.registration = None;
        let publish = {
            let (status, pollers) = (self.status.clone(), pollers.clone());
            move |members: Option<Members>| {
                let members = members.map(Arc::new);
                status.members.lock().clone_from(&members);
                pollers.send_if_modified(|present| {
                    let is_new = *present != members;
                    *present = members;
                    is_new
                });
            }
        };
        let Some(fleet) = fleet else {
            return publish(None);
        };
        let mut registration = Registration {
            settings: (fleet.clone(), poll_interval),
            beat: None,
        };
        let mut names = fleet.names.clone();
        if fleet.registry.is_some() {
            // The last list stays in force until there is another one.
            let present = pollers.borrow().clone();
            names = present.map_or(Vec::new(), |present| present.names.clone());
            if !names.is_empty() && !names.contains(&fleet.me) {
                names.push(fleet.me.clone());
            }
        }
        // Before the heartbeat, whose list is newer.
        publish(Some(fleet.members(names, poll_interval)));
        if let Some(registry) = fleet.registry.clone() {
            let (stop, stopped) = oneshot::channel();
            let heartbeat = Heartbeat::new(registry, &fleet.me);
            let publish =
                move |names: Vec<String>| publish(Some(fleet.members(names, poll_interval)));
            let run = heartbeat.run(stopped, self.shutdown.clone(), publish);
            let task = self.tasks.spawn("the heartbeat of the fleet".into(), run);
            registration.beat = Some((stop, task));
        }
        self.registration = Some(registration);
    }

    /// Reloads the configuration. Returns whether the new one is in force.
    async fn reload(&mut self) -> bool {
        self.stamps = FileStamps::default();
        let result = match Config::read_noting(&self.path, &mut self.stamps) {
            Ok(config) => self.switch_to(config).await,
            Err(errors) => Err(errors.into()),
        };
        let path = self.path.display();
        let mut reloads = self.status.reloads.lock();
        match result {
            Ok(()) => {
                tracing::info!("{path} reloaded");
                (reloads.taken, reloads.error) = (reloads.taken + 1, None);
                true
            }
            Err(error) => {
                let reason = error.to_string().replace('\n', "; ");
                tracing::warn!("{reason}; keeping the previous configuration");
                (reloads.rejected, reloads.error) = (reloads.rejected + 1, Some(reason));
                false
            }
        }
    }

    /// Puts a configuration in force, including the address of the status page.
    ///
    /// # Errors
    ///
    /// Returns an error, and changes nothing, if the address is not available or a sink cannot be started.
    async fn switch_to(&mut self, config: Config) -> Result<(), PollError> {
        let current = self.web.as_ref().map(|web| web.address);
        let listener = match config.listen.filter(|address| Some(*address) != current) {
            Some(address) => Some((address, self.bind(address).await?)),
            None => None,
        };
        let listens = config.listen.is_some();
        self.apply(config)?;
        if let Some((address, listener)) = listener {
            self.web = Some(self.serve(address, listener));
        } else if !listens {
            self.web = None;
        }
        Ok(())
    }

    /// Binds another address. If only the host differs, the old address has to be released first.
    async fn bind(&mut self, address: SocketAddr) -> Result<TcpListener, PollError> {
        let same_port =
            |web: &mut StatusPage| web.address.port() == address.port() && address.port() != 0;
        let Some(mut old) = self.web.take_if(same_port) else {
            return web::bind(address).await;
        };
        old.task.abort();
        // The result says that the task was aborted.
        let _ = (&mut old.task).await;
        let bound = web::bind(address).await;
        if bound.is_err()
            && let Ok(listener) = web::bind(old.address).await
        {
            self.web = Some(self.serve(old.address, listener));
        }
        bound
    }

    fn serve(&self, address: SocketAddr, listener: TcpListener) -> StatusPage {
        let limits = self.web_limits.subscribe();
        // With port 0 the system chooses the port.
        let local = listener.local_addr().unwrap_or(address);
        tracing::info!("status page listening on http://{local}/");
        if self.config.serve.is_some() {
            tracing::info!("live values on http://{local}/live");
        }
        let page = web::serve(
            listener,
            self.status.clone(),
            limits,
            self.responses.clone(),
            self.live.routes("/live"),
            std::future::pending(),
        );
        let task = self.tasks.spawn("the status page".into(), page);
        StatusPage { address, task }
    }

    fn apply(&mut self, config: Config) -> Result<(), PollError> {
        self.sinks.set(&config, &self.status)?;
        *self.control.grace.lock() = config.shutdown_grace;
        // Most descriptors are reserved for servers and sinks, however many clients the page has.
        let max = usize::try_from(self.max_descriptors / 4).unwrap_or(usize::MAX);
        let mut limits = config.web.clone();
        limits.connections = limits.connections.min(max).max(1);
        self.web_limits.send_replace(limits);
        self.live.set(config.serve.clone());
        self.config = config;
        Ok(())
    }
}

/// The membership of this poller in a fleet.
struct Registration {
    /// The fleet and the poll interval.
    settings: (config::Fleet, Duration),
    /// The task of the heartbeat, and what stops it when it is dropped.
    beat: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Registration {
    /// Ends the heartbeat: the other pollers need not wait until it is missed.
    async fn end(self) {
        if let Some((stop, task)) = self.beat {
            drop(stop);
            // It ends by itself within seconds, and says if it panicked.
            let _ = task.await;
        }
    }
}

/// The task that serves the status page. Dropping it closes the page.
struct StatusPage {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for StatusPage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Raises the limit of open files as far as the system allows and returns it: each server needs one, and the soft limit
/// is often 1024.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // The poller also works with fewer.
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}
