//! Programs that send syslog.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{program, run};
use crate::listen::contents::{contents, expect};
use crate::listen::*;
use crate::support::{Running, Server, root, until};

#[test]
fn logger_arrives() {
    let Some(server) = server() else {
        return;
    };
    let listener = Listener::start(&server.url(), "--errors-from ERROR");
    let port = listener.address("syslog", "UDP").port().to_string();
    let send = |more: &[&str], message: &str| {
        let status = Command::new("logger")
            .args(["--server", "127.0.0.1", "--port", &port, "--tag", "shop"])
            .args(more)
            .arg(message)
            .status()
            .expect("logger, of bsdutils or util-linux");
        assert!(status.success());
    };
    let kinds: [&[&str]; 5] = [
        &["--udp", "--rfc3164"],
        &["--udp", "--rfc5424"],
        &["--tcp", "--rfc3164"],
        &["--tcp", "--rfc5424", "--octet-count"],
        &["--tcp", "--rfc5424"],
    ];
    for (i, kind) in kinds.iter().enumerate() {
        let priority: &[&str] = &[
            "--priority",
            if i == 2 { "local0.err" } else { "user.warning" },
        ];
        send(
            &[kind, priority].concat(),
            &format!("message {i} of logger"),
        );
    }
    let log = until("five log records", || {
        let log = server.peek("n1", "LOG");
        (log.len() == kinds.len()).then_some(log)
    });
    let mut messages: Vec<&str> = log
        .iter()
        .map(|record| record["message"].as_str().unwrap())
        .collect();
    messages.sort_unstable();
    let expected: Vec<String> = (0..5).map(|i| format!("message {i} of logger")).collect();
    assert_eq!(messages, expected);
    for record in &log {
        let is_error = record["message"] == "message 2 of logger";
        assert_eq!(
            record["severity"],
            if is_error { "ERROR" } else { "WARNING" }
        );
        assert_eq!(record["tags"]["app"], "shop", "{record}");
        assert_eq!(
            record["tags"]["facility"],
            if is_error { "local0" } else { "user" }
        );
    }
    let error = &server.peek("n1", "ERROR")[0];
    assert_eq!(error["key"], "message <*> of logger");
}

/// What the machine of the relays is named.
const HOST: &str = "web1";

/// Passes messages of `logger` to a relay that reads a socket, and compares what arrives. `more_tags` are
/// those that the relay adds to a message, by its number.
fn assert_relayed(
    mut relay: Command,
    socket: &Path,
    (server, listener): (Server, Listener),
    more_tags: impl Fn(u32) -> String,
) {
    let Some(logger) = program("logger", "bsdutils") else {
        return;
    };
    let mut relay = Running::start(&mut relay);
    until("the relay's socket", || socket.exists().then_some(()));
    for (priority, id, message) in [
        ("local0.notice", "--id=4711", "order 17: größe [x] \"paid\""),
        ("daemon.err", "--id=12", "no answer from 10.0.0.7"),
        ("daemon.err", "--id=12", "no answer from 10.0.0.8"),
        ("cron.debug", "--id=1", "-"),
    ] {
        let mut logger = Command::new(logger.get_program());
        logger.arg("--socket").arg(socket);
        run(logger.args(["--tag", "shop", "--priority", priority, id, "--", message]));
    }
    let line = |what: &str, facility: &str, number: u32, pid: u32| {
        let more = more_tags(number);
        format!("{what} | app:shop facility:{facility} host:{HOST}{more} pid:{pid}")
    };
    let expected = [
        line("LOG NOTICE order 17: größe [x] \"paid\"", "local0", 1, 4711),
        line("LOG ERROR no answer from 10.0.0.7", "daemon", 2, 12),
        line("LOG ERROR no answer from 10.0.0.8", "daemon", 3, 12),
        // The tags are those of the last.
        line("ERROR 2 no answer from <*>", "daemon", 3, 12),
        line("LOG DEBUG -", "cron", 4, 1),
    ];
    // A relay that ends does not read its socket any more.
    until("all messages", || {
        (contents(&server).len() == expected.len()).then_some(())
    });
    assert_eq!(relay.end_by("TERM").code(), Some(0));
    let expected = expected.each_ref().map(String::as_str);
    expect(&server, listener, &expected, &[]);
}

/// Starts a server and a listener. Returns them and the port for syslog.
fn start() -> Option<((Server, Listener), u16)> {
    let server = server()?;
    let listener = Listener::start(&server.url(), "--errors-from ERROR");
    let port = listener.address("syslog", "TCP").port();
    Some(((server, listener), port))
}

#[test]
fn rsyslog_arrives() {
    let traditional = "template=\"RSYSLOG_TraditionalForwardFormat\"";
    let new = "template=\"RSYSLOG_SyslogProtocol23Format\"";
    for (transport, template) in [
        ("protocol=\"udp\"", traditional),
        ("protocol=\"udp\"", new),
        ("protocol=\"tcp\" tcp_framing=\"traditional\"", traditional),
        ("protocol=\"tcp\" tcp_framing=\"traditional\"", new),
        (
            "protocol=\"tcp\" tcp_framing=\"octet-counted\"",
            traditional,
        ),
        ("protocol=\"tcp\" tcp_framing=\"octet-counted\"", new),
        ("protocol=\"tcp\"", "template=\"RSYSLOG_ForwardFormat\""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (folder, file) = (folder.path(), folder.path().join("rsyslog.conf"));
        let socket = folder.join("log");
        let Some(mut rsyslog) = program("rsyslogd", "rsyslog") else {
            return;
        };
        let Some((started, port)) = start() else {
            return;
        };
        let config = format!(
            "global(workDirectory={folder:?} localHostname=\"{HOST}\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket={socket:?} useSpecialParser=\"off\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" {transport} {template})\n"
        );
        std::fs::write(&file, config).unwrap();
        rsyslog.arg("-n").arg("-f").arg(&file);
        rsyslog.arg("-i").arg(folder.join("rsyslog.pid"));
        assert_relayed(rsyslog, &socket, started, |_| String::new());
    }
}

/// Returns a command of syslog-ng. On a machine with another syslog daemon it cannot be installed, so
/// scripts/senders.sh unpacks it.
fn syslog_ng() -> Option<Command> {
    let unpacked = root().join("target/senders/syslog-ng/root");
    if !unpacked.exists() {
        return program("syslog-ng", "syslog-ng-core");
    }
    let modules = folders_of(&unpacked.join("usr/lib/syslog-ng"));
    let libraries = ["lib", "usr/lib"].map(|folder| folders_of(&unpacked.join(folder)));
    let mut command = Command::new(unpacked.join("usr/sbin/syslog-ng"));
    command
        .env(
            "LD_LIBRARY_PATH",
            std::env::join_paths(libraries.iter().flatten()).unwrap(),
        )
        .arg("--module-path")
        .arg(&modules[0]);
    Some(command)
}

/// Returns the folders in a folder.
fn folders_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

#[test]
fn syslog_ng_arrives() {
    for (driver, transport) in [
        ("network", "udp"),
        ("syslog", "udp"),
        ("network", "tcp"),
        ("syslog", "tcp"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (folder, file) = (folder.path(), folder.path().join("syslog-ng.conf"));
        let socket = folder.join("log");
        let Some(mut syslog_ng) = syslog_ng() else {
            return;
        };
        let Some((started, port)) = start() else {
            return;
        };
        let config = format!(
            "@version: 3.35\n\
             options {{ use-dns(no); dns-cache(no); }};\n\
             source in {{ unix-dgram({socket:?} host-override(\"{HOST}\")); }};\n\
             destination out {{ {driver}(\"127.0.0.1\" port({port}) transport(\"{transport}\")); }};\n\
             log {{ source(in); destination(out); }};\n"
        );
        std::fs::write(&file, config).unwrap();
        syslog_ng.args(["--foreground", "--no-caps"]);
        for (option, name) in [("-p", "pid"), ("-c", "control"), ("-R", "persist")] {
            syslog_ng.arg(option).arg(folder.join(name));
        }
        syslog_ng.arg("-f").arg(&file).stderr(Stdio::null());
        assert_relayed(syslog_ng, &socket, started, |number| match driver {
            "syslog" => format!(" meta.sequenceId:{number}"),
            _ => String::new(),
        });
    }
}
