//! The endpoints of a configuration: opens their sockets, and makes their tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aggregator_protocol::{NodeName, grouping};
use axum::Router;
use parking_lot::Mutex;

use super::shared::Shared;
use super::sockets::Sockets;
use crate::collector::{Collector, CollectorSettings};
use crate::config::{Addresses, Config};
use crate::endpoint::{
    StreamLimits, graphite, influxdb, otlp, prometheus, read_lines, statsd, syslog,
};
use crate::identity::IdentitySettings;
use crate::influx::Rules;
use crate::intake::Intake;
use crate::net::datagram::Datagrams;
use crate::net::http::{self, Bodies};
use crate::net::stream::{Connection, Streams};
use crate::net::{Address, ListenError};
use crate::reporter::unix_ms;
use crate::sets::SetSettings;
use crate::status;

/// The interval of sets of protocols that have no sets.
const DEFAULT_SET_INTERVAL: Duration = Duration::from_secs(10);

/// The time between two looks at what the kernel has dropped.
const KERNEL_DROPS_INTERVAL: Duration = Duration::from_secs(1);

/// The number of the largest bodies whose memory all requests may use together.
const CONCURRENT_BODIES: usize = 8;

/// A task that runs until it is dropped.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The endpoints of a configuration. Their tasks are not started yet.
pub(super) struct Endpoints<'a> {
    shared: &'a Shared,
    config: &'a Config,
    /// The sockets of the configuration before.
    old: &'a Sockets,
    /// Their sockets.
    pub sockets: Sockets,
    /// Their intakes.
    pub intakes: Vec<Arc<Intake>>,
    /// Their tasks.
    pub tasks: Vec<Task>,
    /// What the log says of them: a line for each listener.
    pub messages: Vec<String>,
}

impl<'a> Endpoints<'a> {
    /// Opens what a configuration names. `old` has sockets that are open already.
    pub async fn open(
        shared: &'a Shared,
        config: &'a Config,
        old: &'a Sockets,
    ) -> Result<Self, ListenError> {
        let mut endpoints = Endpoints {
            shared,
            config,
            old,
            sockets: Sockets::default(),
            intakes: Vec::new(),
            tasks: Vec::new(),
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
            let state = crate::otlp::State::new(crate::otlp::Limits::default(), unix_ms());
            let state = Arc::new(Mutex::new(state));
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
            let scraper = prometheus::Scraper::new(intake, targets.clone(), bodies, states);
            let interval = targets.interval.0;
            self.messages
                .push(format!("prometheus: scraping targets every {interval:?}"));
            self.tasks.push(Box::pin(scraper.run()));
        }
        if let Some(address) = &config.listen {
            let streams = self.sockets.streams(self.old, address).await?;
            let router = status::router(self.shared.status.clone());
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
        let collector = Collector::new(settings);
        let (reporter, counts) = (self.shared.reporter.clone(), self.shared.counts.clone());
        let intake = Arc::new(Intake::new(protocol, collector, reporter, counts));
        self.intakes.push(intake.clone());
        intake
    }

    /// Receives datagrams with a function that parses one.
    fn receive(
        &mut self,
        intake: &Arc<Intake>,
        socket: Arc<Datagrams>,
        parse: fn(&[u8], &mut Collector),
    ) {
        let (intake, name) = (intake.clone(), socket.address().clone());
        self.tasks.push(Box::pin(async move {
            let received =
                socket.receive(|datagram| intake.feed(|collector| parse(datagram, collector)));
            let drops = async {
                let mut tick = tokio::time::interval(KERNEL_DROPS_INTERVAL);
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

    /// Listens for datagrams and connections on the same addresses. `parse` parses a datagram, `read` a connection.
    async fn both<F>(
        &mut self,
        intake: &Arc<Intake>,
        addresses: &Addresses,
        buffer: usize,
        parse: fn(&[u8], &mut Collector),
        read: impl Fn(Arc<Intake>, Connection, StreamLimits) -> F + Clone + Send + 'static,
    ) -> Result<(), ListenError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let limits = StreamLimits {
            max_message: self.config.max_body.bytes(),
            idle: self.config.idle_timeout.0,
        };
        for address in &addresses.0 {
            let (socket, streams) = self.sockets.both(self.old, address, buffer).await?;
            self.announce(intake.protocol(), &socket);
            self.receive(intake, socket, parse);
            if let Some(streams) = streams {
                let (intake, read) = (intake.clone(), read.clone());
                self.accept(streams, move |connection| {
                    read(intake.clone(), connection, limits)
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
            let streams = self.sockets.streams(self.old, address).await?;
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
