//! Prints the errors of percentiles of 10^7 values of each distribution, at the scale of each window and at lower ones:
//! `cargo run --release -p aggregator-core --example histogram_errors [values]`.

use aggregator_core::histogram::{Histogram, MAX_PERCENTILES, Percentiles};
use testkit::Random;

/// The values of a window.
const WINDOW: usize = 10_000;

/// The percentiles that are compared, in hundredths.
const HUNDREDTHS: [usize; MAX_PERCENTILES] = [100, 1_000, 2_500, 5_000, 9_000, 9_500, 9_900, 9_990];

/// The scales of the table.
const SCALES: [i8; 4] = [5, 4, 3, 2];

type Distribution = (&'static str, fn(&mut Random) -> f64);

const DISTRIBUTIONS: [Distribution; 8] = [
    ("log-normal, σ = 1", |r| 20.0 * r.normal().exp()),
    ("uniform, 1 to 1,000", |r| 1.0 + 999.0 * r.unit()),
    ("bimodal, 2 and 300", |r| match r.next() % 10 {
        0 => 300.0 + 20.0 * r.normal(),
        _ => 2.0 + 0.1 * r.normal(),
    }),
    ("constant", |_| 42.5),
    ("negative log-normal", |r| -20.0 * r.normal().exp()),
    ("normal, both signs", |r| 100.0 * r.normal()),
    ("90 % zeros", |r| match r.next() % 10 {
        0 => r.normal().exp(),
        _ => 0.0,
    }),
    ("12 decades", |r| 10f64.powf(12.0 * r.unit() - 6.0)),
];

/// The errors at a scale.
#[derive(Clone, Copy, Default)]
struct Errors {
    percentiles: u32,
    sum: f64,
    worst: f64,
}

fn main() {
    let count = std::env::args()
        .nth(1)
        .map(|n| n.parse().expect("a number"));
    let windows = count.unwrap_or(10_000_000usize).div_ceil(WINDOW);
    println!("| distribution | highest scale of windows | 5: worst, mean | 4 | 3 | 2 |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, draw) in DISTRIBUTIONS {
        let mut r = Random(1);
        let mut at_first = [0; SCALES.len()];
        let mut errors = [Errors::default(); SCALES.len()];
        for _ in 0..windows {
            let values: Vec<f64> = (0..WINDOW).map(|_| draw(&mut r)).collect();
            let first = compare(values, &mut errors);
            SCALES
                .iter()
                .zip(&mut at_first)
                .for_each(|(s, n)| *n += i32::from(*s == first));
        }
        let scales = SCALES.iter().zip(at_first).filter(|(_, n)| *n > 0);
        let scales =
            scales.map(|(s, n)| format!("{s}: {:.1} %", 100.0 * f64::from(n) / windows as f64));
        let cells = errors.map(|e| match e.percentiles {
            0 => "-".into(),
            n => format!(
                "{:.3} %, {:.3} %",
                100.0 * e.worst,
                100.0 * e.sum / f64::from(n)
            ),
        });
        let scales = scales.collect::<Vec<_>>().join(", ");
        println!("| {name} | {scales} | {} |", cells.join(" | "));
    }
}

/// Adds the errors of a window at its scale and all lower ones. Returns its scale.
fn compare(mut values: Vec<f64>, errors: &mut [Errors]) -> i8 {
    let mut histogram = Histogram::default();
    values.iter().for_each(|value| histogram.insert(*value, 1));
    let first = histogram.scale().expect("more than 16 values");
    values.sort_unstable_by(f64::total_cmp);
    let list = Percentiles::parse(b"1 10 25 50 90 95 99 99.9").expect("percentiles");
    for (scale, errors) in SCALES.iter().zip(errors) {
        if *scale > first {
            continue;
        }
        let found = histogram.percentiles(&list, values[0], values[values.len() - 1]);
        for (found, hundredths) in found.expect("samples").iter().zip(HUNDREDTHS) {
            let exact = values[(hundredths * values.len()).div_ceil(10_000) - 1];
            let error = if exact == 0.0 {
                found.abs()
            } else {
                (found / exact - 1.0).abs()
            };
            errors.percentiles += 1;
            errors.sum += error;
            errors.worst = errors.worst.max(error);
        }
        histogram.halve_resolution();
    }
    first
}
