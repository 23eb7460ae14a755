use super::*;

fn series<'a>(metric: &'a str, tags: &'a str) -> Resolved<'a> {
    Resolved {
        metric,
        tags,
        id: SeriesId {
            place: 0,
            number: tags.len() as u64,
            is_other: false,
        },
    }
}

fn flushed(sets: &mut Sets) -> Vec<String> {
    let mut counts = Vec::new();
    sets.flush(|set| {
        counts.push(format!(
            "{} [{}] {}",
            set.series.metric, set.series.tags, set.members
        ))
    });
    counts.sort();
    counts
}

#[test]
fn distinct_members_of_an_interval_are_counted() {
    let mut sets = Sets::new(SetSettings::default());
    let mut counts = Vec::new();
    sets.advance(9_999, |_| unreachable!());
    for (metric, member) in [("a", "x"), ("a", "y"), ("a", "x"), ("b", "x"), ("a", "")] {
        sets.add("statsd", &series(metric, ""), member).unwrap();
    }
    assert_eq!(sets.len(), 2);
    sets.advance(9_999, |_| unreachable!());
    sets.advance(10_000, |set| {
        counts.push((set.series.metric.to_owned(), set.members))
    });
    counts.sort();
    assert_eq!(counts, [("a".into(), 3), ("b".into(), 1)]);
    assert!(sets.is_empty());
    sets.advance(30_000, |_| unreachable!());
}

#[test]
fn last_tags_count() {
    let mut sets = Sets::new(SetSettings::default());
    sets.add("statsd", &series("a", ""), "x").unwrap();
    sets.add("statsd", &series("a", "k:v"), "x").unwrap();
    assert_eq!(flushed(&mut sets), ["a [k:v] 1"]);
}

#[test]
fn sets_are_limited() {
    let mut sets = Sets::new(SetSettings {
        max_sets: 1,
        ..SetSettings::default()
    });
    sets.add("statsd", &series("a", ""), "x").unwrap();
    assert_eq!(sets.add("statsd", &series("b", ""), "x"), Err(TooManySets));
    sets.add("statsd", &series("a", ""), "y").unwrap();
    for n in 0..100_000 {
        sets.add("statsd", &series("a", ""), &n.to_string())
            .unwrap();
    }
    assert!(sets.bytes() < 4096 + 200);
    assert_eq!(flushed(&mut sets).len(), 1);
    sets.add("statsd", &series("b", ""), "x").unwrap();
}

#[test]
fn number_is_exact_up_to_a_limit() {
    let mut members = Members::Exact(Vec::new());
    for n in 0..MAX_EXACT as u64 {
        let hash = mixed(n);
        members.add(hash);
        members.add(hash);
        assert_eq!(members.count(), n + 1);
    }
    assert!(matches!(members, Members::Exact(_)));
    members.add(mixed(1 << 40));
    assert!(matches!(members, Members::Sketch(_)));
    assert!((500..530).contains(&members.count()));
}

/// SplitMix64: different for different numbers.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn standard_error_is_that_of_the_sketch() {
    for count in [600, 2_000, 5_000, 12_000, 40_000] {
        let rounds = 50;
        let error = |round: u64| {
            let mut sketch = Sketch::default();
            (0..count).for_each(|n| sketch.add(mixed(round << 32 | n)));
            sketch.estimate() as f64 / count as f64 - 1.0
        };
        let errors: Vec<f64> = (0..rounds).map(error).collect();
        let mean = errors.iter().sum::<f64>() / rounds as f64;
        let squares = errors.iter().map(|error| error * error);
        let deviation = (squares.sum::<f64>() / rounds as f64).sqrt();
        assert!(mean.abs() < 0.008, "{count}: {mean}");
        assert!(deviation < 0.022, "{count}: {deviation}");
    }
}

#[test]
fn extreme_sketches_have_estimates() {
    assert_eq!(Sketch::default().estimate(), 0);
    let full = Sketch([RANK_BITS as u8 + 1; REGISTERS]);
    assert_eq!(full.estimate(), u64::MAX);
    let mut one = Sketch::default();
    one.add(u64::MAX << RANK_BITS);
    assert_eq!((one.0[REGISTERS - 1], one.estimate()), (53, 1));
}
