//! The table of the servers that a scan found. No I/O.

use agg_client::discovery::probe::About;
use agg_client::discovery::scan::Seen;
use aggregator_protocol::masking::cell;

const TITLES: [&str; 6] = ["ADDRESS", "SERVER", "MODULE", "NODES", "MEMORY", "STATE"];
/// Maximum characters of a cell.
const MAX_CELL: usize = 60;

/// Returns the table, with a newline after each row.
pub fn table(all: &[Seen]) -> String {
    let rows = all
        .iter()
        .map(|seen| row(&seen.address.to_string(), &seen.about));
    layout(rows.collect())
}

fn row(address: &str, about: &About) -> [String; 6] {
    let number = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
    let server = match (about.server, &about.version) {
        (Some(server), Some(version)) => format!("{server} {version}"),
        _ => String::new(),
    };
    let memory = match (about.memory, about.max_memory) {
        (Some(used), Some(limit)) => format!("{} of {}", size(used), size(limit)),
        _ => String::new(),
    };
    let row = [
        address.to_owned(),
        server,
        about.module.clone().unwrap_or_default(),
        number(about.nodes),
        memory,
        about.state.words().to_owned(),
    ];
    row.map(|text| cell(&text).chars().take(MAX_CELL).collect())
}

fn layout(rows: Vec<[String; 6]>) -> String {
    let titles = TITLES.map(str::to_owned);
    let all: Vec<&[String; 6]> = std::iter::once(&titles).chain(&rows).collect();
    let width = |column: usize| {
        let widths = all.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in all {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns bytes with at most one decimal, spelled as in the server's settings.
fn size(bytes: u64) -> String {
    let units = [(30, "gb"), (20, "mb"), (10, "kb")];
    match units.iter().find(|(shift, _)| bytes >= 1 << shift) {
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
            match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                rest => format!("{}.{rest}{unit}", tenths / 10),
            }
        }
        None => format!("{bytes}b"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agg_client::discovery::probe::State;

    #[test]
    fn columns_are_aligned_and_text_is_masked() {
        let mut about = About::only(State::Ok, None);
        about.server = Some("redis");
        about.version = Some("7\x1b[2J".into());
        about.module = Some("1".into());
        about.nodes = Some(12);
        about.memory = Some(69_208);
        about.max_memory = Some(256 << 20);
        let other = About::only(State::WantsPassword, Some("x".into()));
        let rows = vec![row("10.0.0.10:7777", &about), row("10.0.0.9:7777", &other)];
        assert_eq!(
            layout(rows),
            "ADDRESS         SERVER       MODULE  NODES  MEMORY           STATE\n\
             10.0.0.10:7777  redis 7·[2J  1       12     67.6kb of 256mb  ok\n\
             10.0.0.9:7777                                                wants a password\n"
        );
    }

    #[test]
    fn sizes_have_at_most_one_decimal() {
        let sizes = [0, 1023, 1024, 1536, (5 << 20) + 1, 3 << 30].map(size);
        assert_eq!(sizes, ["0b", "1023b", "1kb", "1.5kb", "5mb", "3gb"]);
    }
}
