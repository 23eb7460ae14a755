//! Formats counts, durations, rates and sizes for people.

/// Formats a count with its noun: `1 node`, `1,200 nodes`.
pub fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", grouped(count)),
    }
}

/// Formats a number with separators: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats seconds in their two largest units, the smaller one left out where it is 0: `3 h 34 min`, `1 d`.
pub fn duration(seconds: f64) -> String {
    let two = |large: (u64, &str), small: (u64, &str)| match small {
        (0, _) => format!("{} {}", large.0, large.1),
        (count, unit) => format!("{} {} {count} {unit}", large.0, large.1),
    };
    let whole = seconds as u64;
    match whole {
        0 => format!("{:.0} ms", seconds * 1000.0),
        1..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => two((whole / 60, "min"), (whole % 60, "s")),
        3600..86_400 => two((whole / 3600, "h"), (whole / 60 % 60, "min")),
        _ => two((whole / 86_400, "d"), (whole / 3600 % 24, "h")),
    }
}

/// Formats a number per second.
pub fn rate(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        0.0..10.0 => format!("{number:.1}"),
        _ => grouped(number.round() as u64),
    }
}

/// Formats bytes with the largest fitting unit.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let mut number = bytes / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_are_formatted_for_people() {
        assert_eq!([0.0, 0.44, 1500.4].map(rate), ["0", "0.4", "1,500"]);
        let sizes = [0.0, 1023.0, 1536.0, 3.5e9, 9e15].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "3.3 GiB", "8185.5 TiB"]);
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            [0, 7, 999, 1000, 1_234_567].map(grouped),
            ["0", "7", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn durations_have_two_units_unless_the_smaller_one_is_zero() {
        let seconds = [
            0.119, 0.25, 4.24, 45.9, 59.9, 60.0, 61.0, 3600.0, 7261.0, 12_840.0, 86_400.0,
            90_000.0, 100_000.0,
        ];
        assert_eq!(
            seconds.map(duration),
            [
                "119 ms",
                "250 ms",
                "4.2 s",
                "45 s",
                "59 s",
                "1 min",
                "1 min 1 s",
                "1 h",
                "2 h 1 min",
                "3 h 34 min",
                "1 d",
                "1 d 1 h",
                "1 d 3 h"
            ]
        );
    }
}
