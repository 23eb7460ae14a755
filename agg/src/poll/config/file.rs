//! The file as it is written, and the checks of what belongs to no sink or source alone: routes, and what fits together.
//! Every value keeps its place until it was checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use crate::args;
use crate::drain::fetch::{Format, Queue};
use crate::poll::glob::Glob;

use super::sink::RawSink;
use super::source::{Everywhere, RawSource};
use super::tags::{Table, edits};
use super::{Config, LEAST_SHARE, Mistake, Route, Sink};

/// The file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawFile {
    poll_interval: Option<Time>,
    lease: Option<Spanned<Time>>,
    max_in_flight: Option<Spanned<Size>>,
    max_deliveries: Option<Spanned<u64>>,
    shutdown_grace: Option<Time>,
    dead_letters: Option<PathBuf>,
    listen: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    #[serde(default)]
    source: Vec<Spanned<RawSource>>,
    #[serde(default)]
    route: Vec<RawRoute>,
    #[serde(default)]
    sink: BTreeMap<String, Spanned<RawSink>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRoute {
    queues: Spanned<Vec<Spanned<String>>>,
    include: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    sinks: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    add_tags: Table,
    #[serde(default)]
    rename_tags: Table,
    #[serde(default)]
    drop_tags: Vec<Spanned<String>>,
}

/// A time with its unit.
#[derive(Clone, Copy)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        args::some_duration(&text)
            .map(Time)
            .map_err(D::Error::custom)
    }
}

/// Bytes, as `64mb`.
#[derive(Clone, Copy)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        args::size(&text).map(Size).map_err(D::Error::custom)
    }
}

impl RawFile {
    /// Turns it into what the engine needs.
    ///
    /// Returns the first mistake.
    pub fn check(self) -> Result<Config, Mistake> {
        let time = |time: Option<Time>, default| time.map_or(Duration::from_secs(default), |t| t.0);
        let lease = match &self.lease {
            // What is extended in the middle of the lease has to arrive before its end.
            Some(lease) if lease.get_ref().0 < Duration::from_secs(1) => {
                return Err(Mistake::at(lease, "expected a lease of at least 1s"));
            }
            lease => lease
                .as_ref()
                .map_or(Duration::from_secs(30), |lease| lease.get_ref().0),
        };
        if self.source.is_empty() {
            return Err(Mistake::missing(
                "expected a [[source]]: where the servers are",
            ));
        }
        if self.route.is_empty() {
            return Err(Mistake::missing("expected a [[route]]: what goes where"));
        }
        let all = Everywhere::check(&self.user, &self.password_file, &self.password_env)?;
        let mut places = BTreeSet::new();
        let mut sources = Vec::new();
        for source in &self.source {
            let checked = source.get_ref().check(source.span().start, &all)?;
            for (at, place) in checked.named {
                let text = format!("{place} stands in this file twice");
                if !places.insert(place) {
                    return Err(Mistake { at: Some(at), text });
                }
            }
            sources.push(checked.source);
        }
        let mut sinks = Vec::new();
        for (name, sink) in &self.sink {
            sinks.push(sink.get_ref().check(name, sink)?);
        }
        let routes: Result<Vec<Route>, Mistake> =
            self.route.iter().map(|route| route.check(&sinks)).collect();
        let routes = routes?;
        for (index, (name, sink)) in self.sink.iter().enumerate() {
            if !routes.iter().any(|route| route.sinks.contains(&index)) {
                return Err(Mistake::at(
                    sink,
                    format!("no route names the sink {name:?}"),
                ));
            }
        }
        let least = LEAST_SHARE * sinks.len() as u64;
        let max_in_flight = match &self.max_in_flight {
            Some(size) if size.get_ref().0 < least => {
                let text = format!("expected at least {}mb: 4mb for each sink", least >> 20);
                return Err(Mistake::at(size, text));
            }
            size => size
                .as_ref()
                .map_or(least.max(64 << 20), |size| size.get_ref().0),
        };
        let max_deliveries = match &self.max_deliveries {
            Some(most) if *most.get_ref() == 0 => {
                return Err(Mistake::at(most, "expected at least 1"));
            }
            most => most.as_ref().map_or(1000, |most| *most.get_ref()),
        };
        Ok(Config {
            max_deliveries,
            poll_interval: time(self.poll_interval, 1),
            lease,
            max_in_flight,
            shutdown_grace: time(self.shutdown_grace, 10),
            listen: self.listen.as_ref().map(address).transpose()?,
            dead_letters: self.dead_letters.unwrap_or("dead-letters.jsonl".into()),
            sources,
            routes,
            sinks,
        })
    }
}

/// Where to listen. Names are not looked up: one that stands for several addresses would be a surprise.
fn address(text: &Spanned<String>) -> Result<SocketAddr, Mistake> {
    text.get_ref().parse().map_err(|_| {
        let text_is = text.get_ref();
        let told = format!(
            "expected an address and a port, as 127.0.0.1:9777 or [::]:9777, not {text_is:?}"
        );
        Mistake::at(text, told)
    })
}

impl RawRoute {
    fn check(&self, sinks: &[Sink]) -> Result<Route, Mistake> {
        let (queue_names, sink_names) = (self.queues.get_ref(), self.sinks.get_ref());
        if queue_names.is_empty() {
            return Err(Mistake::at(&self.queues, "expected at least one queue"));
        }
        if sink_names.is_empty() {
            return Err(Mistake::at(&self.sinks, "expected at least one sink"));
        }
        let mut to = Vec::new();
        for name in sink_names {
            match sinks.iter().position(|sink| sink.name == *name.get_ref()) {
                Some(index) => to.push(index),
                None => {
                    let text = format!("there is no [sink.{}] in this file", name.get_ref());
                    return Err(Mistake::at(name, text));
                }
            }
        }
        let mut queues = Vec::new();
        for name in queue_names {
            let Some(queue) = Queue::of(name.get_ref().to_uppercase().as_bytes()) else {
                let text = format!(
                    "expected MIN, HOUR, LOG, ERROR or REALITY, not {:?}",
                    name.get_ref()
                );
                return Err(Mistake::at(name, text));
            };
            let numbers = Queue::NUMBERS.contains(&queue);
            let line = to.iter().find(|sink| sinks[**sink].format == Format::Line);
            if let Some(sink) = line.filter(|_| !numbers) {
                let text = format!(
                    "the sink {:?} writes line protocol, which is for MIN and HOUR, not for {}",
                    sinks[*sink].name,
                    queue.word()
                );
                return Err(Mistake::at(name, text));
            }
            queues.push(queue);
        }
        let glob = |text: &Spanned<String>| {
            Glob::parse(text.get_ref()).map_err(|why| Mistake::at(text, why))
        };
        let globs = |texts: &[Spanned<String>]| -> Result<Vec<Glob>, Mistake> {
            texts.iter().map(glob).collect()
        };
        Ok(Route {
            queues,
            include: match &self.include {
                Some(texts) => globs(texts)?,
                None => Glob::parse("*").into_iter().collect(),
            },
            exclude: globs(&self.exclude)?,
            sinks: to,
            edits: edits(&self.add_tags, &self.rename_tags, &self.drop_tags)?,
        })
    }
}
