//! How figures and foreign text are shown: short. What hidden characters become is in escape.rs. Pure.

use ratatui::text::Span;

/// A count: exact up to 99999, then with three digits and a unit.
pub fn count(n: u64) -> String {
    if n < 100_000 {
        return n.to_string();
    }
    scaled(n as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// Bytes in units of 1024, named as the server's settings name them.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["b", "kb", "mb", "gb", "tb", "pb", "eb"])
}

/// Something a second; a dash where it is not known yet.
pub fn rate(of: Option<f64>) -> String {
    let Some(rate) = of else { return "-".into() };
    let size = rate.abs();
    let sign = if rate < 0.0 { "-" } else { "" };
    match size {
        _ if size < 0.005 => "0".into(),
        _ if size < 0.995 => format!("{sign}{size:.2}"),
        _ if size < 9.95 => format!("{sign}{size:.1}"),
        _ if size < 9999.5 => format!("{sign}{size:.0}"),
        _ => format!(
            "{sign}{}",
            scaled(size, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
        ),
    }
}

/// A value of a metric with this unit: bytes as the server's settings name them, times in their largest unit.
pub fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        "bytes" if (0.0..1e18).contains(&value) => bytes(value.round() as u64),
        "seconds" | "s" if (60.0..1e12).contains(&value) => age((value * 1000.0) as u64),
        "percent" => rate(Some(value)) + "%",
        _ => rate(Some(value)),
    }
}

/// A rate that may be a loss, with its sign.
pub fn change(of: Option<f64>) -> String {
    let text = rate(of);
    match of {
        Some(rate) if rate > 0.0 && text != "0" => format!("+{text}"),
        _ => text,
    }
}

/// As [`rate`] and [`change`] give it, where no title says that it is a second.
pub fn per_second(text: String) -> String {
    match text.as_str() {
        "-" => text,
        _ => text + "/s",
    }
}

/// A span of time in ms, in its largest unit.
pub fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => "0s".into(),
        1..120 => format!("{s}s"),
        120..7200 => format!("{}m", s / 60),
        7200..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

fn scaled(n: f64, base: f64, units: &[&str]) -> String {
    let (mut n, mut unit) = (n, 0);
    while n >= base - 0.5 && unit + 1 < units.len() {
        n /= base;
        unit += 1;
    }
    let unit = units[unit];
    // Where nothing was divided there is no fraction.
    match n {
        _ if n.fract() == 0.0 || n >= 99.95 => format!("{n:.0}{unit}"),
        _ if n < 9.995 => format!("{n:.2}{unit}"),
        _ => format!("{n:.1}{unit}"),
    }
}

/// Cells that the text takes.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// At most `cells` of the text, the end left out.
pub fn cut(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut short = head(text.chars(), cells.saturating_sub(1));
    if cells > 0 {
        short.push('…');
    }
    short
}

/// At most `cells` of a name, the middle left out: names of a fleet are alike at their beginnings.
pub fn squeeze(text: &str, cells: usize) -> String {
    if width(text) <= cells || cells < 5 {
        return cut(text, cells);
    }
    let behind: String = head(text.chars().rev(), (cells - 1) / 2);
    let before = head(text.chars(), cells - 1 - width(&behind));
    format!("{before}…{}", behind.chars().rev().collect::<String>())
}

/// As [`squeeze`], for one of several names that have this end in common: it goes first.
pub fn squeeze_before(text: &str, cells: usize, end: &str) -> String {
    match text.strip_suffix(end) {
        Some(body) if !end.is_empty() && width(text) > cells && cells > 5 => {
            let mut short = match width(body) < cells {
                true => body.to_owned(),
                false => squeeze(body, cells - 1),
            };
            short.push('…');
            short
        }
        _ => squeeze(text, cells),
    }
}

/// What the names end with that all have in common, as a domain: it begins where a word ends.
pub fn common_end<'a>(mut names: impl Iterator<Item = &'a str>) -> &'a str {
    let Some(mut end) = names.next() else {
        return "";
    };
    let first = end;
    for name in names {
        let same = end.chars().rev().zip(name.chars().rev());
        let same: usize = same
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a.len_utf8())
            .sum();
        end = &end[end.len() - same..];
    }
    match end.find(|c: char| !c.is_alphanumeric()) {
        // A name is more than what all have.
        Some(at) if end.len() < first.len() => &end[at..],
        _ => "",
    }
}

fn head(chars: impl Iterator<Item = char>, cells: usize) -> String {
    let (mut taken, mut used) = (String::new(), 0);
    for c in chars {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > cells {
            break;
        }
        taken.push(c);
    }
    taken
}

/// The text filled up with blanks, before or behind it.
pub fn pad(text: &str, cells: usize, right: bool) -> String {
    let blanks = " ".repeat(cells.saturating_sub(width(text)));
    if right {
        blanks + text
    } else {
        format!("{text}{blanks}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let counts = [0, 7, 99_999, 100_000, 1_234_567, 999_999, u64::MAX].map(count);
        assert_eq!(
            counts,
            ["0", "7", "99999", "100k", "1.23M", "1.00M", "18.4E"]
        );
        let sizes = [0, 1023, 1024, 5368, 64 << 20, 1 << 62].map(bytes);
        assert_eq!(sizes, ["0b", "1023b", "1kb", "5.24kb", "64mb", "4eb"]);
        let rates = [0.0, 0.001, 0.25, 0.999, 4.24, 42.4, 9999.0, 12_345.0, -3.0];
        let rates = rates.map(|of| rate(Some(of)));
        assert_eq!(
            rates,
            [
                "0", "0", "0.25", "1.0", "4.2", "42", "9999", "12.3k", "-3.0"
            ]
        );
        assert_eq!(rate(None), "-");
        for (value, unit, expected) in [
            (5368.0, "bytes", "5.24kb"),
            (-5.0, "bytes", "-5.0"),
            (90_000.0, "seconds", "25h"),
            (12.34, "percent", "12%"),
            (12_345.0, "ops", "12.3k"),
        ] {
            assert_eq!(in_unit(value, unit), expected);
        }
        assert_eq!(change(Some(3.0)), "+3.0");
        assert_eq!(
            (change(Some(0.0)), change(Some(-20.0))),
            ("0".into(), "-20".into())
        );
        let ages = [0, 999, 119_000, 120_000, 7_200_000, 172_800_000].map(age);
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "2h", "2d"]);
    }

    #[test]
    fn text_is_cut_by_the_cells_that_it_takes() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(squeeze("dc1-rack12-host0042", 11), "dc1-r…t0042");
        assert_eq!(squeeze("日本語日本語", 7), "日本…語");
        assert_eq!(width(&squeeze("dc1-rack12-host0042", 12)), 12);
        let names = [
            "db-01.example.com",
            "db-02.example.com",
            "web-1.example.com",
        ];
        let end = common_end(names.into_iter());
        assert_eq!(end, ".example.com");
        assert_eq!(squeeze_before(names[0], 17, end), names[0]);
        assert_eq!(squeeze_before(names[0], 10, end), "db-01…");
        assert_eq!(
            squeeze_before("database-01.example.com", 10, end),
            "data…e-01…"
        );
        assert_eq!(
            squeeze_before("database-01.elsewhere", 10, end),
            "datab…here"
        );
        for alike in [
            &["a"][..],
            &["a1", "b1"],
            &["a.b", "a.b"],
            &["n-1", "m-2"],
            &[],
        ] {
            assert_eq!(common_end(alike.iter().copied()), "");
        }
        assert_eq!(pad("ab", 4, true), "  ab");
        assert_eq!(pad("日", 4, false), "日  ");
    }
}
