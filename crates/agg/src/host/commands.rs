//! Turns samples and objects into commands. No I/O.

use std::collections::BTreeMap;
use std::time::Instant;

use agg_client::command::{
    self, Cmd, Command, Forget, Kind, Mstat, MstatReply, Reality, Report, SampleType, Sequence,
};
use agg_client::reply::Value;
use aggregator_protocol::NodeName;

use super::inventory::Object;
use super::metrics::Sample;

/// A command, and its subject, which is needed to understand its reply.
pub struct Call {
    pub command: Cmd,
    pub subject: Subject,
}

/// The subject of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The object of this key.
    Object(String),
    /// The removal of a metric.
    GoneMetric(String),
    /// The removal of an object.
    GoneObject(String),
}

/// Samples per command; the server accepts 10,000.
const SAMPLES_PER_COMMAND: usize = 1000;

/// Samples that are reported by one command.
#[derive(Clone)]
pub struct SampleReport<'a> {
    node: &'a NodeName,
    /// The tags of the user. They come last, so that they override the tags of the metrics.
    tags: &'a [String],
    pub samples: Vec<Sample>,
    /// The time at which the samples were measured.
    pub measured: Instant,
    /// That time by the server's clock, Unix milliseconds, if the report is late.
    pub at: Option<i64>,
}

/// Returns the reports of samples that were just measured.
pub fn reports<'a>(
    node: &'a NodeName,
    samples: &[Sample],
    tags: &'a [String],
) -> impl Iterator<Item = SampleReport<'a>> {
    let measured = Instant::now();
    let parts = samples.chunks(SAMPLES_PER_COMMAND);
    parts.map(move |samples| SampleReport {
        node,
        tags,
        samples: samples.to_vec(),
        measured,
        at: None,
    })
}

impl Report for SampleReport<'_> {
    type Reply = MstatReply;

    fn name(&self) -> &'static str {
        Mstat::NAME
    }

    fn write_numbered(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let tags = |sample: &Sample| {
            let own = sample.tags.split(' ');
            joined(own.chain(self.tags.iter().map(String::as_str)))
        };
        let tags: Vec<_> = self.samples.iter().map(tags).collect();
        let samples = self.samples.iter().zip(&tags).map(|(sample, tags)| {
            let report = command::Sample::new(&sample.name, sample.value).sample_type(sample.kind);
            match tags {
                Some(tags) => report.tags(tags),
                None => report,
            }
        });
        let mstat = Mstat::new(self.node, samples);
        let mstat = match self.at {
            Some(at) => mstat.at(at),
            None => mstat,
        };
        mstat.write_numbered(sequence, cmd);
    }

    fn read_taken(&self, reply: Value) -> Option<MstatReply> {
        let is_known = |reply: &MstatReply| {
            let mut rejected = reply.rejected.iter();
            rejected.all(|sample| sample.index < self.samples.len())
        };
        MstatReply::read(reply).filter(is_known)
    }

    fn is_samples(&self) -> bool {
        true
    }

    fn without_columns(self) -> Vec<Self> {
        let mut groups: BTreeMap<(SampleType, &str), Vec<Sample>> = BTreeMap::new();
        for sample in &self.samples {
            let group = groups.entry((sample.kind, sample.tags)).or_default();
            group.push(sample.clone());
        }
        let reports = groups
            .into_values()
            .map(|samples| SampleReport { samples, ..self });
        reports.collect()
    }
}

/// Returns the call that reports an object.
pub fn object(node: &NodeName, object: &Object, tags: &[String]) -> Call {
    let (json, tags) = (
        object.json.to_string(),
        joined(tags.iter().map(String::as_str)),
    );
    let mut command = Reality::new(node, &object.key, object.model, &json);
    if let Some(tags) = &tags {
        command = command.tags(tags);
    }
    Call {
        command: command.to_cmd(),
        subject: Subject::Object(object.key.clone()),
    }
}

/// Returns the call that removes a metric.
pub fn forget_metric(node: &NodeName, name: String) -> Call {
    Call {
        command: Forget::new(node, Kind::Metric, &name).to_cmd(),
        subject: Subject::GoneMetric(name),
    }
}

/// Returns the call that removes an object.
pub fn forget_object(node: &NodeName, key: String) -> Call {
    Call {
        command: Forget::new(node, Kind::Reality, &key).to_cmd(),
        subject: Subject::GoneObject(key),
    }
}

/// Returns the tags as one text; `None` if there are none.
fn joined<'a>(tags: impl Iterator<Item = &'a str>) -> Option<String> {
    let tags: Vec<&str> = tags.filter(|tag| !tag.is_empty()).collect();
    (!tags.is_empty()).then(|| tags.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::metrics as m;
    use super::*;

    fn words(command: &Cmd) -> String {
        let packed = String::from_utf8(command.to_bytes()).unwrap();
        let lines: Vec<&str> = packed.split("\r\n").collect();
        // The lines in between are lengths.
        lines
            .iter()
            .skip(2)
            .step_by(2)
            .copied()
            .collect::<Vec<_>>()
            .join("|")
    }

    fn node() -> NodeName {
        NodeName(b"n1".to_vec())
    }

    fn sent(report: &SampleReport<'_>) -> String {
        words(&report.to_numbered_cmd(None))
    }

    #[test]
    fn samples_of_all_types_are_one_report() {
        let (node, tags) = (node(), ["rack:a1".to_owned(), "prod".to_owned()]);
        let all = [
            m::NET_RX_BYTES.instance_sample("eth0", 1),
            m::CPU_LOAD.decimal_sample(None, 2.5).unwrap(),
        ];
        let mut reports: Vec<_> = reports(&node, &all, &tags).collect();
        assert_eq!(reports.len(), 1);
        assert_eq!(
            sent(&reports[0]),
            "AGG.MSTAT|n1|COLUMNS|METRIC|VALUE|TYPE|TAGS|VALUES|\
             net.rx.bytes@eth0|1|DIFF|dir:rx unit:bytes rack:a1 prod|\
             cpu.load|2.5||unit:percent rack:a1 prod"
        );
        reports[0].at = Some(7);
        assert!(sent(&reports[0]).starts_with("AGG.MSTAT|n1|AT|7|COLUMNS|METRIC|"));
    }

    #[test]
    fn older_server_gets_samples_by_type_and_tags() {
        let node = node();
        let all = [
            m::NET_RX_BYTES.instance_sample("eth0", 1),
            m::CPU_LOAD.decimal_sample(None, 2.5).unwrap(),
            m::NET_RX_BYTES.instance_sample("lo", 3),
            m::NET_TX_BYTES.instance_sample("eth0", 4),
            m::CORE_LOAD.decimal_sample(Some("0"), 5.0).unwrap(),
        ];
        let report = reports(&node, &all, &[]).next().unwrap();
        let texts: Vec<String> = report.without_columns().iter().map(sent).collect();
        assert_eq!(
            texts,
            [
                "AGG.MSTAT|n1|TAGS|unit:percent|VALUES|cpu.load|2.5|cpu.load@0|5",
                "AGG.MSTAT|n1|DIFF|TAGS|dir:rx unit:bytes|VALUES|net.rx.bytes@eth0|1|net.rx.bytes@lo|3",
                "AGG.MSTAT|n1|DIFF|TAGS|dir:tx unit:bytes|VALUES|net.tx.bytes@eth0|4",
            ]
        );
    }

    #[test]
    fn empty_report_has_no_command() {
        assert_eq!(reports(&node(), &[], &[]).count(), 0);
    }

    #[test]
    fn rejection_of_a_sample_that_was_not_sent_is_unexpected() {
        let node = node();
        let report = reports(&node, &[m::MEM_USED.sample(1)], &[])
            .next()
            .unwrap();
        let reply = |index| {
            let reason = Value::BulkString(b"not a number".to_vec());
            let rejected = Value::Array(vec![Value::Int(index), reason]);
            Value::Array(vec![
                Value::Int(0),
                Value::Int(0),
                Value::Array(vec![rejected]),
            ])
        };
        let read = report.read_taken(reply(0)).unwrap();
        assert_eq!(read.rejected[0].reason, "not a number");
        assert_eq!(report.read_taken(reply(1)), None);
        assert_eq!(report.read_taken(Value::Nil), None);
    }

    #[test]
    fn objects_are_reported_and_removed() {
        let disk = Object {
            key: "system.Disk@/".into(),
            model: "system.Disk",
            json: serde_json::json!({"mount": "/"}),
        };
        let call = object(&node(), &disk, &[]);
        assert_eq!(
            words(&call.command),
            "AGG.REALITY|n1|system.Disk@/|system.Disk|{\"mount\":\"/\"}"
        );
        let call = forget_object(&node(), disk.key);
        assert_eq!(words(&call.command), "AGG.FORGET|n1|REALITY|system.Disk@/");
        let call = forget_metric(&node(), "disk.used@/".into());
        assert_eq!(words(&call.command), "AGG.FORGET|n1|METRIC|disk.used@/");
    }
}
