//! `agg host`: statistics and objects of the machine arrive, and those that disappeared are removed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;
use testkit::proxy::Proxy;
use testkit::resp_stub::{Answer, RespStub};

use crate::support::fuse::Fuse;
use crate::support::{Running, Server, agg, calls, err, run, until};

fn number(value: Option<Value>) -> Option<f64> {
    match value? {
        Value::Int(n) => Some(n as f64),
        Value::BulkString(text) => String::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

#[test]
fn single_report_has_statistics_and_objects() {
    let Some(server) = Server::start() else {
        return;
    };
    let output = run(&server.url(), "host --once --node n1 --tag rack:a1", b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "");
    for metric in ["mem.total", "uptime", "proc.count"] {
        let last = number(server.field(&format!("AGG.GET n1 METRIC {metric}"), "last"));
        assert!(last.is_some_and(|last| last > 0.0), "{metric}: {last:?}");
    }
    let kind = server.field("AGG.GET n1 METRIC cpu.load", "type");
    assert_eq!(kind, Some(Value::BulkString("ABS".into())));
    let tags = format!("{:?}", server.field("AGG.GET n1 METRIC mem.used", "tags"));
    assert!(
        ["unit", "bytes", "rack", "a1"]
            .iter()
            .all(|word| tags.contains(word)),
        "{tags}"
    );
    let objects = server.peek("n1", "REALITY");
    let machine = objects
        .iter()
        .find(|object| object["key"] == "system.Machine")
        .unwrap();
    assert_eq!(machine["model"], "system.Machine");
    assert!(machine["json"]["memory"].as_u64().unwrap() > 0);
    assert_eq!(machine["tags"], serde_json::json!({"rack": "a1"}));
    assert!(objects.iter().any(|object| object["model"] == "system.Cpu"));
}

#[test]
fn counters_are_of_type_diff() {
    let Some(server) = Server::start() else {
        return;
    };
    let _ = run(&server.url(), "host --once --node n1", b"");
    let (_, names): (String, Vec<String>) =
        server.ask("AGG.SCAN n1 METRIC 0 MATCH net.rx.bytes@* COUNT 10000");
    for name in names {
        let kind = server.field(&format!("AGG.GET n1 METRIC {name}"), "type");
        assert_eq!(kind, Some(Value::BulkString("DIFF".into())), "{name}");
    }
}

#[test]
fn unchanged_objects_are_not_queued_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let report = || {
        run(&server.url(), "host --once --node n1", b"")
            .status
            .code()
    };
    assert_eq!(report(), Some(0));
    let before = server.peek("n1", "REALITY");
    assert_eq!(report(), Some(0));
    assert_eq!(server.peek("n1", "REALITY"), before);
}

#[test]
fn objects_of_an_earlier_run_are_removed_and_others_stay() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.REALITY n1 system.Nic@ghost0 system.Nic {}");
    let _: i64 = server.ask("AGG.REALITY n1 system.Vm@1 system.Vm {}");
    assert_eq!(
        run(&server.url(), "host --once --node n1", b"")
            .status
            .code(),
        Some(0)
    );
    let gone = |key: &str| {
        let objects = server.peek("n1", "REALITY");
        objects
            .iter()
            .filter(|object| object["key"] == key)
            .all(|object| object["gone"] == true)
    };
    assert!(gone("system.Nic@ghost0"));
    assert!(!gone("system.Vm@1"));
}

#[test]
fn reports_continue_until_a_signal() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut running = Running::start(&mut agg(&server.url(), "host --node n1 --interval 200ms"));
    until("some reports", || {
        let samples = number(server.field("AGG.GET n1 METRIC uptime", "samples"))?;
        (samples >= 4.0).then_some(())
    });
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn restarted_server_gets_all_objects_again() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let mut running = Running::start(&mut agg(&server.url(), "host --node n1 --interval 200ms"));
    let model = |server: &Server| server.field("AGG.GET n1 REALITY system.Machine", "model");
    until("the first report", || model(&server));
    server.stop();
    let mut errors = running.errors();
    assert!(errors.next().unwrap().ends_with("trying again"));
    server.restart();
    until("a report after the restart", || model(&server));
    assert!(errors.any(|line| line.ends_with("answers again")));
    assert_eq!(running.end_by("INT").code(), Some(0));
}

#[test]
fn report_is_one_command() {
    let Some(server) = Server::start() else {
        return;
    };
    let output = run(&server.url(), "host --once --node n1", b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(calls(&server, "AGG.MSTAT"), 1);
    // It is not sent again, so it takes no source.
    assert_eq!(server.field("AGG.INFO n1", "sources"), Some(Value::Int(0)));
}

#[test]
fn report_whose_reply_was_lost_counts_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::start(server.port);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let mut running = Running::start(&mut agg(&url, "host --node n1 --interval 200ms"));
    let at_least = |count: f64| {
        until("reports arrive", || {
            Some(samples(&server, "uptime")).filter(|samples| *samples >= count)
        })
    };
    for _ in 0..3 {
        let before = at_least(2.0);
        proxy.lose_replies(true);
        until("a report has no reply", || {
            let before = samples(&server, "uptime");
            std::thread::sleep(Duration::from_millis(600));
            (samples(&server, "uptime") == before).then_some(())
        });
        proxy.cut();
        proxy.lose_replies(false);
        proxy.repair();
        at_least(before + 4.0);
    }
    assert_eq!(running.end_by("TERM").code(), Some(0));
    assert_eq!(
        calls(&server, "AGG.MSTAT") as f64,
        samples(&server, "uptime") + 3.0
    );
    assert_eq!(server.field("AGG.INFO n1", "sources"), Some(Value::Int(1)));
    assert_eq!(
        server.field("AGG.GET n1 METRIC uptime", "late"),
        Some(Value::Int(0))
    );
}

/// Returns the word behind another one.
fn behind<'a>(command: &'a [String], word: &str) -> Option<&'a str> {
    let at = command.iter().position(|other| other == word)?;
    Some(&command[at + 1])
}

#[test]
fn late_report_has_the_time_of_its_measurement() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for may_read_time in [true, false] {
        let stub = RespStub::start(move |command| match command[0].as_str() {
            "AGG.MSTAT" if behind(command, "AT").is_none() => Answer::Close,
            "AGG.MSTAT" => Answer::text("*3\r\n:9\r\n:0\r\n*0\r\n"),
            "AGG.SCAN" => Answer::text("*2\r\n$1\r\n0\r\n*0\r\n"),
            "TIME" if may_read_time => {
                let seconds = now.as_secs();
                Answer::text(&format!("*2\r\n$10\r\n{seconds}\r\n$6\r\n123456\r\n"))
            }
            "TIME" => Answer::text("-NOPERM x\r\n"),
            _ => Answer::text(":1\r\n"),
        });
        let mut running = Running::start(&mut agg(&stub.url(), "host --node n1 --interval 200ms"));
        let reports = until("two reports", || {
            let mut commands = stub.commands();
            commands.retain(|command| command[0] == "AGG.MSTAT");
            (commands.len() >= 2).then_some(commands)
        });
        assert_eq!(running.end_by("TERM").code(), Some(0));
        let numbers = [0, 1].map(|n| {
            let at = reports[n].iter().position(|word| word == "SEQ").unwrap();
            reports[n][at + 2].as_str()
        });
        if may_read_time {
            assert_eq!(numbers, ["1", "1"]);
            let at: u64 = behind(&reports[1], "AT").unwrap().parse().unwrap();
            let age = now.as_secs() * 1000 + 123 - at;
            // The pause before the second connection is 250 ms, less a fifth at most.
            assert!((200..60_000).contains(&age), "{age}");
        } else {
            // It is dropped, and the next one is sent.
            assert_eq!(numbers, ["1", "2"]);
            assert_eq!(behind(&reports[1], "AT"), None);
        }
    }
}

#[test]
fn older_server_gets_reports_by_type_and_tags() {
    let stub = RespStub::start(|command| {
        let unknown = ["SEQ", "COLUMNS"]
            .into_iter()
            .find(|word| behind(command, word).is_some());
        match (command[0].as_str(), unknown) {
            (name, Some(word)) => Answer::text(&format!(
                "-ERR {name}: unknown option '{word}'; usage: {name} node\r\n"
            )),
            ("AGG.MSTAT", None) => Answer::text("*3\r\n:9\r\n:0\r\n*0\r\n"),
            ("AGG.SCAN", None) => Answer::text("*2\r\n$1\r\n0\r\n*0\r\n"),
            _ => Answer::text(":1\r\n"),
        }
    });
    let output = run(&stub.url(), "host --once --node n1", b"");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let mut reports = stub.commands();
    reports.retain(|command| command[0] == "AGG.MSTAT");
    assert!(reports[0].contains(&"COLUMNS".into()));
    let of_bytes = |command: &&Vec<String>| behind(command, "TAGS") == Some("unit:bytes");
    let memory: Vec<_> = reports[1..].iter().filter(of_bytes).collect();
    assert_eq!(memory.len(), 1, "{reports:?}");
    assert!(memory[0].contains(&"mem.used".into()));
}

#[test]
fn rejection_is_reported_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let () = server.ask("SET n1 x");
    let output = run(&server.url(), "host --once --node n1", b"");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output)
            .matches("AGG.MSTAT rejected: WRONGTYPE")
            .count(),
        1,
        "{}",
        err(&output)
    );
}

#[test]
fn rejected_sample_is_reported_by_name() {
    let Some(server) = Server::start() else {
        return;
    };
    let _: i64 = server.ask("AGG.STAT n1 uptime 1 DIFF");
    let output = run(&server.url(), "host --once --node n1", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).starts_with("agg: uptime rejected: "),
        "{}",
        err(&output)
    );
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
}

#[test]
fn missing_permission_is_reported_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let () = server.ask("ACL SETUSER other on nopass resetkeys ~other +@all");
    let url = server.url().replace("redis://", "redis://other:x@");
    let output = run(&url, "host --once --node n1", b"");
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("agg: node n1: NOPERM "), "{text}");
}

fn samples(server: &Server, metric: &str) -> f64 {
    number(server.field(&format!("AGG.GET n1 METRIC {metric}"), "samples")).unwrap_or(0.0)
}

#[test]
fn hanging_file_system_is_left_out_and_others_are_reported_on_time() {
    let (Some(server), Some(fuse)) = (Server::start(), Fuse::new()) else {
        return;
    };
    let point = fuse.path().display().to_string();
    let (total, object) = (
        format!("disk.total@{point}"),
        format!("AGG.GET n1 REALITY system.Disk@{point}"),
    );
    fuse.hang(true);
    let line = "host --node n1 --interval 200ms --reality-every 1";
    let mut running = Running::start(&mut fuse.agg(&server.url(), line));
    let mut errors = running.errors();
    until("the others are reported", || {
        (samples(&server, "uptime") >= 4.0 && samples(&server, "disk.total@/") >= 2.0).then_some(())
    });
    let message = errors.next().unwrap();
    assert!(
        message.ends_with(&format!(
            "file system {point} does not answer: it is left out until it does"
        )),
        "{message}"
    );
    assert_eq!(samples(&server, &total), 0.0);

    fuse.hang(false);
    let message = errors.next().unwrap();
    assert!(
        message.ends_with(&format!("file system {point} answers again")),
        "{message}"
    );
    until("its statistics are reported", || {
        (samples(&server, &total) >= 2.0).then_some(())
    });
    let last = number(server.field(&format!("AGG.GET n1 METRIC {total}"), "last"));
    assert_eq!(last, Some(4_096_000.0));
    until("its object is reported", || server.field(&object, "model"));

    // It still exists: neither its metrics nor its object are removed.
    fuse.hang(true);
    let before = samples(&server, "uptime");
    until("reports without it", || {
        (samples(&server, "uptime") >= before + 8.0).then_some(())
    });
    assert!(samples(&server, &total) >= 2.0);
    let gone = format!("{:?}", server.peek("n1", "REALITY"));
    assert!(!gone.contains("\"gone\": Bool(true)"), "{gone}");
    // It does not delay the shutdown either.
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn single_report_warns_of_a_hanging_file_system() {
    let (Some(server), Some(fuse)) = (Server::start(), Fuse::new()) else {
        return;
    };
    fuse.hang(true);
    let output = fuse
        .agg(&server.url(), "host --node n1 --once")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(
        err(&output).matches("does not answer").count(),
        1,
        "{}",
        err(&output)
    );
    assert_eq!(
        (samples(&server, "uptime"), samples(&server, "disk.total@/")),
        (1.0, 1.0)
    );
}
