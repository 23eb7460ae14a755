//! Formats counts, sizes, rates and ages for narrow columns. No I/O.

use aggregator_protocol::level;

/// Returns a count: exact up to 99999, above that three digits and a unit.
pub fn count(n: u64) -> String {
    if n < 100_000 {
        return n.to_string();
    }
    scaled(n as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// Returns bytes in units of 1024, spelled as in the server's settings.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["b", "kb", "mb", "gb", "tb", "pb", "eb"])
}

/// Returns a rate per second; a dash while it is unknown.
pub fn rate(of: Option<f64>) -> String {
    let Some(rate) = of else { return "-".into() };
    let size = rate.abs();
    let sign = if rate < 0.0 { "-" } else { "" };
    match size {
        _ if size < 0.005 => "0".into(),
        _ if size < 0.995 => format!("{sign}{size:.2}"),
        _ if size < 9.95 => format!("{sign}{size:.1}"),
        _ if size < 9999.5 => format!("{sign}{size:.0}"),
        _ => format!(
            "{sign}{}",
            scaled(size, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
        ),
    }
}

/// Returns a metric's value in the unit of its tag: bytes as [`bytes`], seconds as [`age`].
pub fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        "bytes" if (0.0..1e18).contains(&value) => bytes(value.round() as u64),
        "seconds" | "s" if (60.0..1e12).contains(&value) => age((value * 1000.0) as u64),
        "percent" => rate(Some(value)) + "%",
        _ => rate(Some(value)),
    }
}

/// Returns a rate of change with its sign.
pub fn change(of: Option<f64>) -> String {
    let text = rate(of);
    match of {
        Some(rate) if rate > 0.0 && text != "0" => format!("+{text}"),
        _ => text,
    }
}

/// Appends `/s` to the result of [`rate`] or [`change`], where no column title says so.
pub fn per_second(text: String) -> String {
    match text.as_str() {
        "-" => text,
        _ => text + "/s",
    }
}

/// Returns a number of milliseconds in its largest unit.
pub fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => "0s".into(),
        1..120 => format!("{s}s"),
        120..7200 => format!("{}m", s / 60),
        7200..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

fn scaled(n: f64, base: f64, units: &[&str]) -> String {
    let (mut n, mut unit) = (n, 0);
    while n >= base - 0.5 && unit + 1 < units.len() {
        n /= base;
        unit += 1;
    }
    let unit = units[unit];
    // An undivided number has no fraction.
    match n {
        _ if n.fract() == 0.0 || n >= 99.95 => format!("{n:.0}{unit}"),
        _ if n < 9.995 => format!("{n:.2}{unit}"),
        _ => format!("{n:.1}{unit}"),
    }
}

/// Returns the name of a level that a server sent; of none, or of one that is out of range, the nearest.
pub fn severity(level: Option<u64>) -> &'static str {
    let level = level.unwrap_or_default().min(u64::from(level::MAX));
    level::severity(level as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let counts = [0, 7, 99_999, 100_000, 1_234_567, 999_999, u64::MAX].map(count);
        assert_eq!(
            counts,
            ["0", "7", "99999", "100k", "1.23M", "1.00M", "18.4E"]
        );
        let sizes = [0, 1023, 1024, 5368, 64 << 20, 1 << 62].map(bytes);
        assert_eq!(sizes, ["0b", "1023b", "1kb", "5.24kb", "64mb", "4eb"]);
        let rates = [0.0, 0.001, 0.25, 0.999, 4.24, 42.4, 9999.0, 12_345.0, -3.0];
        let rates = rates.map(|of| rate(Some(of)));
        assert_eq!(
            rates,
            [
                "0", "0", "0.25", "1.0", "4.2", "42", "9999", "12.3k", "-3.0"
            ]
        );
        assert_eq!(rate(None), "-");
        for (value, unit, expected) in [
            (5368.0, "bytes", "5.24kb"),
            (-5.0, "bytes", "-5.0"),
            (90_000.0, "seconds", "25h"),
            (12.34, "percent", "12%"),
            (12_345.0, "ops", "12.3k"),
        ] {
            assert_eq!(in_unit(value, unit), expected);
        }
        assert_eq!(change(Some(3.0)), "+3.0");
        assert_eq!(
            (change(Some(0.0)), change(Some(-20.0))),
            ("0".into(), "-20".into())
        );
        let ages = [0, 999, 119_000, 120_000, 7_200_000, 172_800_000].map(age);
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "2h", "2d"]);
    }
}
