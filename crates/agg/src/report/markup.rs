//! Pieces of HTML that the sections of the page share.

use maud::{Markup, Render, html};

use super::model::Metric;
use super::scale::{LARGEST, si};
use aggregator_protocol::format::{duration, grouped};

/// A coordinate in a drawing, with at most one decimal.
pub struct Coordinate(pub f64);

impl Render for Coordinate {
    fn render_to(&self, buffer: &mut String) {
        let tenths = (self.0 * 10.0).round() as i64;
        let text = match tenths % 10 {
            0 => (tenths / 10).to_string(),
            _ => (tenths as f64 / 10.0).to_string(),
        };
        buffer.push_str(&text);
    }
}

/// Returns a note that a listing is incomplete; nothing if it is complete.
pub fn limit_note((shown, total): (usize, usize), kind: &str, order: &str) -> Markup {
    html! {
        @if shown < total {
            p.note {
                "Showing " (grouped(shown as u64)) " of " (grouped(total as u64)) " " (kind) ", " (order) "; "
                code { "--limit" } " sets how many are shown."
            }
        }
    }
}

/// Returns a name, or a placeholder for an empty one.
pub fn name(text: &str) -> &str {
    if text.is_empty() { "(no name)" } else { text }
}

/// Returns tags, each in a box.
pub fn tags(tags: &[(String, String)]) -> Markup {
    html! {
        @for (name, value) in tags {
            span.tag {
                (name)
                @if !value.is_empty() { ":" (value) }
            }
            " "
        }
    }
}

/// Returns the unit of a metric, with `/s` for a rate. Durations have none, as each value has its own unit.
pub fn unit(metric: &Metric) -> Markup {
    html! {
        @if (!metric.unit().is_empty() && !metric.is_duration()) || metric.is_rate {
            " "
            small {
                (metric.unit())
                @if metric.is_rate { "/s" }
            }
        }
    }
}

/// Returns a value of a metric: a long duration in days, hours and minutes, anything else with an SI prefix.
pub fn value(metric: &Metric, number: f64) -> String {
    match metric.is_duration() && (60.0..LARGEST).contains(&number) {
        true => duration(number),
        false => si(number),
    }
}

/// Returns the smallest and the largest of the windows' percentiles of a percentage; a dash if there is none.
pub fn range(metric: &Metric, percentage: f64) -> String {
    let Some((low, high)) = metric.percentile_range(percentage) else {
        return "-".into();
    };
    match (value(metric, low), value(metric, high)) {
        (low, high) if low == high => low,
        (low, high) => format!("{low}–{high}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_have_at_most_one_decimal() {
        let all = [1.0, 1.25, -0.04, 479.99].map(|place| Coordinate(place).render().0);
        assert_eq!(all, ["1", "1.3", "0", "480"]);
    }

    #[test]
    fn text_is_escaped_in_elements_and_attributes() {
        let hostile = "<a b='\"'>&";
        let page = html! { p title=(hostile) { (hostile) } };
        let escaped = "&lt;a b='&quot;'&gt;&amp;";
        assert_eq!(page.0, format!("<p title=\"{escaped}\">{escaped}</p>"));
    }
}
