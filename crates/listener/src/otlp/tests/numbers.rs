//! Gauges, sums and summaries.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::{AsDouble, AsInt};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, NumberDataPoint, Sum, Summary, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::*;

fn point(value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: TIME,
        value: Some(value),
        ..Default::default()
    }
}

fn gauge(points: Vec<NumberDataPoint>) -> Data {
    Data::Gauge(Gauge {
        data_points: points,
    })
}

fn sum(temporality: i32, is_monotonic: bool, value: number_data_point::Value) -> Data {
    Data::Sum(Sum {
        data_points: vec![point(value)],
        aggregation_temporality: temporality,
        is_monotonic,
    })
}

#[test]
fn gauges_are_absolute() {
    let mut with_attributes = point(AsDouble(-0.5));
    with_attributes.attributes = vec![attribute("host", "a"), key_value("cpu", Value::IntValue(3))];
    let mut without_time = point(AsInt(i64::MAX));
    without_time.time_unix_nano = 0;
    let data = gauge(vec![with_attributes, without_time, point(AsInt(-7))]);
    let metrics = vec![
        metric("load", "By", data),
        metric("one", "1", gauge(vec![point(AsInt(0))])),
    ];
    let (recorded, outcome) = receive(&mut state(), &request(metrics));
    assert_eq!(
        recorded.samples,
        [
            "load ABS -0.5 host=a cpu=3 unit=By at=1760000000000",
            "load ABS 9223372036854776000 unit=By",
            "load ABS -7 unit=By at=1760000000000",
            "one ABS 0 at=1760000000000",
        ]
    );
    assert_eq!((outcome.accepted, outcome.rejected), (4, 0));
}

#[test]
fn sums_have_four_kinds() {
    let (delta, cumulative) = (1, 2);
    for (temporality, is_monotonic, value, expected) in [
        (cumulative, true, AsInt(5), "m DIFF 5 at=1760000000000"),
        (delta, true, AsDouble(0.5), "m INC 0.5 at=1760000000000"),
        (cumulative, false, AsInt(-5), "m ABS -5 at=1760000000000"),
        (delta, false, AsInt(-5), "m ADD -5 at=1760000000000"),
    ] {
        let recorded = received(sum(temporality, is_monotonic, value));
        assert_eq!(recorded.samples, [expected]);
    }
}

#[test]
fn invalid_numbers_are_counted() {
    let mut empty = point(AsInt(1));
    empty.value = None;
    let mut many = point(AsInt(1));
    many.attributes = vec![attribute("a", "b"); 129];
    for (data, reason) in [
        (
            gauge(vec![point(AsDouble(f64::NAN))]),
            "not a finite number",
        ),
        (
            gauge(vec![point(AsDouble(f64::INFINITY))]),
            "not a finite number",
        ),
        (gauge(vec![empty]), "no value"),
        (gauge(vec![many]), "too many attributes"),
        (sum(2, true, AsInt(-1)), "a negative counter"),
        (sum(1, true, AsDouble(-0.1)), "a negative counter"),
        (sum(0, true, AsInt(1)), "an unknown temporality"),
        (sum(7, false, AsInt(1)), "an unknown temporality"),
    ] {
        let (recorded, outcome) = receive(&mut state(), &request(vec![metric("m", "", data)]));
        assert_eq!(recorded.invalid, [format!("{reason}: m")]);
        assert!(recorded.samples.is_empty());
        assert_eq!((outcome.accepted, outcome.rejected), (0, 1));
        assert_eq!(outcome.reason, Some(reason));
    }
    let unnamed = metric("", "", gauge(vec![point(AsInt(1)), point(AsInt(2))]));
    let (recorded, outcome) = receive(&mut state(), &request(vec![unnamed]));
    assert_eq!(recorded.invalid, ["an empty name: ", "an empty name: "]);
    assert_eq!(outcome.rejected, 2);
}

#[test]
fn missing_values_are_skipped() {
    let mut missing = point(AsDouble(f64::NAN));
    missing.flags = 1;
    let (recorded, outcome) = receive(
        &mut state(),
        &request(vec![metric("m", "", gauge(vec![missing]))]),
    );
    assert_eq!(recorded, Recorded::default());
    assert_eq!((outcome.accepted, outcome.rejected), (1, 0));
}

#[test]
fn summaries_are_their_parts() {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let mut point = SummaryDataPoint {
        time_unix_nano: TIME,
        count: 7,
        sum: 2.5,
        attributes: vec![attribute("a", "b")],
        quantile_values: vec![
            quantile(0.5, 0.25),
            quantile(0.99, f64::NAN),
            quantile(1.0, 2.0),
        ],
        ..Default::default()
    };
    let data = |point: &SummaryDataPoint| {
        Data::Summary(Summary {
            data_points: vec![point.clone()],
        })
    };
    let recorded = receive(&mut state(), &request(vec![metric("m", "s", data(&point))])).0;
    assert_eq!(
        recorded.samples,
        [
            "m.count DIFF 7 a=b at=1760000000000",
            "m.sum DIFF 2.5 a=b unit=s at=1760000000000",
            "m ABS 0.25 a=b quantile=0.5 unit=s at=1760000000000",
            "m ABS 2 a=b quantile=1 unit=s at=1760000000000",
        ]
    );
    point.sum = f64::INFINITY;
    assert_eq!(received(data(&point)).invalid, ["not a finite number: m"]);
    point.flags = 1;
    assert_eq!(received(data(&point)), Recorded::default());
}

#[test]
fn resources_describe_samples_and_are_reported_when_they_change() {
    let mut state = state();
    let mut send = |version: &str| {
        let attributes = vec![
            attribute("service.name", "shop"),
            attribute("service.instance.id", "a-1"),
            attribute("service.version", version),
            key_value("process.pid", Value::IntValue(42)),
        ];
        let resource = Resource {
            attributes,
            ..Default::default()
        };
        let data = gauge(vec![point(AsInt(1))]);
        let request = with_resource(vec![metric("m", "", data)], Some(resource));
        receive(&mut state, &request)
    };
    let ending = "service.name=shop service.instance.id=a-1 service.version=1 process.pid=42";
    let object = format!(
        "shop/a-1 otel.Resource {{\"service.name\":\"shop\",\"service.instance.id\":\"a-1\",\
         \"service.version\":\"1\",\"process.pid\":42}} {ending}"
    );
    let first = send("1").0;
    assert_eq!(
        first.samples,
        [format!("m ABS 1 {ending} at=1760000000000")]
    );
    assert_eq!(first.objects, [object]);
    assert!(send("1").0.objects.is_empty());
    assert_eq!(send("2").0.objects.len(), 1);
}

#[test]
fn undone_resources_are_reported_again() {
    let mut state = state();
    let resource = Resource {
        attributes: vec![attribute("host.name", "a")],
        ..Default::default()
    };
    let request = with_resource(Vec::new(), Some(resource));
    let (recorded, outcome) = receive(&mut state, &request);
    assert_eq!(
        recorded.objects,
        ["a otel.Resource {\"host.name\":\"a\"} host.name=a"]
    );
    state.undo(outcome.changes);
    assert_eq!(receive(&mut state, &request).0.objects.len(), 1);
    assert_eq!(receive(&mut state, &request).0.objects.len(), 0);
}

#[test]
fn cumulative_counters_begin_at_their_start() {
    let mut state = State::new(Limits::default(), 1_760_000_000_000);
    let mut send = |start: u64, time: u64, count: i64, is_kept: bool| {
        let point = NumberDataPoint {
            start_time_unix_nano: TIME.wrapping_add_signed(start as i64 * 1_000_000 - 1_000_000),
            time_unix_nano: TIME + time * 1_000_000,
            value: Some(AsInt(count)),
            ..Default::default()
        };
        let data = Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: 2,
            is_monotonic: true,
        });
        let (recorded, outcome) = receive(&mut state, &request(vec![metric("m", "", data)]));
        if !is_kept {
            state.undo(outcome.changes);
        }
        recorded.samples
    };
    // It began before the listener: the first total is the baseline.
    assert_eq!(send(0, 1, 70, true), ["m DIFF 70 at=1760000000001"]);
    assert_eq!(send(0, 2, 80, true), ["m DIFF 80 at=1760000000002"]);
    // A process that began later. A request that failed is sent again.
    let begun = ["m DIFF 0 at=1760000000009", "m DIFF 3 at=1760000000012"];
    assert_eq!(send(10, 12, 3, false), begun);
    assert_eq!(send(10, 12, 3, true), begun);
    assert_eq!(send(10, 13, 4, true), ["m DIFF 4 at=1760000000013"]);
}

#[test]
fn cumulative_summaries_begin_at_their_start() {
    let data = Data::Summary(Summary {
        data_points: vec![SummaryDataPoint {
            start_time_unix_nano: TIME - 5_000_000,
            time_unix_nano: TIME,
            count: 2,
            sum: 3.0,
            ..Default::default()
        }],
    });
    assert_eq!(
        received(data).samples,
        [
            "m.count DIFF 0 at=1759999999995",
            "m.sum DIFF 0 at=1759999999995",
            "m.count DIFF 2 at=1760000000000",
            "m.sum DIFF 3 at=1760000000000",
        ]
    );
}
