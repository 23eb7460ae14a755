//! Readers of CLUSTER SLOTS and CLUSTER SHARDS: the primaries that serve slots.

use std::ops::RangeInclusive;

use crate::reply::{self, Value};

/// The maximum number of primaries of a cluster: ten times as many as are advised.
const PRIMARIES: usize = 10_000;
/// The maximum number of ranges of slots: each slot by itself.
const RANGES: usize = 16_384;
/// The maximum length of the name of a host or of a node, bytes.
const NAME_LEN: usize = 255;

/// A primary of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// The id of the node in its cluster.
    pub node: String,
    /// The host; none is the host that was asked.
    pub host: Option<String>,
    pub port: u16,
    /// The slots that it serves; not empty.
    pub slots: Vec<RangeInclusive<u16>>,
}

impl Primary {
    /// Returns how many slots are also in `other`.
    pub fn overlap(&self, other: &[RangeInclusive<u16>]) -> usize {
        let common = |a: &RangeInclusive<u16>, b: &RangeInclusive<u16>| {
            let (start, end) = (*a.start().max(b.start()), *a.end().min(b.end()));
            (start..=end).len()
        };
        let each = self
            .slots
            .iter()
            .map(|a| other.iter().map(|b| common(a, b)));
        each.flatten().sum()
    }
}

/// Reads the reply of CLUSTER SLOTS: for each range of slots its two ends, its primary, and its replicas.
pub fn by_slots(value: Value) -> Option<Vec<Primary>> {
    let mut primaries: Vec<Primary> = Vec::new();
    let ranges = reply::items(value)?;
    if ranges.len() > RANGES {
        return None;
    }
    for range in ranges {
        let mut parts = reply::items(range)?.into_iter();
        let (start, end) = (slot(&parts.next()?)?, slot(&parts.next()?)?);
        let mut node = reply::items(parts.next()?)?.into_iter();
        let (endpoint, port, id) = (node.next()?, node.next()?, reply::text(node.next()?)?);
        let more = fields(node.next().unwrap_or(Value::Nil))?;
        match primaries.iter_mut().find(|primary| primary.node == id) {
            Some(primary) => primary.slots.push(start..=end),
            None => primaries.push(Primary {
                node: id,
                host: host(endpoint, &more),
                port: u16::try_from(reply::int(&port)?).ok()?,
                slots: vec![start..=end],
            }),
        }
    }
    plausible(primaries)
}

/// Reads the reply of CLUSTER SHARDS: for each shard a map of its slots and nodes. After a failover the node that
/// failed may still be called a master there, so the one that is online counts.
pub fn by_shards(value: Value, encrypted: bool) -> Option<Vec<Primary>> {
    let mut primaries = Vec::new();
    for shard in reply::items(value)? {
        let mut shard = fields(shard)?;
        let bounds: Option<Vec<u16>> = reply::items(take(&mut shard, "slots")?)?
            .iter()
            .map(slot)
            .collect();
        let bounds = bounds?;
        let slots: Vec<_> = bounds.chunks_exact(2).map(|two| two[0]..=two[1]).collect();
        let nodes: Option<Vec<_>> = reply::items(take(&mut shard, "nodes")?)?
            .into_iter()
            .map(fields)
            .collect();
        let is = |node: &Fields, name: &str, text: &str| {
            let mut fields = node.iter();
            fields
                .any(|(n, value)| n == name && reply::text(value.clone()).as_deref() == Some(text))
        };
        let mut masters = nodes?;
        masters.retain(|node| is(node, "role", "master"));
        if masters.iter().any(|node| is(node, "health", "online")) {
            masters.retain(|node| is(node, "health", "online"));
        }
        let Some(mut node) = masters.into_iter().next().filter(|_| !slots.is_empty()) else {
            continue;
        };
        let name = if encrypted { "tls-port" } else { "port" };
        let port = take(&mut node, name)?;
        let endpoint = take(&mut node, "endpoint").unwrap_or(Value::Nil);
        primaries.push(Primary {
            node: reply::text(take(&mut node, "id")?)?,
            host: host(endpoint, &node),
            port: u16::try_from(reply::int(&port)?).ok()?,
            slots,
        });
    }
    plausible(primaries)
}

/// Returns none if a cluster does not answer this.
fn plausible(primaries: Vec<Primary>) -> Option<Vec<Primary>> {
    let is_good = |primary: &Primary| {
        let node = &primary.node;
        let graphic = node.bytes().all(|byte| byte.is_ascii_graphic());
        (graphic && node.len() <= NAME_LEN) && primary.host.as_deref().is_none_or(is_host)
    };
    (primaries.len() <= PRIMARIES && primaries.iter().all(is_good)).then_some(primaries)
}

/// Returns whether a text may be the name or address of a host: it is shown in messages, and resolved.
pub fn is_host(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    (1..=NAME_LEN).contains(&text.len()) && text.bytes().all(is_good)
}

type Fields = Vec<(String, Value)>;

/// Reads a map: names and values in turn.
fn fields(value: Value) -> Option<Fields> {
    let mut items = reply::items(value)?.into_iter();
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        fields.push((reply::text(name)?, value));
    }
    Some(fields)
}

fn take(fields: &mut Fields, name: &str) -> Option<Value> {
    let at = fields.iter().position(|(n, _)| n == name)?;
    Some(fields.swap_remove(at).1)
}

/// Returns the host as the node announces it. Nil and an empty text mean the host that was asked; `?` means a name that
/// was to be announced and is not known.
fn host(endpoint: Value, more: &Fields) -> Option<String> {
    let endpoint = reply::text(endpoint).filter(|host| !host.is_empty());
    match endpoint {
        Some(host) if host == "?" => {
            let ip = more.iter().find(|(name, _)| name == "ip")?;
            reply::text(ip.1.clone()).filter(|ip| !ip.is_empty() && ip != "?")
        }
        host => host,
    }
}

fn slot(value: &Value) -> Option<u16> {
    u16::try_from(reply::int(value)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::{Array, Int, Nil};

    #[test]
    fn implausible_reply_is_rejected() {
        let is_read = |host: &str, id: &str| {
            let node = node(bulk(host), 1, id, &[]);
            by_slots(Array(vec![range(0, 1, node)])).is_some()
        };
        assert!(
            is_read("10.0.0.1", "a1")
                && is_read("fe80::1%eth0", "a1")
                && is_read("h-1.example", "a1")
        );
        assert!(!is_read("h\x1b[31m", "a1") && !is_read("a b", "a1") && !is_read("h", "a\n"));
        assert!(!is_read(&"h".repeat(256), "a1") && !is_read("h", &"a".repeat(256)));
        let many = vec![Array(vec![]); RANGES + 1];
        assert!(by_slots(Array(many)).is_none());
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(start: i64, end: i64, node: Vec<Value>) -> Value {
        let replica = Array(vec![bulk("10.0.0.9"), Int(9), bulk("r"), Array(vec![])]);
        Array(vec![Int(start), Int(end), Array(node), replica])
    }

    fn node(endpoint: Value, port: i64, id: &str, more: &[&str]) -> Vec<Value> {
        let more = more.iter().map(|word| bulk(word)).collect();
        vec![endpoint, Int(port), bulk(id), Array(more)]
    }

    fn map(pairs: Vec<(&str, Value)>) -> Value {
        Array(pairs.into_iter().flat_map(|(n, v)| [bulk(n), v]).collect())
    }

    #[test]
    fn reply_of_cluster_slots_is_read() {
        let value = Array(vec![
            range(0, 99, node(bulk("10.0.0.1"), 7, "a", &[])),
            range(200, 299, node(bulk("fd00::1"), 8, "b", &["hostname", "h"])),
            range(300, 300, node(bulk("10.0.0.1"), 7, "a", &[])),
        ]);
        let read = by_slots(value).unwrap();
        assert_eq!(
            read,
            [
                Primary {
                    node: "a".into(),
                    host: Some("10.0.0.1".into()),
                    port: 7,
                    slots: vec![0..=99, 300..=300],
                },
                Primary {
                    node: "b".into(),
                    host: Some("fd00::1".into()),
                    port: 8,
                    slots: vec![200..=299],
                },
            ]
        );
        assert_eq!(by_slots(Array(vec![])), Some(vec![]));
        assert_eq!(by_slots(Value::SimpleString("OK".into())), None);
        assert_eq!(
            by_slots(Array(vec![Array(vec![Int(0), Int(70_000)])])),
            None
        );
    }

    #[test]
    fn host_that_is_not_announced_is_the_one_that_was_asked() {
        let host_of = |endpoint, more: &[&str]| {
            let value = Array(vec![range(0, 1, node(endpoint, 7, "a", more))]);
            by_slots(value).unwrap().remove(0).host
        };
        assert_eq!(host_of(Nil, &[]), None);
        assert_eq!(host_of(bulk(""), &[]), None);
        assert_eq!(
            host_of(bulk("?"), &["ip", "10.0.0.1"]).as_deref(),
            Some("10.0.0.1")
        );
        assert_eq!(host_of(bulk("?"), &[]), None);
        assert_eq!(
            host_of(bulk("db.example"), &["ip", "10.0.0.1"]).as_deref(),
            Some("db.example")
        );
    }

    #[test]
    fn reply_of_cluster_shards_is_read() {
        let one = |id, role, health, ports: Vec<(&'static str, Value)>| {
            let mut pairs = vec![("id", bulk(id)), ("ip", bulk("10.0.0.1"))];
            pairs.extend(ports);
            pairs.extend([
                ("endpoint", bulk("10.0.0.1")),
                ("role", bulk(role)),
                ("health", bulk(health)),
            ]);
            map(pairs)
        };
        let shard = |slots: &[i64], nodes| {
            let slots = slots.iter().map(|slot| Int(*slot)).collect();
            map(vec![("slots", Array(slots)), ("nodes", Array(nodes))])
        };
        let both = || vec![("port", Int(7)), ("tls-port", Int(8))];
        let value = Array(vec![
            shard(
                &[0, 9, 20, 29],
                vec![
                    one("old", "master", "fail", both()),
                    one("r", "replica", "online", both()),
                    one("new", "master", "online", both()),
                ],
            ),
            shard(&[], vec![one("empty", "master", "online", both())]),
        ]);
        let read = by_shards(value.clone(), false).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((&*read[0].node, read[0].port), ("new", 7));
        assert_eq!(read[0].slots, [0..=9, 20..=29]);
        assert_eq!(by_shards(value, true).unwrap()[0].port, 8);
        assert_eq!(by_shards(Nil, true), Some(vec![]));
    }

    #[test]
    fn overlap_counts_common_slots() {
        let a = Primary {
            node: "a".into(),
            host: None,
            port: 7,
            slots: vec![0..=9, 20..=29],
        };
        assert_eq!(a.overlap(&[5..=24]), 10);
        assert_eq!(a.overlap(&[10..=19, 30..=16_383]), 0);
    }
}
