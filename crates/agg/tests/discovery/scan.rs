//! `agg scan` finds a fleet and says what everything else is that answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use super::*;

fn scan_with(password: &str, line: &str) -> Output {
    let mut command = agg(UNUSED, &format!("scan {line}"));
    command.env("AGG_PASSWORD", password).output().unwrap()
}

fn json(server: &Server) -> String {
    format!("127.0.0.1 --json --port {}", server.port)
}

#[test]
fn scan_finds_a_fleet() {
    const COUNT: u8 = 100;
    let Some(fleet) = Fleet::start(COUNT) else {
        return;
    };
    let mut connection = redis::Client::open(fleet.url(7))
        .unwrap()
        .get_connection()
        .unwrap();
    let _: i64 = crate::support::ask(&mut connection, "AGG.LOG n hello");
    let port = fleet.port;
    let start = Instant::now();
    let output = scan(&format!("127.0.0.0/24 --json --port {port}"));
    let took = start.elapsed();
    let found = objects(&output);
    assert_eq!(found.len(), usize::from(COUNT));
    for n in 1..=COUNT {
        let object = &found[&Fleet::host(n).to_string()];
        assert_eq!(object["state"], "ok", "{object}");
        assert_eq!(object["url"], fleet.url(n));
        assert_eq!(object["nodes"], i64::from(n == 7));
        assert!(object["max_memory"].as_i64() > object["memory"].as_i64());
        assert!(object["version"].is_string() && object["module"].is_string());
    }
    eprintln!("254 addresses, {COUNT} servers: {took:?}");
    assert!(
        err(&output).contains("254 addresses tried in "),
        "{}",
        err(&output)
    );
    assert!(
        err(&output).ends_with(" s: 100 servers found\n"),
        "{}",
        err(&output)
    );

    // The table, in the order of addresses.
    let output = scan(&format!("127.0.0.12 127.0.0.8/30 127.0.0.9 --port {port}"));
    let table = out(&output);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("ADDRESS "), "{table}");
    for (line, n) in lines[1..].iter().zip([9, 10, 12]) {
        assert!(line.starts_with(&format!("127.0.0.{n}:{port} ")), "{table}");
        assert!(
            line.contains(" of 256mb ") && line.ends_with(" ok"),
            "{table}"
        );
    }

    // When interrupted it prints what it has found.
    let line = format!("scan 127.0.0.0/16 --rate 200 --port {port}");
    let mut running = Running::start(&mut agg(UNUSED, &line));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(running.end_by("INT").code(), Some(130));
    let lines: Vec<String> = running.lines().collect();
    assert!(lines.len() > 50, "{lines:?}");
    assert!(lines[1].starts_with("127.0.0.1:"), "{lines:?}");
    let mut said = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains(" servers found\n"), "{said}");
}

#[test]
fn scan_distinguishes_servers_without_the_module() {
    let Some(plain) = Server::with(&[]) else {
        return;
    };
    let Some(ours) = Server::start() else {
        return;
    };
    let Some(locked) = Server::with_module(&["--requirepass", "s3cret"], "") else {
        return;
    };
    assert_eq!(state(&scan(&json(&plain))), "no-module");
    assert_eq!(state(&scan(&json(&ours))), "ok");
    assert_eq!(state(&scan(&json(&locked))), "wants-password");
    let wrong = scan_with("wr0ng", &json(&locked));
    assert_eq!(state(&wrong), "wrong-password");
    assert!(!out(&wrong).contains("wr0ng") && !err(&wrong).contains("wr0ng"));
    assert_eq!(state(&scan_with("s3cret", &json(&locked))), "ok");
    let () = ours.ask(&format!("REPLICAOF 127.0.0.1 {}", plain.port));
    assert_eq!(state(&scan(&json(&ours))), "replica");

    // Other servers: a web server, and one that says nothing.
    let stub = crate::support::stub::Stub::start(|_, _| (200, "", String::new()));
    let port = stub.url.rsplit_once(':').unwrap().1;
    assert_eq!(
        state(&scan(&format!("127.0.0.1 --json --port {port}"))),
        "no-server"
    );
    let endless = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = endless.local_addr().unwrap().port();
    let sending = std::thread::spawn(move || {
        let (mut stream, _) = endless.accept().unwrap();
        stream.write_all(b"$1000000000\r\n").unwrap();
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let output = scan(&format!("127.0.0.1 --json --port {port}"));
    assert_eq!(state(&output), "no-server");
    assert!(
        out(&output).contains("the reply is larger than"),
        "{}",
        out(&output)
    );
    sending.join().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let output = scan(&format!("127.0.0.1 --json --port {port}"));
    assert_eq!(state(&output), "no-server");
    assert!(
        out(&output).contains("no answer within 5 s"),
        "{}",
        out(&output)
    );

    // A port where nobody listens.
    let output = scan(&format!("127.0.0.1 --port {}", free_port()));
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(0), ""));
    assert!(
        err(&output).contains("1 address tried in ") && err(&output).ends_with("0 servers found\n")
    );
}

#[test]
fn scan_accepts_addresses_as_its_table_writes_them() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // No server, but it answers.
            let _ = stream.unwrap().write_all(b"hello\r\n");
        }
    });
    for line in [
        format!("[::1]:{port}"),
        format!("[::1] --port {port}"),
        format!("::1 --port {port}"),
    ] {
        let output = scan(&line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", err(&output));
        assert!(
            out(&output).contains(&format!("[::1]:{port} ")),
            "{line}: {}",
            out(&output)
        );
    }
    let output = scan(&format!("[::1]:{port} 127.0.0.1"));
    assert_eq!(output.status.code(), Some(2));
    let said = format!("ports {port} and 7777: a scan has one port");
    assert!(err(&output).contains(&said), "{}", err(&output));
}

#[test]
fn scan_works_as_an_acl_user() {
    let Some(server) = Server::start() else {
        return;
    };
    for user in [
        "ACL SETUSER drain on >s3cret ~* +agg.fetch +agg.ack +info +ping +command|info",
        // The user may run neither COMMAND nor INFO.
        "ACL SETUSER bare on >s3cret ~* +agg.fetch +agg.ack",
        "ACL SETUSER default off",
    ] {
        let () = server.ask(user);
    }
    let as_user =
        |password, user: &str| scan_with(password, &format!("{} --user {user}", json(&server)));
    assert_eq!(state(&as_user("s3cret", "drain")), "ok");
    assert_eq!(state(&as_user("s3cret", "bare")), "ok");
    assert_eq!(state(&as_user("other", "drain")), "wrong-password");
    assert_eq!(state(&as_user("s3cret", "nobody")), "wrong-password");
    assert_eq!(state(&scan(&json(&server))), "wants-password");
}

#[test]
fn wrong_usage_of_scan_is_reported() {
    for (line, said) in [
        ("scan", "required"),
        ("scan 10.0.0.0/40", "expected a range or address such as"),
        ("scan 0.0.0.0/0", "name smaller ranges"),
        ("scan 10.0.0.0/8 11.0.0.0/8", "name smaller ranges"),
        ("scan 10.0.0.1 --rate 0", "--rate"),
        (
            "scan 10.0.0.1 --user ann",
            "--user needs a password: set AGG_PASSWORD",
        ),
        (
            "scan 10.0.0.1 --tls-server-name h",
            "certificates require --tls",
        ),
        (
            "scan 10.0.0.1 --tls --tls-ca /nonexistent/ca",
            "/nonexistent/ca",
        ),
    ] {
        let output = agg(UNUSED, line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {}", err(&output));
        assert!(err(&output).contains(said), "{line}: {}", err(&output));
    }
}
