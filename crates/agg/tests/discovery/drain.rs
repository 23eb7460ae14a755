//! `agg poll` drains fleets, clusters, Sentinel services and encrypted sources.

use std::collections::BTreeSet;

use super::*;

/// Returns settings with this source that drain logs into the file `out`.
fn poll(source: &str) -> Place {
    Place::new(&format!(
        "lease = \"2s\"\npoll-interval = \"100ms\"\n[[source]]\n{source}\n\
         [[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n\
         [sink.out]\ntype = \"file\"\npath = \"{{dir}}/out\"\n"
    ))
}

/// Returns the messages in the file, each once.
fn messages(place: &Place) -> BTreeSet<String> {
    let message = |line: String| {
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        record["message"].as_str().unwrap().to_owned()
    };
    place.lines("out").into_iter().map(message).collect()
}

fn until_all(place: &Place, expected: &BTreeSet<String>) {
    until("all is in the file", || {
        expected.is_subset(&messages(place)).then_some(())
    });
}

#[test]
fn poller_drains_a_fleet() {
    const COUNT: u8 = 100;
    let Some(fleet) = Fleet::start(COUNT) else {
        return;
    };
    let mut expected = BTreeSet::new();
    let mut tell = |round: &str| {
        for n in 1..=COUNT {
            let mut connection = redis::Client::open(fleet.url(n))
                .unwrap()
                .get_connection()
                .unwrap();
            let text = format!("{round}-{n}");
            let _: i64 = crate::support::ask(&mut connection, &format!("AGG.LOG node{n} {text}"));
            expected.insert(text);
        }
        expected.clone()
    };
    let all = tell("first");
    let port = fleet.port;
    let place = poll(&format!(
        "range = \"127.0.0.0/24\"\nport = {port}\nscan-interval = \"1s\""
    ));
    let mut running = place.start();
    until_all(&place, &all);
    let all = tell("second");
    until_all(&place, &all);
    assert_eq!(running.end_by("TERM").code(), Some(0));
    // Found once, each was drained by one.
    assert_eq!(place.lines("out").len(), 2 * usize::from(COUNT));
}

#[test]
fn poller_drains_a_cluster_through_a_failover() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    // Node names in the slots of the three primaries.
    let tell = |cluster: &Cluster, round: &str, without: Option<usize>| {
        let mut said = BTreeSet::new();
        for i in cluster.primaries(without) {
            for node in ["a", "b", "c"] {
                let text = format!("{round}-{node}");
                let words = [&b"AGG.LOG"[..], node.as_bytes(), text.as_bytes()];
                let mut connection = cluster.servers[i].connection();
                // Other servers than its primary reject it.
                if crate::support::send::<i64>(&mut connection, &words).is_ok() {
                    said.insert(text);
                }
            }
        }
        assert_eq!(said.len(), 3, "{said:?}");
        said
    };
    let seed = cluster.servers[0].url();
    let place = poll(&format!("cluster = [\"{seed}\"]"));
    let mut running = place.start();
    let all = tell(&cluster, "first", None);
    until_all(&place, &all);
    let victim = cluster.primaries(None)[0];
    cluster.servers[victim].stop();
    until("a replica takes over", || {
        (cluster.primaries(Some(victim)).len() == 3).then_some(())
    });
    let all = tell(&cluster, "second", Some(victim));
    until_all(&place, &all);
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn poller_drains_a_sentinel_service_through_a_failover() {
    let Some(mut watched) = Monitored::start() else {
        return;
    };
    let secrets = tempfile::tempdir().unwrap();
    let secret = |name: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, format!("{name}\n")).unwrap();
        path
    };
    let urls: Vec<String> = watched.sentinels.iter().map(Server::url).collect();
    let place = poll(&format!(
        "sentinel = {urls:?}\nservice = \"grid\"\npassword-file = {:?}\nsentinel-password-file = {:?}",
        secret("s3rver"),
        secret("s3ntinel")
    ));
    let tell = |server: &Server, text: &str| {
        let mut connection = server.connection_as("default", "s3rver");
        crate::support::send::<i64>(&mut connection, &[b"AGG.LOG", b"n", text.as_bytes()]).ok()
    };
    let mut running = place.start();
    tell(&watched.pair[0], "first").unwrap();
    until_all(&place, &BTreeSet::from(["first".into()]));
    watched.pair[0].stop();
    until("the other takes over", || tell(&watched.pair[1], "second"));
    until_all(&place, &BTreeSet::from(["second".into()]));
    assert_eq!(running.end_by("TERM").code(), Some(0));
}

#[test]
fn poller_drains_an_encrypted_source_as_a_user() {
    const NAME: &str = "node.example";
    let certs = Certs::new(NAME);
    let port = free_port();
    let arguments = certs.arguments(port);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(server) = Server::with_module(&arguments, "") else {
        return;
    };
    let () = server.ask(
        "ACL SETUSER drain on >s3cret ~* +agg.fetch +agg.ack +agg.nack +agg.extend +agg.info +scan +command \
         +ping +info",
    );
    let _: i64 = server.ask("AGG.LOG n hello");
    let password = certs.path("password");
    std::fs::write(&password, "s3cret").unwrap();
    let rest = format!(
        "user = \"drain\"\npassword-file = {password:?}\ntls-ca = {:?}\ntls-cert = {:?}\ntls-key = {:?}\n\
         tls-server-name = \"{NAME}\"",
        certs.path("ca.pem"),
        certs.path("client.pem"),
        certs.path("client.key")
    );
    for (round, source) in [
        ("hello", format!("urls = [\"rediss://127.0.0.1:{port}\"]")),
        (
            "again",
            format!("range = \"127.0.0.1\"\nport = {port}\ntls = true"),
        ),
    ] {
        let _: i64 = server.ask(&format!("AGG.LOG n {round}"));
        let place = poll(&format!("{source}\n{rest}"));
        let mut running = place.start();
        until_all(&place, &BTreeSet::from([round.into()]));
        assert_eq!(running.end_by("TERM").code(), Some(0));
    }
}
