//! Sends reports to the server and handles the replies: remembers the names that the server knows, has it forget those
//! that disappeared, and warns of each rejection once.

use std::collections::BTreeSet;

use agg_client::WarnOnce;
use agg_client::command::{Cmd, MstatReply};
use agg_client::connect::{ClientError, Connection, CursorWalk, ServerError};
use agg_client::reply::{self, Reply, Value};
use agg_client::{Delivery, Outbox};
use aggregator_protocol::NodeName;

use super::commands::{self, Call, SampleReport, Subject};
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
    /// Samples without a reply.
    outbox: Outbox<SampleReport<'a>>,
    metrics: KnownNames,
    objects: KnownNames,
    /// True if the objects of an earlier run were read from the server.
    has_earlier_objects: bool,
    warnings: WarnOnce,
    /// True if the server has rejected a command or a sample.
    pub has_rejections: bool,
}

impl<'a> Reporter<'a> {
    /// Creates a reporter. `once`: it reports once, so that no report is sent again.
    pub fn new(node: &'a NodeName, tags: &'a [String], once: bool) -> Self {
        Reporter {
            node,
            tags,
            outbox: match once {
                true => Outbox::without_numbers(),
                false => Outbox::default(),
            },
            metrics: KnownNames::default(),
            objects: KnownNames::default(),
            has_earlier_objects: false,
            warnings: WarnOnce::default(),
            has_rejections: false,
        }
    }

    /// Sends a report, after the samples of an earlier one that had no reply.
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
        self.send_samples(connection, report.samples).await?;
        if calls.is_empty() {
            return Ok(());
        }
        let (commands, subjects): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|call| (call.command, call.subject))
            .unzip();
        let handle = |index, reply| self.handle_reply(&subjects[index], reply);
        connection.pipeline(&commands, handle).await
    }

    async fn send_samples(
        &mut self,
        connection: &mut Connection,
        samples: &[Sample],
    ) -> Result<(), ClientError> {
        // Earlier ones first: a server that keeps rejecting them must not let the outbox grow.
        if !self.outbox.is_empty() {
            self.set_times(connection).await?;
            self.send_outbox(connection).await?;
        }
        for report in commands::reports(self.node, samples, self.tags) {
            self.outbox.push(report);
        }
        self.send_outbox(connection).await
    }

    async fn send_outbox(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let mut deliveries = Vec::new();
        let each = |report, delivery| deliveries.push((report, delivery));
        let result = self.outbox.send(connection, each).await;
        for (report, delivery) in deliveries {
            self.handle_delivery(&report, delivery);
        }
        result
    }

    /// Sets the times of samples that had no reply: the server would date them at their arrival. Without the server's
    /// time they are dropped.
    async fn set_times(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        match connection.time().await? {
            Ok(now) => self.outbox.iter_mut().for_each(|report| {
                let age = i64::try_from(report.measured.elapsed().as_millis());
                report.at = Some(now.saturating_sub(age.unwrap_or(i64::MAX)));
            }),
            Err(_) => self.outbox.clear(),
        }
        Ok(())
    }

    fn handle_delivery(&mut self, report: &SampleReport<'_>, delivery: Delivery<MstatReply>) {
        match delivery {
            Delivery::Taken(reply) => {
                for sample in reply.rejected {
                    let name = &report.samples[sample.index].name;
                    self.warn(&format!("{name} rejected: {}", sample.reason));
                }
            }
            Delivery::Repeated => {}
            Delivery::Rejected(reason) => self.handle_error("AGG.MSTAT", &reason),
        }
    }

    fn calls(&mut self, report: &Report) -> Vec<Call> {
        let unread = || report.unread.iter().map(String::as_str);
        let names = report.samples.iter().map(|sample| sample.name.as_str());
        let mut present: BTreeSet<&str> = names.collect();
        self.metrics.add(present.iter().copied());
        present.extend(unread());
        let gone = self.metrics.gone(&present).into_iter();
        let gone = gone.map(|name| commands::forget_metric(self.node, name));
        let mut calls: Vec<Call> = gone.collect();
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

    fn handle_reply(&mut self, subject: &Subject, reply: Reply) {
        match (subject, reply) {
            (Subject::Object(_), Ok(_)) => {}
            (Subject::GoneMetric(name), Ok(_)) => self.metrics.remove(name),
            (Subject::GoneObject(key), Ok(_)) => self.objects.remove(key),
            (Subject::Object(key), Err(reason)) => self.handle_error(key, &reason),
            (Subject::GoneMetric(name) | Subject::GoneObject(name), Err(reason)) => {
                self.handle_error(&format!("AGG.FORGET of {name}"), &reason);
            }
        }
    }

    /// Warns that `what` was rejected.
    fn handle_error(&mut self, what: &str, reason: &ServerError) {
        match reason.is_permission_denied() {
            // Warned of once for the node, as it is the same for every object.
            true => self.warn(&format!("node {}: {reason}", self.node)),
            false => self.warn(&format!("{what} rejected: {reason}")),
        }
    }

    fn warn(&mut self, text: &str) {
        self.has_rejections = true;
        self.warnings.warn(text);
    }
}

fn page(value: Value) -> Option<(Vec<u8>, Vec<String>)> {
    let (cursor, keys) = reply::page(value)?;
    let keys: Option<_> = keys.into_iter().map(reply::text).collect();
    Some((cursor, keys?))
}
