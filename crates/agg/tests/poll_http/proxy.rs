//! Sinks behind a proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::raw_server;
use crate::support::place::{Place, VERSION_1, influx, names, settings, until_empty, windows};
use crate::support::stub::Stub;
use crate::support::{Running, Server, err};

#[test]
fn unsupported_proxy_of_the_environment_names_the_sink_and_the_variable() {
    let check = |more: &str| {
        let text = format!(
            "[[source]]\nurls = [\"redis://h\"]\n{}",
            influx("http://db.example:8086", &format!("{VERSION_1}\n{more}"))
        );
        let place = Place::new(&text);
        let mut command = place.command("check");
        command.env("ALL_PROXY", "socks5://user:s3cret@proxy:1080");
        let output = command.output().unwrap();
        (output.status.code(), err(&output))
    };
    let (code, error) = check("");
    assert_eq!(code, Some(2), "{error}");
    for expected in [
        "sink \"db\": ALL_PROXY of the environment",
        "proxy = \"none\"",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
    assert_eq!(check("proxy = \"none\"").0, Some(0));
}

/// Starts a proxy that connects to one address whatever is requested, and returns the first lines of its requests.
fn proxy(target: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, kept, target) = (client.unwrap(), kept.clone(), target.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(client.try_clone().unwrap());
                let mut lines = (&mut reader).lines().map_while(Result::ok);
                kept.lock().unwrap().push(lines.next().unwrap());
                lines.find(|line| line.is_empty());
                client
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .unwrap();
                let mut server = TcpStream::connect(target).unwrap();
                let mut back = (server.try_clone().unwrap(), client);
                std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
                let _ = std::io::copy(&mut reader, &mut server);
            });
        }
    });
    (url, asked)
}

#[test]
fn sink_uses_the_proxy_of_its_settings_or_of_the_environment() {
    let Some(server) = Server::start() else {
        return;
    };
    // (proxy of the settings, of the environment, whether it is used)
    for (setting, variable, is_used) in [
        (true, None, true),
        (false, Some("HTTP_PROXY"), true),
        (false, Some("HTTPS_PROXY"), false),
    ] {
        let stub = Stub::start(|_, _| (204, "", String::new()));
        let address = stub.url.trim_start_matches("http://").to_owned();
        let (url, asked) = proxy(address.clone());
        let node = format!("{setting}{is_used}");
        windows(&server, &node, &names(1));
        let (target, more) = match setting {
            true => (
                "http://db.invalid:8086",
                format!("{VERSION_1}\nproxy = \"{url}\""),
            ),
            false if is_used => ("http://db.invalid:8086", VERSION_1.to_owned()),
            false => (&*stub.url, VERSION_1.to_owned()),
        };
        let place = Place::new(&settings(&server, &influx(target, &more)));
        let mut command = place.command("poll");
        if let Some(name) = variable {
            command.env(name, &url);
        }
        let _running = Running::start(&mut command);
        until_empty(&server, &[&*node], "MIN");
        let asked = asked.lock().unwrap().clone();
        let expected: &[&str] = if is_used {
            &["CONNECT db.invalid:8086 HTTP/1.1"]
        } else {
            &[]
        };
        assert_eq!(asked[..asked.len().min(1)], *expected);
        assert_eq!(stub.requests().len(), 1);
    }
}

#[test]
fn rejected_connect_shows_the_status_of_the_proxy() {
    let Some(server) = Server::start() else {
        return;
    };
    let rejection = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let (url, _) = raw_server(rejection, rejection);
    windows(&server, "n", &names(1));
    let sink = influx(
        "http://db.invalid:8086",
        &format!("{VERSION_1}\nproxy = \"{url}\""),
    );
    let place = Place::new(&settings(&server, &sink));
    let mut running = place.start();
    let warning = running.errors().next().unwrap();
    let expected = "sink db: no response: the proxy rejected CONNECT db.invalid:8086: HTTP 403";
    assert!(warning.contains(expected), "{warning}");
}
