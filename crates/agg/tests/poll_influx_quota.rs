//! `agg poll` with a real InfluxDB 1.x that takes no more values of a tag: such records wait, and only the record that is
//! itself at fault becomes a dead letter.

use crate::support::influx::InfluxDb;
use crate::support::place::{Place, end, left, settings, until_empty, until_retried, windows};
use crate::support::{Server, of_queue};

#[test]
fn quota_makes_no_dead_letter_of_a_good_record() {
    let Some(source) = Server::start() else {
        return;
    };
    let Some(mut influx) = InfluxDb::with_data_settings("max-values-per-tag = 2") else {
        return;
    };
    influx.query("CREATE DATABASE grid");
    // The quota counts only what is stored before a request.
    influx.write("bad avg=\"text\"\nm,node=a avg=1\nm,node=b avg=1");
    let place = Place::new(&settings(
        &source,
        &format!(
            "[[route]]\nqueues = [\"MIN\"]\nsinks = [\"db\"]\n[sink.db]\ntype = \"influxdb\"\nurl = \"{}\"\n\
             database = \"grid\"\n",
            influx.url()
        ),
    ));
    let names = ["bad".into(), "m".into()];
    for node in ["n1", "n2"] {
        windows(&source, node, &names);
    }
    let mut running = place.start();
    // The reason of one line stands for all that are dropped, so the faulty ones are found first.
    until_retried(
        &mut running.errors(),
        "a quota of the target is reached: HTTP 400: partial write: max-values-per-tag limit exceeded (2/2)",
    );
    assert!(place.lines("dead").is_empty());
    assert!(left(&source, &["n1"], "MIN") > 0);
    influx.restart_with_data_settings("max-values-per-tag = 9");
    until_empty(&source, &["n1", "n2"], "MIN");
    let stored = influx.query("SELECT avg FROM m WHERE node =~ /n/");
    assert_eq!(stored.len(), 4, "two windows of each node");
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 4, "{dead:?}");
    let is_at_fault = |line: &String| line.contains("field type conflict");
    assert!(dead.iter().all(is_at_fault), "{dead:?}");
    assert_eq!(of_queue(&source, "n1", "MIN", "leased"), 0);
    end(running);
}
