//! Compares the outputs that documents show with actual ones.
//!
//! Ids and times differ from run to run: they are the numbers of 13 digits or more. A number that a document shows
//! stands for the one that the server gives now, in outputs and in later commands. `...` stands for any text, also over
//! several lines.

use std::collections::BTreeMap;

/// Maps the ids and times that a document shows to actual ones.
#[derive(Default)]
pub struct Transcript(BTreeMap<String, String>);

impl Transcript {
    /// Replaces the ids and times that a document shows by the actual ones.
    pub fn translate(&self, text: &str) -> String {
        let now = |piece| self.0.get(piece).map_or(piece, String::as_str);
        pieces(text).into_iter().map(now).collect()
    }

    /// Returns whether an output is as shown, and records what its ids and times stand for.
    pub fn compare(&mut self, shown: &str, got: &str) -> bool {
        let (shown, got) = (pieces(shown.trim_end()), pieces(got.trim_end()));
        let mut pairs = Vec::new();
        let is_same = matches(&shown, &got, &mut pairs);
        self.0.extend(pairs);
        is_same
    }
}

/// Splits a text into numbers, `...`, and characters.
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

/// Returns whether an output is as shown. `pairs` receives the ids and times shown, each with the actual one. As in
/// globs, only the part after the last `...` is retried at later positions.
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
