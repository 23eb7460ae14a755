//! Sends reports to the server and handles the replies: remembers the names that the server knows, has it forget those
//! that disappeared, and warns of each rejection once.

use std::collections::BTreeSet;

use agg_client::command::Cmd;
use agg_client::connect::{ClientError, Connection, CursorWalk};
use agg_client::messages::WarnOnce;
use agg_client::reply::{self, Reply, Value};
use aggregator_protocol::NodeName;

use super::commands::{self, Call, Subject};
use super::inventory::{Object, is_part};
use super::known::KnownNames;
use super::metrics::Sample;

/// Maximum objects of an earlier run that are read from the server: a machine has some hundreds of parts.
const MAX_EARLIER_OBJECTS: usize = 10_000;
/// Maximum bytes of their keys.
const MAX_KEY: usize = 4096;

/// One report.
pub struct Report<'a> {
    pub samples: &'a [Sample],
    /// `None` if objects are not due.
    pub objects: Option<&'a [Object]>,
    /// Names that exist although the report lacks them.
    pub unread: &'a BTreeSet<String>,
}

/// Reports for one node.
pub struct Reporter<'a> {
    node: &'a NodeName,
    tags: &'a [String],
    metrics: KnownNames,
    objects: KnownNames,
    /// True if the objects of an earlier run were read from the server.
    has_earlier_objects: bool,
    warnings: WarnOnce,
    /// True if the server has rejected a command or a sample.
    pub has_rejections: bool,
}

impl<'a> Reporter<'a> {
    pub fn new(node: &'a NodeName, tags: &'a [String]) -> Self {
        Reporter {
            node,
            tags,
            metrics: KnownNames::default(),
            objects: KnownNames::default(),
            has_earlier_objects: false,
            warnings: WarnOnce::default(),
            has_rejections: false,
        }
    }

    /// Sends a report in one pipeline.
    ///
    /// # Errors
    /// The connection fails. Rejected commands are not errors.
    pub async fn send(
        &mut self,
        connection: &mut Connection,
        report: &Report<'_>,
    ) -> Result<(), ClientError> {
        if report.objects.is_some() && !self.has_earlier_objects {
            self.read_earlier_objects(connection).await?;
            self.has_earlier_objects = true;
        }
        let calls = self.calls(report);
        let (commands, subjects): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|call| (call.command, call.subject))
            .unzip();
        let mut is_unexpected = false;
        connection
            .pipeline(&commands, |index, reply| {
                is_unexpected |= self.handle_reply(&subjects[index], reply).is_none();
            })
            .await?;
        match is_unexpected {
            true => Err(connection.unexpected_reply("AGG.MSTAT")),
            false => Ok(()),
        }
    }

    fn calls(&mut self, report: &Report) -> Vec<Call> {
        let unread = || report.unread.iter().map(String::as_str);
        let names = report.samples.iter().map(|sample| sample.name.as_str());
        let mut present: BTreeSet<&str> = names.collect();
        self.metrics.add(present.iter().copied());
        present.extend(unread());
        let mut calls = commands::samples(self.node, report.samples, self.tags);
        let gone = self.metrics.gone(&present).into_iter();
        calls.extend(gone.map(|name| commands::forget_metric(self.node, name)));
        if let Some(objects) = report.objects {
            let keys = objects.iter().map(|object| object.key.as_str());
            let mut present: BTreeSet<&str> = keys.collect();
            self.objects.add(present.iter().copied());
            present.extend(unread());
            let objects = objects.iter();
            calls.extend(objects.map(|object| commands::object(self.node, object, self.tags)));
            let gone = self.objects.gone(&present).into_iter();
            calls.extend(gone.map(|key| commands::forget_object(self.node, key)));
        }
        calls
    }

    /// Reads the keys of the parts that an earlier run has reported, so that those that disappeared meanwhile are
    /// removed. Does nothing if the user may not read them.
    async fn read_earlier_objects(
        &mut self,
        connection: &mut Connection,
    ) -> Result<(), ClientError> {
        let (mut walk, mut count) = (CursorWalk::new("AGG.SCAN"), 0);
        loop {
            let mut command = Cmd::of_node("AGG.SCAN", self.node);
            command.arg("REALITY").arg(walk.cursor());
            command.arg("MATCH").arg("system.*@*");
            command.arg("COUNT").arg(1000);
            let Ok(value) = connection.call(&command).await? else {
                return Ok(());
            };
            let Some((next, keys)) = page(value) else {
                return Err(connection.unexpected_reply("AGG.SCAN"));
            };
            let mut parts: Vec<&str> = keys.iter().map(String::as_str).collect();
            parts.retain(|key| key.len() <= MAX_KEY && is_part(key));
            count += parts.len();
            self.objects.add(parts);
            if count >= MAX_EARLIER_OBJECTS || walk.step(connection, next)? {
                return Ok(());
            }
        }
    }

    /// Handles a reply. Returns `None` if the command does not reply so.
    fn handle_reply(&mut self, subject: &Subject, reply: Reply) -> Option<()> {
        match (subject, reply) {
            (Subject::Samples(names), Ok(value)) => {
                for (name, reason) in commands::rejected(names, value)? {
                    self.warn(&format!("{name} rejected: {reason}"));
                }
            }
            (Subject::Object(_), Ok(_)) => {}
            (Subject::GoneMetric(name), Ok(_)) => self.metrics.remove(name),
            (Subject::GoneObject(key), Ok(_)) => self.objects.remove(key),
            // Warned of once for the node, as it is the same for every object.
            (_, Err(reason)) if reason.is_permission_denied() => {
                self.warn(&format!("node {}: {reason}", self.node));
            }
            (Subject::Samples(_), Err(reason)) => {
                self.warn(&format!("AGG.MSTAT rejected: {reason}"));
            }
            (Subject::Object(key), Err(reason)) => self.warn(&format!("{key} rejected: {reason}")),
            (Subject::GoneMetric(name) | Subject::GoneObject(name), Err(reason)) => {
                self.warn(&format!("AGG.FORGET of {name} rejected: {reason}"));
            }
        }
        Some(())
    }

    fn warn(&mut self, text: &str) {
        self.has_rejections = true;
        self.warnings.say(text);
    }
}

fn page(value: Value) -> Option<(Vec<u8>, Vec<String>)> {
    let (cursor, keys) = reply::page(value)?;
    let keys: Option<_> = keys.into_iter().map(reply::text).collect();
    Some((cursor, keys?))
}
