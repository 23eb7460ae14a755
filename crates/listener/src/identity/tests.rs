//! Tests of names, tags and limits of series.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn attributes<'a>(pairs: &'a [(&'a str, &'a str)]) -> Vec<Attribute<'a>> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| Attribute::new(name, value))
        .collect()
}

fn resolve(identity: &mut Identity, name: &str, pairs: &[(&str, &str)], unit: &str) -> String {
    match identity.resolve(name, &attributes(pairs), unit) {
        Ok(resolved) => format!("{} [{}]", resolved.metric, resolved.tags),
        Err(reason) => reason.as_str().to_owned(),
    }
}

fn with(set: impl FnOnce(&mut IdentitySettings)) -> Identity {
    let mut settings = IdentitySettings::default();
    set(&mut settings);
    Identity::new(&settings)
}

#[test]
fn attributes_are_name_and_tags() {
    let mut identity = with(|settings| settings.tags = vec!["site:a".into()]);
    let expected = "http.ms@method=GET,route=/pay [method:GET route:/pay site:a unit:ms]";
    for _ in 0..2 {
        for pairs in [
            [("method", "GET"), ("route", "/pay")],
            [("route", "/pay"), ("method", "GET")],
        ] {
            assert_eq!(resolve(&mut identity, "http.ms", &pairs, "ms"), expected);
        }
    }
    let repeated = [("method", "PUT"), ("route", "/pay"), ("method", "GET")];
    assert_eq!(resolve(&mut identity, "http.ms", &repeated, "ms"), expected);
    assert_eq!(identity.len(), 1);
    assert_eq!(resolve(&mut identity, "a", &[], ""), "a [site:a]");
    assert_eq!(
        resolve(&mut identity, "a", &[("unit", "x")], "ms"),
        "a@unit=x [site:a unit:x]"
    );
    assert_eq!(resolve(&mut identity, "", &[], ""), "an empty name");
}

#[test]
fn globs_select_attributes() {
    let mut identity = with(|settings| {
        settings.identity = vec!["route".into(), "http.*".into()];
        settings.drop = vec!["*.id".into()];
    });
    let pairs = [
        ("http.id", "1"),
        ("http.method", "GET"),
        ("host", "b"),
        ("route", "/"),
    ];
    assert_eq!(
        resolve(&mut identity, "a", &pairs, ""),
        "a@http.method=GET,route=/ [host:b http.method:GET route:/]"
    );
    assert_eq!(
        resolve(&mut identity, "a", &[("host", "b")], ""),
        "a [host:b]"
    );
    let dropped = attributes(&[("x.id", "1"), ("job", "c")]);
    assert_eq!(identity.tags(&dropped), "job:c");
}

#[test]
fn instances_beyond_the_limit_are_one_metric() {
    let mut identity = with(|settings| {
        settings.max_instances = 2;
        settings.tags = vec!["site:a".into()];
    });
    for n in ["1", "2", "3", "4", "3", "1"] {
        let metric = resolve(&mut identity, "a", &[("n", n)], "ms");
        let expected = match n {
            "1" | "2" => format!("a@n={n} [n:{n} site:a unit:ms]"),
            _ => "a@other [site:a unit:ms]".into(),
        };
        assert_eq!(metric, expected);
    }
    assert_eq!((identity.overflowed(), identity.len()), (3, 3));
    assert_eq!(identity.metrics.counts(), [3, 1, 2, 1]);
    // The name itself is no instance, and neither are those of other names.
    assert_eq!(resolve(&mut identity, "a", &[], ""), "a [site:a]");
    assert_eq!(
        resolve(&mut identity, "b", &[("n", "1")], ""),
        "b@n=1 [n:1 site:a]"
    );
    let other = identity
        .resolve("a", &attributes(&[("n", "9")]), "")
        .unwrap();
    assert!(other.id.is_other);
}

#[test]
fn all_series_and_names_are_limited() {
    let mut identity = with(|settings| {
        settings.max_series = 2;
        settings.max_names = 2;
    });
    let metrics = ["1", "2", "3"].map(|n| resolve(&mut identity, "a", &[("n", n)], ""));
    assert_eq!(metrics, ["a@n=1 [n:1]", "a@n=2 [n:2]", "a@other []"]);
    assert_eq!(resolve(&mut identity, "b", &[("n", "1")], ""), "b@other []");
    assert_eq!(resolve(&mut identity, "c", &[], ""), "too many names");
    assert_eq!(resolve(&mut identity, "b", &[], ""), "b []");
}

#[test]
fn series_that_are_gone_make_room() {
    let mut identity = with(|settings| settings.max_instances = 2);
    identity.advance(0);
    let of = |identity: &mut Identity, n: &str| resolve(identity, "a", &[("n", n)], "");
    of(&mut identity, "1");
    of(&mut identity, "2");
    identity.advance(FORGET_AFTER_MS);
    of(&mut identity, "2");
    assert_eq!(of(&mut identity, "3"), "a@other []");
    identity.advance(FORGET_AFTER_MS + GENERATION_MS);
    assert_eq!(of(&mut identity, "3"), "a@n=3 [n:3]");
    assert_eq!(of(&mut identity, "2"), "a@n=2 [n:2]");
    assert_eq!(of(&mut identity, "1"), "a@other []");
    // What only the cache was asked for is seen, too.
    identity.mark_seen();
    identity.cache.clear();
    identity.advance(3 * FORGET_AFTER_MS);
    assert_eq!(identity.metrics.counts()[..3], [0, 0, 0]);
    assert_eq!(identity.cache.counts(), [0, 0, 0]);
    // The clock is set back: the series does not stay for ever.
    of(&mut identity, "1");
    identity.advance(0);
    identity.advance(FORGET_AFTER_MS + GENERATION_MS);
    assert!(identity.is_empty());
}

#[test]
fn cache_is_bounded() {
    let mut identity = with(|settings| settings.identity = Vec::new());
    let first = identity.resolve("a", &[], "").unwrap().id;
    let mut text = String::new();
    for n in 0..CACHE_ENTRIES + 5 {
        text.clear();
        let _ = write!(text, "{n}");
        let pairs = [Attribute::new("n", &text)];
        assert_eq!(identity.resolve("a", &pairs, "").unwrap().metric, "a");
    }
    assert_eq!(identity.len(), 1);
    assert_eq!(identity.cache.counts()[..2], [6, 6]);
    let again = identity.resolve("a", &[], "").unwrap().id;
    assert!(again.place == first.place && again.number != first.number);
    // A long series is not in it.
    let long = "v".repeat(MAX_KEY);
    let pairs = [Attribute::new("n", &long)];
    for _ in 0..2 {
        let resolved = identity.resolve("a", &pairs, "").unwrap();
        assert_eq!(resolved.tags.len(), 2 + 1024);
    }
    assert_eq!(identity.cache.counts()[0], 7);
}

/// Texts of which parts are ambiguous where they are joined without care.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab@,=%~]{0,4}",
        Just("other".to_owned()),
        Just("@other".to_owned()),
        "[ab@,=]{500,520}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn different_series_have_different_metrics(
        series in prop::collection::vec((part(), prop::collection::vec((part(), part()), 0..4)), 1..20)
    ) {
        let mut identity = Identity::new(&IdentitySettings::default());
        let mut known: HashMap<String, (String, BTreeMap<String, String>)> = HashMap::new();
        for (name, pairs) in series {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let Ok(resolved) = identity.resolve(&name, &attributes(&pairs), "") else { continue };
            let metric = resolved.metric.to_owned();
            prop_assert!(metric.len() <= MAX_METRIC && !metric.contains(char::from(0)));
            prop_assert!(resolved.tags.len() <= MAX_TAGS);
            let own = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let own = (name, own);
            if let Some(other) = known.insert(metric, own.clone()) {
                prop_assert_eq!(other, own);
            }
        }
    }

    #[test]
    fn order_of_attributes_does_not_matter(
        name in "[a-c@=]{1,5}", pairs in prop::collection::btree_map(part(), part(), 0..6), turn in 0usize..6
    ) {
        let mut identity = Identity::new(&IdentitySettings::default());
        let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let first = resolve(&mut identity, &name, &pairs, "");
        let turn = turn.min(pairs.len());
        pairs.rotate_left(turn);
        prop_assert_eq!(resolve(&mut identity, &name, &pairs, ""), first);
    }
}
