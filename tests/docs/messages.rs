//! docs/troubleshooting.md quotes messages: each exists in the sources, and each message that requires action of a user
//! is quoted.
//!
//! A quoted message shows variable parts as `…`, which are `{}` in the format strings of the sources.

use crate::page;

/// Returns the string literals of all sources except for tests, with variable parts as `…`, and their file.
fn texts(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    page::walk(&page::root().join(folder), &mut |path| {
        let path = path.strip_prefix(page::root()).unwrap();
        if path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
        {
            return;
        }
        let source = page::read(path.to_str().unwrap());
        // The rest of the file from a module of tests on; one in a file of its own is no end.
        let end = source.match_indices("#[cfg(test)]\n").find(|(at, mark)| {
            let mut lines = source[at + mark.len()..].lines();
            let item = lines.find(|line| !line.starts_with("#["));
            item.is_some_and(|line| {
                line.trim_start_matches("pub ").starts_with("mod ") && line.ends_with('{')
            })
        });
        let source = end.map_or(&*source, |(at, _)| &source[..at]).to_owned();
        let name = path.display().to_string();
        found.extend(literals(&source).into_iter().map(|t| (name.clone(), t)));
    });
    assert!(!found.is_empty());
    found
}

/// Returns string literals with continued lines joined. Comments are skipped; a quote as a character literal is no end.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let source: Vec<&str> = source.lines().filter(|line| !is_comment(line)).collect();
    let source = source.join("\n").replace("'\"'", "'q'");
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '"' {
            continue;
        }
        let mut text = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => match chars.next() {
                    Some('\n') => {
                        while chars.peek().is_some_and(|c| c.is_whitespace()) {
                            chars.next();
                        }
                    }
                    Some('n') => text.push('\n'),
                    Some(other) => text.push(other),
                    None => {}
                },
                c => text.push(c),
            }
        }
        found.push(blanked(&text));
    }
    found
}

/// Replaces variable parts by `…`.
fn blanked(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        result.push_str(before);
        match behind.split_once('}') {
            // The text of a table or an object, no placeholder.
            Some((name, after)) if !name.contains([' ', '"']) => {
                result.push('…');
                rest = after;
            }
            _ => {
                result.push('{');
                rest = behind;
            }
        }
    }
    result + rest
}

/// Returns the messages that the page quotes: the first cells of its tables.
fn quoted() -> Vec<String> {
    let text = page::read("docs/troubleshooting.md");
    let rows = page::rows(&text);
    let cells = rows
        .iter()
        .flat_map(|row| page::code(&row[0]).into_iter().map(str::to_owned));
    let quoted: Vec<String> = cells.collect();
    assert!(quoted.len() > 50);
    quoted
}

#[test]
fn quoted_messages_exist_in_the_sources() {
    let folders = [
        "src",
        "crates/core/src",
        "crates/protocol/src",
        "crates/client/src",
        "crates/poller/src",
        "crates/listener/src",
        "crates/agg/src",
    ];
    let all: Vec<String> = folders
        .iter()
        .flat_map(|folder| texts(folder))
        .map(|(_, text)| text)
        .collect();
    let mut quoted = quoted();
    quoted.retain(|message| !all.iter().any(|text| text.contains(message)));
    assert!(quoted.is_empty(), "no source has {quoted:#?}");
}

#[test]
fn every_rejection_of_a_command_is_listed() {
    let (quoted, mut missing) = (quoted(), Vec::new());
    // Messages of parsers and limits, except for single words and usages.
    for folder in [
        "crates/core/src/command",
        "src/commands",
        "src/data_type.rs",
    ] {
        let found = match folder.ends_with(".rs") {
            false => texts(folder),
            true => {
                let source = std::fs::read_to_string(page::root().join(folder)).unwrap();
                let texts = literals(&source);
                texts.into_iter().map(|t| (folder.to_owned(), t)).collect()
            }
        };
        for (file, text) in found {
            let is_message = text.starts_with("ERR ")
                || ["invalid ", "unknown ", "unexpected ", "cannot "]
                    .iter()
                    .any(|word| text.starts_with(word))
                || [
                    " is ",
                    " are ",
                    " has ",
                    " takes ",
                    " looks like ",
                    " must ",
                    " requires ",
                    " reached",
                    " given",
                ]
                .iter()
                .any(|word| text.contains(word));
            let is_docs = text == "ERR …: "
                || text.contains("O(")
                || text.ends_with('.')
                || text.contains('|');
            if is_message && !is_docs {
                check(&quoted, &file, &text, &mut missing);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/troubleshooting.md: {missing:#?}"
    );
}

#[test]
fn every_connection_and_file_error_is_listed() {
    let (quoted, mut missing) = (quoted(), Vec::new());
    for folder in [
        "crates/client/src",
        "crates/agg/src/pipe",
        "crates/agg/src/drain",
    ] {
        for (file, text) in texts(folder) {
            let is_message = [
                "cannot ",
                " rejects ",
                "refused",
                " wants ",
                "does not ",
                "no answer",
            ]
            .iter()
            .any(|word| text.contains(word));
            // Help, which clap shows.
            let is_help = text.contains('\n');
            // A field of a reply.
            let is_field = !text.contains(' ');
            if is_message && !is_help && !is_field {
                check(&quoted, &file, &text, &mut missing);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/troubleshooting.md: {missing:#?}"
    );
}

#[test]
fn every_configuration_and_discovery_error_is_listed() {
    let (quoted, mut missing) = (quoted(), Vec::new());
    for folder in [
        "crates/poller/src",
        "crates/listener/src/config",
        "crates/listener/src/listen",
        "crates/listener/src/net",
        "crates/listener/src/endpoint",
        "crates/agg/src/listen",
        "crates/client/src/discovery",
        "crates/agg/src/scan",
        "crates/agg/src/host",
    ] {
        for (file, text) in texts(folder) {
            let is_message = [
                "expected ",
                "cannot ",
                " rejects ",
                " takes no ",
                " is not ",
                " has no ",
            ]
            .iter()
            .any(|word| text.contains(word));
            // The status page and the metrics describe states; help is that of clap.
            let is_other =
                file.contains("/web/") || text.contains('\n') || file.ends_with("live.rs");
            if is_message && !is_other {
                check(&quoted, &file, &text, &mut missing);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/troubleshooting.md: {missing:#?}"
    );
}

/// The sources of each protocol of agg listen, and the page that lists why its input is not used.
const REASONS: [(&str, &[&str]); 7] = [
    ("docs/listen/statsd.md", &["statsd"]),
    ("docs/listen/graphite.md", &["graphite.rs"]),
    ("docs/listen/opentelemetry.md", &["otlp"]),
    ("docs/listen/syslog.md", &["syslog", "endpoint/syslog.rs"]),
    ("docs/listen/influxdb.md", &["influx"]),
    ("docs/listen/prometheus.md", &["prometheus"]),
    (
        "docs/agg-listen.md",
        &["collector.rs", "identity/series.rs"],
    ),
];

/// Returns the constants that a source passes on as the reason of an error, or of input that is not used.
fn reasons(source: &str) -> Vec<String> {
    let end = source.find("#[cfg(test)]\nmod ").unwrap_or(source.len());
    let source = &source[..end];
    let mut found = Vec::new();
    for start in ["Err(", "ok_or(", "invalid(", "reject("] {
        for (at, _) in source.match_indices(start) {
            let behind = source[at + start.len()..].trim_start();
            let text = behind.strip_prefix('"').and_then(|t| t.split_once('"'));
            found.extend(text.map(|(text, _)| text.to_owned()));
        }
    }
    found
}

#[test]
fn every_reason_of_unused_input_is_on_the_page_of_its_protocol() {
    let listener = page::root().join("crates/listener/src");
    let mut missing = Vec::new();
    for (page, sources) in REASONS {
        let text = page::read(page);
        let mut count = 0;
        let mut look = |path: &std::path::Path| {
            let is_test = path.iter().any(|p| p == "tests" || p == "tests.rs");
            let source = std::fs::read_to_string(path).unwrap();
            for reason in reasons(&source).into_iter().filter(|_| !is_test) {
                count += 1;
                if !text.contains(&format!("`{reason}`")) {
                    missing.push(format!("{page}: {reason} of {}", path.display()));
                }
            }
        };
        for source in sources {
            let path = listener.join(source);
            match path.is_dir() {
                true => page::walk(&path, &mut look),
                false => look(&path),
            }
        }
        assert!(count > 0, "{page}");
    }
    assert!(missing.is_empty(), "not on these pages: {missing:#?}");
}

/// Records a message that the page lacks.
fn check(quoted: &[String], file: &str, text: &str, missing: &mut Vec<String>) {
    if !quoted.iter().any(|q| text.contains(q.as_str())) {
        missing.push(format!("{file}: {text}"));
    }
}
