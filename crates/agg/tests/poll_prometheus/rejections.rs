//! Samples that Prometheus rejects for their age become dead letters with the reason, and the others are stored.

use super::{load, loading, past, reasons, record};
use crate::support::prometheus::Prometheus;

const MINUTE: i64 = 60_000;

#[test]
fn older_sample_of_a_series_is_rejected_alone() {
    let Some(prometheus) = Prometheus::receiving("0s", &[]) else {
        return;
    };
    let (start, place) = (past(), loading(&prometheus.write_url(), ""));
    let newer = record(1, "m", start + 10 * MINUTE, 1.0);
    assert!(load(&place, std::slice::from_ref(&newer)).is_empty());
    // An identical sample is no older one.
    assert!(load(&place, &[newer]).is_empty());
    let mut records: Vec<_> = (2..40)
        .map(|id| record(id, &format!("other{id}"), start, 2.0))
        .collect();
    records.push(record(40, "m", start, 3.0));
    records.push(record(41, "m", start + 15 * MINUTE, 4.0));
    let dead = load(&place, &records);
    assert_eq!(
        reasons(&dead).into_iter().collect::<Vec<_>>(),
        [(40, "HTTP 400: out of order sample")]
    );
    let found = prometheus.samples("m_avg").into_values().next().unwrap();
    let values: Vec<f64> = found.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [1.0, 4.0]);
    assert_eq!(prometheus.samples(r#"{__name__=~"other.+_avg"}"#).len(), 38);
    // Another value at the same time.
    let dead = load(&place, &[record(42, "m", start + 15 * MINUTE, 5.0)]);
    assert_eq!(
        reasons(&dead)[&42],
        "HTTP 400: duplicate sample for timestamp"
    );
}

#[test]
fn sample_beyond_the_window_is_rejected_and_not_retried() {
    let Some(prometheus) = Prometheus::receiving("30m", &[]) else {
        return;
    };
    let (start, place) = (past(), loading(&prometheus.write_url(), ""));
    assert!(load(&place, &[record(1, "m", start, 1.0)]).is_empty());
    let old = [-20, -25, -40, -600]
        .map(|minutes| record(-minutes, "m", start + minutes * MINUTE, minutes as f64));
    let dead = load(&place, &old);
    let expected = [40, 600].map(|id| (id, "HTTP 500: too old sample"));
    assert_eq!(reasons(&dead).into_iter().collect::<Vec<_>>(), expected);
    let found = prometheus.samples("m_avg").into_values().next().unwrap();
    let values: Vec<f64> = found.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [-25.0, -20.0, 1.0]);
}

#[test]
fn record_without_series_is_a_dead_letter() {
    let Some(prometheus) = Prometheus::receiving("1d", &[]) else {
        return;
    };
    let place = loading(&prometheus.write_url(), "");
    let mut bad = record(1, "m", past(), 1.0);
    bad["max"] = "x".into();
    let dead = load(&place, &[bad, record(2, "m", past(), 1.0)]);
    assert_eq!(reasons(&dead)[&1], "the record's max is invalid");
    assert_eq!(prometheus.samples("m_avg").len(), 1);
}
