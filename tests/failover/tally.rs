//! Compares what was delivered with what was reported: no required record is lost, none is duplicated, no id has two
//! contents.

use std::collections::{BTreeMap, HashMap};

use redis::Value;
use serde_json::Value as Json;

use crate::calls::{Find, Link};
use crate::load::{Book, Report, Seen, When};
use testkit::*;

/// What may have happened to reports.
#[derive(Clone, Copy, PartialEq)]
pub enum Fate {
    /// Everything that was acknowledged is present exactly once.
    Exact,
    /// Required reports are present; others may be lost, and a window may have been closed twice.
    Lossy,
}

/// Counts, and panics with everything that is wrong. `must` says whether a report is required to be present.
pub fn check(
    when: &str,
    find: &Find,
    books: &[Book],
    seen: &Seen,
    fate: Fate,
    must: &dyn Fn(&When) -> bool,
) -> Sums {
    let mut wrong: Vec<String> = seen
        .clashes
        .iter()
        .map(|c| format!("one id with two contents: {c}"))
        .collect();
    let records: Vec<(&(String, String, i64), Json)> = seen
        .all
        .iter()
        .map(|(key, text)| (key, serde_json::from_str(text).unwrap()))
        .collect();
    let mut sums = Sums::default();
    for book in books {
        logs(book, seen, &mut wrong, must);
        samples(book, &records, fate, &mut wrong, must);
        counters(book, &records, fate, &mut wrong);
        held(book, find, &mut wrong, must);
        sums.rounds += book.sent;
        sums.must += count(&book.logs, must);
    }
    twice(&records, &mut wrong);
    sums.seen = seen.all.len() as u64;
    assert!(wrong.is_empty(), "{when}: {}", report(&wrong));
    assert!(sums.must > 0, "{when}: nothing was reported");
    sums
}

/// Returns the number of faults of each kind with an example. The kind is the part before the colon.
fn report(wrong: &[String]) -> String {
    let mut kinds: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for line in wrong {
        let kind = line.split(':').next().unwrap_or_default();
        kinds.entry(kind).or_insert((0, line)).0 += 1;
    }
    let lines = kinds
        .values()
        .map(|(n, line)| format!("\n{n} times {line:.600}"));
    format!("{} faults{}", wrong.len(), lines.collect::<String>())
}

/// The counts.
#[derive(Default, Debug)]
pub struct Sums {
    /// Rounds of all reporters: each a sample, a total, a log, an error and an object.
    pub rounds: u64,
    /// Log entries that were required to be present.
    pub must: u64,
    /// Records that were delivered.
    pub seen: u64,
}

fn count<T>(reported: &[Report<T>], must: &dyn Fn(&When) -> bool) -> u64 {
    reported.iter().filter(|t| must(&t.when)).count() as u64
}

/// Checks that each required log entry was delivered under its id and that no id belongs to another.
fn logs(book: &Book, seen: &Seen, wrong: &mut Vec<String>, must: &dyn Fn(&When) -> bool) {
    let mut last = 0;
    for reported in &book.logs {
        let (id, message) = &reported.what;
        if *id <= last {
            wrong.push(format!("ids do not grow: {id} was given after {last}"));
        }
        last = *id;
        let key = (book.node.clone(), "LOG".to_owned(), *id);
        match seen.all.get(&key) {
            None if must(&reported.when) => {
                wrong.push(format!("lost: {message} ({id}) of {}", book.node));
            }
            None => {}
            Some(text) if text.contains(&format!("\"message\":\"{message}\"")) => {}
            Some(text) => wrong.push(format!("an id is another's: {message} had that of {text}")),
        }
    }
}

/// Returns the records of a metric by the start of their window: ids and records, newest id last.
fn windows<'a>(
    records: &'a [(&(String, String, i64), Json)],
    node: &str,
    metric: &str,
) -> HashMap<i64, Vec<(i64, &'a Json)>> {
    let mut windows: HashMap<i64, Vec<(i64, &Json)>> = HashMap::new();
    for ((of, queue, id), record) in records {
        if of == node && queue == "MIN" && record["metric"] == metric {
            let start = record["start"].as_i64().unwrap();
            windows.entry(start).or_default().push((*id, record));
        }
    }
    windows
        .values_mut()
        .for_each(|of| of.sort_by_key(|(id, _)| *id));
    windows
}

fn only_once(
    metric: &str,
    windows: &HashMap<i64, Vec<(i64, &Json)>>,
    fate: Fate,
    wrong: &mut Vec<String>,
) {
    for (start, of) in windows {
        if fate == Fate::Exact && of.len() > 1 {
            wrong.push(format!("a window came twice: {metric} {start} {of:?}"));
        }
    }
}

fn samples(
    book: &Book,
    records: &[(&(String, String, i64), Json)],
    fate: Fate,
    wrong: &mut Vec<String>,
    must: &dyn Fn(&When) -> bool,
) {
    let metric = format!("count.{}", book.name);
    let windows = windows(records, &book.node, &metric);
    only_once(&metric, &windows, fate, wrong);
    let counted: u64 = windows
        .values()
        .map(|of| {
            of.iter()
                .map(|(_, r)| r["count"].as_u64().unwrap())
                .max()
                .unwrap()
        })
        .sum();
    let least = count(&book.samples, must);
    let most = book.samples.len() as u64 + book.unknown_samples;
    if counted < least || fate == Fate::Exact && counted > most {
        let node = &book.node;
        wrong.push(format!(
            "{node} {metric}: {counted} samples, not {least} to {most}"
        ));
    }
}

/// Checks that the increases of all windows add up to that from the first total to the last.
fn counters(
    book: &Book,
    records: &[(&(String, String, i64), Json)],
    fate: Fate,
    wrong: &mut Vec<String>,
) {
    let metric = format!("total.{}", book.name);
    let windows = windows(records, &book.node, &metric);
    only_once(&metric, &windows, fate, wrong);
    let increases: f64 = windows
        .values()
        .map(|of| of.last().unwrap().1["sum"].as_f64().unwrap())
        .sum();
    let [Some(first), Some(last)] = [book.totals.first(), book.totals.last()] else {
        return;
    };
    // The last and the first that were sent may have been accepted without a reply.
    let least = (last.what - first.what) as f64;
    let most = (book.sent - 1) as f64;
    if increases < least || fate == Fate::Exact && increases > most {
        let node = &book.node;
        wrong.push(format!(
            "{node} {metric}: increases of {increases}, not {least} to {most}"
        ));
    }
}

/// Checks the final count of the error and the final object.
fn held(book: &Book, find: &Find, wrong: &mut Vec<String>, must: &dyn Fn(&When) -> bool) {
    let (node, name) = (&book.node, &book.name);
    let mut link = Link::new(find);
    let mut get = |kind: &str, name: &str| -> Value {
        link.call(node, &["AGG.GET", node, kind, name], &|| true)
            .unwrap()
    };
    let error = get("ERROR", &format!("e.{name}"));
    let least = count(&book.occurrences, must);
    let most = book.occurrences.len() as u64 + book.unknown_occurrences;
    let occurrences = int(&error, "occurrences") as u64;
    if occurrences < least || occurrences > most {
        wrong.push(format!(
            "{node} {name}: {occurrences} occurrences, not {least} to {most}"
        ));
    }
    let object: u64 = text(&get("REALITY", &format!("o.{name}")), "json")
        .parse()
        .unwrap();
    let reported = book.objects.iter().rfind(|t| must(&t.when));
    let least = reported.map_or(0, |t| t.what);
    if object < least || object > book.sent {
        wrong.push(format!(
            "{node} {name}: the object holds {object}, after {least}"
        ));
    }
}

/// Checks that no message was delivered under two ids.
fn twice(records: &[(&(String, String, i64), Json)], wrong: &mut Vec<String>) {
    let mut ids: HashMap<(&str, &str), i64> = HashMap::new();
    for ((node, queue, id), record) in records {
        if queue == "LOG" {
            let message = record["message"].as_str().unwrap();
            if let Some(other) = ids.insert((node, message), *id) {
                wrong.push(format!(
                    "a log under two ids: {node} {message} under {other} and {id}"
                ));
            }
        }
    }
}
