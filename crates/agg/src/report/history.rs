//! Joins the short and the long windows of a metric into one history. No I/O.

use super::model::Window;

/// Returns one sequence of windows without overlap: the short ones, and the long ones before the short ones begin,
/// all cut to `from`..`to`.
///
/// A long window that reaches into the short ones is kept for the time before them only if it counts more samples than
/// the short ones within it: otherwise none of its samples lies before them.
pub fn join(long: Vec<Window>, short: Vec<Window>, from: i64, to: i64) -> Vec<Window> {
    let border = short.first().map_or(i64::MAX, |window| window.start);
    let samples_in_short = |window: &Window| {
        let within = short
            .iter()
            .filter(|part| part.start >= window.start && part.end <= window.end);
        within.map(|part| part.count).sum::<u64>()
    };
    let mut before = Vec::with_capacity(long.len());
    for mut window in long {
        if window.end <= border || samples_in_short(&window) < window.count {
            window.end = window.end.min(border);
            before.push(window);
        }
    }
    let mut reached = i64::MIN;
    before
        .into_iter()
        .chain(short)
        .filter_map(|mut window| {
            window.start = window.start.max(from).max(reached);
            window.end = window.end.min(to);
            (window.start < window.end).then(|| {
                reached = window.end;
                window
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::fixtures::window;
    use super::*;

    #[test]
    fn long_windows_fill_the_time_before_the_short_ones() {
        let mut long = vec![
            window(0, 60, 1.0),
            window(60, 120, 2.0),
            window(120, 180, 3.0),
        ];
        long[1].count = 3;
        let short = vec![window(80, 90, 8.0), window(100, 110, 9.0)];
        let joined = join(long.clone(), short.clone(), 30, 105);
        let spans: Vec<_> = joined.iter().map(|w| (w.start, w.end, w.avg)).collect();
        assert_eq!(
            spans,
            [(30, 60, 1.0), (60, 80, 2.0), (80, 90, 8.0), (100, 105, 9.0)]
        );
        long[1].count = 2;
        let joined = join(long.clone(), short, 0, 105);
        let starts: Vec<_> = joined.iter().map(|window| window.start).collect();
        assert_eq!(starts, [0, 80, 100]);
        assert_eq!(join(long, vec![], 0, 1000).len(), 3);
        assert!(join(vec![], vec![window(0, 10, 1.0)], 10, 20).is_empty());
    }
}
