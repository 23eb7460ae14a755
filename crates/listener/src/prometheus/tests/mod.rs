mod examples;
mod histograms;
mod properties;

use super::*;
use crate::recorded::Recorded;

fn scrape(format: Format) -> Scrape<'static> {
    Scrape {
        format,
        labels: &[],
        honor_labels: false,
        honor_timestamps: true,
        now_ms: 0,
    }
}

fn parse_with(body: &str, scrape: &Scrape<'_>, state: &mut State) -> (Recorded, Summary) {
    let mut recorded = Recorded::default();
    let summary = parse(body.as_bytes(), scrape, state, &mut recorded);
    assert_eq!(summary.samples, recorded.samples.len() as u64);
    assert_eq!(summary.invalid, recorded.invalid.len() as u64);
    (recorded, summary)
}

fn parse_text(body: &str) -> (Recorded, Summary) {
    parse_with(body, &scrape(Format::Text), &mut State::default())
}

fn parse_open_metrics(body: &str) -> (Recorded, Summary) {
    parse_with(body, &scrape(Format::OpenMetrics), &mut State::default())
}

/// The samples of a text in which all is valid.
fn samples(body: &str) -> Vec<String> {
    let (recorded, _) = parse_text(body);
    assert_eq!(recorded.invalid, Vec::<String>::new(), "{body}");
    recorded.samples
}
