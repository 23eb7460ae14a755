//! Outputs as documents show them, compared with those of now.
//!
//! Ids and times differ from run to run. They are the numbers of 13 digits or more; those that a document shows stand
//! for those that the server gives now, in outputs and in later commands. `...` stands for any text, over several lines
//! too.

use std::collections::BTreeMap;

/// What a document's ids and times stand for now.
#[derive(Default)]
pub struct Known(BTreeMap<String, String>);

impl Known {
    /// Replaces what a document shows by what stands for it now.
    pub fn translate(&self, text: &str) -> String {
        let now = |piece| self.0.get(piece).map_or(piece, String::as_str);
        pieces(text).into_iter().map(now).collect()
    }

    /// Whether an output is as shown; then it is noted what its ids and times stand for.
    pub fn compare(&mut self, shown: &str, got: &str) -> bool {
        let (shown, got) = (pieces(shown.trim_end()), pieces(got.trim_end()));
        let mut pairs = Vec::new();
        let is_same = matches(&shown, &got, &mut pairs);
        self.0.extend(pairs);
        is_same
    }
}

/// A text as pieces: numbers, `...`, and characters.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if first.is_ascii_digit() {
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len())
        } else if rest.starts_with("...") {
            3
        } else {
            first.len_utf8()
        };
        let (piece, behind) = rest.split_at(len);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

fn is_id_or_time(piece: &str) -> bool {
    piece.len() >= 13 && piece.bytes().all(|b| b.is_ascii_digit())
}

/// Whether an output is as shown; `pairs`: the ids and times shown, and now. As for a glob, what stands behind the last
/// `...` alone is tried further on.
fn matches(shown: &[&str], got: &[&str], pairs: &mut Vec<(String, String)>) -> bool {
    let (mut i, mut j, mut wild) = (0, 0, None);
    while j < got.len() {
        match shown.get(i) {
            Some(&"...") => {
                wild = Some((i, j, pairs.len()));
                i += 1;
                continue;
            }
            Some(first) if is_id_or_time(first) && is_id_or_time(got[j]) => {
                pairs.push((first.to_string(), got[j].to_string()));
            }
            Some(first) if *first == got[j] => {}
            _ => {
                let Some((at, from, kept)) = wild else {
                    return false;
                };
                wild = Some((at, from + 1, kept));
                (i, j) = (at + 1, from + 1);
                pairs.truncate(kept);
                continue;
            }
        }
        (i, j) = (i + 1, j + 1);
    }
    shown[i..].iter().all(|piece| *piece == "...")
}
