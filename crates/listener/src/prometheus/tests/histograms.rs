//! Histograms over several scrapes.

use super::*;

/// Passes on a histogram of the bounds 1 and 5, with the given cumulative buckets.
fn body(buckets: [u64; 3], sum: f64) -> String {
    let [one, five, all] = buckets;
    format!(
        "# TYPE h histogram\n# UNIT h seconds\n\
         h_bucket{{a=\"b\",le=\"1\"}} {one}\nh_bucket{{a=\"b\",le=\"5.0\"}} {five}\n\
         h_bucket{{a=\"b\",le=\"+Inf\"}} {all}\nh_sum{{a=\"b\"}} {sum}\nh_count{{a=\"b\"}} {all}\n"
    )
}

fn run(state: &mut State, body: &str) -> Vec<String> {
    let (recorded, _) = parse_with(body, &scrape(Format::Text), state);
    assert_eq!(recorded.invalid, Vec::<String>::new());
    recorded.samples
}

#[test]
fn increase_since_the_last_scrape_is_a_distribution() {
    let mut state = State::default();
    let totals = |sum: f64, n: u64| {
        [
            format!("h_sum DIFF {sum} a=b unit=seconds"),
            format!("h_count DIFF {n} a=b"),
        ]
    };
    assert_eq!(run(&mut state, &body([1, 2, 3], 20.0)), totals(20.0, 3));
    let samples = run(&mut state, &body([1, 4, 8], 60.5));
    assert_eq!(samples[..2], totals(60.5, 8));
    assert_eq!(
        samples[2..],
        ["h DISTRIBUTION sum 40.5 3x2 5x3 a=b unit=seconds"]
    );
    // Nothing was added.
    assert_eq!(run(&mut state, &body([1, 4, 8], 60.5)), totals(60.5, 8));
    // A reset.
    let samples = run(&mut state, &body([2, 2, 2], 0.5));
    assert_eq!(
        samples[2..],
        ["h DISTRIBUTION sum 0.5 0.5x2 a=b unit=seconds"]
    );
}

#[test]
fn samples_of_histograms_may_be_in_any_order() {
    let mut state = State::default();
    let scrapes = [(1, 10.0), (3, 12.0)].map(|(n, sum)| {
        format!(
            "# TYPE h histogram\nh_count{{a=\"1\",b=\"2\"}} {n}\nh_bucket{{le=\"+Inf\",a=\"1\",b=\"2\"}} {n}\n\
             h_bucket{{a=\"2\",le=\"+Inf\"}} 7\n# TYPE g gauge\ng 1\n\
             h_bucket{{b=\"2\",le=\"2\",a=\"1\"}} {n}\nh_sum{{b=\"2\",a=\"1\"}} {sum}\n"
        )
    });
    run(&mut state, &scrapes[0]);
    assert_eq!(state.series(), 2);
    let samples = run(&mut state, &scrapes[1]);
    assert_eq!(samples[3..], ["h DISTRIBUTION sum 2 1x2 a=1 b=2"]);
}

#[test]
fn number_of_values_replaces_a_missing_last_bucket() {
    let mut state = State::default();
    let body = |n: u64| format!("# TYPE h histogram\nh_bucket{{le=\"1\"}} 1\nh_count {n}\n");
    run(&mut state, &body(1));
    assert_eq!(run(&mut state, &body(3))[1..], ["h DISTRIBUTION 1x2"]);
}

#[test]
fn incomplete_histogram_is_compared_at_the_next_scrape() {
    let mut state = State::default();
    run(&mut state, &body([1, 2, 3], 20.0));
    let whole = body([2, 4, 6], 40.0);
    let part = &whole[..whole.find("h_bucket{a=\"b\",le=\"+Inf").unwrap()];
    let (recorded, _) = parse_with(part, &scrape(Format::Text), &mut state);
    assert_eq!(recorded.samples, Vec::<String>::new());
    let reason = "a histogram without a last bucket";
    assert_eq!(
        recorded.invalid,
        [format!("{reason}: h_bucket{{a=\"b\",le=\"1\"}} 2")]
    );
    let samples = run(&mut state, &whole);
    assert_eq!(
        samples[2..],
        ["h DISTRIBUTION sum 20 0.5x1 3x1 5x1 a=b unit=seconds"]
    );
}

#[test]
fn later_creation_is_a_reset() {
    let mut state = State::default();
    let mut run = |n: u64, created: u64| {
        let body = format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} {n} # {{trace=\"x\"}} 0.5\nh_bucket{{le=\"+Inf\"}} {n}\n\
             h_count {n}\nh_sum {n}\nh_created {created}\n# EOF\n"
        );
        let (recorded, summary) = parse_with(&body, &scrape(Format::OpenMetrics), &mut state);
        assert_eq!(recorded.invalid, Vec::<String>::new());
        assert_eq!(summary.skipped_created, 1);
        recorded.samples.into_iter().skip(2).collect::<Vec<_>>()
    };
    assert_eq!(run(5, 1), Vec::<String>::new());
    assert_eq!(run(7, 1), ["h DISTRIBUTION sum 2 0.5x2"]);
    assert_eq!(run(9, 2), ["h DISTRIBUTION sum 9 0.5x9"]);
}

#[test]
fn gauge_histogram_is_passed_on_as_a_whole() {
    let body = "# TYPE q gaugehistogram\nq_bucket{le=\"2\"} 1\nq_bucket{le=\"+Inf\"} 3\nq_gcount 3\nq_gsum -4\n";
    let mut state = State::default();
    for _ in 0..2 {
        assert_eq!(
            run(&mut state, body),
            [
                "q_gcount ABS 3",
                "q_gsum ABS -4",
                "q DISTRIBUTION sum -4 1x1 2x2"
            ]
        );
    }
    assert_eq!(state.series(), 0);
}

#[test]
fn targets_with_a_common_state_are_apart() {
    let mut state = State::default();
    for (target, n, expected) in [
        ("a", 5, 0),
        ("b", 2, 0),
        ("a", 6, 1),
        ("b", 3, 1),
        ("b", 3, 0),
    ] {
        let labels = [Attribute::new("instance", target)];
        let of_target = Scrape {
            labels: &labels,
            ..scrape(Format::Text)
        };
        let (recorded, _) = parse_with(&body([n, n, n], 1.0), &of_target, &mut state);
        assert_eq!(recorded.samples.len(), 2 + expected);
    }
    assert_eq!(state.series(), 2);
}

#[test]
fn new_histograms_beyond_the_limit_are_invalid() {
    let mut state = State::new(Limits {
        max_series: 1,
        ..Limits::default()
    });
    let body = |n: u64| {
        format!(
            "# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {n}\nh_bucket{{a=\"b\",le=\"+Inf\"}} {n}\n"
        )
    };
    for n in 1..4 {
        let (recorded, _) = parse_with(&body(n), &scrape(Format::Text), &mut state);
        assert_eq!(recorded.samples.len(), usize::from(n > 1));
        let line = format!("h_bucket{{a=\"b\",le=\"+Inf\"}} {n}");
        assert_eq!(recorded.invalid, [format!("too many histograms: {line}")]);
    }
    assert_eq!(state.rejected(), 3);
}

#[test]
fn buckets_are_limited() {
    let buckets: String = (0..1_100)
        .map(|i| format!("h_bucket{{le=\"{i}\"}} 1\n"))
        .collect();
    let (recorded, _) = parse_text(&format!("# TYPE h histogram\n{buckets}h_count 1\n"));
    assert_eq!(recorded.samples, ["h_count DIFF 1"]);
    assert_eq!(recorded.invalid.len(), 1_100 - 1_024);
}

#[test]
fn implausible_increase_is_invalid() {
    let mut state = State::default();
    run(&mut state, &body([0, 0, 0], 0.0));
    let huge = body([0, 0, u64::MAX], 1.0);
    let (recorded, _) = parse_with(&huge, &scrape(Format::Text), &mut state);
    let reason = "too many values of a histogram: h_bucket{a=\"b\",le=\"1\"} 0";
    assert_eq!(recorded.invalid, [reason]);
    assert_eq!(run(&mut state, &huge).len(), 2);
}
