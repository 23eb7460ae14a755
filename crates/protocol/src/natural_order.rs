//! Natural order of names: numbers within names are compared by value, so that `web9` precedes `web10`.

use std::cmp::Ordering;

/// Compares two names. Names that differ only in leading zeros are compared by their bytes, so that only equal names
/// are equal.
pub fn natural(a: &str, b: &str) -> Ordering {
    by_value(a, b).then_with(|| a.cmp(b))
}

fn by_value(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (left, right) = (leading_digits(a), leading_digits(b));
        if left > 0 && right > 0 {
            let (x, y) = (significant(&a[..left]), significant(&b[..right]));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[left..], &b[right..]);
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (Some((x, a_rest)), Some((y, b_rest))) if x == y => (a, b) = (a_rest, b_rest),
            (x, y) => return x.map(|(x, _)| x).cmp(&y.map(|(y, _)| y)),
        }
    }
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Returns digits without leading zeros.
fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let mut names = ["web10", "web9", "web", "db-2.x", "db-10.x", "web1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["db-2.x", "db-10.x", "web", "web1", "web9", "web10"]);
    }

    #[test]
    fn only_equal_names_are_equal() {
        assert_eq!(natural("a01", "a1"), Ordering::Less);
        assert_eq!(natural("a1", "a01"), Ordering::Greater);
        assert_eq!(natural("a01b2", "a1b1"), Ordering::Greater);
        assert_eq!(natural("a01", "a01"), Ordering::Equal);
    }
}
