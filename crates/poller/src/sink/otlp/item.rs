//! A record as a part of a request: the resource, and the metrics or log records below it.
//!
//! # Invariants
//!
//! Requests of metrics and of logs have the same outer structure: a list of resources, each with scopes, each with metrics or
//! log records. So one function assembles both. Records of the same node that follow one another share a resource.
//!
//! Source: <https://github.com/open-telemetry/opentelemetry-proto>, packages `collector.metrics.v1`,
//! `collector.logs.v1`, `resource.v1` and `common.v1`.

use crate::protobuf;

/// The fields of a request, of a resource's part of it, and of a scope's part of that.
const RESOURCES: u64 = 1;
const RESOURCE: u64 = 1;
const SCOPES: u64 = 2;
const SCOPE: u64 = 1;

/// The field of a metric or a log record below a scope.
pub const CONTENT: u64 = 2;

/// The bytes before the resource: its length.
const PREFIX: usize = 4;

/// The name of the service.
const SERVICE: &str = "aggregator";

/// Returns a record of a node as a part of a request. `content` has its fields [`CONTENT`].
pub fn item(node: &str, content: &[u8]) -> Vec<u8> {
    let mut resource = Vec::with_capacity(96 + 2 * node.len());
    for (name, value) in [
        ("service.name", SERVICE),
        ("service.instance.id", node),
        ("host.name", node),
    ] {
        attribute(&mut resource, 1, name, value);
    }
    let mut item = Vec::with_capacity(PREFIX + resource.len() + content.len());
    // The name of a node is far shorter than 4 GiB.
    item.extend_from_slice(&(resource.len() as u32).to_le_bytes());
    item.extend_from_slice(&resource);
    item.extend_from_slice(content);
    item
}

/// Assembles a request.
pub fn request(items: &[&[u8]]) -> Vec<u8> {
    let mut scope = Vec::new();
    protobuf::bytes(&mut scope, 1, SERVICE.as_bytes());
    protobuf::bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut out = Vec::with_capacity(items.iter().map(|item| item.len()).sum());
    let (mut below_scope, mut below_resource) = (Vec::new(), Vec::new());
    for same in items.chunk_by(|a, b| parts(a).0 == parts(b).0) {
        below_scope.clear();
        protobuf::bytes(&mut below_scope, SCOPE, &scope);
        same.iter()
            .for_each(|item| below_scope.extend_from_slice(parts(item).1));
        below_resource.clear();
        let resource = same.first().map_or(&[][..], |item| parts(item).0);
        protobuf::bytes(&mut below_resource, RESOURCE, resource);
        protobuf::bytes(&mut below_resource, SCOPES, &below_scope);
        protobuf::bytes(&mut out, RESOURCES, &below_resource);
    }
    out
}

/// Returns the resource and the content of an item.
fn parts(item: &[u8]) -> (&[u8], &[u8]) {
    // Made by item().
    let (length, rest) = item.split_first_chunk().unwrap_or((&[0; PREFIX], item));
    let length = u32::from_le_bytes(*length) as usize;
    rest.split_at_checked(length).unwrap_or((&[], rest))
}

/// Appends a field with an attribute whose value is a string.
pub fn attribute(out: &mut Vec<u8>, field: u64, name: &str, value: &str) {
    let mut any = Vec::with_capacity(value.len() + 4);
    protobuf::bytes(&mut any, 1, value.as_bytes());
    key_value(out, field, name, &any);
}

/// Appends a field with an attribute whose value is an integer.
pub fn integer_attribute(out: &mut Vec<u8>, field: u64, name: &str, value: i64) {
    let mut any = Vec::with_capacity(12);
    protobuf::integer(&mut any, 3, value as u64);
    key_value(out, field, name, &any);
}

fn key_value(out: &mut Vec<u8>, field: u64, name: &str, any: &[u8]) {
    let mut pair = Vec::with_capacity(name.len() + any.len() + 8);
    protobuf::bytes(&mut pair, 1, name.as_bytes());
    protobuf::bytes(&mut pair, 2, any);
    protobuf::bytes(out, field, &pair);
}

/// Returns the name of the attribute of a tag: another one if attributes of agg have it. Two tags never have the same one.
pub fn tag_name<'a>(tag: &'a str, reserved: &[&str]) -> std::borrow::Cow<'a, str> {
    const PREFIX: &str = "tag.";
    match reserved.contains(&tag) || tag.starts_with(PREFIX) {
        true => format!("{PREFIX}{tag}").into(),
        false => tag.into(),
    }
}

/// Converts ms since 1970 to ns.
///
/// # Errors
///
/// Returns an error if the time is before 1970 or after 2554, which OTLP cannot express.
pub fn nanoseconds(ms: i64) -> Result<u64, String> {
    let ns = u64::try_from(ms)
        .ok()
        .and_then(|ms| ms.checked_mul(1_000_000));
    ns.ok_or_else(|| format!("OTLP has no time of {ms} ms since 1970"))
}

#[cfg(test)]
mod tests {
    use crate::protobuf::{Value, find, next};

    use super::*;

    #[test]
    fn records_of_a_node_share_a_resource() {
        let content = |text: &[u8]| {
            let mut out = Vec::new();
            protobuf::bytes(&mut out, CONTENT, text);
            out
        };
        let items = [
            item("a", &content(b"1")),
            item("a", &content(b"2")),
            item("b", &content(b"3")),
            item("a", &content(b"4")),
        ];
        let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
        let request = request(&items);
        let (mut rest, mut found) = (&request[..], Vec::new());
        while let Some((RESOURCES, Value::Bytes(part), after)) = next(rest) {
            let Some(Value::Bytes(resource)) = find(part, RESOURCE) else {
                panic!()
            };
            let Some(Value::Bytes(mut scope)) = find(part, SCOPES) else {
                panic!()
            };
            let mut contents = Vec::new();
            while let Some((number, Value::Bytes(value), after)) = next(scope) {
                if number == CONTENT {
                    contents.extend_from_slice(value);
                }
                scope = after;
            }
            // The last attribute is host.name, and its value the last byte.
            found.push((*resource.last().unwrap(), contents));
            rest = after;
        }
        assert!(rest.is_empty());
        let expected: [(u8, &[u8]); 3] = [(b'a', b"12"), (b'b', b"3"), (b'a', b"4")];
        assert_eq!(found, expected.map(|(node, all)| (node, all.to_vec())));
    }

    #[test]
    fn tags_keep_their_names_where_they_can() {
        let reserved = ["instance"];
        for (tag, expected) in [
            ("rack", "rack"),
            ("instance", "tag.instance"),
            ("tag.instance", "tag.tag.instance"),
        ] {
            assert_eq!(tag_name(tag, &reserved), expected);
        }
    }

    #[test]
    fn times_that_otlp_lacks_are_errors() {
        assert_eq!(
            nanoseconds(1_700_000_000_123),
            Ok(1_700_000_000_123_000_000)
        );
        assert!(nanoseconds(-1).is_err());
        assert!(nanoseconds(i64::MAX).is_err());
    }
}
