//! A poller at work: its sinks and its fleet of servers, the signals, and the file of settings, which is read anew when
//! it has changed or a SIGHUP asks for it.
//!
//! What holds: a file with mistakes changes nothing; of a good one, sinks and servers that are as before go on with
//! what they have. A poller that does half of its work in silence is worse than one that ended: where a task or thread
//! fails, the end is asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::Ended;
use crate::say::{of_sink, say, warn};
use crate::shutdown::Stop;

use super::config::{self, Config};
use super::dead::DeadLetters;
use super::fleet::Fleet;
use super::plan::{Outlet, Plan};
use super::room::Share;
use super::sink;
use super::status::{SinkStatus, Status, lock};
use super::web;
use super::worker::Worker;

/// How often the file is looked at, and the tasks.
const LOOK: Duration = Duration::from_secs(2);
/// How long new sources have to tell of servers that old ones told of.
const SETTLE: Duration = Duration::from_secs(5);

/// A sink at work, from outside.
struct Working {
    /// What it was made from.
    made: Made,
    outlet: Arc<Outlet>,
    status: Arc<SinkStatus>,
    /// Its end alone.
    stop: Stop,
    /// How it ended.
    ended: oneshot::Receiver<Result<(), String>>,
}

/// What a sink is made from: where all of it is as before, it goes on.
#[derive(Clone, PartialEq)]
struct Made {
    sink: config::Sink,
    share: u64,
    dead_letters: PathBuf,
    max_deliveries: u64,
}

/// See the file's header.
pub struct Engine {
    path: PathBuf,
    changed: Option<SystemTime>,
    config: Config,
    stop: Stop,
    status: Arc<Status>,
    working: Vec<Working>,
    /// The server that shows the state, where there is one.
    web: Option<Web>,
    /// Sinks that are no more, and have a last write to end.
    ending: Vec<Working>,
}

impl Engine {
    /// Begins with these settings, which this file held.
    ///
    /// Returns an error if the system gives no thread.
    pub fn start(path: &Path, config: Config) -> Result<Engine, String> {
        let mut engine = Engine {
            path: path.to_owned(),
            changed: changed(path),
            stop: Stop::default(),
            status: Arc::new(Status::new()),
            working: Vec::new(),
            ending: Vec::new(),
            web: None,
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
            self.web = Some(Web::start(address, listener, self.status.clone()));
        }
        let mut fleet = Fleet::new(plan, self.status.clone(), self.stop.clone());
        fleet.watch(self.config.sources.clone());

        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settle = None;
        while !self.stop.asked() {
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
                        self.stop.ask();
                    }
                    self.ending.retain_mut(|sink| sink.ended.try_recv().is_err());
                    changed(&self.path) != self.changed
                }
                () = settled => {
                    fleet.settle();
                    settle = None;
                    false
                }
                () = self.stop.wanted() => false,
            };
            if read && self.read_anew().await {
                // Whoever listens is in the fleet.
                let _ = plans.send(Arc::new(self.plan()));
                fleet.watch(self.config.sources.clone());
                settle = Some(Instant::now() + SETTLE);
            }
        }
        self.status.ending.store(true, Ordering::Relaxed);
        for sink in &self.working {
            // What fails once more is given up.
            sink.stop.ask();
        }
        fleet.end().await;
        drop(plans);
        self.end().await
    }

    fn plan(&self) -> Plan {
        Plan {
            routes: self.config.routes.clone(),
            outlets: self
                .working
                .iter()
                .map(|sink| sink.outlet.clone())
                .collect(),
            poll_interval: self.config.poll_interval,
            lease: self.config.lease,
            // The last part is for giving back.
            grace: self.config.shutdown_grace * 3 / 4,
        }
    }

    /// Reads the file anew; tells whether what it says is in force.
    async fn read_anew(&mut self) -> bool {
        self.changed = changed(&self.path);
        let read = match Config::read(&self.path) {
            Ok(config) => self.take_over(config).await,
            Err(why) => Err(why),
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
            Some(address) => Some((address, web::bind(address).await?)),
            None => None,
        };
        let listens = config.listen.is_some();
        self.put_in_force(config)?;
        if let Some((address, listener)) = listener {
            self.web = Some(Web::start(address, listener, self.status.clone()));
        } else if !listens {
            self.web = None;
        }
        Ok(())
    }

    /// Makes these settings those in force, and starts and ends sinks for it.
    ///
    /// Returns an error, and changes nothing, if the system gives no thread.
    fn put_in_force(&mut self, config: Config) -> Result<(), String> {
        let share = config.max_in_flight / config.sinks.len() as u64;
        let made = |sink: &config::Sink| Made {
            sink: sink.clone(),
            share,
            dead_letters: config.dead_letters.clone(),
            max_deliveries: config.max_deliveries,
        };
        let wanted: Vec<Made> = config.sinks.iter().map(made).collect();
        let mut fresh = Vec::new();
        for made in &wanted {
            if !self.working.iter().any(|sink| sink.made == *made) {
                fresh.push(start(made.clone(), &self.stop)?);
            }
        }
        let mut pool = std::mem::take(&mut self.working);
        pool.append(&mut fresh);
        for made in &wanted {
            if let Some(place) = pool.iter().position(|sink| sink.made == *made) {
                self.working.push(pool.swap_remove(place));
            }
        }
        for sink in &pool {
            sink.stop.ask();
        }
        self.ending.append(&mut pool);
        let status = self.working.iter().map(|sink| sink.status.clone());
        self.status.set_sinks(status);
        *lock(&self.status.grace) = config.shutdown_grace;
        self.config = config;
        Ok(())
    }

    /// Waits for the sinks, to which nobody sends any more, and tells what they did.
    async fn end(self) -> Result<(), String> {
        // A little before the time at which a program that is stuck is ended, so that the counts are told.
        let since = self.stop.since().map_or_else(Instant::now, Instant::from);
        let deadline = since + self.config.shutdown_grace * 7 / 8;
        let mut failed = None;
        for sink in self.ending.into_iter().chain(self.working) {
            drop(sink.outlet);
            if let Ok(Ok(Err(why))) = timeout_at(deadline, sink.ended).await {
                failed = Some(why);
            }
            let stored = sink.status.stored.load(Ordering::Relaxed);
            let dead = sink.status.dead.load(Ordering::Relaxed);
            let name = &sink.status.name;
            say(&format!("{name}: {stored} records, {dead} dead letters"));
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Shows the state for as long as it is there.
struct Web {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Web {
    fn start(address: SocketAddr, listener: TcpListener, status: Arc<Status>) -> Web {
        // The port that it got, where any would do.
        let at = listener.local_addr().unwrap_or(address);
        say(&format!("its state is shown at http://{at}/"));
        let task = tokio::spawn(async move {
            if let Err(error) = web::serve(listener, status, std::future::pending()).await {
                warn(&format!("the state is shown no more at {at}: {error}"));
            }
        });
        Web { address, task }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start(made: Made, stop: &Stop) -> Result<Working, String> {
    let (inbox, deliveries) = mpsc::channel();
    let share = Share::new(made.share);
    let sink = &made.sink;
    let status = SinkStatus::new(&sink.name, sink.kind.word(), share.clone());
    let status = Arc::new(status);
    let own = Stop::default();
    let worker = Worker {
        name: sink.name.clone(),
        format: sink.format,
        sink: sink::open(sink.kind.clone()),
        inbox: deliveries,
        dead: DeadLetters::new(made.dead_letters.clone()),
        max_deliveries: made.max_deliveries,
        status: status.clone(),
        stop: own.clone(),
    };
    let (tell, ended) = oneshot::channel();
    let stop = stop.clone();
    std::thread::Builder::new()
        .name(sink.name.clone())
        .spawn(move || {
            let _whole = Whole(&stop);
            let result = of_sink(&worker.name).in_scope(|| worker.run());
            if result.is_err() {
                stop.ask();
            }
            // Who asked is gone only at the end of the program.
            let _ = tell.send(result);
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Working {
        outlet: Arc::new(Outlet {
            format: sink.format,
            share,
            inbox,
        }),
        made,
        status,
        stop: own,
        ended,
    })
}

/// Asks for the end when the thread that has it fails.
struct Whole<'a>(&'a Stop);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask();
        }
    }
}

/// Waits for a signal that asks for the end. A second one, and the time that the end may take, end the program however
/// it stands then: what it had leased comes back to the queues when the leases end.
async fn wait_for_end([mut first, mut second]: [Signal; 2], stop: Stop, status: Arc<Status>) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
        () = stop.wanted() => {}
    }
    stop.ask();
    let grace = *lock(&status.grace);
    // A thread, as all tasks may be stuck.
    std::thread::spawn(move || {
        std::thread::sleep(grace);
        std::process::exit(i32::from(Ended::Done.code()));
    });
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
    std::process::exit(i32::from(Ended::Interrupted.code()));
}

/// When the file was changed, as far as the system says.
fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|data| data.modified())
        .ok()
}
