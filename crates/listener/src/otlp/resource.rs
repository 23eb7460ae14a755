//! Visits the resources of a request, and reports those that are new.

use super::resources::Resources;
use super::text::{attribute, json_object};
use super::wire::Fields;
use crate::report::{Attribute, ObjectReport, Receiver};

/// The largest number of attributes of a resource, and of a point or record.
pub const MAX_ATTRIBUTES: usize = 128;

/// Attributes that identify an instance of a service, the best first.
///
/// Source: <https://opentelemetry.io/docs/specs/semconv/resource/>
const INSTANCES: [&str; 5] = [
    "service.instance.id",
    "k8s.pod.name",
    "container.id",
    "host.name",
    "host.id",
];

/// Appends the attributes of the resource of a `ResourceMetrics` or `ResourceLogs`, and reports it if it is new.
pub fn enter<'a>(
    message: &'a [u8],
    resources: &mut Resources,
    attributes: &mut Vec<Attribute<'a>>,
    receiver: &mut impl Receiver,
) {
    let found = Fields::new(message).filter(|(number, _)| *number == 1);
    let resource = found.last().map_or(&[][..], |(_, value)| value.bytes());
    let all = || {
        let fields = Fields::new(resource).filter(|(number, _)| *number == 1);
        fields.map(|(_, value)| value.bytes())
    };
    attributes.extend(all().take(MAX_ATTRIBUTES).map(attribute));
    if all().nth(MAX_ATTRIBUTES).is_some() {
        receiver.invalid("too many attributes of a resource", b"");
    }
    let Some(key) = key(attributes) else {
        return;
    };
    if resources.is_new(&key, resource) {
        receiver.object(&ObjectReport {
            key: key.into(),
            model: "otel.Resource",
            json: json_object(all().take(MAX_ATTRIBUTES)).into(),
            attributes,
        });
    }
}

/// Returns the name of the service and what identifies its instance; none if nothing does.
fn key(attributes: &[Attribute<'_>]) -> Option<String> {
    let value = |name: &str| {
        let found = attributes.iter().rfind(|a| a.name == name);
        found.map(|a| &*a.value).filter(|v| !v.is_empty())
    };
    let instance = INSTANCES.iter().find_map(|name| value(name));
    match (value("service.name"), instance) {
        (Some(name), Some(instance)) => Some(format!("{name}/{instance}")),
        (name, instance) => name.or(instance).map(str::to_string),
    }
}
