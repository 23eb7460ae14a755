//! Targets of Prometheus that do not answer, and reloads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::{Listener, Server, number, until};

/// A target whose histogram has one value more at each scrape. It stands for programs whose scrapes have to be counted.
struct Target {
    address: SocketAddr,
    scrapes: Arc<AtomicU64>,
}

impl Target {
    fn start() -> Target {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, scrapes) = (socket.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let count = scrapes.clone();
        std::thread::spawn(move || {
            for mut stream in socket.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let n = count.fetch_add(1, Ordering::Relaxed) + 1;
                let body = format!(
                    "# TYPE t histogram\nt_bucket{{le=\"1\"}} {n}\nt_bucket{{le=\"+Inf\"}} {n}\nt_sum {n}\nt_count {n}\n"
                );
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
                let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Target { address, scrapes }
    }

    fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::Relaxed)
    }
}

#[test]
fn targets_that_do_not_answer_keep_no_place_from_others() {
    let Some(server) = Server::start() else {
        return;
    };
    // Connections wait in its queue.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let target = Target::start();
    let config = format!(
        "[prometheus]\ninterval = \"1s\"\n[[prometheus.job]]\nname = \"good\"\ntargets = [\"{}\"]\n\
         [[prometheus.job]]\nname = \"silent\"\nfile-sd = \"FILE\"\n",
        target.address
    );
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("targets.json");
    let groups: Vec<String> = (0..600)
        .map(|i| format!(r#"{{"targets":["{silent}"],"labels":{{"__metrics_path__":"/{i}"}}}}"#))
        .collect();
    std::fs::write(&list, format!("[{}]", groups.join(","))).unwrap();
    let config = config.replace("FILE", list.to_str().unwrap());
    let listener = Listener::start(&server.url(), &config);
    until("silent targets are noticed", || {
        let status = listener.status();
        let targets = status["targets"].as_object().unwrap();
        let failed = targets.values().filter(|error| !error.is_null()).count();
        (failed >= 100).then_some(())
    });
    let before = (target.scrapes(), std::time::Instant::now());
    until("the target that answers is scraped", || {
        (target.scrapes() >= before.0 + 5).then_some(())
    });
    let took = before.1.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
}

#[test]
fn totals_outlive_a_reload() {
    let Some(server) = Server::start() else {
        return;
    };
    let (target, other) = (Target::start(), Target::start());
    let config = |more: &str| {
        format!(
            "flush-interval = \"20ms\"\n[prometheus]\ninterval = \"100ms\"\n[[prometheus.job]]\nname = \"a\"\n\
             targets = [\"{}\"{more}]\n",
            target.address
        )
    };
    let more = format!(", \"{}\"", other.address);
    let mut listener = Listener::start(&server.url(), &config(&more));
    until("both are scraped", || {
        (listener.status()["targets"].as_object().unwrap().len() == 2).then_some(())
    });
    for _ in 0..5 {
        let scraped = target.scrapes();
        listener.reload(&config(""));
        until("the target is scraped", || {
            (target.scrapes() > scraped + 3).then_some(())
        });
    }
    // Those of a target that is gone are not shown.
    let targets = listener.status()["targets"].clone();
    assert_eq!(targets.as_object().unwrap().len(), 1, "{targets}");
    listener.until_sent();
    assert_eq!(listener.end().unwrap(), 0);
    // The first scrape only begins, and the last may not have been answered.
    let metric = format!("t@instance={},job=a", target.address);
    let samples = number(&server, &metric, "samples") as u64;
    let scrapes = target.scrapes();
    assert!(
        (scrapes - 2..scrapes).contains(&samples),
        "{samples} of {scrapes}"
    );
}
