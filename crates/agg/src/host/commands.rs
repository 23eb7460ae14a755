//! Turns samples and objects into commands. A call of AGG.MSTAT has one type and one list of tags, so that samples are
//! grouped by both. No I/O.

use std::collections::BTreeMap;

use agg_client::command::{
    Cmd, Command, Forget, Kind, Mstat, MstatReply, Reality, RejectedSample, SampleType,
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
    /// Samples of these metrics, in this order.
    Samples(Vec<String>),
    /// The object of this key.
    Object(String),
    /// The removal of a metric.
    GoneMetric(String),
    /// The removal of an object.
    GoneObject(String),
}

/// Samples per call; the server accepts 10,000.
const SAMPLES_PER_CALL: usize = 1000;

/// Returns the calls that report the samples. `tags` are those of the user; they come last, so that they override the
/// tags of the metrics.
pub fn samples(node: &NodeName, samples: &[Sample], tags: &[String]) -> Vec<Call> {
    let mut groups: BTreeMap<(SampleType, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        groups
            .entry((sample.kind, sample.tags))
            .or_default()
            .push(sample);
    }
    let call = |(kind, own, group): (SampleType, &str, &[&Sample])| {
        let values = group.iter().map(|sample| (&sample.name, sample.value));
        let tags = joined(own.split(' ').chain(tags.iter().map(String::as_str)));
        let mut command = Mstat::new(node, values).sample_type(kind);
        if let Some(tags) = &tags {
            command = command.tags(tags);
        }
        let names = group.iter().map(|sample| sample.name.clone()).collect();
        Call {
            command: command.to_cmd(),
            subject: Subject::Samples(names),
        }
    };
    let groups = groups.iter().flat_map(|((kind, own), group)| {
        let parts = group.chunks(SAMPLES_PER_CALL);
        parts.map(|part| (*kind, *own, part))
    });
    groups.map(call).collect()
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

/// Returns the samples that AGG.MSTAT rejected, as metric and reason. Returns `None` for anything but a reply of
/// AGG.MSTAT.
pub fn rejected(names: &[String], reply: Value) -> Option<Vec<(String, String)>> {
    let rejected = MstatReply::read(reply)?.rejected.into_iter();
    let pair = |sample: RejectedSample| Some((names.get(sample.index)?.clone(), sample.reason));
    rejected.map(pair).collect()
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

    #[test]
    fn samples_are_grouped_by_type_and_tags() {
        let all = [
            m::NET_RX_BYTES.instance_sample("eth0", 1),
            m::CPU_LOAD.decimal_sample(None, 2.5).unwrap(),
            m::NET_RX_BYTES.instance_sample("lo", 3),
            m::NET_TX_BYTES.instance_sample("eth0", 4),
            m::CORE_LOAD.decimal_sample(Some("0"), 5.0).unwrap(),
        ];
        let calls = samples(&node(), &all, &[]);
        let texts: Vec<String> = calls.iter().map(|call| words(&call.command)).collect();
        assert_eq!(
            texts,
            [
                "AGG.MSTAT|n1|TAGS|unit:percent|VALUES|cpu.load|2.5|cpu.load@0|5",
                "AGG.MSTAT|n1|DIFF|TAGS|dir:rx unit:bytes|VALUES|net.rx.bytes@eth0|1|net.rx.bytes@lo|3",
                "AGG.MSTAT|n1|DIFF|TAGS|dir:tx unit:bytes|VALUES|net.tx.bytes@eth0|4",
            ]
        );
        let names = ["cpu.load".to_owned(), "cpu.load@0".to_owned()];
        assert_eq!(calls[0].subject, Subject::Samples(names.into()));
    }

    #[test]
    fn tags_of_the_user_come_last() {
        let tags = ["rack:a1".to_owned(), "prod".to_owned()];
        let call = &samples(&node(), &[m::MEM_USED.sample(1)], &tags)[0];
        assert_eq!(
            words(&call.command),
            "AGG.MSTAT|n1|TAGS|unit:bytes rack:a1 prod|VALUES|mem.used|1"
        );
    }

    #[test]
    fn empty_report_has_no_calls() {
        assert!(samples(&node(), &[], &[]).is_empty());
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

    #[test]
    fn rejected_samples_are_returned_by_metric() {
        let names = ["a".to_owned(), "b".to_owned()];
        let reason = || Value::BulkString(b"not a number".to_vec());
        let reply =
            |rejected| Value::Array(vec![Value::Int(1), Value::Int(0), Value::Array(rejected)]);
        let one = |index| Value::Array(vec![Value::Int(index), reason()]);
        assert_eq!(rejected(&names, reply(vec![])), Some(vec![]));
        assert_eq!(
            rejected(&names, reply(vec![one(1)])),
            Some(vec![("b".to_owned(), "not a number".to_owned())])
        );
        for unexpected in [
            reply(vec![one(2)]),
            reply(vec![one(-1)]),
            reply(vec![reason()]),
            Value::SimpleString("OK".into()),
        ] {
            assert_eq!(rejected(&names, unexpected), None);
        }
    }
}
