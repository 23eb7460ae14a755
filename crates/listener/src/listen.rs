//! Runs the endpoints of a configuration, and reloads it.
//!
//! # Invariants
//!
//! - What was received before the end is sent, or counted as not sent.
//! - A configuration that cannot be used changes nothing. After a reload, sockets whose addresses are the same stay open,
//!   so no datagram is lost.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agg_client::Shutdown;
use agg_client::connect::{ClientError, Server};
use aggregator_protocol::{NodeName, grouping};
use axum::Router;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::collector::{Collector, CollectorSettings};
use crate::config::{Addresses, Config, FieldKind};
use crate::counts::Counts;
use crate::endpoint::{graphite, influxdb, otlp, prometheus, read_lines, statsd, syslog};
use crate::identity::IdentitySettings;
use crate::influx::{Kind, Rules};
use crate::intake::Intake;
use crate::net::datagram::Datagrams;
use crate::net::http::{self, Bodies};
use crate::net::stream::{Connection, Streams};
use crate::net::{Address, ListenError};
use crate::reporter::{Reporter, unix_ms};
use crate::sets::SetSettings;
use crate::status::{self, Status};

/// The interval of sets where a protocol has none.
const NO_SETS: Duration = Duration::from_secs(10);

/// The time between two looks at what the kernel has dropped.
const KERNEL_DROPS: Duration = Duration::from_secs(1);

/// Attempts to find a port that is free for datagrams and connections.
const PORTS: u32 = 16;

/// The memory of all bodies that are read at the same time, in sizes of the largest.
const BODIES: usize = 8;

/// The time that a last attempt to send may take at the end.
pub const GRACE: Duration = Duration::from_secs(5);

/// The listener cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] ClientError),
}

/// A task that runs until it is dropped.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The sockets that are open, by their addresses.
#[derive(Default)]
struct Sockets {
    datagrams: HashMap<(Address, usize), Arc<Datagrams>>,
    streams: HashMap<Address, Arc<Streams>>,
}

/// Listens until a shutdown is requested. `reload` is notified to read the file `path` again. Returns the number of
/// reports that were not sent.
///
/// # Errors
///
/// A listener cannot be opened, or the server rejects the connection.
pub async fn run(
    server: &Server,
    config: Config,
    path: Option<&Path>,
    host_name: NodeName,
    reload: Arc<Notify>,
    shutdown: &Shutdown,
) -> Result<u64, RunError> {
    let counts = Arc::new(Counts::default());
    let reporter = Reporter::new(config.buffer.bytes(), counts.clone());
    let mut listener = Listener {
        host_name,
        reporter: reporter.clone(),
        status: Arc::new(Status::new(counts.clone(), reporter.clone())),
        counts,
        sockets: Sockets::default(),
        intakes: Vec::new(),
    };
    let mut tasks = listener.start(&config).await?;
    let mut receiving = std::pin::pin!(async {
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                () = reload.notified() => {
                    if let Some(started) = listener.reload(path).await {
                        tasks = started;
                    }
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a part of the listener has failed: {error}");
                    }
                }
            }
        }
        tasks.shutdown().await;
        listener.intakes.iter().for_each(|intake| intake.finish());
        reporter.close();
    });
    let mut sending = std::pin::pin!(reporter.run(server, shutdown));
    let unsent = tokio::select! {
        // The server cannot be used, or a shutdown was requested while it was down.
        result = &mut sending => {
            let unsent = result?;
            receiving.await;
            unsent
        }
        () = &mut receiving => sending.await?,
    };
    Ok(unsent + reporter.unsent())
}

struct Listener {
    host_name: NodeName,
    reporter: Reporter,
    counts: Arc<Counts>,
    status: Arc<Status>,
    sockets: Sockets,
    intakes: Vec<Arc<Intake>>,
}

impl Listener {
    /// Reads the file again. Returns the new tasks, or none if nothing changes.
    async fn reload(&mut self, path: Option<&Path>) -> Option<JoinSet<()>> {
        let Some(path) = path else {
            tracing::warn!("there is no file to read again: the arguments hold until the end");
            return None;
        };
        let config = match Config::read(path) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("{error}; the old configuration stays in use");
                return None;
            }
        };
        self.intakes.iter().for_each(|intake| intake.finish());
        match self.start(&config).await {
            Ok(tasks) => {
                tracing::info!("the configuration was read again");
                Some(tasks)
            }
            Err(error) => {
                tracing::error!("{error}; the old configuration stays in use");
                None
            }
        }
    }

    /// Opens what a configuration names, and starts its tasks.
    async fn start(&mut self, config: &Config) -> Result<JoinSet<()>, ListenError> {
        let mut parts = Parts {
            listener: self,
            config,
            kept: Sockets::default(),
            intakes: Vec::new(),
            tasks: Vec::new(),
            messages: Vec::new(),
        };
        parts.open().await?;
        let Parts {
            kept,
            intakes,
            tasks,
            messages,
            ..
        } = parts;
        messages
            .iter()
            .for_each(|message| tracing::info!("{message}"));
        self.sockets = kept;
        self.intakes = intakes;
        let mut running = JoinSet::new();
        for task in tasks {
            running.spawn(task);
        }
        Ok(running)
    }
}

/// The parts of a configuration, as they are opened.
struct Parts<'a> {
    listener: &'a Listener,
    config: &'a Config,
    kept: Sockets,
    intakes: Vec<Arc<Intake>>,
    tasks: Vec<Task>,
    messages: Vec<String>,
}

impl Parts<'_> {
    async fn open(&mut self) -> Result<(), ListenError> {
        let config = self.config;
        if let Some(statsd) = &config.statsd {
            let intake = self.intake(statsd::NAME, statsd.set_interval.0);
            let buffer = statsd.receive_buffer.bytes();
            self.text(&intake, &statsd.listen, buffer, statsd::parse)
                .await?;
        }
        if let Some(graphite) = &config.graphite {
            let intake = self.intake(graphite::NAME, NO_SETS);
            let buffer = graphite.receive_buffer.bytes();
            self.text(&intake, &graphite.listen, buffer, graphite::parse)
                .await?;
        }
        if let Some(syslog) = &config.syslog {
            let intake = self.intake(syslog::NAME, NO_SETS);
            self.syslog(&intake, &syslog.listen, syslog.receive_buffer.bytes())
                .await?;
        }
        let max_body = config.max_body.bytes();
        let bodies = Bodies::new(max_body, BODIES * max_body);
        if let Some(otlp) = &config.otlp {
            let intake = self.intake(otlp::NAME, NO_SETS);
            let state = crate::otlp::State::new(crate::otlp::Limits::default(), unix_ms());
            let state = Arc::new(Mutex::new(state));
            let router = otlp::router(intake, bodies.clone(), state, max_body);
            self.http("otlp", &otlp.listen, "HTTP", &router).await?;
            self.http("otlp", &otlp.grpc, "gRPC", &router).await?;
        }
        if let Some(influx) = &config.influxdb {
            let intake = self.intake(influxdb::NAME, NO_SETS);
            let rules = influx
                .types
                .iter()
                .map(|rule| (&*rule.field, kind(rule.kind)));
            let router = influxdb::router(intake, bodies.clone(), Rules::new(rules));
            self.http("influxdb", &influx.listen, "HTTP", &router)
                .await?;
        }
        if let Some(targets) = &config.prometheus {
            let intake = self.intake(prometheus::NAME, NO_SETS);
            let states = self.listener.status.targets();
            let scraper = prometheus::Scraper::new(intake, targets.clone(), bodies, states);
            let interval = targets.interval.0;
            self.messages
                .push(format!("prometheus: scraping targets every {interval:?}"));
            self.tasks.push(Box::pin(scraper.run()));
        }
        if let Some(address) = &config.listen {
            let streams = self.streams(address).await?;
            let router = status::router(self.listener.status.clone());
            self.messages
                .push(format!("status page: http://{}/", streams.address()));
            self.serve(streams, router);
        }
        self.flush();
        Ok(())
    }

    /// Creates the intake of a protocol.
    fn intake(&mut self, protocol: &'static str, set_interval: Duration) -> Arc<Intake> {
        let config = self.config;
        let node = config
            .node
            .as_ref()
            .map(|node| NodeName(node.clone().into_bytes()));
        let settings = CollectorSettings {
            node: node.unwrap_or_else(|| self.listener.host_name.clone()),
            identity: IdentitySettings {
                identity: config.identity.clone(),
                drop: config.drop.clone(),
                tags: config.tags.iter().map(|tag| tag.0.clone()).collect(),
                max_instances: config.max_instances,
                ..IdentitySettings::default()
            },
            sets: SetSettings {
                interval_ms: u64::try_from(set_interval.as_millis()).unwrap_or(u64::MAX),
                ..SetSettings::default()
            },
            errors_from: config.errors_from.map(|level| level.0),
            error_key: grouping::key,
        };
        let collector = Collector::new(settings);
        let (reporter, counts) = (self.listener.reporter.clone(), self.listener.counts.clone());
        let intake = Arc::new(Intake::new(protocol, collector, reporter, counts));
        self.intakes.push(intake.clone());
        intake
    }

    fn datagrams(
        &mut self,
        address: &Address,
        buffer: usize,
    ) -> Result<Arc<Datagrams>, ListenError> {
        let key = (address.clone(), buffer);
        let socket = match self.listener.sockets.datagrams.get(&key) {
            Some(socket) => socket.clone(),
            None => Arc::new(Datagrams::bind(address, buffer)?),
        };
        self.kept.datagrams.insert(key, socket.clone());
        Ok(socket)
    }

    async fn streams(&mut self, address: &Address) -> Result<Arc<Streams>, ListenError> {
        let socket = match self.listener.sockets.streams.get(address) {
            Some(socket) => socket.clone(),
            None => Arc::new(Streams::bind(address).await?),
        };
        self.kept.streams.insert(address.clone(), socket.clone());
        Ok(socket)
    }

    /// Listens for datagrams and, unless it is a Unix socket, for connections. With port 0 both have the same port, which
    /// the system has chosen.
    async fn both(
        &mut self,
        address: &Address,
        buffer: usize,
    ) -> Result<(Arc<Datagrams>, Option<Arc<Streams>>), ListenError> {
        let Address::Ip(ip) = address else {
            return Ok((self.datagrams(address, buffer)?, None));
        };
        let mut attempts = if ip.port() == 0 { PORTS } else { 1 };
        loop {
            let streams = self.streams(address).await?;
            attempts -= 1;
            match self.datagrams(streams.address(), buffer) {
                Ok(datagrams) => return Ok((datagrams, Some(streams))),
                // The port that was free for connections is not free for datagrams.
                Err(_) if attempts > 0 => drop(self.kept.streams.remove(address)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives datagrams with a function that parses one.
    fn receive(
        &mut self,
        intake: &Arc<Intake>,
        socket: Arc<Datagrams>,
        parse: impl Fn(&[u8], &mut Collector) + Send + Sync + 'static,
    ) {
        let (intake, name) = (intake.clone(), socket.address().clone());
        self.tasks.push(Box::pin(async move {
            let received =
                socket.receive(|datagram| intake.feed(|collector| parse(datagram, collector)));
            let drops = async {
                let mut tick = tokio::time::interval(KERNEL_DROPS);
                loop {
                    tick.tick().await;
                    let dropped = socket.take_dropped();
                    if dropped > 0 {
                        intake.counts().kernel_dropped(intake.protocol(), dropped);
                    }
                }
            };
            tokio::select! {
                result = received => if let Err(error) = result {
                    tracing::error!("{}: {name} failed: {error}", intake.protocol());
                },
                () = drops => {}
            }
        }));
    }

    /// Listens for datagrams and for lines on the same addresses.
    async fn text(
        &mut self,
        intake: &Arc<Intake>,
        addresses: &Addresses,
        buffer: usize,
        parse: fn(&[u8], &mut Collector),
    ) -> Result<(), ListenError> {
        let (max_line, idle) = (self.config.max_body.bytes(), self.config.idle_timeout.0);
        for address in &addresses.0 {
            let (socket, streams) = self.both(address, buffer).await?;
            self.announce(intake.protocol(), &socket);
            self.receive(intake, socket, parse);
            if let Some(streams) = streams {
                let intake = intake.clone();
                self.accept(streams, move |connection| {
                    read_lines(intake.clone(), connection, max_line, idle, parse)
                });
            }
        }
        Ok(())
    }

    async fn syslog(
        &mut self,
        intake: &Arc<Intake>,
        addresses: &Addresses,
        buffer: usize,
    ) -> Result<(), ListenError> {
        let (max_message, idle) = (self.config.max_body.bytes(), self.config.idle_timeout.0);
        for address in &addresses.0 {
            let (socket, streams) = self.both(address, buffer).await?;
            self.announce(intake.protocol(), &socket);
            self.receive(intake, socket, |message, collector| {
                syslog::parse(message, utc_offset_s(), collector);
            });
            if let Some(streams) = streams {
                let intake = intake.clone();
                self.accept(streams, move |connection| {
                    syslog::read(
                        intake.clone(),
                        connection,
                        utc_offset_s(),
                        max_message,
                        idle,
                    )
                });
            }
        }
        Ok(())
    }

    fn announce(&mut self, protocol: &str, socket: &Datagrams) {
        let kinds = match socket.address() {
            Address::Ip(_) => "UDP and TCP",
            Address::Unix(_) => "datagrams",
        };
        self.messages.push(format!(
            "{protocol}: listening on {} ({kinds})",
            socket.address()
        ));
    }

    fn accept<F>(
        &mut self,
        streams: Arc<Streams>,
        serve: impl FnMut(Connection) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = self.config.max_connections;
        self.tasks.push(Box::pin(
            async move { streams.accept(connections, serve).await },
        ));
    }

    async fn http(
        &mut self,
        name: &str,
        addresses: &Addresses,
        kind: &str,
        router: &Router,
    ) -> Result<(), ListenError> {
        for address in &addresses.0 {
            let streams = self.streams(address).await?;
            self.messages.push(format!(
                "{name}: listening on {} ({kind})",
                streams.address()
            ));
            self.serve(streams, router.clone());
        }
        Ok(())
    }

    fn serve(&mut self, streams: Arc<Streams>, router: Router) {
        let idle = self.config.idle_timeout.0;
        self.accept(streams, move |connection| {
            http::serve(connection, router.clone(), idle)
        });
    }

    /// Sends what was collected at a steady interval.
    fn flush(&mut self) {
        let (intakes, length) = (self.intakes.clone(), self.config.flush_interval.0);
        self.tasks.push(Box::pin(async move {
            let mut tick = tokio::time::interval(length);
            loop {
                tick.tick().await;
                intakes.iter().for_each(|intake| intake.flush());
            }
        }));
    }
}

fn kind(kind: FieldKind) -> Kind {
    match kind {
        FieldKind::Abs => Kind::Abs,
        FieldKind::Diff => Kind::Diff,
        FieldKind::Inc => Kind::Inc,
        FieldKind::Hist => Kind::Hist,
    }
}

/// Returns the local time zone: seconds to add to UTC.
fn utc_offset_s() -> i32 {
    crate::time_zone::offset_s(unix_ms() / 1000)
}
