//! Fits text into a number of terminal cells. Hidden characters have been replaced before. No I/O.

use ratatui::text::Span;

/// Returns the number of cells that a text occupies.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Returns at most `cells` of a text; its end is left out.
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

/// Returns at most `cells` of a name; its middle is left out, as the names of a fleet often share their beginning.
pub fn squeeze(text: &str, cells: usize) -> String {
    if width(text) <= cells || cells < 5 {
        return cut(text, cells);
    }
    let behind: String = head(text.chars().rev(), (cells - 1) / 2);
    let before = head(text.chars(), cells - 1 - width(&behind));
    format!("{before}…{}", behind.chars().rev().collect::<String>())
}

/// As [`squeeze`], for one of several names that share the suffix `end`: the suffix is left out first.
pub fn squeeze_suffixed(text: &str, cells: usize, end: &str) -> String {
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

/// Returns the suffix that all names share, such as a domain. It begins at a word boundary.
pub fn common_suffix<'a>(mut names: impl Iterator<Item = &'a str>) -> &'a str {
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
        // A name must not consist of the shared suffix alone.
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

/// Pads a text with spaces on its right, or on its left where it is aligned to the `right`.
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
    fn text_is_cut_by_terminal_cells() {
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
        let end = common_suffix(names.into_iter());
        assert_eq!(end, ".example.com");
        assert_eq!(squeeze_suffixed(names[0], 17, end), names[0]);
        assert_eq!(squeeze_suffixed(names[0], 10, end), "db-01…");
        assert_eq!(
            squeeze_suffixed("database-01.example.com", 10, end),
            "data…e-01…"
        );
        assert_eq!(
            squeeze_suffixed("database-01.elsewhere", 10, end),
            "datab…here"
        );
        for alike in [
            &["a"][..],
            &["a1", "b1"],
            &["a.b", "a.b"],
            &["n-1", "m-2"],
            &[],
        ] {
            assert_eq!(common_suffix(alike.iter().copied()), "");
        }
        assert_eq!(pad("ab", 4, true), "  ab");
        assert_eq!(pad("日", 4, false), "日  ");
    }
}
