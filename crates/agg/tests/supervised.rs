//! The notifications that `agg poll` sends to systemd, received on a socket of the test; and signals at a poller that
//! is ending.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::place::{
    ALL_TO_FILE, Place, VERSION_1, influx, left, names, settings, windows,
};
use crate::support::stub::{Answer, Stub};
use crate::support::{Running, Server, of_queue, until};

/// The socket that receives the notifications of the poller.
struct Ear(UnixDatagram);

impl Ear {
    /// Binds the socket in a directory.
    fn bind(place: &Place) -> Ear {
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        let limit = Some(Duration::from_secs(300));
        socket.set_read_timeout(limit).unwrap();
        Ear(socket)
    }

    /// Starts the poller of the directory, which notifies the socket.
    fn start(place: &Place) -> Running {
        let mut command = place.command("poll");
        Running::start(command.env("NOTIFY_SOCKET", place.path("notify")))
    }

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
    let ear = Ear::bind(&place);
    let mut running = Ear::start(&place);
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
fn second_signal_abandons_a_sink_that_hangs() {
    let Some(server) = Server::start() else {
        return;
    };
    let count = windows(&server, "n1", &names(50));
    let stub = Stub::start(|_, _| -> Answer {
        std::thread::sleep(Duration::from_secs(600));
        (204, "", String::new())
    });
    let text = settings(&server, &influx(&stub.url, VERSION_1));
    let patient = "lease = \"1h\"\nshutdown-grace = \"5m\"";
    let place = Place::new(&text.replace("lease = \"1s\"", patient));
    let ear = Ear::bind(&place);
    let mut running = Ear::start(&place);
    assert_eq!(ear.next("READY=1"), "READY=1\n");
    until("the sink is asked", || stub.requests().first().cloned());

    // The first lets the sink finish.
    running.signal("TERM");
    let stopping = ear.next("STOPPING=1");
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(running.0.try_wait().unwrap(), None);

    // The second does not: far less than the grace period passes, and nothing is acknowledged or returned.
    assert_eq!(running.end_by("TERM").code(), Some(130));
    assert_eq!(left(&server, &["n1"], "MIN") as usize, count);
    assert_eq!(of_queue(&server, "n1", "MIN", "leased") as usize, count);
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
