//! `agg poll` follows its routes and loses nothing when it is killed, when two run, and when a server goes down.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::place::{
    ALL_TO_FILE, Id, Place, VERSION_1, id, influx, left, log, names, settings, until_empty, windows,
};
use crate::support::stub::Stub;
use crate::support::{
    Running, Server, agg, ask, err, past_hour, queued_records, send, unstamped, until,
};
use redis::Value;
use testkit::proxy::Proxy;

#[test]
fn check_reports_line_and_column() {
    let place = Place::new(
        "[[source]]\nurls = [\"redis://h\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"x\"]\n",
    );
    for verb in ["check", "poll"] {
        let output = place.command(verb).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let path = place.path("poller.toml");
        let message = format!("agg: {}:6:10: there is no [sink.x]\n", path.display());
        match verb {
            "poll" => assert_eq!(unstamped(&err(&output)), message),
            _ => assert_eq!(err(&output), message),
        }
    }
    let place = Place::new(&format!(
        "[[source]]\nurls = [\"redis://h\"]\n{ALL_TO_FILE}"
    ));
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(err(&output).ends_with("configuration valid: 1 source, 1 route, 1 sink\n"));
    assert!(!place.path("out").exists());
}

#[test]
fn check_reports_all_errors_at_once() {
    let place = Place::new(
        "lease = 30\n[[source]]\nurls = [\"redis://h\"]\n[[route]]\nqeues = [\"LOG\"]\nsinks = [\"x\"]\n\
         [sink.x]\ntype = \"influxdb\"\nurl = \"http://h\"\n[sink.y]\ntype = \"file\"\npath = \"{dir}/no/y\"\n",
    );
    let output = place.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let (text, path) = (err(&output), place.path("poller.toml"));
    let starts = [
        "2:9: a time has a unit: write \"30s\"".to_owned(),
        "6:1: unknown key `qeues`, did you mean `queues`?".into(),
        "8:1: expected \"database\" in this sink".into(),
        format!(
            "13:8: directory {} does not exist",
            place.path("no").display()
        ),
    ];
    assert_eq!(text.lines().count(), starts.len(), "{text}");
    for (line, start) in text.lines().zip(starts) {
        let start = format!("agg: {}:{start}", path.display());
        assert!(line.starts_with(&start), "{line}\nexpected {start}");
    }
}

/// Returns the windows of a node as line protocol.
fn lines(server: &Server, node: &str) -> Vec<String> {
    let ask = format!("AGG.PEEK {node} MIN HOUR COUNT 10000 FORMAT LINE");
    let deliveries: Vec<(String, i64, i64, String)> = server.ask(&ask);
    deliveries.into_iter().map(|(.., line)| line).collect()
}

#[test]
fn missing_file_is_wrong_usage() {
    let output = agg("redis://unused", "poll --config /nonexistent/x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(unstamped(&err(&output)).starts_with("agg: cannot read /nonexistent/x: "));
}

#[test]
fn example_configuration_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/poller.toml");
    let line = format!("check --config {}", example.display());
    let output = agg("redis://unused", &line).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn every_queue_of_every_node_follows_its_route() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut connection = server.connection();
    for node in ["web1", "web2", "db1"] {
        crate::support::fill(&mut connection, node);
    }
    let () = server.ask("SET other x");
    let place = Place::new(&settings(
        &server,
        r#"
[[route]]
queues = ["LOG", "ERROR", "REALITY"]
include = ["web*"]
exclude = ["web2"]
sinks = ["out"]
[[route]]
queues = ["MIN", "HOUR"]
sinks = ["lines", "numbers"]
[sink.out]
type = "stdout"
[sink.lines]
type = "file"
path = "{dir}/lines"
format = "line"
[sink.numbers]
type = "file"
path = "{dir}/numbers"
"#,
    ));
    let all = ["web1", "web2", "db1"];
    let numbers: i64 = ["MIN", "HOUR"]
        .iter()
        .map(|queue| left(&server, &all, queue))
        .sum();
    assert!(numbers > 6);
    let mut connection = server.connection();
    let hostile = past_hour();
    for (at, tags) in [
        (0, "dim:a=b,c back:x\\ flag node:x none: time:1"),
        (3_600_000, "é:ü b\\=c:d"),
    ] {
        let at = (hostile + at).to_string();
        for name in ["#a b,c=d\\@e f\\,@g", "\t@", "@x", "ö\\"] {
            let words = ["AGG.STAT", "db1", name, "1.5", "TAGS", tags, "AT", &at];
            let _: i64 = send(&mut connection, &words.map(str::as_bytes)).unwrap();
        }
    }
    let words = "AGG.STAT db1 timer 1.5 HIST TAGS p50:x AT";
    let _: i64 = server.ask(&format!("{words} {hostile}"));
    let numbers = numbers + 18;
    until("the windows close", || {
        let queues = ["MIN", "HOUR"].iter();
        let all: i64 = queues.map(|queue| left(&server, &all, queue)).sum();
        (all == numbers).then_some(())
    });
    let message: BTreeSet<String> = all.iter().flat_map(|node| lines(&server, node)).collect();
    let timers: Vec<&String> = (message.iter())
        .filter(|line| line.starts_with("timer,"))
        .collect();
    let has_percentile = |line: &&String| line.contains(",p50_=x,") && line.contains(",p50=1.5,");
    assert!(
        timers.len() == 2 && timers.iter().all(has_percentile),
        "{timers:?}"
    );
    let mut running = place.start();
    for queue in ["MIN", "HOUR"] {
        until_empty(&server, &all, queue);
    }
    // The fixture leases one record of each of these queues for an hour.
    for queue in ["LOG", "ERROR", "REALITY"] {
        until("what is not leased is gone", || {
            (left(&server, &["web1"], queue) == 1).then_some(())
        });
        assert!(left(&server, &["web2"], queue) > 1);
        assert!(left(&server, &["db1"], queue) > 1);
    }
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let seen: BTreeSet<Id> = running.lines().map(|line| id(&line)).collect();
    assert!(seen.iter().all(|(node, _, _)| node == "web1"), "{seen:?}");
    let queues: BTreeSet<&str> = seen.iter().map(|(_, queue, _)| &**queue).collect();
    assert_eq!(
        queues.into_iter().collect::<Vec<_>>(),
        ["ERROR", "LOG", "REALITY"]
    );
    // The same records in both formats; the lines, made from the JSON, are those that the server writes itself.
    assert_eq!(place.lines("numbers").len() as i64, numbers);
    assert_eq!(place.lines("lines").len() as i64, numbers);
    assert_eq!(
        place.lines("lines").into_iter().collect::<BTreeSet<_>>(),
        message
    );
    assert!(!place.path("dead").exists());
}

#[test]
fn poller_killed_repeatedly_loses_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let nodes = ["n1", "n2", "n3"];
    let mut all = BTreeSet::new();
    let place = Place::new(&settings(&server, ALL_TO_FILE));
    for _ in 0..6 {
        all.extend(log(&server, &nodes, 2000, &"x".repeat(100)));
        let before = place.lines("out").len();
        let mut running = place.start();
        until("some are written", || {
            (place.lines("out").len() > before).then_some(())
        });
        running.0.kill().unwrap();
        running.wait();
    }
    let mut running = place.start();
    until_empty(&server, &nodes, "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let ids = place.ids("out");
    let once: BTreeSet<Id> = ids.iter().cloned().collect();
    assert_eq!(all.len(), 36_000);
    assert!(once == all, "{} of {}", once.len(), all.len());
    // Only complete lines, also after a kill.
    let text = std::fs::read_to_string(place.path("out")).unwrap();
    assert_eq!(text.lines().count(), ids.len());
    eprintln!("written {} times for {} records", ids.len(), all.len());
}

#[test]
fn two_pollers_share_the_work_and_the_file() {
    let Some(server) = Server::start() else {
        return;
    };
    // Longer than a busy machine may take to extend a lease.
    let patient = settings(&server, ALL_TO_FILE).replace("lease = \"1s\"", "lease = \"30s\"");
    let place = Place::new(&patient);
    let nodes = ["n1", "n2"];
    let mut pollers = [place.start(), place.start()];
    let all = log(&server, &nodes, 20_000, "x");
    until_empty(&server, &nodes, "LOG");
    for poller in &mut pollers {
        assert_eq!(poller.end_by("TERM").code(), Some(0));
    }
    let ids = place.ids("out");
    let once: BTreeSet<Id> = ids.iter().cloned().collect();
    assert!(once == all);
    assert_eq!(ids.len(), all.len(), "nothing was given to both");
    for poller in &mut pollers {
        let last = poller.errors().last().unwrap();
        assert!(
            !unstamped(&last).starts_with("agg: out: 0 records"),
            "{last}"
        );
    }
}

#[test]
fn restarted_server_is_drained_again() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let place = Place::new(&settings(&server, ALL_TO_FILE));
    let mut all = log(&server, &["n1"], 500, "x");
    let mut running = place.start();
    until_empty(&server, &["n1"], "LOG");
    server.restart();
    all.extend(log(&server, &["n2"], 500, "y"));
    until_empty(&server, &["n2"], "LOG");
    assert_eq!(running.end_by("INT").code(), Some(0));
    assert_eq!(place.ids("out").into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn changed_configuration_is_reloaded_and_an_invalid_one_ignored() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = Place::new(&settings(&server, ALL_TO_FILE));
    let mut running = place.start();
    let mut all = log(&server, &["n1"], 500, "x");
    until_empty(&server, &["n1"], "LOG");
    let good = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    let mut errors = running.errors();

    place.write(&good.replace("[[route]]", "[[rout]]"));
    running.signal("HUP");
    let line = errors.next().unwrap();
    assert!(
        line.contains("unknown key `rout`, did you mean `route`?"),
        "{line}"
    );
    assert!(
        line.ends_with("keeping the previous configuration"),
        "{line}"
    );
    all.extend(log(&server, &["n1"], 500, "y"));
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(place.ids("out").len(), 1000);

    // No signal: the change is detected.
    place.write(&good.replace("/out\"", "/other\""));
    let line = errors.next().unwrap();
    assert!(line.ends_with("poller.toml reloaded"), "{line}");
    // The sink that is no longer configured ends.
    let line = errors.next().unwrap();
    let counts = "sink out: 1,000 records stored, 0 dead letters";
    assert!(line.ends_with(counts), "{line}");
    let more = log(&server, &["n1", "n2"], 500, "z");
    until_empty(&server, &["n1", "n2"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(place.ids("out").into_iter().collect::<BTreeSet<_>>(), all);
    assert_eq!(
        place.ids("other").into_iter().collect::<BTreeSet<_>>(),
        more
    );
}

#[test]
fn removed_server_is_no_longer_drained() {
    let (Some(first), Some(second)) = (Server::start(), Server::start()) else {
        return;
    };
    let place = Place::new(&settings(&first, ALL_TO_FILE));
    let mut running = place.start();
    log(&first, &["n1"], 500, "x");
    until_empty(&first, &["n1"], "LOG");
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    place.write(&text.replace(&first.url(), &second.url()));
    running.signal("HUP");
    log(&second, &["n1"], 500, "x");
    until_empty(&second, &["n1"], "LOG");
    // Old servers stay for five seconds, in which new sources may report them.
    std::thread::sleep(std::time::Duration::from_secs(7));
    log(&first, &["n1"], 500, "x");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(left(&first, &["n1"], "LOG"), 500);
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn record_delivered_too_often_becomes_a_dead_letter() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, &["n1"], 500, "x");
    let mut connection = server.connection();
    for _ in 0..3 {
        let _: redis::Value = ask(&mut connection, "AGG.FETCH n1 LOG COUNT 7 LEASE 1");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let place = Place::new(&format!(
        "max-deliveries = 3\n{}",
        settings(&server, ALL_TO_FILE)
    ));
    let mut running = place.start();
    until_empty(&server, &["n1"], "LOG");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let warnings: Vec<String> = running
        .errors()
        .filter(|line| line.contains("moved to the dead letters"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let expected = "agg: sink out: record ";
    assert!(
        unstamped(&warnings[0]).starts_with(expected),
        "{warnings:?}"
    );
    let expected = " of queue LOG of node n1 moved to the dead letters: delivered 4 times, more than max-deliveries (3)";
    assert!(warnings[0].ends_with(expected), "{warnings:?}");
    assert_eq!(place.ids("out").len(), 493);
    let dead = place.lines("dead");
    assert_eq!(dead.len(), 7);
    assert!(
        dead[0].contains("delivered 4 times, more than max-deliveries"),
        "{}",
        dead[0]
    );
}

#[test]
fn scan_of_many_other_keys_expires_no_lease() {
    let Some(server) = Server::start() else {
        return;
    };
    // The poller scans a thousand keys at a time. Each step takes a quarter of a second, so that all steps take longer
    // than the lease on any machine.
    let () = server.ask("DEBUG POPULATE 20000");
    let proxy = Proxy::with_delay(server.port, b"\r\nSCAN\r\n", Duration::from_millis(250));
    let count = windows(&server, "n1", &names(3));
    let stub = Stub::start(|before, _| {
        if before == 0 {
            std::thread::sleep(Duration::from_secs(8));
        }
        (204, "", String::new())
    });
    let text = settings(&server, &influx(&stub.url, VERSION_1))
        .replace(&server.url(), &format!("redis://127.0.0.1:{}", proxy.port))
        .replace("lease = \"1s\"", "lease = \"3s\"");
    let place = Place::new(&text);
    let mut running = Running::start(&mut place.command("poll"));
    until("the sink has them", || {
        (!stub.requests().is_empty()).then_some(())
    });
    // A change of the settings starts a new scan for nodes.
    place.write(&text.replace("100ms", "110ms"));
    // Like another poller.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        let fetched: Value = server.ask("AGG.FETCH n1 MIN LEASE 3000");
        assert_eq!(
            queued_records(&fetched).len(),
            0,
            "after {:?}",
            start.elapsed()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    until_empty(&server, &["n1"], "MIN");
    assert_eq!(running.end_by("TERM").code(), Some(0));
    let lines: usize = (stub.requests().iter()).map(|r| r.lines().len()).sum();
    assert_eq!(lines, count);
}

#[test]
fn many_servers_share_a_small_budget() {
    // Each server alone could fill the budget of the sink several times.
    let servers: Vec<Server> = (0..8).map_while(|_| Server::start()).collect();
    if servers.len() < 8 {
        return;
    }
    let urls: Vec<String> = servers
        .iter()
        .map(|server| format!("{:?}", server.url()))
        .collect();
    let place = Place::new(&format!(
        "max-in-flight = \"4mb\"\npoll-interval = \"100ms\"\n[[source]]\nurls = [{}]\n{ALL_TO_FILE}",
        urls.join(", ")
    ));
    let mut all = BTreeSet::new();
    for (number, server) in servers.iter().enumerate() {
        let node = format!("n{number}");
        all.extend(log(server, &[&node], 10_000, &"x".repeat(300)));
    }
    let mut running = place.start();
    for (number, server) in servers.iter().enumerate() {
        until_empty(server, &[&format!("n{number}")], "LOG");
    }
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert!(place.ids("out").into_iter().collect::<BTreeSet<_>>() == all);
}
