//! The command that reports samples that a program has aggregated: AGG.HIST.

use super::number::Number;
use super::report::{report, write_sequence};
use super::{Cmd, Command, Sequence, option};
use crate::reply::{self, Value};

/// AGG.HIST: reports values of a gauge with the number of times that each occurred, such as the buckets of a histogram.
/// Returns whether they counted; they do not if they were too late.
///
/// The last value given is the metric's last one.
///
/// ```no_run
/// # async fn example(connection: &mut agg_client::Connection) -> Result<(), agg_client::ClientError> {
/// use agg_client::command::Hist;
///
/// // The library knows the sum and the extremes, which the values that stand for its buckets do not give exactly.
/// let buckets = [(0.005, 1200), (0.01, 310), (0.025, 7)];
/// let seconds = Hist::new("web1", "http.seconds", buckets).sum(9.17).min(0.001).max(0.0213);
/// assert!(connection.run(&seconds.tags("unit:s")).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "histogram")]
pub struct Hist<'a> {
    node: &'a [u8],
    metric: &'a [u8],
    values: Vec<(Number, u64)>,
    sum: Option<Number>,
    min: Option<Number>,
    max: Option<Number>,
    tags: Option<&'a str>,
    at: Option<i64>,
}

impl<'a> Hist<'a> {
    /// Reports values of `metric`, each with the number of times that it occurred, 1 to 2^32.
    pub fn new<N: Into<Number>>(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        metric: &'a (impl AsRef<[u8]> + ?Sized),
        values: impl IntoIterator<Item = (N, u64)>,
    ) -> Self {
        let values = values.into_iter();
        Hist {
            node: node.as_ref(),
            metric: metric.as_ref(),
            values: values.map(|(value, times)| (value.into(), times)).collect(),
            sum: None,
            min: None,
            max: None,
            tags: None,
            at: None,
        }
    }

    /// Sets the exact sum; the default is that of the values.
    pub fn sum(mut self, sum: impl Into<Number>) -> Self {
        self.sum = Some(sum.into());
        self
    }

    /// Sets the exact minimum; the default is that of the values.
    pub fn min(mut self, min: impl Into<Number>) -> Self {
        self.min = Some(min.into());
        self
    }

    /// Sets the exact maximum; the default is that of the values.
    pub fn max(mut self, max: impl Into<Number>) -> Self {
        self.max = Some(max.into());
        self
    }

    /// Sets the tags, such as `unit:s`.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the time of the values, Unix milliseconds; the default is the server's clock.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }

    fn write_with(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.metric);
        option(cmd, "SUM", self.sum);
        option(cmd, "MIN", self.min);
        option(cmd, "MAX", self.max);
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
        write_sequence(cmd, sequence);
        cmd.arg("VALUES");
        for (value, times) in &self.values {
            cmd.arg(*value).arg(*times);
        }
    }
}

impl Command for Hist<'_> {
    type Output = bool;
    const NAME: &'static str = "AGG.HIST";

    fn write_args(&self, cmd: &mut Cmd) {
        self.write_with(None, cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<bool> {
        reply::int(&reply).map(|counted| counted == 1)
    }
}

report!(Hist {
    fn is_samples(&self) -> bool {
        true
    }
});
