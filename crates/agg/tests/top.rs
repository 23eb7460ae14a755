//! `agg top` shows servers, once as text and live in a terminal, which it restores.

use std::process::Command;

use rustix::termios::{LocalModes, Termios};
use serde_json::Value;

use crate::support::place::Place;
use crate::support::terminal::Terminal;
use crate::support::{Running, Server, agg, ask, err, free_port, now_ms, out, run, until};

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

/// Returns a server with two nodes, of which one has items of every kind.
fn grid() -> Option<Server> {
    let server = Server::start()?;
    let mut connection = server.connection();
    for n in 0..3 {
        let _: i64 = ask(&mut connection, &format!("AGG.STAT web1 cpu {n}"));
        let _: i64 = ask(&mut connection, &format!("AGG.LOG web1 line-{n}"));
    }
    let _: redis::Value = ask(&mut connection, "AGG.ERROR web1 disk-failed TYPE OPS");
    let _: i64 = ask(
        &mut connection,
        "AGG.REALITY web1 sda system.Disk {\"size\":1}",
    );
    let _: i64 = ask(&mut connection, "AGG.STAT db1 load 1");
    Some(server)
}

/// Reports samples until it is dropped.
struct Reporting {
    _stop: std::sync::mpsc::Sender<()>,
}

impl Reporting {
    fn start(server: &Server) -> Reporting {
        let mut connection = server.connection();
        let (_stop, stopped) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let pause = std::time::Duration::from_millis(5);
            while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let sent = redis::cmd("AGG.STAT")
                    .arg("web1")
                    .arg("active")
                    .arg(1)
                    .query::<i64>(&mut connection);
                if sent.is_err() {
                    return;
                }
            }
        });
        Reporting { _stop }
    }
}

#[test]
fn top_once_prints_a_table() {
    let Some(server) = grid() else { return };
    // The output of a test is no terminal, so --once is not needed.
    for line in ["top --once --interval 200ms", "top --interval 200ms"] {
        let output = run(&server.url(), line, b"");
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let text = out(&output);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(
            text.starts_with("servers 1 up, 0 down; nodes 2; memory "),
            "{text}"
        );
        assert_eq!(lines[1][..3], ["NODE", "SERVER", "PEND"]);
        let place = format!("127.0.0.1:{}", server.port);
        assert_eq!(lines[2][..3], ["db1", &place, "0"]);
        assert_eq!(lines[3][..3], ["web1", &place, "5"]);
        assert!(!text.contains('\x1b'));
    }
}

#[test]
fn json_has_one_object_per_line() {
    let Some(server) = grid() else { return };
    let _reporting = Reporting::start(&server);
    let output = run(&server.url(), "top --json --interval 300ms", b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    let all: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = all
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["server", "node", "node"]);
    assert_eq!((&all[0]["up"], &all[0]["nodes"]), (&true.into(), &2.into()));
    assert!(all[0]["ceiling"].as_u64().unwrap() > all[0]["held"].as_u64().unwrap());
    assert!(
        all[0]["reports_per_second"].as_f64().unwrap() > 0.0,
        "{text}"
    );
    assert_eq!(
        (&all[2]["node"], &all[2]["waiting"]),
        (&"web1".into(), &5.into())
    );
    assert_eq!(all[2]["queues"]["LOG"]["length"], 3);
    assert_eq!(all[2]["growth_per_second"], 0.0);
}

#[test]
fn servers_of_a_configuration_file_are_shown_with_one_that_is_down() {
    let Some(server) = grid() else { return };
    let closed = free_port();
    let place = Place::new(&format!(
        "[[source]]\nurls = [\"{}\", \"redis://127.0.0.1:{closed}\"]\n[[route]]\nqueues = [\"LOG\"]\n\
         sinks = [\"x\"]\n[sink.x]\ntype = \"stdout\"\n",
        server.url()
    ));
    let output = place
        .command("top --once --interval 200ms")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).starts_with("servers 1 up, 1 down; nodes 2; "),
        "{}",
        out(&output)
    );
    let reason = format!("agg: cannot reach redis://127.0.0.1:{closed}: connection refused");
    assert!(err(&output).starts_with(&reason), "{}", err(&output));
    let path = place.path("poller.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("urls", "url")).unwrap();
    let output = place.command("top").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("poller.toml:3:1: unknown key `url`, did you mean `urls`?"),
        "{}",
        err(&output)
    );
}

#[test]
fn invalid_arguments_are_rejected() {
    for (line, message) in [
        ("top redis://h:port", "is not usable"),
        ("top --interval 1ms", "expected at least 200ms"),
        ("top --interval 5", "has no unit"),
        ("top --config x redis://h", "cannot be used with"),
    ] {
        let output = run("redis://127.0.0.1:1", line, b"");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).contains(message), "{line}: {}", err(&output));
    }
}

#[test]
fn missing_module_is_reported() {
    let Some(server) = Server::with(&[]) else {
        return;
    };
    let output = run(&server.url(), "top --once --interval 200ms", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("does not have the aggregator module"),
        "{}",
        err(&output)
    );
}

#[test]
fn top_only_reads() {
    let Some(server) = grid() else { return };
    let before = (server.digest("web1"), server.digest("db1"));
    // A user who may run only reading commands.
    let _: String = server.ask(
        "ACL SETUSER eye on >pw %R~* -@all +info +scan +agg.info +agg.scan +agg.get +agg.peek",
    );
    let url = server.url().replace("redis://", "redis://eye:pw@");
    let output = run(&url, "top --json --interval 200ms", b"");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let Some(mut terminal) = Terminal::start(&agg(&url, "top --interval 200ms")) else {
        return;
    };
    terminal.until_seen("web1");
    terminal.press("G\r");
    terminal.until_seen("disk-failed");
    terminal.until_seen("line-2");
    assert!(!terminal.written().contains("NOPERM"));
    terminal.press("qq");
    assert!(terminal.program.wait().success());
    assert_eq!((server.digest("web1"), server.digest("db1")), before);
}

#[test]
fn user_without_some_permissions_sees_the_rest() {
    let Some(server) = grid() else { return };
    let _: String = server.ask("ACL SETUSER eye on >pw %R~* -@all +scan +agg.info");
    let url = server.url().replace("redis://", "redis://eye:pw@");
    let output = run(&url, "top --once --interval 200ms", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("\nweb1 "), "{}", out(&output));
    assert!(
        err(&output).contains("cannot read memory and reports: NOPERM"),
        "{}",
        err(&output)
    );
}

fn raw(modes: &Termios) -> bool {
    !modes.local_modes.contains(LocalModes::ICANON)
}

fn start(command: &Command) -> Option<(Terminal, Termios)> {
    let terminal = Terminal::start(command)?;
    until("the terminal is taken over", || {
        terminal.written().contains(ENTERED).then_some(())
    });
    let before = terminal.modes();
    Some((terminal, before))
}

fn assert_restored(terminal: &Terminal) {
    until("the terminal is left", || {
        terminal.written().contains(LEFT).then_some(())
    });
    assert!(terminal.written().contains("\x1b[?25h"), "no cursor");
    assert!(!raw(&terminal.modes()));
    assert!(terminal.modes().local_modes.contains(LocalModes::ECHO));
}

#[test]
fn user_visits_all_screens_and_quits() {
    let Some(server) = grid() else { return };
    let _reporting = Reporting::start(&server);
    let Some((mut terminal, modes)) = start(&agg(&server.url(), "top --interval 300ms")) else {
        return;
    };
    assert!(raw(&modes));
    terminal.until_seen("servers 1 up   nodes 2");
    let screen = terminal.screen();
    assert!(screen[3].starts_with("NODE  "), "{screen:?}");
    assert!(
        screen[4].starts_with("db1 ") && screen[5].starts_with("web1 "),
        "{screen:?}"
    );
    assert!(screen[23].contains("q quit"));
    // Sorts by pending records, and opens the node with the most.
    terminal.press("<");
    terminal.until_seen("by PEND▼");
    terminal.until("web1 is the first", |screen| {
        screen.contains("REJECTS\nweb1 ")
    });
    terminal.press("\x1b[B\x1b[A\r");
    for word in [
        "node web1",
        "QUEUE",
        " cpu ",
        "disk-failed",
        "line-2",
        "system.Disk",
    ] {
        terminal.until_seen(word);
    }
    // Rates are known after the second reading.
    terminal.until("the most active metric is the first", |screen| {
        screen.contains("all 2, 1") && screen.find(" active ") < screen.find(" cpu ")
    });
    terminal.press("\t");
    terminal.until("one section alone", |screen| {
        !screen.contains("QUEUE") && screen.contains(" active ")
    });
    terminal.press("qq");
    terminal.until_seen("details");
    terminal.press("/db");
    terminal.until("the filter holds", |screen| {
        screen.contains(" filter: db") && !screen.contains("\nweb1")
    });
    terminal.press("\r");
    terminal.until_seen("details");
    terminal.press("p");
    terminal.until_seen("PAUSED");
    terminal.press("?");
    terminal.until_seen("press any key to continue");
    terminal.press("x");
    terminal.until("the help is gone", |screen| {
        !screen.contains("press any key to continue")
    });
    terminal.press("q");
    assert_eq!(terminal.program.wait().code(), Some(0));
    assert_restored(&terminal);
}

#[test]
fn percentiles_rates_of_increments_and_misused_counters_are_shown() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut connection = server.connection();
    for value in [12, 15, 14, 13, 840] {
        let _: i64 = ask(
            &mut connection,
            &format!("AGG.STAT web1 http.ms {value} HIST"),
        );
    }
    let _: i64 = ask(&mut connection, "AGG.STAT web1 idle 7 INC");
    // Two processes report their totals to one metric. A later sample closes that window.
    let start = now_ms() / 300_000 * 300_000 - 3_600_000;
    for n in 0..20 {
        let total = if n % 2 == 0 { n } else { 1000 + n };
        let at = start + n * 10_000;
        let _: i64 = ask(
            &mut connection,
            &format!("AGG.STAT web1 misused {total} DIFF AT {at}"),
        );
    }
    let _: i64 = ask(&mut connection, "AGG.STAT web1 misused 2000 DIFF");
    until("the window closes", || {
        let output = run(&server.url(), "top --json --interval 200ms", b"");
        out(&output).contains("\"suspect_diff\":1").then_some(())
    });
    let Some((mut terminal, _)) = start_top(&server) else {
        return;
    };
    terminal.until_seen("web1");
    terminal.press("\r");
    terminal.until("percentiles have columns", |screen| {
        let mut lines = screen.lines();
        let titles = lines.find(|line| line.contains(" METRICS "));
        let values = lines.find(|line| line.contains(" http.ms "));
        titles.is_some_and(|line| line.ends_with("     p50     p99"))
            && values.is_some_and(|line| line.contains("      14     840 ABS last 840"))
    });
    terminal.until_seen("suspect diff 1");
    for n in 0..20 {
        let _: i64 = ask(&mut connection, &format!("AGG.STAT web1 hits {n} INC"));
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    // Without a new increment the last rate stays.
    terminal.until("an increment has a rate", |screen| {
        let mut lines = screen.lines();
        let hits = lines.find(|line| line.contains(" hits "));
        hits.is_some_and(|line| line.contains(" INC ") && line.contains("/s"))
    });
    terminal.press("qq");
    assert_eq!(terminal.program.wait().code(), Some(0));
}

fn start_top(server: &Server) -> Option<(Terminal, Termios)> {
    start(&agg(&server.url(), "top --interval 300ms"))
}

#[test]
fn large_node_is_read_in_parts() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut pipe = redis::pipe();
    for n in 0..3000 {
        pipe.cmd("AGG.STAT").arg("big").arg(format!("m{n}")).arg(1);
    }
    for _ in 0..9 {
        pipe.cmd("AGG.STAT").arg("big").arg("m1234").arg(1);
    }
    let _: Vec<i64> = pipe.query(&mut server.connection()).unwrap();
    let Some((mut terminal, _)) = start(&agg(&server.url(), "top --interval 2s")) else {
        return;
    };
    terminal.until_seen("big ");
    terminal.press("\r");
    terminal.until_seen("1000 of 3000 read so far");
    terminal.until_seen("2000 of 3000 read so far");
    terminal.until_seen("all 3000, read in parts");
    // It has more samples than any other metric, although no further ones arrive.
    terminal.until_seen("      10  m1234 ");
    terminal.press("qq");
    assert_eq!(terminal.program.wait().code(), Some(0));
    assert_restored(&terminal);
}

#[test]
fn signals_restore_the_terminal() {
    let Some(server) = grid() else { return };
    for signal in ["TERM", "HUP", "INT"] {
        let Some((mut terminal, _)) = start(&agg(&server.url(), "top")) else {
            return;
        };
        terminal.until_seen("web1");
        assert_eq!(terminal.program.end_by(signal).code(), Some(0), "{signal}");
        assert_restored(&terminal);
    }
}

#[test]
fn server_is_shown_down_and_up_again() {
    let Some(mut server) = grid() else { return };
    let Some((mut terminal, _)) = start(&agg(&server.url(), "top --interval 200ms")) else {
        return;
    };
    terminal.until_seen("web1");
    server.stop();
    terminal.until_seen("1 down");
    terminal.until_seen("connection refused");
    terminal.press("\t");
    terminal.until_seen("STATE");
    server.restart();
    terminal.until_seen("1 up");
    terminal.press("q");
    terminal.until_seen("nothing has been reported yet");
    terminal.press("\x03");
    assert_eq!(terminal.program.wait().code(), Some(0));
}

#[test]
fn no_color_disables_colours() {
    let Some(server) = grid() else { return };
    let mut command = agg(&server.url(), "top");
    command.env("NO_COLOR", "1");
    let Some((mut terminal, _)) = start(&command) else {
        return;
    };
    terminal.until_seen("web1");
    let coloured = ["\x1b[36m", "\x1b[38;5;6m", "\x1b[31m"];
    assert!(
        !coloured
            .iter()
            .any(|colour| terminal.written().contains(colour))
    );
    terminal.press("q");
    assert_eq!(terminal.program.wait().code(), Some(0));
}

#[test]
fn interrupted_command_exits_with_130() {
    // A server that does not answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let mut program = Running::start(&mut agg(&url, "top --once"));
    let (_held, _) = silent.accept().unwrap();
    assert_eq!(program.end_promptly_by("INT").code(), Some(130));
}
