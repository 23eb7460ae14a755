//! The endpoints of a configuration: opens their sockets, and makes their tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agg_client::Shutdown;
use aggregator_protocol::{NodeName, grouping};
use axum::Router;

use super::shared::Shared;
use super::sockets::Sockets;
use crate::collector::{Collector, CollectorSettings};
use crate::config::{Addresses, Config};
use crate::endpoint::{graphite, influxdb, otlp, prometheus, read_lines, statsd, syslog};
use crate::identity::IdentitySettings;
use crate::influx::Rules;
use crate::intake::Intake;
use crate::net::body::Bodies;
use crate::net::datagram::{Datagram, Datagrams};
use crate::net::http::{self, Routes};
use crate::net::stream::{Connection, ConnectionLimits, Streams};
use crate::net::{Address, ListenError};
use crate::report::Receiver;
use crate::sets::SetSettings;
use crate::status;

/// The interval of sets of protocols that have no sets.
const DEFAULT_SET_INTERVAL: Duration = Duration::from_secs(10);

/// The time between two looks at what the kernel has dropped.
const KERNEL_DROPS_INTERVAL: Duration = Duration::from_secs(1);

/// The number of the largest bodies whose memory all requests may use together.
const CONCURRENT_BODIES: usize = 8;

/// A task that runs until the shutdown of its configuration is requested. One that ends earlier has failed, and receives
/// nothing any more.
pub(super) type Task = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The endpoints of a configuration. Their tasks are not started yet.
pub(super) struct Endpoints<'a> {
    shared: &'a Shared,
    config: &'a Config,
    /// The sockets and intakes of the configuration before.
    old: &'a Sockets,
    old_intakes: &'a [Arc<Intake>],
    /// The sockets of this configuration.
    pub sockets: Sockets,
    /// The intakes of this configuration.
    pub intakes: Vec<Arc<Intake>>,
    /// The settings of intakes that exist already.
    pub changed: Vec<(Arc<Intake>, CollectorSettings)>,
    /// The routes of this configuration.
    pub routes: Vec<(Arc<Routes>, Router)>,
    /// The tasks of this configuration.
    pub tasks: Vec<Task>,
    /// Ends the tasks.
    pub shutdown: Shutdown,
    /// A line of the log for each socket.
    pub messages: Vec<String>,
}

impl<'a> Endpoints<'a> {
    /// Opens what a configuration names. `old` has sockets that are open already, `old_intakes` the intakes that exist.
    pub async fn open(
        shared: &'a Shared,
        config: &'a Config,
        old: &'a Sockets,
        old_intakes: &'a [Arc<Intake>],
    ) -> Result<Self, ListenError> {
        let mut endpoints = Endpoints {
            shared,
            config,
            old,
            old_intakes,
            sockets: Sockets::default(),
            intakes: Vec::new(),
            changed: Vec::new(),
            routes: Vec::new(),
            tasks: Vec::new(),
            shutdown: Shutdown::default(),
            messages: Vec::new(),
        };
        endpoints.open_all().await?;
        Ok(endpoints)
    }

    async fn open_all(&mut self) -> Result<(), ListenError> {
        let config = self.config;
        if let Some(statsd) = &config.statsd {
            let intake = self.intake(statsd::NAME, statsd.set_interval.0);
            let buffer = statsd.receive_buffer.bytes();
            let read =
                |intake, connection, limits| read_lines(intake, connection, limits, statsd::parse);
            self.both(&intake, &statsd.listen, buffer, statsd::parse, read)
                .await?;
        }
        if let Some(graphite) = &config.graphite {
            let intake = self.intake(graphite::NAME, DEFAULT_SET_INTERVAL);
            let buffer = graphite.receive_buffer.bytes();
            let read = |intake, connection, limits| {
                read_lines(intake, connection, limits, graphite::parse)
            };
            self.both(&intake, &graphite.listen, buffer, graphite::parse, read)
                .await?;
        }
        if let Some(syslog) = &config.syslog {
            let intake = self.intake(syslog::NAME, DEFAULT_SET_INTERVAL);
            let buffer = syslog.receive_buffer.bytes();
            self.both(&intake, &syslog.listen, buffer, syslog::parse, syslog::read)
                .await?;
        }
        let max_body = config.max_body.bytes();
        let bodies = Bodies::new(max_body, CONCURRENT_BODIES * max_body);
        if let Some(otlp) = &config.otlp {
            let intake = self.intake(otlp::NAME, DEFAULT_SET_INTERVAL);
            let state = self.shared.cumulative.clone();
            let router = otlp::router(intake, bodies.clone(), state, max_body);
            self.http("otlp", &otlp.listen, "HTTP", &router).await?;
            self.http("otlp", &otlp.grpc, "gRPC", &router).await?;
        }
        if let Some(influx) = &config.influxdb {
            let intake = self.intake(influxdb::NAME, DEFAULT_SET_INTERVAL);
            let rules = influx.types.iter().map(|rule| (&*rule.field, rule.kind));
            let router = influxdb::router(intake, bodies.clone(), Rules::new(rules));
            self.http("influxdb", &influx.listen, "HTTP", &router)
                .await?;
        }
        if let Some(targets) = &config.prometheus {
            let intake = self.intake(prometheus::NAME, DEFAULT_SET_INTERVAL);
            let states = self.shared.status.targets();
            let totals = self.shared.totals.clone();
            let scraper = prometheus::Scraper::new(intake, targets.clone(), bodies, states, totals);
            let interval = targets.interval.0;
            self.messages
                .push(format!("prometheus: scraping targets every {interval:?}"));
            self.run(scraper.run());
        }
        if let Some(address) = &config.listen {
            self.sockets.reserve(self.old, address, "the status page")?;
            let streams = self.sockets.streams(self.old, address).await?;
            let router = status::router(self.shared.status.clone(), &self.config.allowed_hosts);
            self.messages
                .push(format!("status page: http://{}/", streams.address()));
            self.serve(address, streams, router);
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
            node: node.unwrap_or_else(|| self.shared.host_name.clone()),
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
        let mut old = self.old_intakes.iter();
        let intake = match old.find(|intake| intake.protocol() == protocol) {
            Some(intake) => {
                self.changed.push((intake.clone(), settings));
                intake.clone()
            }
            None => {
                let (reporter, counts) = (self.shared.reporter.clone(), self.shared.counts.clone());
                let collector = Collector::new(settings);
                Arc::new(Intake::new(protocol, collector, reporter, counts))
            }
        };
        self.intakes.push(intake.clone());
        intake
    }

    /// Adds a task that runs until the shutdown.
    fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(Box::pin(async move {
            tokio::select! {
                () = task => {}
                () = shutdown.requested() => {}
            }
            Ok(())
        }));
    }

    /// Receives datagrams with a function that parses one.
    fn receive(
        &mut self,
        intake: &Arc<Intake>,
        socket: Arc<Datagrams>,
        buffer: usize,
        parse: fn(&[u8], &mut Collector),
    ) {
        let (intake, name) = (intake.clone(), socket.address().clone());
        let shutdown = self.shutdown.clone();
        self.tasks.push(Box::pin(async move {
            socket.resize(buffer);
            let each = |datagram: Datagram<'_>| {
                intake.feed(|collector| match datagram {
                    Datagram::Whole(datagram) => parse(datagram, collector),
                    Datagram::Cut(start) => {
                        collector.invalid("a datagram that is too long", start);
                    }
                });
            };
            let count_drops = || {
                let dropped = socket.take_dropped();
                if dropped > 0 {
                    intake.counts().kernel_dropped(intake.protocol(), dropped);
                }
            };
            let drops = async {
                let mut tick = tokio::time::interval(KERNEL_DROPS_INTERVAL);
                loop {
                    tick.tick().await;
                    count_drops();
                }
            };
            let result = tokio::select! {
                result = socket.receive(&shutdown, each) => result,
                () = drops => Ok(()),
            };
            count_drops();
            result.map_err(|error| format!("{}: {name} failed: {error}", intake.protocol()))
        }));
    }

    /// Listens for datagrams and connections on the same addresses. `parse` parses a datagram, `read` a connection.
    async fn both<F>(
        &mut self,
        intake: &Arc<Intake>,
        addresses: &Addresses,
        buffer: usize,
        parse: fn(&[u8], &mut Collector),
        read: impl Fn(Arc<Intake>, Connection, ConnectionLimits) -> F + Clone + Send + 'static,
    ) -> Result<(), ListenError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let idle = self.config.idle_timeout.0;
        for address in &addresses.0 {
            self.sockets.reserve(self.old, address, intake.protocol())?;
            let (socket, streams) = self.sockets.both(self.old, address, buffer).await?;
            self.announce(intake.protocol(), &socket);
            self.receive(intake, socket, buffer, parse);
            if let Some(streams) = streams {
                let (intake, read) = (intake.clone(), read.clone());
                self.accept(streams, move |connection, shutdown| {
                    read(
                        intake.clone(),
                        connection,
                        ConnectionLimits { idle, shutdown },
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
        serve: impl FnMut(Connection, Shutdown) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (connections, shutdown) = (self.config.max_connections, self.shutdown.clone());
        self.tasks.push(Box::pin(async move {
            streams.accept(connections, &shutdown, serve).await;
            Ok(())
        }));
    }

    async fn http(
        &mut self,
        name: &'static str,
        addresses: &Addresses,
        kind: &str,
        router: &Router,
    ) -> Result<(), ListenError> {
        for address in &addresses.0 {
            self.sockets.reserve(self.old, address, name)?;
            let streams = self.sockets.streams(self.old, address).await?;
            self.messages.push(format!(
                "{name}: listening on {} ({kind})",
                streams.address()
            ));
            self.serve(address, streams, router.clone());
        }
        Ok(())
    }

    fn serve(&mut self, address: &Address, streams: Arc<Streams>, router: Router) {
        let idle = self.config.idle_timeout.0;
        let routes = self.sockets.routes(self.old, address, &router);
        self.routes.push((routes.clone(), router));
        self.accept(streams, move |connection, shutdown| {
            http::serve(connection, routes.clone(), idle, shutdown)
        });
    }

    /// Sends what was collected at a steady interval.
    fn flush(&mut self) {
        let (intakes, length) = (self.intakes.clone(), self.config.flush_interval.0);
        self.run(async move {
            let mut tick = tokio::time::interval(length);
            loop {
                tick.tick().await;
                intakes.iter().for_each(|intake| intake.flush());
            }
        });
    }
}
