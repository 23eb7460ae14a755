//! HTML as it is written by hand, safely.
//!
//! What holds: every text that comes from outside goes through [`Html::text`]; all else is a literal of the program or a
//! number.

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut html = Html::default();
        html.text("<a b='\"'>\n&\u{202e}\u{7}").raw("|");
        assert_eq!(
            html.0,
            "&lt;a b=&#39;&quot;&#39;&gt; &amp;\u{fffd}\u{fffd}|"
        );
    }
}
