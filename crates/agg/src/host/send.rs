//! Brings a report to the server and makes sense of the replies: remembers what the server knows, has it forget
//! what has gone, and says what it refuses, once each.

use std::collections::BTreeSet;

use redis::Value;

use super::facts::{Object, is_ours};
use super::known::Known;
use super::metrics::Sample;
use super::report::{self, About, Call};
use agg_client::connect::{BlockingConnection, ClientError, Walk};
use agg_client::messages::WarnOnce;
use agg_client::reply;
use aggregator_protocol::NodeName;

/// The objects that are learned of an earlier run, and the bytes of a name: a machine has some hundreds of parts.
const LEARNED: usize = 10_000;
const LONGEST: usize = 4096;

/// The reporter of one node.
pub struct Reporter<'a> {
    node: &'a NodeName,
    tags: &'a [String],
    metrics: Known,
    objects: Known,
    /// Whether the objects were learned that an earlier run has left at the server.
    learned: bool,
    once: WarnOnce,
    /// Whether the server has refused anything.
    pub refused: bool,
}

impl<'a> Reporter<'a> {
    /// Knows nothing yet.
    pub fn new(node: &'a NodeName, tags: &'a [String]) -> Self {
        let (metrics, objects, once) = (Known::default(), Known::default(), WarnOnce::default());
        Reporter {
            node,
            tags,
            metrics,
            objects,
            learned: false,
            once,
            refused: false,
        }
    }

    /// Sends one interval's report in one pipeline; `objects` where they are due. What is `untold` has not gone.
    pub fn send(
        &mut self,
        link: &mut BlockingConnection,
        samples: &[Sample],
        objects: Option<&[Object]>,
        untold: &BTreeSet<String>,
    ) -> Result<(), ClientError> {
        if objects.is_some() && !self.learned {
            self.learn(link)?;
            self.learned = true;
        }
        let calls = self.calls(samples, objects, untold);
        let (commands, abouts): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|call| (call.command, call.about))
            .unzip();
        let mut strange = false;
        link.pipeline(&commands, |index, reply| {
            strange |= self.heard(&abouts[index], reply).is_none();
        })?;
        if strange {
            Err(link.unexpected_reply("AGG.MSTAT"))
        } else {
            Ok(())
        }
    }

    fn calls(
        &mut self,
        samples: &[Sample],
        objects: Option<&[Object]>,
        untold: &BTreeSet<String>,
    ) -> Vec<Call> {
        let untold = || untold.iter().map(String::as_str);
        let mut present: BTreeSet<&str> =
            samples.iter().map(|sample| sample.name.as_str()).collect();
        self.metrics.add(present.iter().copied());
        present.extend(untold());
        let mut calls = report::samples(self.node, samples, self.tags);
        let gone = self.metrics.gone(&present).into_iter();
        calls.extend(gone.map(|name| report::forget_metric(self.node, name)));
        if let Some(objects) = objects {
            let mut present: BTreeSet<&str> =
                objects.iter().map(|object| object.key.as_str()).collect();
            self.objects.add(present.iter().copied());
            present.extend(untold());
            calls.extend(
                objects
                    .iter()
                    .map(|it| report::object(self.node, it, self.tags)),
            );
            let gone = self.objects.gone(&present).into_iter();
            calls.extend(gone.map(|key| report::forget_object(self.node, key)));
        }
        calls
    }

    /// Learns the keys of the parts that an earlier run has reported, so that those that went meanwhile are
    /// forgotten. Who may not look does without.
    fn learn(&mut self, link: &mut BlockingConnection) -> Result<(), ClientError> {
        let (mut walk, mut learned) = (Walk::new("AGG.SCAN"), 0);
        loop {
            let mut command = redis::cmd("AGG.SCAN");
            command.arg(&self.node.0).arg("REALITY").arg(walk.cursor());
            command
                .arg("MATCH")
                .arg("system.*@*")
                .arg("COUNT")
                .arg(1000);
            let Ok(value) = link.call(&command)? else {
                return Ok(());
            };
            let Some((next, keys)) = scanned(value) else {
                return Err(link.unexpected_reply("AGG.SCAN"));
            };
            let mut ours: Vec<&str> = keys.iter().map(String::as_str).collect();
            ours.retain(|key| key.len() <= LONGEST && is_ours(key));
            learned += ours.len();
            self.objects.add(ours);
            if learned >= LEARNED || link.step(&mut walk, next)? {
                return Ok(());
            }
        }
    }

    /// Takes in one reply; none where it is not what the command answers.
    fn heard(&mut self, about: &About, reply: reply::Reply) -> Option<()> {
        match (about, reply) {
            (About::Samples(names), Ok(value)) => {
                for (name, why) in report::refused(names, value)? {
                    self.complain(&format!("{name} refused: {why}"));
                }
            }
            (About::Samples(_), Err(why)) if is_rights(&why) => {
                self.complain(&format!("node {}: {why}", self.node));
            }
            (About::Samples(_), Err(why)) => self.complain(&format!("AGG.MSTAT refused: {why}")),
            (About::Object(_), Ok(_)) => {}
            (About::Object(_) | About::GoneMetric(_) | About::GoneObject(_), Err(why))
                if is_rights(&why) =>
            {
                self.complain(&format!("node {}: {why}", self.node));
            }
            (About::Object(key), Err(why)) => self.complain(&format!("{key} refused: {why}")),
            (About::GoneMetric(name), Ok(_)) => self.metrics.forgotten(name),
            (About::GoneObject(key), Ok(_)) => self.objects.forgotten(key),
            (About::GoneMetric(name) | About::GoneObject(name), Err(why)) => {
                self.complain(&format!("forgetting {name} refused: {why}"));
            }
        }
        Some(())
    }

    fn complain(&mut self, text: &str) {
        self.refused = true;
        self.once.say(text);
    }
}

/// Whether a refusal is about the user rather than about what was sent: it is the same for every object.
fn is_rights(why: &str) -> bool {
    why.starts_with("NOPERM")
}

fn scanned(value: Value) -> Option<(Vec<u8>, Vec<String>)> {
    let items = reply::items(value)?;
    if items.is_empty() {
        return Some((b"0".to_vec(), Vec::new()));
    }
    let [cursor, keys] = items.try_into().ok()?;
    let keys: Option<_> = reply::items(keys)?.into_iter().map(reply::text).collect();
    Some((reply::bytes(cursor)?, keys?))
}
