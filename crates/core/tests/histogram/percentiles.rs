//! Lists of percentiles.

use aggregator_core::histogram::{Percentiles, PercentilesError};

#[test]
fn lists_of_percentiles_are_parsed() {
    let parse = |text: &str| Percentiles::parse(text.as_bytes());
    let fields = |text: &str| {
        parse(text)
            .unwrap()
            .iter()
            .map(|p| p.field())
            .collect::<Vec<_>>()
    };
    assert_eq!(parse("50 90 95 99"), Ok(Percentiles::default()));
    assert_eq!(parse("99\t 50 95  90 "), Ok(Percentiles::default()));
    assert_eq!(Percentiles::default().to_string(), "50 90 95 99");
    assert_eq!(parse(""), Ok(Percentiles::NONE));
    assert!(parse(" ").unwrap().is_empty());
    assert_eq!(
        fields("99.90 0.05 100 25.0"),
        ["p0_05", "p25", "p99_9", "p100"]
    );
    assert_eq!(parse("99.990 1.50").unwrap().to_string(), "1.5 99.99");
    assert_eq!(
        fields("0.0000001 99.9999999"),
        ["p0_0000001", "p99_9999999"]
    );
    assert_eq!(parse("1 2 3 4 5 6 7 8").unwrap().len(), 8);
    assert_eq!(parse("1 2 3 4 5 6 7 8 9"), Err(PercentilesError::TooMany));
    let wrong = |text: &str| parse(text).unwrap_err().to_string();
    for text in [
        "x", "p50", "-1", "+1", "1e1", "05", ".5", "5.", "1.2.3", "1,5", "NaN",
    ] {
        assert_eq!(
            wrong(text),
            format!("invalid percentile '{text}': expected a decimal number")
        );
    }
    for text in ["0", "0.0", "100.1", "101", "1000", "99999999999999999999"] {
        assert_eq!(
            wrong(text),
            format!("'{text}' is not above 0 and at most 100")
        );
    }
    assert_eq!(wrong("50 99.9 50.0"), "'50.0' is given twice");
    assert_eq!(wrong("0.00000001"), "'0.00000001' has more than 7 decimals");
}
