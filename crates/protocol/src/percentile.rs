//! Names of the percentiles that records, AGG.GET and AGG.RANGE have: `p50`, `p99_9`.

/// Returns the percentage that a field of this name is the percentile of: 99.9 of `p99_9`; none of another field.
pub fn percentage(field: &str) -> Option<f64> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, decimals) = match field.strip_prefix('p')?.split_once('_') {
        Some((whole, decimals)) => (whole, decimals),
        None => (&field[1..], "0"),
    };
    match is_digits(whole) && is_digits(decimals) {
        true => format!("{whole}.{decimals}").parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_percentiles_are_told_from_others() {
        for (field, expected) in [
            ("p50", Some(50.0)),
            ("p99_9", Some(99.9)),
            ("p99_9999999", Some(99.9999999)),
            ("p0_001", Some(0.001)),
            ("p100", Some(100.0)),
            ("p", None),
            ("p_9", None),
            ("p99_", None),
            ("50", None),
            ("p9_9_9", None),
            ("p5x", None),
            ("p-5", None),
            ("max", None),
            ("", None),
        ] {
            assert_eq!(percentage(field), expected, "{field}");
        }
    }
}
