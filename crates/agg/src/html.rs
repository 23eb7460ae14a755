//! HTML as it is written by hand, safely.
//!
//! What holds: every text that comes from outside goes through [`Html::text`] or [`Html::lines`]; all else is a literal
//! of the program or a number.

use std::fmt::Write;

use aggregator_protocol::masking::is_hidden;

/// A page as far as it is written.
#[derive(Default)]
pub struct Html(pub String);

impl Html {
    /// Writes what stands in the program.
    pub fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Writes a text from outside, escaped for elements and for attributes in quotes. A character that nobody sees
    /// or that turns the direction of writing is shown as what it is not.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push(' '),
                other if is_hidden(other) => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        self
    }

    /// The same of a text whose lines stay lines.
    pub fn lines(&mut self, text: &str) -> &mut Self {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.0.push('\n');
            }
            self.text(&line.replace('\t', "    "));
        }
        self
    }

    /// A place in a drawing, to a tenth.
    pub fn at(&mut self, place: f64) -> &mut Self {
        let tenths = (place * 10.0).round() as i64;
        // Writing to a string does not fail.
        let _ = match tenths % 10 {
            0 => write!(self.0, "{}", tenths / 10),
            _ => write!(self.0, "{}", tenths as f64 / 10.0),
        };
        self
    }

    /// A number.
    pub fn count(&mut self, number: usize) -> &mut Self {
        let _ = write!(self.0, "{number}");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_lines_stay() {
        let mut html = Html::default();
        html.text("<a b='\"'>\n&\u{202e}\u{7}").raw("|");
        html.lines("a\n\t<b>\r\n");
        assert_eq!(
            html.0,
            "&lt;a b=&#39;&quot;&#39;&gt; &amp;\u{fffd}\u{fffd}|a\n    &lt;b&gt;\u{fffd}\n"
        );
    }

    #[test]
    fn places_are_short() {
        let mut html = Html::default();
        for place in [1.0, 1.25, -0.04, 479.99] {
            html.at(place).raw(" ");
        }
        assert_eq!(html.0, "1 1.3 0 480 ");
    }
}
