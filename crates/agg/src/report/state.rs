//! What the page tells of a node's state: errors, objects, queues and the log.

use super::model::{Failing, Object, Report, unfolded};
use super::page::{duration, more, name, table, tags};
use super::scale::moment;
use crate::html::Html;
use crate::poll::web::view::grouped;
use crate::top::figures::QUEUES;
use crate::top::show::bytes;

/// Characters of a message that are shown before it is unfolded.
const SHORT: usize = 200;

/// The errors that are held.
pub fn errors(html: &mut Html, report: &Report) {
    html.raw("<h2 id=errors>Errors</h2>");
    let errors = &report.errors;
    if errors.shown.is_empty() {
        html.raw("<p>None is held.</p>");
        return;
    }
    html.raw("<p class=quiet>All that are held, the latest first.</p>");
    more(
        html,
        (errors.shown.len(), errors.all),
        "errors",
        "of the latest",
    );
    let columns = [
        ("Error", false),
        ("Occurrences", true),
        ("Last", false),
        ("First", false),
        ("Level", true),
        ("Type", false),
        ("File", false),
        ("Function", false),
    ];
    html.raw("<div class=stack>");
    table(html, "Errors", &columns);
    for error in &errors.shown {
        self::error(html, error);
    }
    html.raw("</tbody></table></div></div>");
}

fn error(html: &mut Html, error: &Failing) {
    html.raw("<tr><td class=wide>");
    message(html, &error.message);
    for (what, text) in [("public: ", &error.public), ("code: ", &error.code)] {
        if !text.is_empty() {
            html.raw("<div><small>").raw(what).raw("</small>");
            html.text(text).raw("</div>");
        }
    }
    if !error.tags.is_empty() {
        html.raw("<div>");
        tags(html, &error.tags);
        html.raw("</div>");
    }
    if !error.backtrace.is_empty() {
        html.raw("<details><summary>Backtrace</summary><pre>");
        html.lines(&error.backtrace).raw("</pre></details>");
    }
    html.raw("</td><td class=n data-label=Occurrences>");
    html.text(&grouped(error.occurrences));
    html.raw("</td><td class=when data-label=Last>");
    html.text(&moment(error.last));
    html.raw("</td><td class=when data-label=First>");
    html.text(&moment(error.first));
    html.raw("</td><td class=n data-label=Level>");
    html.text(&error.level.to_string());
    html.raw("</td><td data-label=Type>").text(&error.kind);
    html.raw("</td><td class=place data-label=File>");
    html.text(&error.file);
    html.raw("</td><td class=place data-label=Function>");
    html.text(&error.function);
    html.raw("</td></tr>");
}

/// A message, its beginning alone where it is long.
fn message(html: &mut Html, message: &str) {
    match message.char_indices().nth(SHORT) {
        Some((end, _)) => {
            html.raw("<details><summary><b>").text(&message[..end]);
            html.raw("…</b></summary><pre>").lines(message);
            html.raw("</pre></details>");
        }
        None => {
            html.raw("<b>").text(name(message)).raw("</b>");
        }
    }
}

/// The objects that are held.
pub fn objects(html: &mut Html, report: &Report) {
    html.raw("<h2 id=objects>Objects</h2>");
    let objects = &report.objects;
    if objects.shown.is_empty() {
        html.raw("<p>None is held.</p>");
        return;
    }
    html.raw(
        "<p class=quiet>What is true of the node now, by model; each unfolds to its JSON.</p>",
    );
    more(
        html,
        (objects.shown.len(), objects.all),
        "objects",
        "by model and key",
    );
    for same in objects.shown.chunk_by(|a, b| a.model == b.model) {
        html.raw("<h3>").text(name(&same[0].model)).raw(" <small>");
        html.count(same.len()).raw("</small></h3><div class=sheet>");
        for object in same {
            self::object(html, object);
        }
        html.raw("</div>");
    }
}

fn object(html: &mut Html, object: &Object) {
    html.raw("<details><summary><b>")
        .text(name(&object.key))
        .raw("</b> ");
    if object.gone {
        html.raw("<span class=\"word warning\">gone</span> ");
    }
    html.raw("<small>changed ").text(&moment(object.changed));
    if object.seen > object.changed {
        html.raw(", told last ").text(&moment(object.seen));
    }
    html.raw("</small> ");
    tags(html, &object.tags);
    html.raw("</summary><pre>").lines(&unfolded(&object.json));
    html.raw("</pre></details>");
}

/// The queues, and what did not get into them.
pub fn queues(html: &mut Html, report: &Report) {
    html.raw("<h2 id=queues>Queues</h2>");
    let columns = [
        ("Queue", false),
        ("Entries", true),
        ("Bytes", true),
        ("Oldest", true),
        ("Leased", true),
        ("Dropped", true),
    ];
    table(html, "Queues", &columns);
    let info = &report.info.figures;
    for (name, queue) in QUEUES.into_iter().zip(&info.queues) {
        html.raw("<tr><th scope=row>").raw(name).raw("</th>");
        let oldest = match queue.length {
            0 => "-".into(),
            _ => duration(queue.oldest as f64 / 1000.0),
        };
        let (length, leased) = (grouped(queue.length), grouped(queue.leased));
        for cell in [length, bytes(queue.bytes), oldest, leased] {
            html.raw("<td class=n>").text(&cell).raw("</td>");
        }
        html.raw("<td class=n>");
        alarm(html, queue.dropped);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div><p class=quiet>Since the server's start: ");
    let beside = [
        ("late samples", info.late),
        (
            "samples that counted in the hour alone",
            report.info.late_min,
        ),
        (
            "samples that counted in the short window alone",
            report.info.late_hour,
        ),
        ("texts cut", info.truncated),
        ("clocks set back", info.clock_back),
    ];
    for (what, count) in beside {
        html.text(&grouped(count)).raw(" ").raw(what).raw(", ");
    }
    alarm(html, info.refused());
    html.raw(" refused");
    let reasons = info.refused.iter().filter(|(_, count)| **count > 0);
    for (index, (why, count)) in reasons.enumerate() {
        html.raw(if index == 0 { ": " } else { ", " });
        html.text(&grouped(*count)).raw(" for ").text(why);
    }
    html.raw(".</p>");
}

/// A number that is of interest where it is not 0.
fn alarm(html: &mut Html, number: u64) {
    match number {
        0 => html.raw("0"),
        _ => {
            html.raw("<span class=\"word warning\">");
            html.text(&grouped(number)).raw("</span>")
        }
    };
}

/// The latest of the log.
pub fn log(html: &mut Html, report: &Report) {
    html.raw("<h2 id=log>Log</h2>");
    if report.lines.is_empty() {
        html.raw("<p>No lines wait: pollers have taken them, or none was told.</p>");
        return;
    }
    html.raw("<p class=quiet>The latest lines that still wait, the latest first.</p>");
    let columns = [
        ("Time", false),
        ("Level", true),
        ("Message", false),
        ("Tags", false),
    ];
    html.raw("<div class=stack>");
    table(html, "Log", &columns);
    for line in &report.lines {
        html.raw("<tr><td class=when>").text(&moment(line.at));
        html.raw("</td><td class=n data-label=Level>");
        html.text(&line.level.to_string());
        html.raw("</td><td class=wide>").lines(&line.message);
        html.raw("</td><td>");
        tags(html, &line.tags);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div></div>");
}
