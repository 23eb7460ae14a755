//! The status of `agg poll`, over HTTP and in its logs: while it works, while a sink is down, and at shutdown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::place::{ALL_TO_FILE, Place, influx, log, settings, until_empty};
use crate::support::stub::Stub;
use crate::support::{Lines, Running, Server, err, unstamped, until};

/// Returns settings with a status page on a free port.
fn shown(server: &Server, rest: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\n{}", settings(server, rest))
}

/// The address of the status page of a poller.
struct Seen(String);

/// Starts a poller and returns its further log lines and the address of its status page.
fn start(command: &mut Command) -> (Running, Lines, Seen) {
    let mut running = Running::start(command);
    let mut said = running.errors();
    let seen = next_place(&mut said);
    (running, said, seen)
}

/// Returns the next address of the status page in the log.
fn next_place(said: &mut Lines) -> Seen {
    let place = |line: String| {
        let (_, place) = line.split_once("listening on http://")?;
        Some(Seen(place.split('/').next()?.to_owned()))
    };
    said.find_map(place).unwrap()
}

impl Seen {
    /// Returns the status and the body; `None` if nobody answers yet.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .proxy(None);
        let agent: ureq::Agent = config.build().into();
        let url = format!("http://{}{path}", self.0);
        let mut response = agent.get(url).call().ok()?;
        let text = response.body_mut().read_to_string().unwrap();
        Some((response.status().as_u16(), text))
    }

    fn status(&self) -> Option<Value> {
        let (code, text) = self.get("/status.json")?;
        assert_eq!(code, 200);
        Some(serde_json::from_str(&text).unwrap())
    }
}

/// Returns a sample of the metrics.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().parse().unwrap()
}

#[test]
fn drained_records_are_visible_everywhere() {
    let Some(server) = Server::start() else {
        return;
    };
    let hostile = "<b>n</b>\"";
    let place = Place::new(&shown(&server, ALL_TO_FILE));
    let all = log(&server, &["n1", hostile], 1000, "x").len();
    let (mut running, _said, seen) = start(&mut place.command("poll"));
    until_empty(&server, &["n1", hostile], "LOG");
    let status = until("all is seen", || {
        let status = seen.status()?;
        let is = |value: &Value| value["nodes"] == 2 && value["waiting"] == 0;
        (is(&status["totals"]) && status["totals"]["stored"] == all).then_some(status)
    });
    assert_eq!(status["state"], "ok", "{status}");
    assert_eq!(status["sinks"][0]["type"], "file");
    assert_eq!(status["servers"][0]["up"], true);
    assert_eq!(status["servers"][0]["records"], all);
    assert_eq!(status["servers"][0]["id"], server.url());
    assert_eq!(status["nodes"][0]["name"], hostile);
    assert_eq!(status["nodes"][1]["queues"]["LOG"]["length"], 0);

    let (_, text) = seen.get("/metrics").unwrap();
    let of = |name: &str| sample(&text, &format!("agg_poller_{name}"));
    assert_eq!(of("servers_up"), 1.0);
    assert_eq!(
        of("sink_records_total{sink=\"out\",type=\"file\",outcome=\"stored\"}"),
        all as f64
    );
    let url = server.url();
    let lag = format!("lag_seconds{{server=\"{url}\",queue=\"LOG\"}}");
    assert_eq!(of(&lag), 0.0);
    assert_eq!(
        of(&format!("fetched_records_total{{server=\"{url}\"}}")),
        all as f64
    );

    let (code, html) = seen.get("/").unwrap();
    assert_eq!(code, 200);
    assert!(html.contains("Healthy") && html.contains("&lt;b&gt;n&lt;/b&gt;&quot;"));
    assert!(!html.contains("<b>n"));
    assert_eq!(seen.get("/healthz").unwrap().0, 200);
    assert_eq!(seen.get("/readyz").unwrap().0, 200);
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert!(seen.get("/healthz").is_none());
}

#[test]
fn unreachable_sink_is_shown_with_its_reason_and_a_growing_lag() {
    let Some(server) = Server::start() else {
        return;
    };
    let stub = Stub::start(|_, _| (503, "", "no room <today>".into()));
    let sinks = influx(&stub.url, "database = \"grid\"");
    let place = Place::new(&shown(&server, &sinks));
    crate::support::place::windows(&server, "n1", &crate::support::place::names(3));
    let mut command = place.command("poll");
    command.args(["--log", "json"]);
    let (mut running, said, seen) = start(&mut command);
    let why = until("it is not ready", || {
        let (code, text) = seen.get("/readyz")?;
        (code == 503 && text.contains("sink db is failing")).then_some(text)
    });
    assert!(why.contains("no room <today>"), "{why}");
    assert_eq!(seen.get("/healthz").unwrap().0, 200);
    until("the lag is seen", || {
        let (_, text) = seen.get("/metrics")?;
        assert_eq!(sample(&text, "agg_poller_sink_failing{sink=\"db\"}"), 1.0);
        let url = server.url();
        let lag = format!("agg_poller_lag_seconds{{server=\"{url}\",queue=\"MIN\"}}");
        (text.contains(&lag) && sample(&text, &lag) > 1.0).then_some(())
    });
    let (_, html) = seen.get("/").unwrap();
    assert!(html.contains("no room &lt;today&gt;") && !html.contains("<today>"));
    assert!(html.contains("<title>Failing"));
    running.signal("TERM");
    running.wait();
    let lines: Vec<Value> = said
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let trouble = lines.iter().find(|line| line["level"] == "warn").unwrap();
    assert_eq!(trouble["sink"], "db", "{trouble}");
    assert!(trouble["message"].as_str().unwrap().ends_with("; retrying"));
    assert!(lines.iter().all(|line| line["timestamp"].is_string()));
}

#[test]
fn unreachable_server_is_shown_and_logged() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let place = Place::new(&shown(&server, ALL_TO_FILE));
    let mut command = place.command("poll");
    command.args(["--log=json", "--log-level=agg=info"]);
    let (mut running, mut said, seen) = start(&mut command);
    until("it is ready", || {
        (seen.get("/readyz")?.0 == 200).then_some(())
    });
    server.stop();
    let line: Value = serde_json::from_str(&said.next().unwrap()).unwrap();
    assert_eq!(line["level"], "warn");
    assert_eq!(line["server"], server.url());
    let (code, text) = seen.get("/readyz").unwrap();
    assert_eq!(code, 503);
    assert!(text.contains("no server of 1 is up: "), "{text}");
    let (_, html) = seen.get("/").unwrap();
    assert!(html.contains(">down</span> for "), "{html}");
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn taken_listen_address_is_rejected_at_start_and_at_reload() {
    let Some(server) = Server::start() else {
        return;
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let place = Place::new(&shown(&server, ALL_TO_FILE));
    let show_at = |address: &str| {
        let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
        let lines = text.lines().map(|line| match line.starts_with("listen") {
            true => format!("listen = \"{address}\"\n"),
            false => format!("{line}\n"),
        });
        place.write(&lines.collect::<String>());
    };
    show_at(&format!("127.0.0.1:{port}"));
    let output = place.command("poll").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("agg: cannot listen on 127.0.0.1:{port}: ");
    assert!(
        unstamped(&err(&output)).starts_with(&expected),
        "{}",
        err(&output)
    );

    show_at("127.0.0.1:0");
    let (mut running, mut said, first) = start(&mut place.command("poll"));
    show_at(&format!("127.0.0.1:{port}"));
    until("a taken address is rejected", || {
        let status = first.status()?;
        let trouble = status["reloads"]["trouble"].as_str()?;
        assert!(trouble.starts_with("cannot listen on "), "{trouble}");
        (status["reloads"]["refused"] == 1).then_some(())
    });
    show_at("127.0.0.2:0");
    let second = next_place(&mut said);
    until("it moved", || second.get("/healthz"));
    assert!(first.get("/healthz").is_none());
    until("the failure is shown", || {
        (second.status()?["reloads"]["taken"] == 1).then_some(())
    });
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

/// Returns the number of descriptors that a program has open.
fn descriptors(running: &Running) -> usize {
    let path = format!("/proc/{}/fd", running.0.id());
    std::fs::read_dir(path).unwrap().count()
}

#[test]
fn slow_clients_leave_descriptors_for_servers_and_sinks() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = Place::new(&shown(&server, ALL_TO_FILE));
    let poll = place.command("poll");
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""])
        .arg(poll.get_program())
        .args(poll.get_args())
        .stderr(std::process::Stdio::piped());
    let (mut running, _said, seen) = start(&mut command);
    let clients: Vec<TcpStream> = (0..374)
        .map(|_| {
            let mut client = TcpStream::connect(&seen.0).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
            client
        })
        .collect();
    until("as many are connected as may be", || {
        (descriptors(&running) > 64).then_some(())
    });
    let all = log(&server, &["n1", "n2"], 1000, "x").len();
    until("all is drained", || {
        let open = descriptors(&running);
        assert!(open < 128, "{open} descriptors");
        (place.lines("out").len() == all).then_some(())
    });
    // Waiting clients are served once silent ones are disconnected.
    until("it answers again", || {
        seen.get("/healthz").filter(|(code, _)| *code == 200)
    });
    drop(clients);
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn allowed_host_names_change_with_the_settings() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = Place::new(&shown(&server, ALL_TO_FILE));
    let (mut running, _said, seen) = start(&mut place.command("poll"));
    let code = |host: &str| {
        let mut client = TcpStream::connect(&seen.0).unwrap();
        let head =
            format!("GET /status.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text[9..12].to_owned()
    };
    assert_eq!(code("localhost:1"), "200");
    assert_eq!(code("grid.example"), "421");
    let text = std::fs::read_to_string(place.path("poller.toml")).unwrap();
    place.write(&format!("allowed-hosts = [\"grid.example\"]\n{text}"));
    until("the name is allowed", || {
        (code("grid.example:80") == "200").then_some(())
    });
    assert_eq!(code("evil.example"), "421");
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn wrong_levels_are_wrong_usage() {
    let place = Place::new("");
    for arguments in [["--log", "xml"], ["--log-level", "agg=loud"]] {
        let output = place.command("poll").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    }
}
