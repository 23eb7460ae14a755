//! The normal form of a message while it is written.

use super::words::is_joint;

/// What replaces a part that varies.
const PLACEHOLDER: &str = "<*>";

/// Maximum bytes between two parts that are one.
const MAX_JOINT: usize = 3;

/// The normal form so far.
#[derive(Default)]
pub struct Output {
    pub text: String,
    /// Spaces were read after the text.
    pub space: bool,
    /// The end of the last placeholder.
    masked: Option<usize>,
    /// Start and end of the last chunk.
    chunk: (usize, usize),
}

impl Output {
    fn flush(&mut self) {
        if std::mem::take(&mut self.space) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    /// Appends a text.
    pub fn push(&mut self, text: &str) {
        if !text.is_empty() {
            self.flush();
            self.text.push_str(text);
        }
    }

    /// Appends a placeholder, unless it is one with the last.
    pub fn mask(&mut self) {
        match self.masked.filter(|end| self.joins(*end)) {
            Some(end) => {
                self.text.truncate(end);
                self.space = false;
            }
            None => {
                self.flush();
                self.text.push_str(PLACEHOLDER);
                self.masked = Some(self.text.len());
            }
        }
    }

    /// Returns whether a placeholder that follows now is the same as the one that ended there.
    fn joins(&self, end: usize) -> bool {
        let between = self.text.get(end..).unwrap_or_default();
        if self.space {
            return matches!(between, "" | ",");
        }
        between.len() <= MAX_JOINT && between.bytes().all(is_joint)
    }

    /// Ends a chunk that began at `start`. An item of a list that looks like the one before is dropped.
    pub fn end_chunk(&mut self, start: usize) {
        let (from, to) = self.chunk;
        let is_same = |chunk: &&str| self.text.get(from..to) == Some(chunk);
        let chunk = self
            .text
            .get(start..)
            .map(|chunk| chunk.trim_start_matches(' '));
        let Some(chunk) = chunk.filter(|chunk| !chunk.is_empty()) else {
            return;
        };
        let start = self.text.len() - chunk.len();
        let is_list = matches!(self.text.get(to..start), Some(" " | "," | ", "));
        if is_list && is_same(&chunk) && chunk.contains(PLACEHOLDER) {
            self.text.truncate(to);
            self.masked = self.masked.map(|end| end.saturating_sub(start - from));
        } else {
            self.chunk = (start, self.text.len());
        }
    }

    /// Returns whether the last that was written is a placeholder.
    pub fn ends_masked(&self) -> bool {
        !self.space && self.masked == Some(self.text.len())
    }
}
