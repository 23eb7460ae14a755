//! The file as it is written, and the checks of what belongs to no sink or source alone: routes, and what fits together.
//! Every value keeps its place until it was checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Formatter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use toml::Spanned;

use crate::poll::append::Mode;
use crate::poll::glob::Glob;
use crate::poll::web::Limits;
use aggregator_protocol::units;
use aggregator_protocol::{Queue, RecordFormat};

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
    dead_letters: Option<Spanned<PathBuf>>,
    dead_letters_mode: Option<Permissions>,
    listen: Option<Spanned<String>>,
    listen_connections: Option<Spanned<u64>>,
    #[serde(default)]
    allowed_hosts: Vec<Spanned<String>>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_env: Option<Spanned<String>>,
    #[serde(default)]
    source: Vec<Spanned<RawSource>>,
    #[serde(default)]
    route: Vec<Spanned<RawRoute>>,
    #[serde(default)]
    sink: BTreeMap<String, Spanned<RawSink>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRoute {
    queues: Option<Spanned<Vec<Spanned<String>>>>,
    include: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    sinks: Option<Spanned<Vec<Spanned<String>>>>,
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
        let quoted = Quoted {
            what: "a time with its unit, such as \"30s\"",
            number: |number| format!("a time has a unit: write \"{number}s\""),
        };
        let text = from.deserialize_any(quoted)?;
        units::positive_duration(&text)
            .map(Time)
            .map_err(D::Error::custom)
    }
}

/// Permissions of a file in octal digits, as `0640`.
#[derive(Clone, Copy)]
pub struct Permissions(pub Mode);

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let quoted = Quoted {
            what: "octal permissions in quotes, such as \"0640\"",
            number: |_| "permissions are octal digits in quotes: write \"0640\"".into(),
        };
        let text = from.deserialize_any(quoted)?;
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if octal && bits & !0o666 == 0 && bits & 0o600 == 0o600 => {
                Ok(Permissions(Mode::Exact(bits)))
            }
            _ => {
                let text = format!(
                    "expected octal permissions such as \"0640\" that let the owner read and write, not {text:?}"
                );
                Err(D::Error::custom(text))
            }
        }
    }
}

/// Reads a text that many write as a number.
struct Quoted {
    /// What is expected.
    what: &'static str,
    /// What is said of a number.
    number: fn(i64) -> String,
}

impl Visitor<'_> for Quoted {
    type Value = String;

    fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Err(E::custom((self.number)(number)))
    }
}

/// Bytes, as `64mb`.
#[derive(Clone, Copy)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let quoted = Quoted {
            what: "a size with its unit, such as \"64mb\"",
            number: |number| format!("a size has a unit: write \"{number}b\" or \"{number}mb\""),
        };
        let text = from.deserialize_any(quoted)?;
        units::size(&text).map(Size).map_err(D::Error::custom)
    }
}

impl RawFile {
    /// The files that it names, of which what is in them matters.
    pub fn files(&self) -> Vec<PathBuf> {
        let own = self.password_file.iter().map(|file| file.get_ref().clone());
        let sources = self
            .source
            .iter()
            .flat_map(|source| source.get_ref().files());
        let sinks = self.sink.values().flat_map(|sink| sink.get_ref().files());
        own.chain(sources).chain(sinks).collect()
    }

    /// Turns it into what the engine needs.
    ///
    /// Returns the first mistake.
    pub fn check(self) -> Result<Config, Mistake> {
        let config = self.alone()?;
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
        let max_in_flight = self.max_in_flight(sinks.len())?;
        let route = |route: &Spanned<RawRoute>| route.get_ref().check(route, &sinks);
        let routes: Result<Vec<Route>, Mistake> = self.route.iter().map(route).collect();
        let routes = routes?;
        for (index, (name, sink)) in self.sink.iter().enumerate() {
            if !routes.is_empty() && !routes.iter().any(|route| route.sinks.contains(&index)) {
                let text = format!("no route names the sink {name:?}");
                return Err(Mistake::at(sink, text));
            }
        }
        // Last, as after these nothing else is found.
        if sources.is_empty() {
            let text = "expected a [[source]]: where the servers are";
            return Err(Mistake::missing(text));
        }
        if routes.is_empty() {
            return Err(Mistake::missing("expected a [[route]]: what goes where"));
        }
        Ok(Config {
            max_in_flight,
            sources,
            routes,
            sinks,
            ..config
        })
    }

    /// What depends on no other part of the file.
    fn alone(&self) -> Result<Config, Mistake> {
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
        let max_deliveries = match &self.max_deliveries {
            Some(most) if *most.get_ref() == 0 => {
                return Err(Mistake::at(most, "expected at least 1"));
            }
            most => most.as_ref().map_or(1000, |most| *most.get_ref()),
        };
        let dead_letters = self.dead_letters.as_ref().map(output).transpose()?;
        let allowed_hosts: Result<Vec<String>, Mistake> =
            self.allowed_hosts.iter().map(host).collect();
        Ok(Config {
            max_deliveries,
            poll_interval: time(self.poll_interval, 1),
            lease,
            shutdown_grace: time(self.shutdown_grace, 10),
            listen: self.listen.as_ref().map(address).transpose()?,
            web: Limits {
                connections: connections(&self.listen_connections)?,
                allowed_hosts: allowed_hosts?,
            },
            dead_letters: dead_letters.unwrap_or_else(|| "dead-letters.jsonl".into()),
            dead_letters_mode: self.dead_letters_mode.map_or(Mode::Private, |mode| mode.0),
            ..Config::default()
        })
    }

    fn max_in_flight(&self, sinks: usize) -> Result<u64, Mistake> {
        let least = LEAST_SHARE * sinks as u64;
        match &self.max_in_flight {
            Some(size) if size.get_ref().0 < least => {
                let text = format!("expected at least {}mb: 4mb for each sink", least >> 20);
                Err(Mistake::at(size, text))
            }
            Some(size) => Ok(size.get_ref().0),
            None => Ok(least.max(64 << 20)),
        }
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

/// A file to write to. Its folder may come later, as with a file system that is mounted late.
pub fn output(path: &Spanned<PathBuf>) -> Result<PathBuf, Mistake> {
    let file = path.get_ref();
    let text = file.to_string_lossy();
    let fault = |text: String| Err(Mistake::at(path, text));
    if text.is_empty() {
        return fault("expected the name of a file, not empty".into());
    }
    if text == "~" || text.starts_with("~/") {
        return fault("`~` is not expanded here: write the whole path".into());
    }
    if text.ends_with('/') || file.is_dir() {
        return fault(format!("{text} is a directory: expected a file"));
    }
    if file.metadata().is_ok_and(|data| !data.is_file()) {
        return fault(format!("{text} is not a regular file"));
    }
    Ok(file.clone())
}

/// How many may be connected there at a time.
fn connections(most: &Option<Spanned<u64>>) -> Result<usize, Mistake> {
    const MOST: u64 = 10_000;
    match most {
        None => Ok(Limits::default().connections),
        Some(most) if (1..=MOST).contains(most.get_ref()) => Ok(*most.get_ref() as usize),
        Some(most) => {
            let text = format!("expected a number from 1 to {MOST}");
            Err(Mistake::at(most, text))
        }
    }
}

/// A name by which a browser or Prometheus asks for the page.
fn host(text: &Spanned<String>) -> Result<String, Mistake> {
    let name = text.get_ref();
    let plain = |c: char| c.is_alphanumeric() || ".-_".contains(c);
    match name.as_str() {
        "*" => Ok(name.clone()),
        name if !name.is_empty() && name.chars().all(plain) => {
            Ok(name.trim_end_matches('.').to_lowercase())
        }
        _ => {
            let told =
                format!("expected a host name without a port, or \"*\" for any, not {name:?}");
            Err(Mistake::at(text, told))
        }
    }
}

impl RawRoute {
    fn check(&self, place: &Spanned<RawRoute>, sinks: &[Sink]) -> Result<Route, Mistake> {
        let Some(queues) = &self.queues else {
            return Err(Mistake::at(place, "expected \"queues\" in this route"));
        };
        let Some(to) = &self.sinks else {
            return Err(Mistake::at(place, "expected \"sinks\" in this route"));
        };
        let (queue_names, sink_names) = (queues.get_ref(), to.get_ref());
        if queue_names.is_empty() {
            return Err(Mistake::at(queues, "expected at least one queue"));
        }
        if sink_names.is_empty() {
            return Err(Mistake::at(to, "expected at least one sink"));
        }
        let mut queues = Vec::new();
        for name in queue_names {
            let Some(queue) = Queue::from_name(name.get_ref().to_uppercase().as_bytes()) else {
                let text = format!(
                    "expected MIN, HOUR, LOG, ERROR or REALITY, not {:?}",
                    name.get_ref()
                );
                return Err(Mistake::at(name, text));
            };
            queues.push(queue);
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
        let line = to
            .iter()
            .find(|sink| sinks[**sink].format == RecordFormat::Line);
        for (name, queue) in queue_names.iter().zip(&queues) {
            let numbers = Queue::NUMBERS.contains(queue);
            if let Some(sink) = line.filter(|_| !numbers) {
                let text = format!(
                    "the sink {:?} writes line protocol, which is for MIN and HOUR, not for {}",
                    sinks[*sink].name,
                    queue.name()
                );
                return Err(Mistake::at(name, text));
            }
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
