//! Turns samples and objects into commands. A call of AGG.MSTAT has one type and one list of tags, so that samples are
//! grouped by both. No I/O.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use agg_client::reply;
use aggregator_protocol::NodeName;

use super::inventory::Object;
use super::metrics::{Kind, Sample};

/// A command, and its subject, which is needed to understand its reply.
pub struct Call {
    pub command: Cmd,
    pub subject: Subject,
}

/// What a command is about.
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
    let mut groups: BTreeMap<(Kind, &str), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        groups
            .entry((sample.kind, sample.tags))
            .or_default()
            .push(sample);
    }
    let call = |(kind, own, group): (Kind, &str, &[&Sample])| {
        let mut command = redis::cmd("AGG.MSTAT");
        command.arg(&node.0).arg(kind.word());
        with_tags(
            &mut command,
            own.split(' ').chain(tags.iter().map(String::as_str)),
        );
        command.arg("VALUES");
        for sample in group {
            command.arg(&sample.name).arg(&sample.value);
        }
        let names = group.iter().map(|sample| sample.name.clone()).collect();
        Call {
            command,
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
    let mut command = redis::cmd("AGG.REALITY");
    command
        .arg(&node.0)
        .arg(&object.key)
        .arg(object.model)
        .arg(object.json.to_string());
    with_tags(&mut command, tags.iter().map(String::as_str));
    Call {
        command,
        subject: Subject::Object(object.key.clone()),
    }
}

/// Returns the call that removes a metric.
pub fn forget_metric(node: &NodeName, name: String) -> Call {
    Call {
        command: forget(node, "METRIC", &name),
        subject: Subject::GoneMetric(name),
    }
}

/// Returns the call that removes an object.
pub fn forget_object(node: &NodeName, key: String) -> Call {
    Call {
        command: forget(node, "REALITY", &key),
        subject: Subject::GoneObject(key),
    }
}

fn forget(node: &NodeName, kind: &str, name: &str) -> Cmd {
    let mut command = redis::cmd("AGG.FORGET");
    command.arg(&node.0).arg(kind).arg(name);
    command
}

fn with_tags<'a>(command: &mut Cmd, words: impl Iterator<Item = &'a str>) {
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    if !words.is_empty() {
        command.arg("TAGS").arg(words.join(" "));
    }
}

/// Returns the samples that AGG.MSTAT refused, as metric and reason. Returns `None` for anything but a reply of
/// AGG.MSTAT.
pub fn refused(names: &[String], reply: Value) -> Option<Vec<(String, String)>> {
    let [_accepted, _late, refused] = reply::items(reply)?.try_into().ok()?;
    let one = |pair: Value| {
        let [index, reason] = reply::items(pair)?.try_into().ok()?;
        let name = names.get(usize::try_from(reply::int(&index)?).ok()?)?;
        Some((name.clone(), reply::text(reason)?))
    };
    reply::items(refused)?.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metrics as m;
    use super::*;

    fn words(command: &Cmd) -> String {
        let packed = String::from_utf8(command.get_packed_command()).unwrap();
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
                "AGG.MSTAT|n1|ABS|TAGS|unit:percent|VALUES|cpu.load|2.5|cpu.load@0|5",
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
            "AGG.MSTAT|n1|ABS|TAGS|unit:bytes rack:a1 prod|VALUES|mem.used|1"
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
    fn refusals_are_returned_by_metric() {
        let names = ["a".to_owned(), "b".to_owned()];
        let reason = || Value::BulkString(b"not a number".to_vec());
        let reply =
            |refused| Value::Array(vec![Value::Int(1), Value::Int(0), Value::Array(refused)]);
        let one = |index| Value::Array(vec![Value::Int(index), reason()]);
        assert_eq!(refused(&names, reply(vec![])), Some(vec![]));
        assert_eq!(
            refused(&names, reply(vec![one(1)])),
            Some(vec![("b".to_owned(), "not a number".to_owned())])
        );
        for unexpected in [
            reply(vec![one(2)]),
            reply(vec![one(-1)]),
            reply(vec![reason()]),
            Value::Okay,
        ] {
            assert_eq!(refused(&names, unexpected), None);
        }
    }
}
