//! Hostile servers: what they send is bounded, they stop no other server, and passwords go only where the settings
//! permit.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::place::{self, Place};
use crate::support::{Running, Server, agg, err, until};
use testkit::resp_stub::{Answer, RespStub, reply_of_a_server};

/// The memory that a program may have, in KiB of address space: threads reserve much that they never use.
const MEMORY: usize = 1_500_000;

/// Returns the command with bounded memory: an allocation beyond it fails, which ends the program by SIGABRT.
fn bounded(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// Endless replies, and the message for each.
fn attacks() -> Vec<(Answer, &'static str)> {
    const MOST: &str = "the reply is larger than 65536 KiB";
    vec![
        (Answer::Endless(b"$9000000000\r\n", b"x"), MOST),
        // The maximum length, in each of endlessly many strings.
        (
            Answer::Endless(b"*1000000\r\n", b"*1\r\n$8\r\n12345678\r\n"),
            MOST,
        ),
        (Answer::Endless(b"*1000000000\r\n", b":1\r\n"), MOST),
        (
            Answer::Endless(b"*1000\r\n", b"*1000\r\n:1\r\n"),
            "the reply nests arrays deeper than 16",
        ),
        (
            Answer::Endless(b"", b"*1\r\n"),
            "the reply nests arrays deeper than 16",
        ),
        (
            Answer::Endless(b"+", b"x"),
            "the reply has a line of more than 64 KiB",
        ),
        (
            Answer::Endless(b"-ERR ", b"x"),
            "the reply has a line of more than 64 KiB",
        ),
        (
            Answer::Endless(b":", b"1"),
            "the reply has a line of more than 64 KiB",
        ),
        (Answer::Endless(b"%", b"1\r\n"), "the reply is not RESP 2"),
    ]
}

#[test]
fn endless_reply_exhausts_no_memory() {
    let lines = [
        "drain",
        "drain --node n",
        "top --once",
        "report --node n -o -",
        "host --once",
        "pipe log --node n --retry 0s",
    ];
    for (attack, expected) in attacks() {
        let hostile = RespStub::start(move |_| attack.clone());
        let run = |line: &'static str| {
            let url = hostile.url();
            std::thread::spawn(move || {
                let mut command = bounded(&agg(&url, line));
                let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
                let mut stdin = child.stdin.take().unwrap();
                // A program that ends early does not read it.
                let _ = stdin.write_all(b"a line\n");
                drop(stdin);
                (line, child.wait_with_output().unwrap())
            })
        };
        let running: Vec<_> = lines.into_iter().map(run).collect();
        for output in running {
            let (line, output) = output.join().unwrap();
            let said = failure(line, &output);
            assert!(
                said.contains(expected),
                "{line}: {said}\nexpected {expected}"
            );
        }
    }
}

#[test]
fn hostile_servers_in_a_range_stop_neither_the_poller_nor_other_servers() {
    let Some(server) = Server::start() else {
        return;
    };
    // They look like servers with the module until records are requested.
    let mut hostile = Vec::new();
    for (at, (attack, _)) in attacks().into_iter().enumerate() {
        let address = format!("127.0.0.{}:{}", at + 2, server.port);
        hostile.push(RespStub::at(&address, move |command| {
            reply_of_a_server(command).unwrap_or_else(|| attack.clone())
        }));
    }
    let place = Place::new(&format!(
        "[[source]]\nrange = \"127.0.0.0/28\"\nport = {}\nscan-interval = \"1s\"\n\
         [[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n\
         [sink.out]\ntype = \"file\"\npath = \"{{dir}}/out\"\n",
        server.port
    ));
    let mut poller = Running::start(&mut bounded(&place.command("poll")));
    for round in 0..3 {
        place::log(&server, &["real"], 500, "x");
        until("what the real server gives is there", || {
            (place.lines("out").len() >= 500 * (round + 1)).then_some(())
        });
        // Each is retried repeatedly, with pauses.
        until("the others were asked for records", || {
            let asked = |one: &RespStub| one.count("AGG.INFO") + one.count("AGG.FETCH") > round;
            hostile.iter().all(asked).then_some(())
        });
    }
    assert!(
        poller.0.try_wait().unwrap().is_none(),
        "the poller has ended"
    );
    poller.signal("TERM");
    assert_eq!(poller.wait().code(), Some(0));
}

/// Starts a server whose SCAN and AGG.SCAN never end: each page has other names and another cursor.
fn endless_scan(names: usize) -> RespStub {
    let count = AtomicU64::new(1);
    RespStub::start(move |command| {
        let page = || {
            let at = count.fetch_add(1, Ordering::Relaxed);
            let mut page = format!("*2\r\n${}\r\n{at}\r\n*{names}\r\n", at.to_string().len());
            for name in 0..names {
                let name = format!("{at}-{name}-{}", "x".repeat(200));
                page += &format!("${}\r\n{name}\r\n", name.len());
            }
            Answer::text(&page)
        };
        match &*command[0] {
            "SCAN" | "AGG.SCAN" => page(),
            "AGG.INFO" => Answer::text("*2\r\n$7\r\nmetrics\r\n:1\r\n"),
            _ => reply_of_a_server(command).unwrap_or_else(|| Answer::text("*0\r\n")),
        }
    })
}

#[test]
fn endless_scan_is_abandoned() {
    let many = endless_scan(1000);
    for line in ["drain", "report -o -"] {
        let said = failed(&many, line);
        assert!(
            said.contains("it names more than 100000 nodes"),
            "{line}: {said}"
        );
    }
    let empty = endless_scan(0);
    for line in ["drain", "report -o -", "report --node n -o -"] {
        let said = failed(&empty, line);
        assert!(
            said.contains("SCAN does not end: gave up after 100000 calls"),
            "{line}: {said}"
        );
    }
}

#[test]
fn circular_scan_is_abandoned() {
    let round = RespStub::start(|command| match &*command[0] {
        "SCAN" if command[1] == "7" => Answer::text("*2\r\n$1\r\n9\r\n*0\r\n"),
        "SCAN" => Answer::text("*2\r\n$1\r\n7\r\n*1\r\n$1\r\nn\r\n"),
        _ => reply_of_a_server(command).unwrap_or_else(|| Answer::text("*0\r\n")),
    });
    let said = failed(&round, "drain");
    assert!(
        said.contains("its SCAN does not end: it came to the same place twice"),
        "{said}"
    );
    assert!(round.count("SCAN") < 10, "{}", round.count("SCAN"));
}

/// Runs a program with bounded memory that fails because of the server, and returns its message.
fn failed(hostile: &RespStub, line: &str) -> String {
    let output: Output = bounded(&agg(&hostile.url(), line)).output().unwrap();
    failure(line, &output)
}

/// Returns the message of a program that has failed.
fn failure(line: &str, output: &Output) -> String {
    let said = err(output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{line}: {} {said}",
        output.status
    );
    said
}

/// Takes a minute: `AGG_HEAVY=1`.
#[test]
fn dripping_reply_times_out_within_a_minute() {
    if std::env::var_os("AGG_HEAVY").is_none() {
        return;
    }
    let slow = RespStub::slow(Duration::from_secs(2));
    let start = Instant::now();
    let said = failed(&slow, "drain --node n");
    assert!(
        said.contains("its answer did not end within 60 s"),
        "{said}"
    );
    assert!(start.elapsed() >= Duration::from_secs(60));
}

#[test]
fn packaged_services_have_a_memory_limit() {
    for unit in ["agg-poll", "agg-host", "agg-listen", "agg-serve"] {
        let path = format!(
            "{}/../../packaging/agg/{unit}.service",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.lines().any(|line| line.starts_with("MemoryMax=")),
            "{unit}"
        );
    }
}

/// Starts a member of a cluster, or a Sentinel, that names this address.
fn leads_to(host: &str, port: u16) -> RespStub {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let info = bulk("cluster_state:ok\r\ncluster_current_epoch:7\r\n");
    let node = format!("*3\r\n{}:{port}\r\n{}", bulk(host), bulk("a1"));
    let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n{node}");
    let address = format!("*2\r\n{}{}", bulk(host), bulk(&port.to_string()));
    RespStub::start(move |command| {
        let second = command.get(1).map_or("", String::as_str);
        match (&*command[0], second) {
            ("AUTH", _) => Answer::text("+OK\r\n"),
            ("CLUSTER", "INFO") => Answer::text(&info),
            ("CLUSTER", _) => Answer::text(&slots),
            ("SENTINEL", "MASTER") => Answer::text("-NOPERM no\r\n"),
            ("SENTINEL", _) => Answer::text(&address),
            _ => Answer::text("-ERR unknown\r\n"),
        }
    })
}

/// Checks a `source` that leads to `thief`, with `allow` as permitted addresses. Returns whether the password arrived
/// there, and the message.
fn led(kind: &str, allow: &str) -> (bool, String) {
    // Another address of this machine than the seed.
    let thief = RespStub::at("127.66.0.1:0", |command| {
        reply_of_a_server(command).unwrap_or_else(|| Answer::text("*0\r\n"))
    });
    let seed = leads_to("127.66.0.1", thief.port);
    let place = Place::new("");
    std::fs::write(place.path("password"), "s3cret").unwrap();
    place.write(&format!(
        "[[source]]\n{kind} = [\"{}\"]\npassword-file = {:?}\n{allow}\n{}\
         [[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n",
        seed.url(),
        place.path("password"),
        if kind == "sentinel" {
            "service = \"grid\"\n"
        } else {
            ""
        },
    ));
    let mut poller = place.start();
    let mut said = poller.errors();
    let rejection = match allow {
        "" => said.next().unwrap(),
        _ => {
            until("the server is drained", || {
                (thief.count("AGG.FETCH") > 0).then_some(())
            });
            String::new()
        }
    };
    let has_password = |command: &Vec<String>| command.iter().any(|word| word == "s3cret");
    // Nothing at all is sent to an address that is not permitted.
    assert!(allow.is_empty() == thief.commands().is_empty());
    (thief.commands().iter().any(has_password), rejection)
}

#[test]
fn password_is_sent_only_to_permitted_addresses() {
    for kind in ["cluster", "sentinel"] {
        let (stolen, said) = led(kind, "");
        assert!(!stolen, "{kind}");
        assert!(
            said.contains("and not sending it a password: another server named it")
                && said.contains(
                    "127.66.0.1 is outside of the networks of the configured servers (127.0.0.1/32)"
                )
                && said.contains("\"allow\""),
            "{kind}: {said}"
        );
        let (drained, _) = led(kind, "allow = [\"127.66.0.0/16\"]");
        assert!(drained, "{kind}");
    }
}
