//! `agg drain --to-file` and `agg load`: records drained to a file are loaded into another sink later.

use std::collections::BTreeSet;
use std::io::Write;

use crate::support::influx::InfluxDb;
use crate::support::place::{Id, Place, VERSION_1, influx, left, log, names, until_empty, windows};
use crate::support::{Server, agg, err, run};

const TO_FILE: &str = r#"
[[source]]
urls = ["redis://127.0.0.1:1"]
[[route]]
queues = ["LOG", "MIN"]
exclude = ["other"]
sinks = ["out"]
[sink.out]
type = "file"
path = "{dir}/out"
"#;

fn load(place: &Place, files: &[&str]) -> std::process::Output {
    let mut command = place.command("load");
    command.args(files.iter().map(|name| match *name {
        "-" => "-".into(),
        name => place.path(name),
    }));
    command.output().unwrap()
}

#[test]
fn records_drained_to_a_file_are_loaded_into_a_sink() {
    let Some(server) = Server::start() else {
        return;
    };
    let all = log(&server, &["n1", "n2"], 5000, "x");
    let more = log(&server, &["other"], 500, "y");
    let place = Place::new(TO_FILE);
    let records = place.path("records");
    let line = format!("drain --to-file {}", records.display());
    let drained = run(&server.url(), &line, b"");
    assert_eq!(drained.status.code(), Some(0), "{}", err(&drained));
    assert!(drained.stdout.is_empty());
    assert_eq!(left(&server, &["n1", "n2", "other"], "LOG"), 0);
    assert_eq!(place.ids("records").len(), all.len() + more.len());

    // With any compression. Records that are loaded twice are written twice, under the same ids.
    let text = std::fs::read(&records).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    std::fs::write(place.path("gz"), gzip.finish().unwrap()).unwrap();
    std::fs::write(place.path("zst"), zstd::encode_all(&text[..], 0).unwrap()).unwrap();
    for (round, file) in ["records", "gz", "zst"].into_iter().enumerate() {
        let output = load(&place, &[file]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert_eq!(
            err(&output),
            "agg: sink out: 10,000 records stored, 0 dead letters\n\
             agg: 10,500 records read, 500 matched no route, 0 invalid lines\n"
        );
        let ids = place.ids("out");
        assert_eq!(ids.len(), (round + 1) * all.len());
        assert_eq!(ids.into_iter().collect::<BTreeSet<Id>>(), all);
    }
}

#[test]
fn invalid_records_are_reported_and_stop_nothing() {
    let place = Place::new(TO_FILE);
    let record = |id| format!(r#"{{"node":"n","queue":"LOG","id":{id},"message":"x"}}"#);
    let letter = format!(
        r#"{{"id":3,"node":"n","queue":"LOG","reason":"r","sink":"s","record":{}}}"#,
        record(3)
    );
    let text = format!("{}\n\nno\n[1]\n{}\n{{}}\n{letter}", record(1), record(2));
    std::fs::write(place.path("in"), text).unwrap();
    let output = load(&place, &["in"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    let file = place.path("in");
    for line in [3, 4, 6] {
        let start = format!("agg: {}:{line}: not a record: ", file.display());
        assert!(said.contains(&start), "{said}");
    }
    assert!(said.ends_with("3 records read, 0 matched no route, 3 invalid lines\n"));
    assert_eq!(place.lines("out"), [record(1), record(2), record(3)]);

    let missing = load(&place, &["nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("cannot read "), "{}", err(&missing));
    let bad = agg("redis://unused", "load x --config /nonexistent")
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(2));
}

#[test]
fn windows_stored_as_json_become_points() {
    let (Some(server), Some(database)) = (Server::start(), InfluxDb::start()) else {
        return;
    };
    let count = windows(&server, "n1", &names(50));
    let line = "drain --queue MIN";
    let drained = run(&server.url(), line, b"");
    until_empty(&server, &["n1"], "MIN");
    database.query("CREATE DATABASE grid");
    let sink = influx(&database.url(), VERSION_1);
    let place = Place::new(&format!(
        "[[source]]\nurls = [\"redis://127.0.0.1:1\"]\n{sink}"
    ));
    std::fs::write(place.path("in"), &drained.stdout).unwrap();
    assert_eq!(
        drained.stdout.split(|byte| *byte == b'\n').count(),
        count + 1
    );
    let output = load(&place, &["in"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let rows = database.query("SELECT * FROM /.*/");
    assert_eq!(rows.len(), count);
}

#[test]
fn unwritable_file_leaves_the_records_in_their_queues() {
    let Some(server) = Server::start() else {
        return;
    };
    log(&server, &["n1"], 500, "x");
    let output = run(&server.url(), "drain --to-file /nonexistent/x", b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("cannot write /nonexistent/x: "),
        "{}",
        err(&output)
    );
    assert_eq!(left(&server, &["n1"], "LOG"), 500);
}

#[test]
fn file_that_a_sink_appends_to_is_read_up_to_its_initial_end() {
    let place = Place::new(TO_FILE);
    let record = |id| format!(r#"{{"node":"n","queue":"LOG","id":{id},"message":"x"}}"#);
    let text: Vec<String> = (0..5000).map(record).collect();
    std::fs::write(place.path("out"), text.join("\n") + "\n").unwrap();
    let output = load(&place, &["out"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(place.lines("out").len(), 10_000);
}

#[test]
fn readable_part_of_a_damaged_file_is_loaded() {
    let place = Place::new(TO_FILE);
    let record = |id: u64| {
        // Noise, which compression does not shrink.
        let noise = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{{\"node\":\"n\",\"queue\":\"LOG\",\"id\":{id},\"message\":\"{noise}\"}}\n")
    };
    let text: String = (0..5000).map(record).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    std::fs::write(place.path("in"), &whole[..whole.len() / 2]).unwrap();
    let output = load(&place, &["in"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("cannot read "), "{}", err(&output));
    assert!(place.lines("out").len() > 1000, "{}", err(&output));
}

#[test]
fn dead_letter_in_line_protocol_goes_to_a_line_sink() {
    let lines = TO_FILE.replace("queues = [\"LOG\", \"MIN\"]", "queues = [\"MIN\"]");
    let place = Place::new(&format!("{lines}format = \"line\"\n"));
    let letter = r#"{"id":3,"line":"m a=1 1","node":"n","queue":"MIN","reason":"r","sink":"s"}"#;
    std::fs::write(place.path("in"), letter).unwrap();
    let output = load(&place, &["in"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(place.lines("out"), ["m a=1 1"]);
}

/// Neither of the two commands that write to sinks accepts a closed output.
#[test]
fn sink_with_a_closed_output_accepts_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let all = log(&server, &["n1"], 500, "x");
    let settings = TO_FILE
        .replace("type = \"file\"\npath = \"{dir}/out\"", "type = \"stdout\"")
        .replace("redis://127.0.0.1:1", &server.url());
    let place = Place::new(&settings);
    for verb in ["poll", "load records"] {
        std::fs::write(place.path("records"), "").unwrap();
        let (verb, file) = verb.split_once(' ').unwrap_or((verb, ""));
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                "cd \"$1\" && exec \"$0\" $2 --config poller.toml $3 >&-",
            ])
            .args([
                env!("CARGO_BIN_EXE_agg").as_ref(),
                place.path("").as_os_str(),
            ])
            .args([verb, file])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{verb}: {}", err(&output));
        assert!(
            err(&output).contains("standard output is closed"),
            "{}",
            err(&output)
        );
    }
    assert_eq!(left(&server, &["n1"], "LOG"), all.len() as i64);
}
