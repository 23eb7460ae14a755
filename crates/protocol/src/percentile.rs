//! Names of the percentiles that records and AGG.RANGE have: `p50`, `p99_9`.

/// Returns whether a field of this name is a percentile: `p`, digits, and possibly `_` and decimals.
pub fn is_name(field: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(percentage) = field.strip_prefix('p') else {
        return false;
    };
    match percentage.split_once('_') {
        Some((whole, decimals)) => is_digits(whole) && is_digits(decimals),
        None => is_digits(percentage),
    }
}

/// Returns the percentile as people write it: `p99.9` of the field `p99_9`.
pub fn title(field: &str) -> String {
    field.replace('_', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_percentiles_are_told_from_others() {
        for (field, expected) in [
            ("p50", true),
            ("p99_9", true),
            ("p100", true),
            ("p", false),
            ("p_9", false),
            ("p99_", false),
            ("p9_9_9", false),
            ("p5x", false),
            ("max", false),
            ("", false),
        ] {
            assert_eq!(is_name(field), expected, "{field}");
        }
        assert_eq!(
            (title("p99_9"), title("p50")),
            ("p99.9".into(), "p50".into())
        );
    }
}
