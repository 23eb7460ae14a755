//! The checks of values that depend on each other, and of ranges.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Config, Prometheus};
use super::values::Addresses;
use crate::net::Address;

/// The least buffer, bytes. A larger report does not fit in, and is dropped.
const MIN_BUFFER: u64 = 16 << 10;

/// The least and the largest limit of bodies, bytes.
const MIN_BODY: u64 = 1 << 10;
const MAX_BODY: u64 = 1 << 30;

/// Returns the first error.
pub(super) fn check(config: &Config) -> Result<(), String> {
    if !config.has_listener() {
        let tables = "[statsd], [otlp], [syslog], [influxdb], [prometheus], [graphite]";
        return Err(format!("expected one of the tables {tables}"));
    }
    for (name, is_zero) in [
        ("max-connections", config.max_connections == 0),
        ("max-instances", config.max_instances == 0),
    ] {
        if is_zero {
            return Err(format!("{name} is 0"));
        }
    }
    if config.buffer.0 < MIN_BUFFER {
        return Err("buffer is below 16kb".into());
    }
    if config.max_body.0 < MIN_BODY {
        return Err("max-body is below 1kb".into());
    }
    if config.max_body.0 > MAX_BODY {
        return Err("max-body is above 1gb".into());
    }
    addresses(config)?;
    config.prometheus.as_ref().map_or(Ok(()), prometheus)
}

/// An address can be used once. The system chooses port 0, so it may be there several times.
fn addresses(config: &Config) -> Result<(), String> {
    let status = config
        .listen
        .iter()
        .map(|address| (address, "the status page"));
    let table = |name, addresses: Option<&'_ Addresses>| {
        let addresses = addresses.map_or(Vec::new(), |addresses| addresses.0.clone());
        addresses.into_iter().map(move |address| (address, name))
    };
    let otlp = config.otlp.as_ref();
    let all = status
        .map(|(address, name)| (address.clone(), name))
        .chain(table(
            "in [statsd]",
            config.statsd.as_ref().map(|t| &t.listen),
        ))
        .chain(table("in [otlp]", otlp.map(|t| &t.listen)))
        .chain(table("in [otlp]", otlp.map(|t| &t.grpc)))
        .chain(table(
            "in [syslog]",
            config.syslog.as_ref().map(|t| &t.listen),
        ))
        .chain(table(
            "in [influxdb]",
            config.influxdb.as_ref().map(|t| &t.listen),
        ))
        .chain(table(
            "in [graphite]",
            config.graphite.as_ref().map(|t| &t.listen),
        ));
    let mut places = BTreeMap::new();
    for (address, place) in all {
        if matches!(&address, Address::Ip(ip) if ip.port() == 0) {
            continue;
        }
        let name = address.to_string();
        match places.insert(name.clone(), place) {
            None => {}
            Some(before) if before == place => return Err(format!("{name} is {place} twice")),
            Some(before) => return Err(format!("{name} is {before} and {place}")),
        }
    }
    Ok(())
}

fn prometheus(prometheus: &Prometheus) -> Result<(), String> {
    if prometheus.timeout() > prometheus.interval.0 {
        return Err("the timeout of [prometheus] is longer than its interval".into());
    }
    let mut names = BTreeSet::new();
    for job in &prometheus.job {
        if !names.insert(&job.name) {
            return Err(format!("two jobs are {:?}", job.name));
        }
        if job.targets.is_empty() && job.file_sd.is_none() {
            return Err(format!(
                "the job {:?} has neither targets nor file-sd",
                job.name
            ));
        }
    }
    Ok(())
}
