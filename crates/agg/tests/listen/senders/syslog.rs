//! Programs that send syslog.

use std::path::Path;
use std::process::Command;

use super::{program, run};
use crate::listen::contents::expect;
use crate::listen::*;
use crate::support::{Running, until};

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

/// Runs rsyslog in a folder, passes messages of `logger` to it, and ends it; `None` if it is missing.
fn send_by_rsyslog(folder: &Path, action: &str) -> Option<()> {
    let socket = folder.join("log");
    let config = format!(
        "global(workDirectory={folder:?} localHostname=\"web1\")\n\
         module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" Socket={socket:?} useSpecialParser=\"off\")\n\
         action(type=\"omfwd\" target=\"127.0.0.1\" {action})\n"
    );
    let file = folder.join("rsyslog.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = program("rsyslogd", "rsyslog")?;
    let mut running = Running::start(
        command
            .arg("-n")
            .arg("-f")
            .arg(&file)
            .arg("-i")
            .arg(folder.join("rsyslog.pid")),
    );
    until("rsyslog's socket", || socket.exists().then_some(()));
    for (priority, id, message) in [
        ("local0.notice", "--id=4711", "order 17: größe [x] \"paid\""),
        ("daemon.err", "--id=12", "no answer from 10.0.0.7"),
        ("daemon.err", "--id=12", "no answer from 10.0.0.8"),
        ("cron.debug", "--id=1", "-"),
    ] {
        let mut logger = program("logger", "bsdutils")?;
        logger.arg("--socket").arg(&socket);
        run(logger.args(["--tag", "shop", "--priority", priority, id, "--", message]));
    }
    assert_eq!(running.end_by("TERM").code(), Some(0));
    Some(())
}

#[test]
fn rsyslog_arrives() {
    for action in [
        "protocol=\"udp\" template=\"RSYSLOG_TraditionalForwardFormat\"",
        "protocol=\"udp\" template=\"RSYSLOG_SyslogProtocol23Format\"",
        "protocol=\"tcp\" template=\"RSYSLOG_TraditionalForwardFormat\" tcp_framing=\"traditional\"",
        "protocol=\"tcp\" template=\"RSYSLOG_SyslogProtocol23Format\" tcp_framing=\"traditional\"",
        "protocol=\"tcp\" template=\"RSYSLOG_TraditionalForwardFormat\" tcp_framing=\"octet-counted\"",
        "protocol=\"tcp\" template=\"RSYSLOG_SyslogProtocol23Format\" tcp_framing=\"octet-counted\"",
        "protocol=\"tcp\" template=\"RSYSLOG_ForwardFormat\" tcp_framing=\"octet-counted\"",
    ] {
        let Some(server) = server() else {
            return;
        };
        let listener = Listener::start(&server.url(), "--errors-from ERROR");
        let port = listener.address("syslog", "TCP").port();
        let folder = tempfile::tempdir().unwrap();
        if send_by_rsyslog(folder.path(), &format!("port=\"{port}\" {action}")).is_none() {
            return;
        }
        let tags =
            |facility: &str, pid: u32| format!("app:shop facility:{facility} host:web1 pid:{pid}");
        let daemon = tags("daemon", 12);
        // In this format rsyslog writes the blank after the tag of RFC 3164 as a part of the message.
        let blank = if action.contains("Protocol23") {
            " "
        } else {
            ""
        };
        let expected = [
            format!(
                "LOG NOTICE {blank}order 17: größe [x] \"paid\" | {}",
                tags("local0", 4711)
            ),
            format!("LOG ERROR {blank}no answer from 10.0.0.7 | {daemon}"),
            format!("LOG ERROR {blank}no answer from 10.0.0.8 | {daemon}"),
            format!("ERROR 2 no answer from <*> | {daemon}"),
            format!("LOG DEBUG {blank}- | {}", tags("cron", 1)),
        ];
        expect(
            &server,
            listener,
            &expected.each_ref().map(String::as_str),
            &[],
        );
    }
}
