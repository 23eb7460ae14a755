//! The page that a person reads. It is whole without a script; with one its parts are fetched anew every two seconds.
//!
//! What holds: every text that comes from outside goes through [`Html::text`] or [`Html::word`], and nowhere else is
//! anything written that is not a literal of this file or a number. However many nodes there are, a page has a
//! limited number of rows unless all are asked for.

use std::fmt::Write;

use crate::html::Html;
use aggregator_protocol::Queue;

use super::view::{
    LATE, NodeView, QueueView, ServerView, SinkView, State, View, duration, grouped,
};

/// Rows of a table that has more.
const ROWS: usize = 100;

/// What the reader wants to see, as the address says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only servers and nodes whose name holds this, whatever its case.
    pub filter: String,
    /// All nodes that there are.
    pub all_nodes: bool,
    /// All servers that there are.
    pub all_servers: bool,
}

impl Wanted {
    /// Reads what follows the question mark; what is not known is left aside.
    pub fn parse(query: &str) -> Wanted {
        let mut wanted = Wanted::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("filter", value)) => wanted.filter = decode(value),
                Some(("nodes", "all")) => wanted.all_nodes = true,
                Some(("servers", "all")) => wanted.all_servers = true,
                _ => {}
            }
        }
        wanted
    }

    /// The address of the page with one more wish; to be escaped.
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

/// A value of a form as browsers send it.
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

impl Html {
    /// A cell with a number, which is no text from outside.
    fn number(&mut self, number: &str) -> &mut Self {
        self.raw("<td class=n>").text(number).raw("</td>")
    }

    /// A number that is of interest where it is not 0.
    fn alarm(&mut self, number: u64, state: State) -> &mut Self {
        if number == 0 {
            return self.raw("<td class=\"n quiet\">0</td>");
        }
        self.raw("<td class=n>")
            .word(state, &grouped(number))
            .raw("</td>")
    }

    /// A word in the colours of a state.
    fn word(&mut self, state: State, word: &str) -> &mut Self {
        self.raw("<span class=\"word ").raw(class(state));
        self.raw("\">").text(word).raw("</span>")
    }

    /// A server: no line ends within its port.
    fn place(&mut self, place: &str) -> &mut Self {
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match place.rsplit_once(':').filter(|(_, port)| is_port(port)) {
            Some((host, port)) => {
                self.text(host).raw("<wbr><span class=port>:").text(port);
                self.raw("</span>")
            }
            None => self.text(place),
        }
    }

    /// A lag, marked where it is late.
    fn lag(&mut self, seconds: f64) -> &mut Self {
        if seconds >= LATE {
            self.word(State::Warning, &duration(seconds))
        } else {
            self.text(&duration(seconds))
        }
    }

    /// Begins a table; its rows follow.
    fn table(&mut self, label: &'static str, columns: &[(&'static str, bool)]) {
        self.raw("<div class=table role=region tabindex=0 aria-label=\"");
        self.raw(label).raw("\"><table><thead><tr>");
        for (column, number) in columns {
            self.raw(if *number {
                "<th scope=col class=n>"
            } else {
                "<th scope=col>"
            });
            self.raw(column).raw("</th>");
        }
        self.raw("</tr></thead><tbody>");
    }

    fn end_table(&mut self) {
        self.raw("</tbody></table></div>");
    }

    /// Below a table: how many rows it does not show.
    fn more(&mut self, shown: usize, all: usize, what: &'static str, address: &str) {
        if shown == all {
            return;
        }
        self.raw("<p class=more>")
            .text(&grouped(shown as u64))
            .raw(" of ");
        self.text(&grouped(all as u64)).raw(" ").raw(what);
        self.raw(", the worst first. <a id=\"all-")
            .raw(what)
            .raw("\" href=\"")
            .text(address);
        self.raw("\">Show all</a></p>");
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Trouble => "trouble",
    }
}

/// The page; `nonce` is what its own style and script are known by.
pub fn page(view: &View, wanted: &Wanted, nonce: &str) -> String {
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=en><head><meta charset=utf-8>");
    html.raw("<meta name=viewport content=\"width=device-width, initial-scale=1\"><title>");
    html.text(headline(view)).raw(" · agg poll</title>");
    html.raw(
        "<noscript><meta http-equiv=refresh content=5></noscript><link rel=icon href=\"data:,\">",
    );
    html.raw("<style nonce=\"").text(nonce).raw("\">");
    html.raw(include_str!("page.css"))
        .raw("</style></head><body>");
    html.raw("<header><h1>agg poll</h1><p><span id=live class=quiet role=status></span></p></header><main>");
    html.raw("<section data-part=state aria-label=State>");
    state(&mut html, view);
    html.raw("</section><section data-part=sinks aria-labelledby=sinks>");
    sinks(&mut html, view);
    html.raw("</section><section data-part=servers aria-labelledby=servers>");
    servers(&mut html, view, wanted);
    html.raw("</section><h2 id=nodes>Nodes</h2>");
    form(&mut html, wanted);
    html.raw("<section data-part=nodes aria-labelledby=nodes>");
    nodes(&mut html, view, wanted);
    html.raw("</section></main><footer data-part=foot>");
    foot(&mut html, view);
    html.raw("</footer><script nonce=\"").text(nonce).raw("\">");
    html.raw(include_str!("page.js"))
        .raw("</script></body></html>\n");
    html.0
}

fn headline(view: &View) -> &'static str {
    match (view.ending, view.state) {
        (true, _) => "Ending",
        (_, State::Ok) => "All is well",
        (_, State::Warning) => "Look here",
        (_, State::Trouble) => "Trouble",
    }
}

fn state(html: &mut Html, view: &View) {
    html.raw("<div class=\"state ")
        .raw(class(view.state))
        .raw("\"><strong>");
    html.text(headline(view)).raw("</strong>");
    if !view.problems.is_empty() {
        html.raw("<ul>");
        for problem in &view.problems {
            html.raw("<li><b class=").raw(class(problem.state)).raw(">");
            html.raw(match problem.state {
                State::Trouble => "Trouble",
                _ => "Warning",
            });
            html.raw("</b> ").text(&problem.text).raw("</li>");
        }
        html.raw("</ul>");
    }
    html.raw("</div><dl>");
    let totals = &view.totals;
    let mut figure = |name, number: String, beside: String| {
        html.raw("<div><dt>")
            .raw(name)
            .raw("</dt><dd>")
            .text(&number);
        if !beside.is_empty() {
            html.raw("<small>").text(&beside).raw("</small>");
        }
        html.raw("</dd></div>");
    };
    let of = |number: usize| format!("of {}", grouped(number as u64));
    let count = |number: usize| grouped(number as u64);
    let working = view.sinks.iter().filter(|sink| sink.trouble.is_none());
    figure(
        "Sinks that work",
        count(working.count()),
        of(view.sinks.len()),
    );
    figure("Servers up", count(totals.servers_up), of(totals.servers));
    let late = match totals.nodes_late {
        0 => String::new(),
        late => format!("{} late", grouped(late as u64)),
    };
    figure("Nodes", count(totals.nodes), late);
    figure("Largest lag", duration(totals.lag), String::new());
    figure(
        "Waiting",
        grouped(totals.waiting),
        "records in queues".into(),
    );
    let rate = format!("{}/s", rate(totals.stored_per_second));
    let all = format!("{} in all", grouped(totals.stored));
    figure("Stored", rate, all);
    figure("Dead letters", grouped(totals.dead), String::new());
    figure("Dropped", grouped(totals.dropped), String::new());
    html.raw("</dl>");
}

fn sinks(html: &mut Html, view: &View) {
    html.raw("<h2 id=sinks>Sinks</h2>");
    html.table(
        "Sinks",
        &[
            ("Sink", false),
            ("State", false),
            ("Records/s", true),
            ("Bytes/s", true),
            ("Stored", true),
            ("Bytes", true),
            ("On the way", true),
            ("Retries", true),
            ("Dead letters", true),
        ],
    );
    for sink in &view.sinks {
        self::sink(html, sink);
    }
    html.end_table();
}

fn sink(html: &mut Html, sink: &SinkView) {
    html.raw("<tr><th scope=row>")
        .text(&sink.name)
        .raw(" <small>")
        .text(sink.kind);
    html.raw("</small></th><td class=wide>");
    match (&sink.trouble, sink.trouble_for) {
        (Some(trouble), Some(seconds)) => {
            html.word(State::Trouble, "fails")
                .raw(" for ")
                .text(&duration(seconds));
            html.raw(": ").text(trouble);
        }
        _ => {
            html.word(State::Ok, "works");
        }
    }
    html.raw("</td>").number(&rate(sink.records_per_second));
    html.number(&bytes(sink.bytes_per_second));
    html.number(&grouped(sink.stored))
        .number(&bytes(sink.stored_bytes as f64));
    let part = 100.0 * sink.in_flight_bytes as f64 / sink.in_flight_limit_bytes.max(1) as f64;
    let of = format!("{part:.0}% of {}", bytes(sink.in_flight_limit_bytes as f64));
    html.raw("<td class=n>")
        .text(&of)
        .raw(" <meter max=100 high=90 aria-hidden=true value=");
    html.text(&format!("{part:.0}")).raw("></meter></td>");
    html.number(&grouped(sink.retries))
        .alarm(sink.dead, State::Warning)
        .raw("</tr>");
}

fn servers(html: &mut Html, view: &View, wanted: &Wanted) {
    html.raw("<h2 id=servers>Servers</h2>");
    let matching: Vec<&ServerView> = (view.servers.iter())
        .filter(|server| wanted.matches(&[&server.id, &server.place]))
        .collect();
    // A filter that names nodes alone leaves the servers as they are.
    let all: Vec<&ServerView> = match matching.is_empty() {
        true => view.servers.iter().collect(),
        false => matching,
    };
    if all.is_empty() {
        html.raw("<p class=quiet>None is known yet.</p>");
        return;
    }
    html.table(
        "Servers",
        &[
            ("Server", false),
            ("Lag", true),
            ("State", false),
            ("Nodes", true),
            ("Waiting", true),
            ("Records/s", true),
            ("Fetched", true),
            ("Bytes", true),
            ("Connects", true),
            ("Dropped", true),
        ],
    );
    let shown = if wanted.all_servers {
        all.len()
    } else {
        ROWS.min(all.len())
    };
    for server in &all[..shown] {
        self::server(html, server);
    }
    html.end_table();
    html.more(shown, all.len(), "servers", &wanted.address("servers=all"));
}

fn server(html: &mut Html, server: &ServerView) {
    html.raw("<tr><th scope=row>").place(&server.id);
    if server.place != server.id {
        html.raw(" <small>").place(&server.place).raw("</small>");
    }
    // The lag first: of a narrow screen the rest of a row is beyond the edge.
    html.raw("</th><td class=n>");
    match server.up {
        true => html.lag(server.lag),
        // What was last known is old.
        false => html.raw("–"),
    };
    html.raw("</td><td class=wide>");
    match (server.up, &server.trouble) {
        (true, _) => html.word(State::Ok, "up"),
        (false, Some(_)) => html.word(State::Trouble, "down"),
        (false, None) => html.word(State::Warning, "not reached yet"),
    };
    html.raw(" for ").text(&duration(server.since_for));
    if let Some(trouble) = &server.trouble {
        html.raw(": ").text(trouble);
    }
    html.raw("</td>").number(&grouped(server.nodes as u64));
    match server.up {
        true => html.number(&grouped(server.waiting)),
        false => html.raw("<td class=n>–</td>"),
    };
    html.number(&rate(server.records_per_second))
        .number(&grouped(server.records));
    html.number(&bytes(server.bytes as f64))
        .number(&grouped(server.connects));
    html.alarm(server.dropped, State::Warning).raw("</tr>");
}

/// The box stands outside of what is replaced, so that who types is not disturbed.
fn form(html: &mut Html, wanted: &Wanted) {
    html.raw("<form action=\"/\"><label for=filter>Name or server holds</label> ");
    html.raw("<input id=filter name=filter type=search autocomplete=off value=\"");
    html.text(&wanted.filter).raw("\">");
    if wanted.all_nodes {
        html.raw("<input type=hidden name=nodes value=all>");
    }
    if wanted.all_servers {
        html.raw("<input type=hidden name=servers value=all>");
    }
    html.raw("<button>Filter</button></form>");
}

fn nodes(html: &mut Html, view: &View, wanted: &Wanted) {
    let all: Vec<&NodeView> = (view.nodes.iter())
        .filter(|node| wanted.matches(&[&node.name, &node.server]))
        .collect();
    if all.is_empty() {
        html.raw("<p class=quiet>");
        html.raw(if view.nodes.is_empty() {
            "None is known yet."
        } else {
            "None is called so."
        });
        html.raw("</p>");
        return;
    }
    html.raw("<p class=quiet>Of each queue: the age of its oldest entry, and how many wait. ");
    html.raw("Drops are those since the server's start.</p>");
    let mut columns = vec![("Node", false), ("Lag", true), ("Server", false)];
    columns.extend(Queue::ALL.map(|queue| (queue.name(), true)));
    columns.extend([("Bytes", true), ("Dropped", true)]);
    html.table("Nodes", &columns);
    let shown = if wanted.all_nodes {
        all.len()
    } else {
        ROWS.min(all.len())
    };
    for node in &all[..shown] {
        self::node(html, node);
    }
    html.end_table();
    html.more(shown, all.len(), "nodes", &wanted.address("nodes=all"));
}

fn node(html: &mut Html, node: &NodeView) {
    html.raw(if node.up { "<tr>" } else { "<tr class=old>" });
    html.raw("<th scope=row>")
        .text(&node.name)
        .raw("</th><td class=n>")
        .lag(node.lag)
        .raw("</td><td class=server>")
        .place(&node.server);
    if !node.up {
        html.raw(" <small>down, this is old</small>");
    }
    html.raw("</td>");
    for queue in Queue::ALL {
        self::queue(html, node.queues.get(queue.name()));
    }
    html.number(&bytes(node.bytes as f64))
        .alarm(node.dropped, State::Warning)
        .raw("</tr>");
}

fn queue(html: &mut Html, queue: Option<&QueueView>) {
    match queue {
        None => html.raw("<td class=\"n quiet\" title=\"not known\">?</td>"),
        Some(queue) if queue.length == 0 => html.raw("<td class=\"n quiet\">–</td>"),
        Some(queue) => {
            html.raw("<td class=n>").lag(queue.lag).raw(" <small>× ");
            html.text(&grouped(queue.length)).raw("</small></td>")
        }
    };
}

fn foot(html: &mut Html, view: &View) {
    html.raw("<p class=quiet>agg ")
        .text(view.version)
        .raw(", running for ");
    html.text(&duration(view.uptime))
        .raw("; settings read anew ");
    html.text(&grouped(view.reloads.taken))
        .raw(" times, refused ");
    html.text(&grouped(view.reloads.refused))
        .raw(" times. As of ")
        .text(&view.now);
    html.raw(". For programs: <a href=\"/metrics\">metrics</a>, <a href=\"/status.json\">status.json</a>, ");
    html.raw("<a href=\"/readyz\">readyz</a>, <a href=\"/healthz\">healthz</a></p>");
}

/// A number a second.
fn rate(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        0.0..10.0 => format!("{number:.1}"),
        _ => grouped(number.round() as u64),
    }
}

/// Bytes by the unit that leaves the fewest digits.
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
    use super::super::made_up;
    use super::*;

    fn shown(view: &View, query: &str) -> String {
        page(view, &Wanted::parse(query), "n0nce")
    }

    /// The rows below the heading of nodes.
    fn rows(html: &str) -> usize {
        let (_, nodes) = html.split_once("data-part=nodes").unwrap();
        nodes.matches("<th scope=row>").count()
    }

    #[test]
    fn no_name_becomes_a_part_of_the_page() {
        let view = made_up::view(&made_up::bad(3));
        let html = shown(&view, "filter=%22%3E%3Cscript%3Ealert(1)");
        assert_eq!(html.matches("<script").count(), 1);
        assert!(
            !html.contains("<img") && !html.contains("<b>engine"),
            "{html}"
        );
        assert!(html.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)\""));
        let html = shown(&view, "");
        assert!(!html.contains("<img") && !html.contains("<primary>"));
        assert_eq!(html.matches("<script").count(), 1);
        assert!(
            html.contains("&lt;img src=x onerror=&quot;document.title=&#39;ran&#39;&quot;&gt;")
        );
        assert!(html.contains("sentinel://grid/&lt;primary&gt;"));
        assert!(html.contains("a\u{fffd}\u{fffd}b"));
    }

    #[test]
    fn port_of_a_server_stays_on_one_line() {
        let shown = |place| {
            let mut html = Html::default();
            html.place(place);
            html.0
        };
        let expected = "redis://10.0.0.1<wbr><span class=port>:7777</span>";
        assert_eq!(shown("redis://10.0.0.1:7777"), expected);
        let expected = "redis://[::1]<wbr><span class=port>:7777</span>";
        assert_eq!(shown("redis://[::1]:7777"), expected);
        for place in ["unix:///run/redis.sock", "redis://h:<b>", "redis://h:", ""] {
            assert!(!shown(place).contains("span"), "{place}");
        }
    }

    #[test]
    fn trouble_is_told_at_the_top() {
        let html = shown(&made_up::view(&made_up::bad(300)), "");
        let (head, rest) = html.split_once("data-part=sinks").unwrap();
        for text in [
            "Trouble · agg poll</title>",
            "the sink influx has failed for 3 min",
            "dropped 4,936",
        ] {
            assert!(head.contains(text), "{text}: {head}");
        }
        assert!(rest.find("influx").unwrap() < rest.find("records").unwrap());
        assert!(rest.contains(">down</span> for 1 h 6 min: connection refused"));
        let html = shown(&made_up::view(&made_up::good(300)), "");
        assert!(html.contains("<strong>All is well</strong>"));
        let (html, _) = html.split_once("<script").unwrap();
        assert!(!html.contains("word trouble\"") && !html.contains("word warning\""));
    }

    #[test]
    fn many_nodes_are_a_page_of_limited_size() {
        let view = made_up::view(&made_up::good(2000));
        let html = shown(&view, "");
        assert_eq!(rows(&html), ROWS);
        assert!(html.len() < 100_000, "{}", html.len());
        assert!(html.contains(
            "100 of 2,000 nodes, the worst first. <a id=\"all-nodes\" href=\"/?nodes=all\">"
        ));
        assert_eq!(rows(&shown(&view, "nodes=all")), 2000);
        let html = shown(&view, "filter=NODE19");
        assert_eq!(rows(&html), 100);
        assert!(!html.contains("Show all"));
        assert!(shown(&view, "filter=nobody").contains("None is called so."));
        let html = shown(&view, "filter=node+0%261");
        assert!(html.contains("value=\"node 0&amp;1\""));
    }

    #[test]
    fn what_the_address_says() {
        let wanted = Wanted::parse("x&nodes=all&filter=a%20b%2&servers=none");
        assert_eq!(wanted.filter, "a b%2");
        assert!(wanted.all_nodes && !wanted.all_servers);
        let address = wanted.address("servers=all");
        assert_eq!(address, "/?servers=all&nodes=all&filter=a%20b%252");
        assert!(Wanted::parse(&address[2..]).all_servers);
        assert_eq!(decode("%zz%+%4"), "%zz% %4");
    }

    #[test]
    fn figures_as_people_read_them() {
        assert_eq!([0.0, 0.44, 1500.4].map(rate), ["0", "0.4", "1,500"]);
        let sizes = [0.0, 1023.0, 1536.0, 3.5e9, 9e15].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "3.3 GiB", "8185.5 TiB"]);
    }
}
