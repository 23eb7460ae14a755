//! What a page tells of a node, and how it is put in order. Pure.

use std::cmp::Ordering;

use crate::top::figures;
use aggregator_protocol::natural;

/// All that a page tells.
#[derive(Debug, Default)]
pub struct Report {
    pub node: String,
    /// The server's address.
    pub place: String,
    /// When it was looked at, by the server's clock; Unix ms as all times here.
    pub now: i64,
    /// From where on the reader wanted to know.
    pub from: i64,
    pub info: Info,
    /// In order.
    pub metrics: Part<Metric>,
    /// The patterns of the metrics that were asked for; all where there is none.
    pub patterns: Vec<String>,
    /// The latest first.
    pub errors: Part<Failing>,
    /// By model and key.
    pub objects: Part<Object>,
    /// The latest lines that wait, the latest first.
    pub lines: Vec<Line>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// Those of a kind that are shown, and how many there are.
#[derive(Debug)]
pub struct Part<T> {
    pub shown: Vec<T>,
    pub all: usize,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Part {
            shown: Vec::new(),
            all: 0,
        }
    }
}

impl<T> Part<T> {
    /// Takes one more and keeps, of all, the first `most` in an order.
    pub fn take(&mut self, one: T, most: usize, order: impl Fn(&T, &T) -> Ordering) {
        self.all += 1;
        self.shown.push(one);
        if self.shown.len() >= most.saturating_mul(2).max(64) {
            self.end(most, order);
        }
    }

    /// Puts them in order when all have been taken.
    pub fn end(&mut self, most: usize, order: impl Fn(&T, &T) -> Ordering) {
        self.shown.sort_by(order);
        self.shown.truncate(most);
    }
}

/// AGG.INFO.
#[derive(Debug, Default)]
pub struct Info {
    pub figures: figures::Node,
    pub late_min: u64,
    pub late_hour: u64,
    /// The lengths of windows, ms.
    pub min_ms: i64,
    pub hour_ms: i64,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    pub name: String,
    /// Whether it is a rate per second.
    pub rate: bool,
    pub tags: Vec<(String, String)>,
    /// The value told last, and when.
    pub last: String,
    pub at: i64,
    pub samples: u64,
    /// The oldest first; none lies over another.
    pub windows: Vec<Window>,
}

/// A window, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What is drawn of it: Unix ms.
    pub start: i64,
    pub end: i64,
    /// Samples of the whole.
    pub count: u64,
    pub avg: f64,
    pub min: f64,
    pub max: f64,
}

/// An error that is held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failing {
    pub key: String,
    pub message: String,
    pub public: String,
    pub level: u64,
    pub kind: String,
    pub code: String,
    pub function: String,
    pub file: String,
    pub backtrace: String,
    pub tags: Vec<(String, String)>,
    pub occurrences: u64,
    pub first: i64,
    pub last: i64,
}

/// An object that is held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    pub key: String,
    pub model: String,
    pub json: String,
    pub tags: Vec<(String, String)>,
    pub changed: i64,
    pub seen: i64,
    pub gone: bool,
}

/// A line of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub at: i64,
    pub level: u64,
    pub message: String,
    pub tags: Vec<(String, String)>,
}

impl Metric {
    /// The part of the name that several have in common.
    pub fn measurement(&self) -> &str {
        self.name.split('@').next().unwrap_or_default()
    }

    pub fn instance(&self) -> Option<&str> {
        self.name.split_once('@').map(|(_, instance)| instance)
    }

    /// What its tag says that it is measured in.
    pub fn unit(&self) -> &str {
        let unit = self.tags.iter().find(|(name, _)| name == "unit");
        unit.map_or("", |(_, unit)| unit)
    }

    /// Whether it is a time in seconds, rather than a rate of one.
    pub fn is_time(&self) -> bool {
        !self.rate && matches!(self.unit(), "seconds" | "s")
    }

    pub fn least(&self) -> f64 {
        let all = self.windows.iter().map(|window| window.min);
        all.fold(f64::INFINITY, f64::min)
    }

    pub fn most(&self) -> f64 {
        let all = self.windows.iter().map(|window| window.max);
        all.fold(f64::NEG_INFINITY, f64::max)
    }

    /// The average over the time of its windows.
    pub fn average(&self) -> f64 {
        let (mut sum, mut time) = (0.0, 0.0);
        for window in &self.windows {
            let length = (window.end - window.start) as f64;
            time += length;
            // Never beyond the largest double.
            sum = sum * (1.0 - length / time) + window.avg * (length / time);
        }
        sum
    }
}

/// Makes one row of windows of the short ones and, where these do not reach, of the long ones; nothing outside of
/// `from` and `to`. A long one of which the short ones have every sample has nothing to tell of the time before them.
pub fn join(long: Vec<Window>, short: Vec<Window>, from: i64, to: i64) -> Vec<Window> {
    let border = short.first().map_or(i64::MAX, |window| window.start);
    let told = |window: &Window| {
        let within = short
            .iter()
            .filter(|part| part.start >= window.start && part.end <= window.end);
        within.map(|part| part.count).sum::<u64>()
    };
    let mut old = Vec::with_capacity(long.len());
    for mut window in long {
        if window.end <= border || told(&window) < window.count {
            window.end = window.end.min(border);
            old.push(window);
        }
    }
    let mut reached = i64::MIN;
    old.into_iter()
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

/// Metrics that are drawn together: of one measurement, type and unit.
#[derive(Debug, PartialEq)]
pub struct Plot<'a> {
    pub measurement: &'a str,
    pub metrics: Vec<&'a Metric>,
}

/// Plots of measurements with the same first word.
#[derive(Debug, PartialEq)]
pub struct Group<'a> {
    /// None where it gathers those that are alone.
    pub name: Option<&'a str>,
    pub plots: Vec<Plot<'a>>,
}

impl Plot<'_> {
    /// Whether all of it is 0 all the time: there is nothing to see.
    pub fn is_zero(&self) -> bool {
        let mut metrics = self.metrics.iter();
        metrics.all(|metric| metric.least() == 0.0 && metric.most() == 0.0)
    }
}

/// Puts what has windows into plots, and these into groups; and those plots apart that are 0 all the time.
pub fn groups(metrics: &[Metric]) -> (Vec<Group<'_>>, Vec<Plot<'_>>) {
    let (zero, plots) = plots(metrics).into_iter().partition(Plot::is_zero);
    (grouped(plots), zero)
}

fn plots(metrics: &[Metric]) -> Vec<Plot<'_>> {
    let key = |metric: &Metric| (metric.rate, metric.unit().to_owned());
    let mut plots: Vec<Plot> = Vec::new();
    for metric in metrics.iter().filter(|metric| !metric.windows.is_empty()) {
        let measurement = metric.measurement();
        let mut same = plots.iter_mut().rev();
        let same = same
            .by_ref()
            .take_while(|plot| plot.measurement == measurement);
        match same
            .into_iter()
            .find(|plot| key(plot.metrics[0]) == key(metric))
        {
            Some(plot) => plot.metrics.push(metric),
            None => plots.push(Plot {
                measurement,
                metrics: vec![metric],
            }),
        }
    }
    plots
}

fn grouped(mut plots: Vec<Plot<'_>>) -> Vec<Group<'_>> {
    let word = |plot: &Plot<'_>| plot.measurement.split(['.', '/', '_']).next().map(str::len);
    let mut groups: Vec<Group> = Vec::new();
    let mut alone = Vec::new();
    while let Some(first) = plots.first() {
        let name = &first.measurement[..word(first).unwrap_or(0)];
        let same = plots.iter().take_while(|plot| {
            word(plot) == Some(name.len()) && plot.measurement.starts_with(name)
        });
        let rest = plots.split_off(same.count().max(1));
        match plots.len() {
            // One of a family that has no other member here is still found by its name.
            1 if plots[0].measurement == name => alone.append(&mut plots),
            _ => groups.push(Group {
                name: Some(name),
                plots,
            }),
        }
        plots = rest;
    }
    if !alone.is_empty() {
        groups.push(Group {
            name: None,
            plots: alone,
        });
    }
    groups
}

/// The order of names: measurement by measurement, numbers in them by what they are worth.
pub fn by_name(a: &str, b: &str) -> Ordering {
    let parts = |name| str::split_once(name, '@').unwrap_or((name, ""));
    let ((a_name, a_instance), (b_name, b_instance)) = (parts(a), parts(b));
    natural(a_name, b_name)
        .then_with(|| natural(a_instance, b_instance))
        .then_with(|| a.cmp(b))
}

/// JSON with a line for each member; a text that is none is as it was.
pub fn unfolded(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut inside, mut escaped) = (0usize, false, false);
    let mut characters = json.chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        // Deeper than anybody reads: indentation must not make a page of a line.
        (0..depth.min(20)).for_each(|_| text.push_str("  "));
    };
    while let Some(character) = characters.next() {
        if inside {
            text.push(character);
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => inside = false,
                _ => {}
            }
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                if matches!(characters.peek(), Some('}' | ']')) {
                    text.extend(characters.next());
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(',');
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            '"' => {
                inside = true;
                text.push('"');
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn window(start: i64, end: i64, avg: f64) -> Window {
        Window {
            start,
            end,
            count: 1,
            avg,
            min: avg - 1.0,
            max: avg + 1.0,
        }
    }

    pub fn metric(name: &str, unit: &str) -> Metric {
        Metric {
            name: name.into(),
            tags: vec![("unit".into(), unit.into())],
            windows: vec![window(0, 10, 5.0), window(10, 20, 7.0)],
            ..Metric::default()
        }
    }

    #[test]
    fn long_windows_stand_where_short_ones_do_not_reach() {
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

    #[test]
    fn the_average_is_over_time() {
        let mut metric = metric("m", "");
        metric.windows[1].end = 40;
        assert_eq!(metric.average(), (5.0 * 10.0 + 7.0 * 30.0) / 40.0);
        assert_eq!((metric.least(), metric.most()), (4.0, 8.0));
        metric.windows = vec![window(0, 10, f64::MAX), window(10, 20, f64::MAX)];
        assert_eq!(metric.average(), f64::MAX);
        metric.windows[1].avg = -f64::MAX;
        assert_eq!(metric.average(), 0.0);
    }

    #[test]
    fn instances_of_one_measurement_and_unit_are_drawn_together() {
        let mut all: Vec<Metric> = ["cpu.load", "cpu.load@0", "cpu.load@10", "cpu.temp", "up"]
            .map(|name| metric(name, "x"))
            .into();
        all.push(metric("cpu.load@2", "y"));
        all.push(metric("zz", ""));
        all.push(metric("alone.here", ""));
        all.push(Metric::default());
        all.sort_by(|a, b| by_name(&a.name, &b.name));
        let mut idle = metric("swap.used", "bytes");
        for window in &mut idle.windows {
            (window.avg, window.min, window.max) = (0.0, 0.0, 0.0);
        }
        all.push(idle);
        let (groups, zero) = groups(&all);
        let zero: Vec<&str> = zero.iter().map(|plot| plot.measurement).collect();
        assert_eq!(zero, ["swap.used"]);
        let told: Vec<_> = groups
            .iter()
            .map(|group| {
                let plots = group.plots.iter();
                let plots = plots.map(|plot| (plot.measurement, plot.metrics.len()));
                (group.name, plots.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("alone"), vec![("alone.here", 1)]),
                (
                    Some("cpu"),
                    vec![("cpu.load", 3), ("cpu.load", 1), ("cpu.temp", 1)]
                ),
                (None, vec![("up", 1), ("zz", 1)])
            ]
        );
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = [
            "c@10",
            "c@9",
            "c.x@1",
            "c",
            "c@",
            "c@09",
            "b@é",
            "c@99999999999999999999",
        ];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(
            names,
            [
                "b@é",
                "c",
                "c@",
                "c@09",
                "c@9",
                "c@10",
                "c@99999999999999999999",
                "c.x@1"
            ]
        );
    }

    #[test]
    fn a_part_keeps_the_first() {
        let mut part = Part::default();
        for n in (0..1000).rev() {
            part.take(n, 3, i32::cmp);
        }
        part.end(3, i32::cmp);
        assert_eq!((part.shown, part.all), (vec![0, 1, 2], 1000));
    }

    #[test]
    fn json_is_unfolded_as_it_is() {
        assert_eq!(
            unfolded(r#"{"a":[1,2.50],"b":{},"c":"x,{\"]","d":1e400}"#),
            "{\n  \"a\": [\n    1,\n    2.50\n  ],\n  \"b\": {},\n  \"c\": \"x,{\\\"]\",\n  \"d\": 1e400\n}"
        );
        assert_eq!(unfolded("]]"), "\n]\n]");
    }
}
