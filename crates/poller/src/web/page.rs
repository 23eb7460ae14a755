//! The HTML of the status page. It is complete without scripts; with its script it is refreshed every two seconds.
//!
//! # Invariants
//!
//! Every text from outside is written by [`text`] or escaped by maud in an attribute; only literals of this file and its
//! style and script are written as they are. However many nodes there are, the page has a limited number of rows unless
//! all are requested.

use std::fmt::Write;

use aggregator_protocol::Queue;
use aggregator_protocol::masking::is_hidden;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::view::{
    LATE, NodeView, QueueView, ServerView, SinkView, State, View, count, duration, grouped,
};

/// The style of the page.
const STYLE: &str = include_str!("page.css");
/// The rows that are shown of a longer table.
const MAX_ROWS: usize = 100;

/// The query of the address: what the reader wants to see.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only servers and nodes whose name contains this, ignoring case.
    pub filter: String,
    /// All nodes instead of the first ones.
    pub all_nodes: bool,
    /// All servers instead of the first ones.
    pub all_servers: bool,
}

impl Query {
    /// Parses what follows the question mark. Unknown parameters are ignored.
    pub fn parse(query: &str) -> Query {
        let mut parsed = Query::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("filter", value)) => parsed.filter = decode(value),
                Some(("nodes", "all")) => parsed.all_nodes = true,
                Some(("servers", "all")) => parsed.all_servers = true,
                _ => {}
            }
        }
        parsed
    }

    /// Returns the address of the page with one more parameter. It has to be escaped.
    fn address(&self, more: &str) -> String {
        let mut address = format!("/?{more}");
        for (is, pair) in [
            (self.all_nodes, "&nodes=all"),
            (self.all_servers, "&servers=all"),
        ] {
            if is {
                address.push_str(pair);
            }
        }
        if !self.filter.is_empty() {
            address.push_str("&filter=");
            for byte in self.filter.bytes() {
                let _ = match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        write!(address, "{}", char::from(byte))
                    }
                    other => write!(address, "%{other:02X}"),
                };
            }
        }
        address
    }

    fn matches(&self, texts: &[&str]) -> bool {
        let filter = self.filter.trim().to_lowercase();
        filter.is_empty()
            || texts
                .iter()
                .any(|text| text.to_lowercase().contains(&filter))
    }
}

/// Decodes a form value.
fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            (other, _, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A column of a table.
enum Column {
    Text(&'static str),
    /// Aligned to the right.
    Number(&'static str),
}

use Column::{Number, Text};

/// Returns a text from outside. Line breaks become blanks, and other hidden characters, or those that change the direction
/// of writing, become U+FFFD.
fn text(text: &str) -> String {
    let replace = |c| match c {
        '\n' => ' ',
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(replace).collect()
}

/// Returns a cell with a number.
fn number(number: &str) -> Markup {
    html! { td.n { (number) } }
}

/// Returns a cell with a number that is a warning unless it is 0.
fn alarm(number: u64) -> Markup {
    html! {
        @if number == 0 {
            td.n.quiet { "0" }
        } @else {
            td.n { (word(State::Warning, &grouped(number))) }
        }
    }
}

/// Returns a word in the color of a state.
fn word(state: State, word: &str) -> Markup {
    html! { span.word.(class(state)) { (word) } }
}

/// Returns the address of a server, whose port is not broken across lines.
fn address(address: &str) -> Markup {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    html! {
        @match address.rsplit_once(':').filter(|(_, port)| is_port(port)) {
            Some((host, port)) => { (text(host)) wbr; span.port { ":" (port) } }
            None => (text(address)),
        }
    }
}

/// Returns a lag, as a warning if it is late.
fn lag(seconds: f64) -> Markup {
    let shown = duration(seconds);
    html! {
        @if seconds >= LATE { (word(State::Warning, &shown)) } @else { (shown) }
    }
}

fn table(label: &str, columns: &[Column], rows: &Markup) -> Markup {
    html! {
        div.table role="region" tabindex="0" aria-label=(label) {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Text(title) => th scope="col" { (title) },
                                Number(title) => th.n scope="col" { (title) },
                            }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

/// Returns a note below a table of which not all rows are shown.
fn more(shown: usize, all: usize, what: &str, address: &str) -> Markup {
    html! {
        @if shown < all {
            p.more {
                (grouped(shown as u64)) " of " (grouped(all as u64)) " " (what) ", the worst first. "
                a id={ "all-" (what) } href=(address) { "Show all" }
            }
        }
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Trouble => "trouble",
    }
}

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
                style nonce=(nonce) { (PreEscaped(STYLE)) }
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
        div.state.(class(view.state)) {
            strong { (headline(view)) }
            @if !view.problems.is_empty() {
                ul {
                    @for problem in &view.problems {
                        li {
                            b.(class(problem.state)) { (severity(problem.state)) }
                            " " (text(&problem.text))
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
    let all = [
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

fn sinks(view: &View) -> Markup {
    let columns = [
        Text("Sink"),
        Text("State"),
        Number("Records/s"),
        Number("Bytes/s"),
        Number("Stored"),
        Number("Bytes"),
        Number("In flight"),
        Number("Retries"),
        Number("Dead letters"),
    ];
    let rows = html! {
        @for sink in &view.sinks { (self::sink(sink)) }
    };
    html! {
        h2 #sinks { "Sinks" }
        (table("Sinks", &columns, &rows))
    }
}

fn sink(sink: &SinkView) -> Markup {
    let part = 100.0 * sink.in_flight_bytes as f64 / sink.in_flight_limit_bytes.max(1) as f64;
    html! {
        tr {
            th scope="row" { (text(&sink.name)) " " small { (sink.kind) } }
            td.wide {
                @match (&sink.trouble, sink.trouble_for) {
                    (Some(trouble), Some(seconds)) => {
                        (word(State::Trouble, "failing")) " for " (duration(seconds)) ": " (text(trouble))
                    }
                    _ => (word(State::Ok, "healthy")),
                }
            }
            (number(&rate(sink.records_per_second)))
            (number(&bytes(sink.bytes_per_second)))
            (number(&grouped(sink.stored)))
            (number(&bytes(sink.stored_bytes as f64)))
            td.n {
                (format!("{part:.0}% of {}", bytes(sink.in_flight_limit_bytes as f64))) " "
                meter max="100" high="90" aria-hidden="true" value=(format!("{part:.0}")) {}
            }
            (number(&grouped(sink.retries)))
            (alarm(sink.dead))
        }
    }
}

fn servers(view: &View, query: &Query) -> Markup {
    let matching: Vec<&ServerView> = (view.servers.iter())
        .filter(|server| query.matches(&[&server.id, &server.place]))
        .collect();
    // A filter that matches no server is about nodes only.
    let all: Vec<&ServerView> = match matching.is_empty() {
        true => view.servers.iter().collect(),
        false => matching,
    };
    let columns = [
        Text("Server"),
        // The lag comes first, since a narrow screen does not show the rest of the row.
        Number("Lag"),
        Text("State"),
        Number("Nodes"),
        Number("Pending"),
        Number("Records/s"),
        Number("Fetched"),
        Number("Bytes"),
        Number("Connects"),
        Number("Dropped"),
    ];
    let shown = match query.all_servers {
        true => all.len(),
        false => MAX_ROWS.min(all.len()),
    };
    let rows = html! {
        @for server in &all[..shown] { (self::server(server)) }
    };
    html! {
        h2 #servers { "Servers" }
        @if all.is_empty() {
            p.quiet { "None known yet." }
        } @else {
            (table("Servers", &columns, &rows))
            (more(shown, all.len(), "servers", &query.address("servers=all")))
        }
    }
}

fn server(server: &ServerView) -> Markup {
    let state = match (server.up, &server.trouble) {
        (true, _) => word(State::Ok, "up"),
        (false, Some(_)) => word(State::Trouble, "down"),
        (false, None) => word(State::Warning, "not reached yet"),
    };
    html! {
        tr {
            th scope="row" {
                (address(&server.id))
                @if server.place != server.id { " " small { (address(&server.place)) } }
            }
            // What was last known of a server that is down is outdated.
            td.n { @if server.up { (lag(server.lag)) } @else { "–" } }
            td.wide {
                (state) " for " (duration(server.since_for))
                @if let Some(trouble) = &server.trouble { ": " (text(trouble)) }
            }
            (number(&grouped(server.nodes as u64)))
            @if server.up { (number(&grouped(server.waiting))) } @else { td.n { "–" } }
            (number(&rate(server.records_per_second)))
            (number(&grouped(server.records)))
            (number(&bytes(server.bytes as f64)))
            (number(&grouped(server.connects)))
            (alarm(server.dropped))
        }
    }
}

/// Returns the filter. It is outside of the parts that the script replaces, so that typing is not disturbed.
fn form(query: &Query) -> Markup {
    html! {
        form action="/" {
            label for="filter" { "Name or server contains" } " "
            input #filter name="filter" type="search" autocomplete="off" value=(text(&query.filter));
            @if query.all_nodes { input type="hidden" name="nodes" value="all"; }
            @if query.all_servers { input type="hidden" name="servers" value="all"; }
            button { "Filter" }
        }
    }
}

fn nodes(view: &View, query: &Query) -> Markup {
    let all: Vec<&NodeView> = (view.nodes.iter())
        .filter(|node| query.matches(&[&node.name, &node.server]))
        .collect();
    let mut columns = vec![Text("Node"), Number("Lag"), Text("Server")];
    columns.extend(Queue::ALL.map(|queue| Number(queue.name())));
    columns.extend([Number("Bytes"), Number("Dropped")]);
    let shown = match query.all_nodes {
        true => all.len(),
        false => MAX_ROWS.min(all.len()),
    };
    let rows = html! {
        @for node in &all[..shown] { (self::node(node)) }
    };
    html! {
        @if view.nodes.is_empty() {
            p.quiet { "None known yet." }
        } @else if all.is_empty() {
            p.quiet { "No name matches." }
        } @else {
            p.quiet {
                "Each queue: the age of its oldest record × the number of pending records. "
                "Dropped: since the start of the server."
            }
            (table("Nodes", &columns, &rows))
            (more(shown, all.len(), "nodes", &query.address("nodes=all")))
        }
    }
}

fn node(node: &NodeView) -> Markup {
    html! {
        tr.old[!node.up] {
            th scope="row" { (text(&node.name)) }
            td.n { (lag(node.lag)) }
            td.server {
                (address(&node.server))
                @if !node.up { " " small { "down, outdated" } }
            }
            @for queue in Queue::ALL { (self::queue(node.queues.get(queue.name()))) }
            (number(&bytes(node.bytes as f64)))
            (alarm(node.dropped))
        }
    }
}

fn queue(queue: Option<&QueueView>) -> Markup {
    html! {
        @match queue {
            None => td.n.quiet title="unknown" { "?" },
            Some(queue) if queue.length == 0 => td.n.quiet { "–" },
            Some(queue) => td.n { (lag(queue.lag)) " " small { "× " (grouped(queue.length)) } },
        }
    }
}

fn foot(view: &View) -> Markup {
    let reloads = &view.reloads;
    html! {
        p.quiet {
            "agg " (view.version) ", running for " (duration(view.uptime)) "; "
            (count(reloads.taken, "config reload")) ", " (grouped(reloads.refused)) " refused. As of " (view.now)
            ". For programs: "
            a href="/metrics" { "metrics" } ", "
            a href="/status.json" { "status.json" } ", "
            a href="/readyz" { "readyz" } ", "
            a href="/healthz" { "healthz" }
        }
    }
}

/// Formats a number per second.
fn rate(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        0.0..10.0 => format!("{number:.1}"),
        _ => grouped(number.round() as u64),
    }
}

/// Formats bytes with the largest fitting unit.
fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let mut number = bytes / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
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
        assert!(render(&view, "filter=nobody").contains("No name matches."));
        let html = render(&view, "filter=node+0%261");
        assert!(html.contains("value=\"node 0&amp;1\""));
    }

    #[test]
    fn query_is_parsed() {
        let query = Query::parse("x&nodes=all&filter=a%20b%2&servers=none");
        assert_eq!(query.filter, "a b%2");
        assert!(query.all_nodes && !query.all_servers);
        let address = query.address("servers=all");
        assert_eq!(address, "/?servers=all&nodes=all&filter=a%20b%252");
        assert!(Query::parse(&address[2..]).all_servers);
        assert_eq!(decode("%zz%+%4"), "%zz% %4");
    }

    #[test]
    fn numbers_are_formatted_for_people() {
        assert_eq!([0.0, 0.44, 1500.4].map(rate), ["0", "0.4", "1,500"]);
        let sizes = [0.0, 1023.0, 1536.0, 3.5e9, 9e15].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "3.3 GiB", "8185.5 TiB"]);
    }
}
