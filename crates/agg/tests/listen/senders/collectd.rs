//! collectd, with its plugin write_graphite.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use super::program;
use crate::listen::contents::{contents, expect};
use crate::listen::*;
use crate::support::{Running, now_ms, until};

/// A collectd in the foreground with its own configuration. It is given values through a socket.
struct Collectd {
    running: Running,
    stream: UnixStream,
}

impl Collectd {
    /// Starts it in a folder, with these lines about where to write to; `None` if it is missing.
    fn start(folder: &Path, node: &str) -> Option<Collectd> {
        let mut command = program("collectd", "collectd-core")?;
        let socket = folder.join("socket");
        let config = format!(
            "Hostname \"web1.example\"\n\
             FQDNLookup false\n\
             BaseDir {folder:?}\n\
             PIDFile \"{0}/collectd.pid\"\n\
             TypesDB \"/usr/share/collectd/types.db\"\n\
             Interval 3600\n\
             WriteThreads 1\n\
             LoadPlugin unixsock\n\
             LoadPlugin write_graphite\n\
             <Plugin unixsock>\nSocketFile {socket:?}\n</Plugin>\n\
             <Plugin write_graphite>\n<Node \"agg\">\n{node}\n</Node>\n</Plugin>\n",
            folder.display()
        );
        let file = folder.join("collectd.conf");
        std::fs::write(&file, config).unwrap();
        let running = Running::start(command.arg("-f").arg("-C").arg(&file).stderr(Stdio::null()));
        let stream = until("collectd's socket", || UnixStream::connect(&socket).ok());
        Some(Collectd { running, stream })
    }

    /// Sends a command and asserts that it succeeds.
    fn ask(&mut self, command: &str) {
        writeln!(self.stream, "{command}").unwrap();
        let mut answer = String::new();
        BufReader::new(&self.stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("0 "), "{command}: {answer}");
    }
}

/// Starts collectd, gives values to it, and compares what arrives.
fn assert_arrives(protocol: &str, options: &str, expected: &[&str]) {
    let Some(server) = server() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(&server.url(), "");
    let port = listener.address("graphite", "TCP").port();
    let node = format!(
        "Host \"127.0.0.1\"\nPort \"{port}\"\nProtocol \"{protocol}\"\nPrefix \"collectd.\"\n{options}"
    );
    let Some(mut collectd) = Collectd::start(folder.path(), &node) else {
        return;
    };
    let start = now_ms() / 1000 - 10;
    for i in 0..5 {
        for (what, values) in [
            ("load/load", format!("{i}:1.5:0.25")),
            ("cpu-0/cpu-idle", (100 * i).to_string()),
            // Unknown: it is sent as nan.
            ("df-root/df_complex-used", "U".to_owned()),
        ] {
            collectd.ask(&format!(
                "PUTVAL \"web1.example/{what}\" interval=1 {}:{values}",
                start + i
            ));
        }
    }
    let mut sorted: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
    sorted.sort();
    // A thread of its own takes the values, and one that ends without a connection sends none.
    until("the values", || {
        collectd.ask("FLUSH");
        (contents(&server) == sorted).then_some(())
    });
    assert_eq!(collectd.running.end_by("TERM").code(), Some(0));
    expect(&server, listener, expected, &["an invalid value"]);
}

#[test]
fn collectd_arrives_over_tcp() {
    let expected = [
        "collectd.web1_example.cpu-0.cpu-idle ABS count=5 sum=1000.0 min=0.0 max=400.0 last=400",
        "collectd.web1_example.load.load.shortterm ABS count=5 sum=10.0 min=0.0 max=4.0 last=4",
        "collectd.web1_example.load.load.midterm ABS count=5 sum=7.5 min=1.5 max=1.5 last=1.5",
        "collectd.web1_example.load.load.longterm ABS count=5 sum=1.25 min=0.25 max=0.25 last=0.25",
    ];
    assert_arrives("tcp", "StoreRates false", &expected);
}

#[test]
fn collectd_with_tags_arrives_over_udp() {
    let load = |name: &str, values: &str| {
        format!(
            "collectd.load.load.{name}@ds_name={name},host=web1.example,plugin=load,type=load ABS count=5 {values} | \
             ds_name:{name} host:web1.example plugin:load type:load"
        )
    };
    let expected = [
        "collectd.cpu.cpu@host=web1.example,plugin=cpu,plugin_instance=0,type=cpu,type_instance=idle ABS count=5 \
         sum=1000.0 min=0.0 max=400.0 last=400 | host:web1.example plugin:cpu plugin_instance:0 type:cpu \
         type_instance:idle"
            .to_owned(),
        load("shortterm", "sum=10.0 min=0.0 max=4.0 last=4"),
        load("midterm", "sum=7.5 min=1.5 max=1.5 last=1.5"),
        load("longterm", "sum=1.25 min=0.25 max=0.25 last=0.25"),
    ];
    let expected = expected.each_ref().map(String::as_str);
    assert_arrives("udp", "StoreRates false\nUseTags true", &expected);
}
