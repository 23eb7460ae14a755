//! AGG.HIST: samples of a gauge that the reporter has aggregated.

use super::args::{Args, number};
use super::samples::{SampleOptions, run_one};
use crate::context::WriteContext;
use crate::counters::Counters;
use crate::error::CommandError;
use crate::model::histogram::MAX_RAW;
use crate::model::{Aggregate, MAX_SAMPLES, MAX_TIMES, Sample, Sequence};
use crate::node::Node;
use crate::reply::Reply;
use crate::settings::Settings;
use aggregator_protocol::number::Number;

const NAME: &str = "AGG.HIST";

/// The largest number of values of a command that is propagated verbatim. With more, the effect is smaller: it has a
/// histogram instead of the values, and a replica need not parse them.
const VERBATIM: usize = MAX_RAW;

/// The largest number of bytes of these values: digits that do not matter, such as leading zeros, are not propagated.
const VERBATIM_BYTES: usize = 64 * VERBATIM;

/// The largest number of bytes of the numbers of a pair, on average.
const PAIR_BYTES: usize = 512;

/// The arguments of AGG.HIST.
pub(super) struct Hist<'a> {
    metric: &'a [u8],
    /// The last value.
    last: Number,
    /// The number of samples.
    samples: u64,
    /// The values are few and short.
    is_short: bool,
    aggregate: Aggregate,
    options: SampleOptions<'a>,
}

/// The options of AGG.HIST that other samples do not have.
#[derive(Default)]
struct Totals {
    sum: Option<Number>,
    min: Option<Number>,
    max: Option<Number>,
}

impl Totals {
    /// Reads a number that follows its word.
    fn read(what: &str, args: &mut Args<'_, '_>) -> Result<Option<Number>, CommandError> {
        let text = args.word(what)?;
        let number = number(what, text).map_err(|detail| args.reject(detail))?;
        Ok(Some(number))
    }

    fn check(&self, args: &Args<'_, '_>) -> Result<(), CommandError> {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min.to_f64() > max.to_f64() => {
                let (min, max) = (min.to_f64(), max.to_f64());
                Err(args.reject(format_args!("MIN {min} is above MAX {max}")))
            }
            _ => Ok(()),
        }
    }

    /// Returns a value, or the nearer of the extremes if it is beyond them. The values of buckets may be: that which
    /// stands for the highest bucket is above the maximum, if all its samples are in the lower half.
    fn limit(&self, value: Number) -> Number {
        match (self.min, self.max) {
            (Some(min), _) if value.to_f64() < min.to_f64() => min,
            (_, Some(max)) if value.to_f64() > max.to_f64() => max,
            _ => value,
        }
    }
}

impl<'a> Hist<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Hist<'a>, CommandError> {
        let metric = args.name("metric")?;
        let (mut options, mut totals) = (SampleOptions::new(args), Totals::default());
        options.hist = true;
        loop {
            if args.is_empty() {
                return Err(args.missing("VALUES"));
            }
            match args.option()? {
                "VALUES" => break,
                "SUM" => totals.sum = Totals::read("SUM", args)?,
                "MIN" => totals.min = Totals::read("MIN", args)?,
                "MAX" => totals.max = Totals::read("MAX", args)?,
                option => options.read(option, args)?,
            }
        }
        totals.check(args)?;
        let Values {
            values,
            last,
            bytes,
        } = parse_values(&totals, args)?;
        let samples = values.iter().map(|(_, times)| *times);
        let samples = samples.fold(0, u64::saturating_add);
        // Only of a command that another server has accepted: 10,000 values are fewer.
        if samples > MAX_SAMPLES {
            return Err(args.reject(format_args!(
                "VALUES has {samples} samples: the maximum is {MAX_SAMPLES}"
            )));
        }
        let mut aggregate = Aggregate::of(&values);
        let given = |total: Option<Number>, otherwise| total.map_or(otherwise, Number::to_f64);
        aggregate.sum = given(totals.sum, aggregate.sum);
        aggregate.min = given(totals.min, aggregate.min);
        aggregate.max = given(totals.max, aggregate.max);
        Ok(Hist {
            metric,
            last,
            samples,
            is_short: values.len() <= VERBATIM && bytes <= VERBATIM_BYTES,
            aggregate,
            options,
        })
    }

    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.options.sequence
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let options = &self.options;
        options.cost_of_one(self.metric, self.samples, node, closely, settings)
    }

    fn sample(&self) -> Sample<'_> {
        Sample {
            times: self.samples,
            aggregate: Some(&self.aggregate),
            ..self.options.sample(self.last)
        }
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        self.options.is_replayable(self.metric, node, settings)
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let sample = (self.metric, self.sample());
        node.replay_samples(std::iter::once(sample), mono_ms, counters);
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        ctx.verbatim_allowed &= self.is_short;
        let counted = run_one(NAME, self.metric, self.sample(), node, ctx)?;
        reply.int(counted.into());
        Ok(())
    }
}

/// The words behind VALUES.
struct Values {
    /// The values with their multiplicities, within the given extremes.
    values: Vec<(f64, u64)>,
    /// The last value.
    last: Number,
    /// The bytes of the words.
    bytes: usize,
}

/// Parses the words behind VALUES.
fn parse_values(totals: &Totals, args: &mut Args<'_, '_>) -> Result<Values, CommandError> {
    let words = args.take_rest();
    let bytes = check_len(words, args)?;
    let mut values = Vec::with_capacity(words.len() / 2);
    let mut last = Number::Int(0);
    for (index, [text, times]) in words.as_chunks::<2>().0.iter().enumerate() {
        let reject = |detail: String| args.reject(format_args!("pair {index}: {detail}"));
        last = totals.limit(number("value", text).map_err(reject)?);
        let times = args.parse_integer("times", times, 1..=MAX_TIMES);
        let times = times.map_err(|error| reject(error.detail))?;
        values.push((last.to_f64(), times));
    }
    Ok(Values {
        values,
        last,
        bytes,
    })
}

/// Checks the number and the size of the words behind VALUES. Returns their bytes.
fn check_len(words: &[&[u8]], args: &Args<'_, '_>) -> Result<usize, CommandError> {
    let (n, max) = (words.len(), args.settings.max_values);
    if n == 0 || n % 2 != 0 {
        return Err(args.reject(format_args!(
            "VALUES requires pairs of value and times, got {n} arguments"
        )));
    }
    if n / 2 > max {
        let n = n / 2;
        return Err(args.reject(format_args!("VALUES has {n} pairs: the maximum is {max}")));
    }
    let bytes = words.iter().map(|word| word.len()).sum::<usize>();
    let max = max.saturating_mul(PAIR_BYTES);
    if bytes > max {
        return Err(args.reject(format_args!(
            "VALUES has {bytes} bytes: the maximum is {max}"
        )));
    }
    Ok(bytes)
}
