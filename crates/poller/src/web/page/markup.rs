//! Cells, notes and escaped texts of the page.
//!
//! # Invariants
//!
//! Every text from outside is written by [`visible`] or escaped by maud in an attribute.

use aggregator_protocol::masking::is_hidden;
use maud::{Markup, html};

use super::super::view::{LATE, State};
use aggregator_protocol::format::{duration, grouped};

/// Returns a text from outside. Line breaks become blanks, and other hidden characters, or those that change the
/// direction of writing, become U+FFFD.
pub fn visible(text: &str) -> String {
    let replace = |c| match c {
        '\n' => ' ',
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(replace).collect()
}

/// Returns a cell with a number.
pub fn number_cell(number: &str) -> Markup {
    html! { td.n { (number) } }
}

/// Returns a cell with a number that is a warning unless it is 0.
pub fn warning_cell(number: u64) -> Markup {
    html! {
        @if number == 0 {
            td.n.quiet { "0" }
        } @else {
            td.n { (badge(State::Warning, &grouped(number))) }
        }
    }
}

/// Returns a word in the color of a state.
pub fn badge(state: State, word: &str) -> Markup {
    html! { span.word.(state_class(state)) { (word) } }
}

/// Returns the address of a server, whose port is not broken across lines.
pub fn address(address: &str) -> Markup {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    html! {
        @match address.rsplit_once(':').filter(|(_, port)| is_port(port)) {
            Some((host, port)) => { (visible(host)) wbr; span.port { ":" (port) } }
            None => (visible(address)),
        }
    }
}

/// Returns a lag, as a warning if it is late.
pub fn lag(seconds: f64) -> Markup {
    let shown = duration(seconds);
    html! {
        @if seconds >= LATE { (badge(State::Warning, &shown)) } @else { (shown) }
    }
}

/// Returns a note below a table of which not all rows are shown.
pub fn limit_note(shown: usize, all: usize, what: &str, address: &str) -> Markup {
    html! {
        @if shown < all {
            p.more {
                (grouped(shown as u64)) " of " (grouped(all as u64)) " " (what) ", the worst first. "
                a id={ "all-" (what) } href=(address) { "Show all" }
            }
        }
    }
}

pub fn state_class(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Trouble => "trouble",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_a_server_stays_on_one_line() {
        let render = |name| address(name).into_string();
        let expected = "redis://10.0.0.1<wbr><span class=\"port\">:7777</span>";
        assert_eq!(render("redis://10.0.0.1:7777"), expected);
        let expected = "redis://[::1]<wbr><span class=\"port\">:7777</span>";
        assert_eq!(render("redis://[::1]:7777"), expected);
        for place in ["unix:///run/redis.sock", "redis://h:<b>", "redis://h:", ""] {
            assert!(!render(place).contains("span"), "{place}");
        }
    }
}
