//! VictoriaMetrics as the receiver: values, and what it makes of samples that are written twice.

use super::{load, loading, past, record};
use crate::support::place::{
    Place, VERSION_1, end, names, remote_write, settings, until_empty, windows,
};
use crate::support::victoria::Victoria;
use crate::support::{Server, until};

#[test]
fn victoria_metrics_stores_the_windows() {
    let (Some(server), Some(victoria)) = (Server::start(), Victoria::start()) else {
        return;
    };
    let url = format!("{}/api/v1/write", victoria.url());
    let text = remote_write(&url, "").replace(", \"HOUR\"", "");
    let place = Place::new(&settings(&server, &text));
    let mut metrics = names(50);
    metrics.push("cpu.load@0".into());
    windows(&server, "n1", &metrics);
    let poller = place.start();
    until_empty(&server, &["n1"], "MIN");
    end(poller);
    assert!(place.lines("dead").is_empty());
    let series = until("it can be queried", || {
        let series = victoria.export(r#"{node="n1",window="300s"}"#);
        (series.len() == 51 * 6).then_some(series)
    });
    for one in &series {
        let expected = match one["metric"]["__name__"].as_str().unwrap() {
            name if name.ends_with("_count") => 1.0,
            _ => 1.5,
        };
        let values: Vec<f64> = serde_json::from_value(one["values"].clone()).unwrap();
        assert_eq!(values, [expected; 2], "{one}");
        let times: Vec<i64> = serde_json::from_value(one["timestamps"].clone()).unwrap();
        assert_eq!(times[1] - times[0], 300_000);
        assert_eq!(times[0] % 300_000, 299_999);
    }
    assert!(series.iter().any(|one| {
        one["metric"]["__name__"] == "cpu_load_avg" && one["metric"]["instance"] == "0"
    }));
}

/// Returns a place whose poller writes windows as line protocol.
fn loading_lines(victoria: &Victoria, more: &str) -> Place {
    let place = loading(&victoria.url(), &format!("{VERSION_1}\n{more}"));
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    place.write(&text.replace("\"prometheus\"", "\"influxdb\""));
    place
}

#[test]
fn points_of_line_protocol_have_the_time_that_the_settings_choose() {
    let Some(victoria) = Victoria::start() else {
        return;
    };
    let start = past();
    for (metric, more, expected) in [
        ("plain", "", start),
        ("start", "timestamp = \"start\"", start),
        ("end", "timestamp = \"end\"", start + 299_999),
    ] {
        let place = loading_lines(&victoria, more);
        assert!(load(&place, &[record(1, metric, start, 1.5)]).is_empty());
        let found = until("it can be queried", || {
            victoria.export(&format!("{metric}_avg")).pop()
        });
        assert_eq!(
            found["timestamps"],
            serde_json::json!([expected]),
            "{metric}"
        );
    }
}

#[test]
fn repeated_samples_are_kept_once_only_with_deduplication() {
    for (flags, kept) in [(&[][..], 2.0), (&["-dedup.minScrapeInterval=1ms"], 1.0)] {
        let Some(victoria) = Victoria::with(flags) else {
            return;
        };
        let start = past();
        let remote = loading(&format!("{}/api/v1/write", victoria.url()), "");
        let lines = loading_lines(&victoria, "");
        for (place, metric, name) in [(&remote, "m", "m_avg"), (&lines, "l", "l_avg")] {
            let records = [
                record(1, metric, start, 3.0),
                record(2, metric, start + 300_000, 4.0),
            ];
            for _ in 0..2 {
                assert!(load(place, &records).is_empty());
            }
            let at = start + 600_000;
            let query = |function: &str| victoria.query(&format!("{function}({name}[20m])"), at);
            until("the samples are found", || {
                (!query("count_over_time").is_empty()).then_some(())
            });
            assert_eq!(query("count_over_time"), [2.0 * kept], "{name} {flags:?}");
            assert_eq!(query("sum_over_time"), [7.0 * kept], "{name} {flags:?}");
            assert_eq!(query("last_over_time"), [4.0]);
        }
    }
}
