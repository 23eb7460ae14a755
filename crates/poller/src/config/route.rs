//! A route as the file has it, and its checks.

use serde::Deserialize;
use toml::Spanned;

use crate::glob::Glob;
use aggregator_protocol::Queue;

use super::error::ConfigError;
use super::model::{Route, Sink};
use super::tags::{Table, edits};

/// A route as the file has it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawRoute {
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

impl RawRoute {
    /// Checks the route, whose sinks have been checked.
    ///
    /// # Errors
    ///
    /// Returns the first error.
    pub fn check(&self, place: &Spanned<RawRoute>, sinks: &[Sink]) -> Result<Route, ConfigError> {
        let Some(queues) = &self.queues else {
            let text = "expected \"queues\" in this route";
            return Err(ConfigError::missing_key(place, "queues", text));
        };
        let Some(to) = &self.sinks else {
            let text = "expected \"sinks\" in this route";
            return Err(ConfigError::missing_key(place, "sinks", text));
        };
        let (queue_names, sink_names) = (queues.get_ref(), to.get_ref());
        if queue_names.is_empty() {
            return Err(ConfigError::at(queues, "expected at least one queue"));
        }
        if sink_names.is_empty() {
            return Err(ConfigError::at(to, "expected at least one sink"));
        }
        let mut queues = Vec::new();
        for name in queue_names {
            let Some(queue) = Queue::from_name(name.get_ref().to_uppercase().as_bytes()) else {
                let text = format!(
                    "expected MIN, HOUR, LOG, ERROR or REALITY, not {:?}",
                    name.get_ref()
                );
                return Err(ConfigError::at(name, text));
            };
            queues.push(queue);
        }
        let mut to = Vec::new();
        for name in sink_names {
            match sinks.iter().position(|sink| sink.name == *name.get_ref()) {
                Some(index) => to.push(index),
                None => {
                    let text = format!("there is no [sink.{}]", name.get_ref());
                    return Err(ConfigError::at(name, text));
                }
            }
        }
        let of_windows = to.iter().find_map(|sink| {
            let sink = &sinks[*sink];
            Some((sink, sink.kind.form_of_windows(sink.format)?))
        });
        for (name, queue) in queue_names.iter().zip(&queues) {
            let numbers = Queue::NUMBERS.contains(queue);
            if let Some((sink, form)) = of_windows.filter(|_| !numbers) {
                let text = format!(
                    "sink {:?} writes {form}, which is for MIN and HOUR, not for {}",
                    sink.name,
                    queue.name()
                );
                return Err(ConfigError::at(name, text));
            }
        }
        let glob = |text: &Spanned<String>| {
            Glob::parse(text.get_ref()).map_err(|error| ConfigError::at(text, error.to_string()))
        };
        let globs = |texts: &[Spanned<String>]| -> Result<Vec<Glob>, ConfigError> {
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
