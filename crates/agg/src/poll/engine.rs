//! A poller at work: its sinks and its fleet of servers, the signals, and the file of settings, which is read anew when
//! it, or a file of a secret or certificate that it names, has changed, or a SIGHUP asks for it.
//!
//! What holds: a file with mistakes changes nothing; of a good one, sinks and servers that are as before go on with
//! what they have. A poller that does half of its work in silence is worse than one that ended: where a task or thread
//! fails, the end is asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::exit_status::ExitStatus;
use agg_client::FileStamps;
use agg_client::Shutdown;
use agg_client::messages::{say, warn};

use super::config::Config;
use super::fleet::Fleet;
use super::plan::Plan;
use super::sinks::Sinks;
use super::status::{Status, lock};
use super::supervisor::Supervisor;
use super::web::{self, Limits};

/// How often the file is looked at, and the tasks.
const LOOK: Duration = Duration::from_secs(2);

/// See the file's header.
pub struct Engine {
    path: PathBuf,
    /// The file and those that it names, as they were when they were read.
    stamps: FileStamps,
    config: Config,
    stop: Shutdown,
    status: Arc<Status>,
    sinks: Sinks,
    /// The server that shows the state, where there is one.
    web: Option<Web>,
    /// Who may ask there.
    limits: watch::Sender<Limits>,
    /// Open files that the system allows.
    descriptors: u64,
    supervisor: Supervisor,
}

impl Engine {
    /// Begins with these settings, which this file held, and those that it names.
    ///
    /// Returns an error if the system gives no thread.
    pub fn start(path: &Path, config: Config, stamps: FileStamps) -> Result<Engine, String> {
        let stop = Shutdown::default();
        let mut engine = Engine {
            path: path.to_owned(),
            stamps,
            sinks: Sinks::new(&stop),
            stop,
            status: Arc::new(Status::new()),
            web: None,
            limits: watch::channel(Limits::default()).0,
            descriptors: allow_descriptors(),
            supervisor: Supervisor::of_environment(),
            config: Config::default(),
        };
        engine.put_in_force(config)?;
        Ok(engine)
    }

    /// Works until the end is asked for.
    ///
    /// Returns an error if a sink is gone for good or the system gives no signals.
    pub async fn run(mut self) -> Result<(), String> {
        let listen =
            |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        let mut hangup = listen(SignalKind::hangup())?;
        let ends = [
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        ];
        tokio::spawn(wait_for_end(ends, self.stop.clone(), self.status.clone()));
        let (plans, plan) = watch::channel(Arc::new(self.plan()));
        if let Some(address) = self.config.listen {
            let listener = web::bind(address).await?;
            self.web = Some(self.show(address, listener));
        }
        let mut fleet = Fleet::new(plan, self.status.clone(), self.stop.clone());
        fleet.watch(self.config.sources.clone());
        self.supervisor.ready();

        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut settle, mut failed) = (None, false);
        while !self.stop.is_requested() {
            let settled = async {
                match settle {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                news = fleet.news() => {
                    fleet.take(news);
                    false
                }
                _ = hangup.recv() => true,
                _ = looks.tick() => {
                    if fleet.sweep() {
                        failed = true;
                        self.stop.request();
                    }
                    self.sinks.sweep();
                    self.supervisor.works(&self.status);
                    self.stamps.changed()
                }
                () = settled => {
                    fleet.settle();
                    settle = None;
                    false
                }
                () = self.stop.requested() => false,
            };
            if read {
                self.supervisor.reloading();
                if self.read_anew().await {
                    // Whoever listens is in the fleet.
                    let _ = plans.send(Arc::new(self.plan()));
                    let time = fleet.watch(self.config.sources.clone());
                    settle = Some(Instant::now() + time);
                }
                self.supervisor.ready();
            }
        }
        self.status.ending.store(true, Ordering::Relaxed);
        self.supervisor.ending(self.config.shutdown_grace);
        self.sinks.hurry();
        fleet.end().await;
        drop(plans);
        // A little before the time at which a program that is stuck is ended, so that the counts are told.
        let since = self
            .stop
            .requested_at()
            .map_or_else(Instant::now, Instant::from);
        let deadline = since + self.config.shutdown_grace * 7 / 8;
        self.sinks.end(deadline).await?;
        match failed {
            // A bug, of which the task's own words have told.
            true => Err("the draining of a server failed".into()),
            false => Ok(()),
        }
    }

    fn plan(&self) -> Plan {
        Plan {
            routes: self.config.routes.clone(),
            outlets: self.sinks.outlets(),
            poll_interval: self.config.poll_interval,
            lease: self.config.lease,
            // The last part is for giving back.
            grace: self.config.shutdown_grace * 3 / 4,
        }
    }

    /// Reads the file anew; tells whether what it says is in force.
    async fn read_anew(&mut self) -> bool {
        self.stamps = FileStamps::default();
        let read = match Config::read_noting(&self.path, &mut self.stamps) {
            Ok(config) => self.take_over(config).await,
            Err(why) => Err(why.replace('\n', "; ")),
        };
        let path = self.path.display();
        let mut reloads = lock(&self.status.reloads);
        match read {
            Ok(()) => {
                say(&format!("{path} was read anew and is in force"));
                (reloads.taken, reloads.trouble) = (reloads.taken + 1, None);
                true
            }
            Err(why) => {
                warn(&format!("{why}; what was read before stays in force"));
                (reloads.refused, reloads.trouble) = (reloads.refused + 1, Some(why));
                false
            }
        }
    }

    /// Makes these settings those in force, the address where all is to be seen included.
    ///
    /// Returns an error, and changes nothing, if that address is not to be had or the system gives no thread.
    async fn take_over(&mut self, config: Config) -> Result<(), String> {
        let here = self.web.as_ref().map(|web| web.address);
        let listener = match config.listen.filter(|address| Some(*address) != here) {
            Some(address) => Some((address, self.bind(address).await?)),
            None => None,
        };
        let listens = config.listen.is_some();
        self.put_in_force(config)?;
        if let Some((address, listener)) = listener {
            self.web = Some(self.show(address, listener));
        } else if !listens {
            self.web = None;
        }
        Ok(())
    }

    /// Takes another address; where only the host is another the old one has to be given back first.
    async fn bind(&mut self, address: SocketAddr) -> Result<TcpListener, String> {
        let same = |web: &mut Web| web.address.port() == address.port() && address.port() != 0;
        let Some(mut old) = self.web.take_if(same) else {
            return web::bind(address).await;
        };
        old.task.abort();
        // It was asked to end.
        let _ = (&mut old.task).await;
        let bound = web::bind(address).await;
        if bound.is_err()
            && let Ok(listener) = web::bind(old.address).await
        {
            self.web = Some(self.show(old.address, listener));
        }
        bound
    }

    /// Shows the state there.
    fn show(&self, address: SocketAddr, listener: TcpListener) -> Web {
        let limits = self.limits.subscribe();
        Web::start(address, listener, self.status.clone(), limits)
    }

    fn put_in_force(&mut self, config: Config) -> Result<(), String> {
        self.sinks.set(&config, &self.status)?;
        *lock(&self.status.grace) = config.shutdown_grace;
        // Most descriptors are for servers and sinks, however many ask for the page.
        let most = usize::try_from(self.descriptors / 4).unwrap_or(usize::MAX);
        let mut limits = config.web.clone();
        limits.connections = limits.connections.min(most).max(1);
        self.limits.send_replace(limits);
        self.config = config;
        Ok(())
    }
}

/// Shows the state for as long as it is there.
struct Web {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Web {
    fn start(
        address: SocketAddr,
        listener: TcpListener,
        status: Arc<Status>,
        limits: watch::Receiver<Limits>,
    ) -> Web {
        // The port that it got, where any would do.
        let at = listener.local_addr().unwrap_or(address);
        say(&format!("its state is shown at http://{at}/"));
        let task = tokio::spawn(web::serve(listener, status, limits, std::future::pending()));
        Web { address, task }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for a signal that asks for the end. A second one, and the time that the end may take, end the program however
/// it stands then: what it had leased comes back to the queues when the leases end.
async fn wait_for_end([mut first, mut second]: [Signal; 2], stop: Shutdown, status: Arc<Status>) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
        () = stop.requested() => {}
    }
    stop.request();
    let grace = *lock(&status.grace);
    // A thread, as all tasks may be stuck.
    std::thread::spawn(move || {
        std::thread::sleep(grace);
        std::process::exit(i32::from(ExitStatus::Success.code()));
    });
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
    std::process::exit(i32::from(ExitStatus::Interrupted.code()));
}

/// Takes as many open files as the system allows, and returns how many: each server is one, and the soft limit is often
/// 1024.
fn allow_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // With fewer it works, too.
    let now = match setrlimit(Resource::Nofile, all) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}
