//! Axes of plots: their steps and labels. Numbers have SI prefixes. No I/O.

use std::time::{Duration, UNIX_EPOCH};

use agg_client::timestamp::utc;

/// Largest magnitude that is drawn at its place: the difference of larger numbers may exceed a double.
pub const LARGEST: f64 = 1e300;

/// Smallest magnitude that is drawn apart from 0.
const SMALLEST: f64 = 1e-290;

/// Returns a number with at most three significant digits and an SI prefix: `12.3k`, `500µ`, `1e300`.
pub fn si(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 {
        return "0".into();
    }
    // A number that rounds up to the next prefix has that one.
    let power = (size * 1.0005).log10().div_euclid(3.0) as i32;
    match prefix(power) {
        Some(prefix) => {
            let scaled = number / 1000f64.powi(power);
            let decimals = match scaled.abs() {
                size if size < 9.995 => 2,
                size if size < 99.95 => 1,
                _ => 0,
            };
            trim(&format!("{scaled:.decimals$}")) + prefix
        }
        None => format!("{number:.1e}").replace(".0e", "e"),
    }
}

fn prefix(power: i32) -> Option<&'static str> {
    const FROM_PICO: [&str; 13] = [
        "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E", "Z", "Y",
    ];
    FROM_PICO.get(usize::try_from(power + 4).ok()?).copied()
}

fn trim(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}

/// An axis of values.
#[derive(Debug, PartialEq)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    /// Values of the grid lines, with their labels.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Returns an axis for the values from `low` to `high`. It begins at 0 unless that would hide their differences.
    pub fn over(low: f64, high: f64) -> Axis {
        let (mut low, mut high) = (low.max(-LARGEST), high.min(LARGEST));
        if low > high {
            (low, high) = (0.0, 0.0);
        }
        if low >= 0.0 && (low <= high / 2.0 || low == high) {
            low = 0.0;
        } else if high <= 0.0 && (high >= low / 2.0 || low == high) {
            high = 0.0;
        }
        // Differences near the precision of a double would make no steps.
        let size = low.abs().max(high.abs());
        if size < SMALLEST {
            (low, high) = (0.0, 1.0);
        } else if high - low <= size * 1e-9 {
            (low, high) = (low - size * 0.1, high + size * 0.1);
        }
        let step = step((high - low) / 4.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks: Vec<f64> = (0..=(last - first) as u32)
            .map(|n| (first + f64::from(n)) * step)
            .collect();
        let largest = (first.abs().max(last.abs())) * step;
        Axis {
            low: first * step,
            high: last * step,
            ticks: labels(&ticks, step, largest),
        }
    }

    /// Returns an axis of seconds, in the unit that suits them: `20 min`, `1.5 h`, `12 d`.
    pub fn over_seconds(low: f64, high: f64) -> Axis {
        const UNITS: [(f64, &str); 3] = [(86_400.0, " d"), (3600.0, " h"), (60.0, " min")];
        let fits = |(seconds, _): &&(f64, &str)| high >= 2.0 * seconds && high < LARGEST;
        let Some((seconds, name)) = UNITS.iter().find(fits) else {
            return Axis::over(low, high);
        };
        let mut axis = Axis::over(low / seconds, high / seconds);
        (axis.low, axis.high) = (axis.low * seconds, axis.high * seconds);
        for (tick, label) in &mut axis.ticks {
            *tick *= seconds;
            if *tick != 0.0 {
                label.push_str(name);
            }
        }
        axis
    }
}

/// Returns the ticks with their labels, all with one prefix and as many decimals as the steps need.
fn labels(ticks: &[f64], step: f64, largest: f64) -> Vec<(f64, String)> {
    let power = (largest * 1.0005).log10().div_euclid(3.0) as i32;
    let unit = 1000f64.powi(power);
    // A step has at most two significant digits.
    let decimals = (1..=9).find(|n| {
        let whole = step / unit * 10f64.powi(*n);
        (whole - whole.round()).abs() < 1e-6 * whole
    });
    let whole = step / unit;
    let decimals = match whole >= 1.0 && (whole - whole.round()).abs() < 1e-6 * whole {
        true => 0,
        false => decimals.unwrap_or(9) as usize,
    };
    let label = |tick: &f64| match prefix(power) {
        _ if (tick / step).abs() < 0.5 => "0".into(),
        Some(prefix) => format!("{:.decimals$}{prefix}", tick / unit),
        None => si(*tick),
    };
    ticks.iter().map(|tick| (*tick, label(tick))).collect()
}

/// Returns the smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `least`.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let enough = steps
        .into_iter()
        .find(|step| step * power >= least * 0.999_999);
    enough.unwrap_or(10.0) * power
}

/// Returns the ticks of a time axis (Unix ms) with their labels: at most seven.
pub fn times(from: i64, to: i64) -> Vec<(i64, String)> {
    const SECOND: i64 = 1000;
    const STEPS: [i64; 23] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200,
        86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000,
    ];
    let span = (to - from).max(1);
    let enough = STEPS.into_iter().find(|step| span / (step * SECOND) <= 5);
    let step = enough.unwrap_or(STEPS[STEPS.len() - 1]) * SECOND;
    let first = from + (-from).rem_euclid(step);
    let mut all = Vec::new();
    let mut at = first;
    while at <= to && all.len() < 12 {
        all.push((at, label(at, step)));
        at += step;
    }
    all
}

fn label(at: i64, step: i64) -> String {
    let text = moment(at);
    match step {
        // Midnight is labelled with the day that it begins.
        3_600_000.. if &text[11..16] == "00:00" => text[5..10].to_owned(),
        86_400_000.. => text[5..10].to_owned(),
        60_000.. => text[11..16].to_owned(),
        _ => text[11..19].to_owned(),
    }
}

/// Returns a time (Unix ms) in UTC, to the second.
pub fn moment(ms: i64) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    utc(UNIX_EPOCH + since_epoch)[..19].replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_labelled_in_the_unit_that_suits_them() {
        let labels = |high| {
            let ticks = Axis::over_seconds(0.0, high).ticks;
            let labels: Vec<String> = ticks.into_iter().map(|(_, label)| label).collect();
            labels.join(", ")
        };
        assert_eq!(labels(100.0), "0, 25, 50, 75, 100");
        assert_eq!(labels(1200.0), "0, 5 min, 10 min, 15 min, 20 min");
        assert_eq!(labels(8.0 * 3600.0), "0, 2 h, 4 h, 6 h, 8 h");
        assert_eq!(labels(86_400.0 * 10.0), "0, 2.5 d, 5.0 d, 7.5 d, 10.0 d");
        let axis = Axis::over_seconds(7000.0, 7400.0);
        assert!(axis.low <= 7000.0 && axis.high >= 7400.0 && axis.low > 6000.0);
    }

    #[test]
    fn numbers_have_si_prefixes() {
        for (number, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (-12.345, "-12.3"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1k"),
            (1234.0, "1.23k"),
            (16_000_000_000.0, "16G"),
            (0.0005, "500µ"),
            (0.000_999_9, "1m"),
            (1e300, "1e300"),
            (-1.7e308, "-1.7e308"),
            (5e-324, "4.9e-324"),
        ] {
            assert_eq!(si(number), expected);
        }
    }

    fn ticks(low: f64, high: f64) -> Vec<String> {
        let axis = Axis::over(low, high);
        assert!(axis.low <= low.max(-LARGEST) && axis.high >= high.min(LARGEST));
        assert!(
            (3..=7).contains(&axis.ticks.len()),
            "{low} {high}: {axis:?}"
        );
        axis.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(ticks(0.0, 100.0), ["0", "25", "50", "75", "100"]);
        assert_eq!(ticks(3.0, 3.9e9)[..3], ["0", "1G", "2G"]);
        assert_eq!(ticks(40.1, 41.9), ["40.0", "40.5", "41.0", "41.5", "42.0"]);
        assert_eq!(ticks(-3000.0, 4000.0), ["-4k", "-2k", "0", "2k", "4k"]);
        assert_eq!(
            ticks(0.0, 2e-6),
            ["0.0µ", "0.5µ", "1.0µ", "1.5µ", "2.0µ"]
                .map(|label| { if label == "0.0µ" { "0" } else { label } })
        );
        assert_eq!(ticks(0.0, 0.0)[0], "0");
        assert_eq!(ticks(7.0, 7.0)[0], "0");
        assert_eq!(ticks(-7.0, -7.0).last().unwrap(), "0");
    }

    #[test]
    fn axes_of_extreme_numbers_are_finite() {
        for (low, high) in [
            (-1.7e308, 1.7e308),
            (5e-324, 1e-323),
            (1e15, 1e15 + 0.125),
            (1e300, 1e300),
            (-1e-300, 1e300),
            (f64::INFINITY, f64::NEG_INFINITY),
        ] {
            let axis = Axis::over(low, high);
            assert!(axis.low < axis.high, "{low} {high}: {axis:?}");
            assert!(
                (2..=8).contains(&axis.ticks.len()),
                "{low} {high}: {axis:?}"
            );
        }
    }

    #[test]
    fn time_ticks_are_round() {
        let labels = |from, to| -> Vec<String> {
            times(from, to)
                .into_iter()
                .map(|(_, label)| label)
                .collect()
        };
        let noon = 1_795_608_000_000; // 2026-11-25 12:00
        assert_eq!(
            labels(noon - 1000, noon + 3_600_000),
            ["12:00", "12:15", "12:30", "12:45", "13:00"]
        );
        assert_eq!(
            labels(noon, noon + 86_400_000),
            ["12:00", "18:00", "11-26", "06:00", "12:00"]
        );
        assert_eq!(labels(noon, noon + 4000)[1], "12:00:01");
        for days in [1, 3, 7, 30, 90, 366] {
            let count = labels(noon, noon + days * 86_400_000).len();
            assert!((2..=6).contains(&count), "{days}: {count}");
        }
        assert!(labels(noon, noon).len() <= 1);
    }

    #[test]
    fn moments_are_in_utc_and_clamped() {
        assert_eq!(moment(1_795_608_000_999), "2026-11-25 12:00:00");
        assert_eq!(moment(-5), "1970-01-01 00:00:00");
        assert_eq!(moment(i64::MAX), "9999-12-31 23:59:59");
    }
}
