//! What `agg poll` tells systemd, received on a socket of the test.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::place::{Place, settings};
use crate::support::{Running, Server, until};

const ALL_TO_FILE: &str = r#"
[[route]]
queues = ["MIN"]
sinks = ["out"]
[sink.out]
type = "file"
path = "{dir}/out"
"#;

/// The socket that receives the notifications of the poller.
struct Ear(UnixDatagram);

impl Ear {
    /// Returns the next notification, without those of status and watchdog unless they are requested.
    fn next(&self, wanted: &str) -> String {
        until(wanted, || {
            let mut words = [0; 4096];
            let size = self.0.recv(&mut words).unwrap();
            let words = String::from_utf8(words[..size].to_vec()).unwrap();
            let chatter = words.starts_with("STATUS=") || words == "WATCHDOG=1\n";
            (!chatter || words.starts_with(wanted)).then_some(words)
        })
    }
}

#[test]
fn systemd_is_notified_of_readiness_status_reload_and_shutdown() {
    let Some(server) = Server::start() else {
        return;
    };
    let place = Place::new(&settings(&server, ALL_TO_FILE));
    let ear = Ear(UnixDatagram::bind(place.path("notify")).unwrap());
    ear.0
        .set_read_timeout(Some(Duration::from_secs(300)))
        .unwrap();
    let mut command = place.command("poll");
    command.env("NOTIFY_SOCKET", place.path("notify"));
    let mut running = Running::start(&mut command);
    assert_eq!(ear.next("READY=1"), "READY=1\n");
    assert_eq!(ear.next("WATCHDOG=1"), "WATCHDOG=1\n");
    // The first may describe the state before the servers were known.
    let mut notified = (0..1000).map(|_| ear.next("STATUS="));
    assert!(notified.any(|status| status.contains(" of 1 server up, ")));

    running.signal("HUP");
    let reloading = ear.next("RELOADING=1");
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time: u64 = time.unwrap().trim_end().parse().unwrap();
    assert!(time > 0);
    assert_eq!(ear.next("READY=1"), "READY=1\n");
    place.write("nonsense");
    assert!(ear.next("RELOADING=1").starts_with("RELOADING=1\n"));
    assert_eq!(ear.next("READY=1"), "READY=1\n");

    assert_eq!(running.end_by("TERM").code(), Some(0));
    let ending = ear.next("STOPPING=1");
    assert!(
        ending.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping"),
        "{ending}"
    );
}

#[test]
fn poller_works_without_systemd() {
    let Some(server) = Server::start() else {
        return;
    };
    let listen = "listen = \"127.0.0.1:0\"\n";
    let place = Place::new(&format!("{listen}{}", settings(&server, ALL_TO_FILE)));
    let mut command = place.command("poll");
    command.env("NOTIFY_SOCKET", place.path("nobody"));
    let mut running = Running::start(&mut command);
    let notified = running.errors().next().unwrap();
    assert!(notified.contains("status page listening on"), "{notified}");
    assert_eq!(running.end_by("TERM").code(), Some(0));
}
