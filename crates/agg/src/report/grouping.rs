//! Arranges metrics into plots, and plots into groups. No I/O.

use super::model::Metric;

/// Metrics that share a plot: the instances of one measurement, with one type and unit, and all with percentiles or
/// none.
#[derive(Debug, PartialEq)]
pub struct Plot<'a> {
    pub measurement: &'a str,
    /// Never empty.
    pub metrics: Vec<&'a Metric>,
}

/// Plots of measurements whose names share the first word.
#[derive(Debug, PartialEq)]
pub struct Group<'a> {
    /// The shared word; none for the group of measurements that share it with no other.
    pub name: Option<&'a str>,
    pub plots: Vec<Plot<'a>>,
}

impl Plot<'_> {
    /// Returns whether all values were 0 all the time.
    fn is_zero(&self) -> bool {
        let mut metrics = self.metrics.iter();
        metrics.all(|metric| metric.minimum() == 0.0 && metric.maximum() == 0.0)
    }
}

/// Returns the groups of plots of the metrics that have windows, and separately the plots that were always 0.
pub fn groups(metrics: &[Metric]) -> (Vec<Group<'_>>, Vec<Plot<'_>>) {
    let (zero, plots) = plots(metrics).into_iter().partition(Plot::is_zero);
    (grouped(plots), zero)
}

fn plots(metrics: &[Metric]) -> Vec<Plot<'_>> {
    let key = |metric: &Metric| {
        let unit = metric.unit().to_owned();
        (metric.is_rate, metric.has_percentiles(), unit)
    };
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
    let mut ungrouped = Vec::new();
    while let Some(first) = plots.first() {
        let name = &first.measurement[..word(first).unwrap_or(0)];
        let same = plots.iter().take_while(|plot| {
            word(plot) == Some(name.len()) && plot.measurement.starts_with(name)
        });
        let rest = plots.split_off(same.count().max(1));
        match plots.len() {
            // A single plot whose name has more than one word keeps its group, to be found by the first word.
            1 if plots[0].measurement == name => ungrouped.append(&mut plots),
            _ => groups.push(Group {
                name: Some(name),
                plots,
            }),
        }
        plots = rest;
    }
    if !ungrouped.is_empty() {
        groups.push(Group {
            name: None,
            plots: ungrouped,
        });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::model::by_name;
    use super::super::model::fixtures::{metric, with_percentiles};
    use super::*;

    #[test]
    fn instances_of_one_measurement_and_unit_share_a_plot() {
        let mut all: Vec<Metric> = ["cpu.load", "cpu.load@0", "cpu.load@10", "cpu.temp", "up"]
            .map(|name| metric(name, "x"))
            .into();
        all.push(metric("cpu.load@2", "y"));
        all.push(with_percentiles(metric("cpu.load@3", "x")));
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
        let summary: Vec<_> = groups
            .iter()
            .map(|group| {
                let plots = group.plots.iter();
                let plots = plots.map(|plot| (plot.measurement, plot.metrics.len()));
                (group.name, plots.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            summary,
            [
                (Some("alone"), vec![("alone.here", 1)]),
                (
                    Some("cpu"),
                    vec![
                        ("cpu.load", 3),
                        ("cpu.load", 1),
                        ("cpu.load", 1),
                        ("cpu.temp", 1)
                    ]
                ),
                (None, vec![("up", 1), ("zz", 1)])
            ]
        );
    }
}
