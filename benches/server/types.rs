//! The types and options of samples beside those that they are compared with: increments beside counters, histograms
//! beside gauges, rows of COLUMNS beside pairs, and numbered reports beside others.

use crate::Result;
use crate::commands::{LARGE_LIMITS, any_wanted, measure};
use crate::host::Host;
use crate::load::{NUMBER, Random, SOURCE, TOTAL};
use crate::measurement::Measurement;
use crate::options::Options;
use crate::rows::{Builder, Row, SAMPLES, line, metric, value};

const SECTION: &str = "types";

/// The number of metrics, for which the targets hold.
const NAMES: usize = 10_000;

const ABS: &str = "AGG.STAT ABS";
const DIFF: &str = "AGG.STAT DIFF";
const PAIRS: &str = "AGG.MSTAT of 100 ABS by VALUES, per sample";

/// Measures all rows in one server.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    let names = NAMES.min(options.names()[0]);
    let rows = rows(&Builder { options, names });
    if !any_wanted(options, SECTION, &rows) {
        return Ok(Vec::new());
    }
    let host = Host::start(&[], LARGE_LIMITS)?;
    measure(&host, options, SECTION, names, rows)
}

fn rows(builder: &Builder<'_>) -> Vec<Row> {
    // A sample of a metric of this node, and what follows its name.
    let stat = |name: &str, node: &str, rest: &dyn Fn(usize) -> String| {
        let command = |i: usize| line(&format!("AGG.STAT {node} {} {}", metric(i), rest(i)));
        builder
            .row(name, builder.names, command)
            .expecting(b":1\r\n")
    };
    let order = Random(2).order(builder.names);
    vec![
        stat(ABS, "abs", &value).beside(ABS),
        stat("AGG.STAT ABS with HIST", "hist", &|i| {
            format!("{} HIST", value(i))
        })
        .beside(ABS)
        .at_most(1.15),
        stat("AGG.STAT ABS with SEQ", "seq", &|i| {
            format!("{} SEQ {SOURCE} {NUMBER}", value(i))
        })
        .beside(ABS)
        .at_most(1.1),
        stat(DIFF, "diff", &|_| format!("{TOTAL} DIFF")).beside(DIFF),
        stat("AGG.STAT INC", "inc", &|i| format!("{} INC", value(i)))
            .beside(DIFF)
            .at_most(1.0),
        builder
            .many(PAIRS, "AGG.MSTAT pairs VALUES", false, &order)
            .expecting(ALL)
            .beside(PAIRS),
        mixed(builder, &order).beside(PAIRS).at_most(1.4),
    ]
}

/// The beginning of a reply to AGG.MSTAT that accepted all samples.
const ALL: &[u8] = b"*3\r\n:100\r\n:0\r\n*0\r\n";

/// Builds the row of samples of all types, some with histograms, in the columns that programs report them in.
fn mixed(builder: &Builder<'_>, order: &[usize]) -> Row {
    let name = format!("AGG.MSTAT of {SAMPLES} mixed by COLUMNS, per sample");
    let first = "AGG.MSTAT mixed COLUMNS METRIC VALUE TYPE HIST VALUES";
    let cells = |i: usize| {
        let (value, kind, hist) = match i % 8 {
            0..3 => (value(i), "ABS", "0"),
            3 => (value(i), "ABS", "1"),
            4 => ("1".to_owned(), "ADD", "0"),
            5 => (value(i), "INC", "0"),
            _ => (TOTAL.to_owned(), "DIFF", "0"),
        };
        vec![metric(i), value, kind.to_owned(), hist.to_owned()]
    };
    builder.lists(&name, first, order, cells).expecting(ALL)
}
