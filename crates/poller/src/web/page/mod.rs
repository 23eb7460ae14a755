//! The HTML of the status page. It is complete without scripts; with its script it is refreshed every two seconds.
//!
//! # Invariants
//!
//! Only literals of these files and the page's own style and script are written without escaping.

mod markup;
mod query;
mod tables;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::base;
use super::view::{State, View};
use aggregator_protocol::format::{count, duration, grouped, rate};
use markup::{state_class, visible};
pub use query::Query;
use tables::{form, nodes, servers, sinks};

/// The style of the page, beyond that of base.rs.
const STYLE: &str = include_str!("page.css");

/// Renders the page. `nonce` identifies its own style and script.
pub fn page(view: &View, query: &Query, nonce: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (headline(view)) " · agg poll" }
                noscript { meta http-equiv="refresh" content="5"; }
                link rel="icon" href="data:,";
                style nonce=(nonce) { (PreEscaped(base::STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "agg poll" }
                    p { span #live .quiet role="status" {} }
                }
                main {
                    section data-part="state" aria-label="State" { (state(view)) (totals(view)) }
                    section data-part="sinks" aria-labelledby="sinks" { (sinks(view)) }
                    section data-part="servers" aria-labelledby="servers" { (servers(view, query)) }
                    h2 #nodes { "Nodes" }
                    (form(query))
                    section data-part="nodes" aria-labelledby="nodes" { (nodes(view, query)) }
                }
                footer data-part="foot" { (foot(view)) }
                script nonce=(nonce) { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    page.into_string()
}

fn headline(view: &View) -> &'static str {
    match (view.ending, view.state) {
        (true, _) => "Shutting down",
        (_, State::Ok) => "Healthy",
        (_, State::Warning) => "Warning",
        (_, State::Trouble) => "Failing",
    }
}

fn state(view: &View) -> Markup {
    let severity = |state| match state {
        State::Trouble => "Error",
        _ => "Warning",
    };
    html! {
        div.state.(state_class(view.state)) {
            strong { (headline(view)) }
            @if !view.problems.is_empty() {
                ul {
                    @for problem in &view.problems {
                        li {
                            b.(state_class(problem.state)) { (severity(problem.state)) }
                            " " (visible(&problem.text))
                        }
                    }
                }
            }
        }
    }
}

fn totals(view: &View) -> Markup {
    let totals = &view.totals;
    let count = |number: usize| grouped(number as u64);
    let of = |number: usize| format!("of {}", grouped(number as u64));
    let healthy = view.sinks.iter().filter(|sink| sink.trouble.is_none());
    let late = match totals.nodes_late {
        0 => String::new(),
        late => format!("{} late", grouped(late as u64)),
    };
    let stored = format!("{} in total", grouped(totals.stored));
    let none = String::new;
    let mut all = vec![
        (
            "Healthy sinks",
            count(healthy.count()),
            of(view.sinks.len()),
        ),
        ("Servers up", count(totals.servers_up), of(totals.servers)),
        ("Nodes", count(totals.nodes), late),
        ("Largest lag", duration(totals.lag), none()),
        (
            "Pending",
            grouped(totals.waiting),
            "records in queues".into(),
        ),
        (
            "Stored",
            format!("{}/s", rate(totals.stored_per_second)),
            stored,
        ),
        ("Dead letters", grouped(totals.dead), none()),
        ("Dropped", grouped(totals.dropped), none()),
    ];
    if let Some(fleet) = &view.fleet {
        let note = match fleet.taken_over {
            0 => format!("{} watched", count(fleet.watched)),
            taken => format!(
                "{} taken over, {} watched",
                count(taken),
                count(fleet.watched)
            ),
        };
        all.push(("Owned servers", count(fleet.owned), note));
        let me = format!("this is {}", fleet.me);
        all.push(("Pollers", count(fleet.members.len()), me));
    }
    html! {
        dl {
            @for (name, number, note) in &all {
                div {
                    dt { (name) }
                    dd {
                        (number)
                        @if !note.is_empty() { small { (note) } }
                    }
                }
            }
        }
    }
}

/// Returns a time without its fraction: `2026-01-31 09:05:00 UTC`.
fn moment(utc: &str) -> String {
    let seconds = utc.get(..19).unwrap_or(utc);
    seconds.replace('T', " ") + " UTC"
}

fn foot(view: &View) -> Markup {
    let reloads = &view.reloads;
    html! {
        p.quiet {
            "agg " (view.version) ", running for " (duration(view.uptime)) "; "
            (count(reloads.taken, "config reload")) ", " (grouped(reloads.rejected)) " rejected. "
            "As of " (moment(&view.now)) ". For programs: "
            a href="/metrics" { "metrics" } ", "
            a href="/status.json" { "status.json" } ", "
            a href="/readyz" { "readyz" } ", "
            a href="/healthz" { "healthz" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::tables::MAX_ROWS;
    use super::*;

    fn render(view: &View, query: &str) -> String {
        page(view, &Query::parse(query), "n0nce")
    }

    /// Counts the rows of the nodes.
    fn rows(html: &str) -> usize {
        let (_, nodes) = html.split_once("data-part=\"nodes\"").unwrap();
        nodes.matches("<th scope=\"row\">").count()
    }

    #[test]
    fn names_cannot_inject_html() {
        let view = fixtures::view(&fixtures::bad(3));
        let html = render(&view, "filter=%22%3E%3Cscript%3Ealert(1)");
        assert_eq!(html.matches("<script").count(), 1);
        assert!(
            !html.contains("<img") && !html.contains("<b>engine"),
            "{html}"
        );
        assert!(html.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)\""));
        let html = render(&view, "");
        assert!(!html.contains("<img") && !html.contains("<primary>"));
        assert_eq!(html.matches("<script").count(), 1);
        assert!(html.contains("&lt;img src=x onerror=&quot;document.title='ran'&quot;&gt;"));
        assert!(html.contains("sentinel://grid/&lt;primary&gt;"));
        assert!(html.contains("a\u{fffd}\u{fffd}b"));
    }

    #[test]
    fn problems_are_shown_at_the_top() {
        let html = render(&fixtures::view(&fixtures::bad(300)), "");
        let (head, rest) = html.split_once("data-part=\"sinks\"").unwrap();
        for text in [
            "Failing · agg poll</title>",
            "sink influx has been failing for 3 min",
            "dropped 4,936",
        ] {
            assert!(head.contains(text), "{text}: {head}");
        }
        assert!(rest.find("influx").unwrap() < rest.find("records").unwrap());
        assert!(rest.contains(">down</span> for 1 h 6 min: connection refused"));
        let html = render(&fixtures::view(&fixtures::good(300)), "");
        assert!(html.contains("<strong>Healthy</strong>"));
        let (html, _) = html.split_once("<script").unwrap();
        assert!(!html.contains("word trouble\"") && !html.contains("word warning\""));
    }

    #[test]
    fn page_with_many_nodes_has_a_limited_size() {
        let view = fixtures::view(&fixtures::good(2000));
        let html = render(&view, "");
        assert_eq!(rows(&html), MAX_ROWS);
        assert!(html.len() < 100_000, "{}", html.len());
        assert!(html.contains(
            "100 of 2,000 nodes, the worst first. <a id=\"all-nodes\" href=\"/?nodes=all\">"
        ));
        assert_eq!(rows(&render(&view, "nodes=all")), 2000);
        let html = render(&view, "filter=NODE19");
        assert_eq!(rows(&html), 100);
        assert!(!html.contains("Show all"));
        assert!(render(&view, "filter=nobody").contains("No node matches."));
        let html = render(&view, "filter=node+0%261");
        assert!(html.contains("value=\"node 0&amp;1\""));
    }
}
