//! The pages: their commands run, their links have targets, their code blocks are of known languages.

use crate::page::{self, NOT_RUN, PROMPT, pages};
use crate::readme::SESSIONS;
use crate::session::Session;
use testkit::*;

/// The pages whose commands run below.
const RUN: &[&str] = &[
    "docs/architecture.md",
    "docs/operations.md",
    "docs/migration.md",
    "docs/troubleshooting.md",
    "docs/monitoring.md",
    "docs/agg.md",
    "docs/agg-poll.md",
    "docs/agg-listen.md",
    "docs/agg-serve.md",
    "docs/listen/statsd.md",
    "docs/listen/graphite.md",
    "docs/listen/syslog.md",
    "docs/listen/opentelemetry.md",
    "docs/listen/influxdb.md",
    "docs/listen/prometheus.md",
    "docs/sinks/stdout.md",
    "docs/sinks/file.md",
    "docs/sinks/influxdb.md",
    "docs/sinks/prometheus.md",
    "docs/sinks/http.md",
    "docs/sinks/mongodb.md",
    "docs/sinks/opensearch.md",
    "docs/sinks/otlp.md",
    "docs/sinks/postgresql.md",
    "docs/sinks/redis-stream.md",
    "docs/sinks/aggregator.md",
    "docs/sinks/kafka.md",
];

fn run(page: &str) {
    let Some(server) = Server::start() else {
        return;
    };
    let Some(session) = Session::new(server.port) else {
        return;
    };
    // Samples without a time have to fall into one window.
    until("the window has some seconds left", || {
        let is_long_enough = 300_000 - now_ms() % 300_000 > 15_000;
        is_long_enough.then_some(())
    });
    session.run(page, &page::steps(&page::read(page)));
}

#[test]
fn commands_of_architecture_run() {
    run("docs/architecture.md");
}

#[test]
fn commands_of_agg_serve_run() {
    // Debian's package is optional for the tests.
    let output = std::process::Command::new("promtool")
        .arg("--version")
        .output();
    if output.is_err() {
        return missing("promtool").unwrap_or_default();
    }
    run("docs/agg-serve.md");
}

#[test]
fn commands_of_operations_run() {
    run("docs/operations.md");
}

#[test]
fn commands_of_migration_run() {
    run("docs/migration.md");
}

#[test]
fn commands_of_troubleshooting_run() {
    run("docs/troubleshooting.md");
}

#[test]
fn monitoring_runs() {
    // Debian's packages are optional for the tests.
    for (program, argument) in [("influxd", "version"), ("prometheus", "--version")] {
        let output = std::process::Command::new(program).arg(argument).output();
        if output.is_err() {
            return missing(program).unwrap_or_default();
        }
    }
    run("docs/monitoring.md");
}

#[test]
fn agg_runs() {
    run("docs/agg.md");
}

#[test]
fn agg_poll_runs() {
    run("docs/agg-poll.md");
}

#[test]
fn agg_listen_runs() {
    run("docs/agg-listen.md");
}

#[test]
fn listen_statsd_runs() {
    run("docs/listen/statsd.md");
}

#[test]
fn listen_graphite_runs() {
    run("docs/listen/graphite.md");
}

#[test]
fn listen_syslog_runs() {
    run("docs/listen/syslog.md");
}

#[test]
fn listen_opentelemetry_runs() {
    run("docs/listen/opentelemetry.md");
}

#[test]
fn listen_influxdb_runs() {
    run("docs/listen/influxdb.md");
}

#[test]
fn listen_prometheus_runs() {
    run("docs/listen/prometheus.md");
}

#[test]
fn sinks_run() {
    for page in RUN.iter().filter(|page| page.starts_with("docs/sinks/")) {
        run(page);
    }
}

#[test]
fn no_page_has_commands_that_do_not_run() {
    for name in pages() {
        let text = page::read(&name);
        let runs = RUN.contains(&name.as_str());
        assert_eq!(runs, !page::steps(&text).is_empty(), "{name}");
        let has_session = text.contains(&format!("\n{PROMPT}"));
        let runs = SESSIONS.iter().any(|(page, _)| *page == name);
        assert_eq!(runs, has_session, "{name}");
    }
}

#[test]
fn code_blocks_are_of_known_languages_and_few_are_not_run() {
    for name in pages() {
        let text = page::read(&name);
        let mut left_out = 0;
        for block in page::blocks(&text) {
            let place = format!("{name}:{}", block.line);
            assert!(
                ["sh", "console", "text"].contains(&block.language.as_str())
                    || block.text.starts_with(NOT_RUN),
                "{place}: a block of {:?} is not run and does not say so",
                block.language
            );
            left_out += usize::from(block.text.starts_with(NOT_RUN));
        }
        assert!(left_out <= 4, "{name}: {left_out} blocks are not run");
    }
}

#[test]
fn links_have_targets() {
    let others = ["README.md", "SECURITY.md", "docs/clients/README.md"];
    for name in pages().into_iter().chain(others.map(str::to_owned)) {
        let text = page::read(&name);
        let folder = page::root().join(&name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let (link, _) = link.split_once(')').unwrap();
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page::root().join(&name),
                path => folder.join(path),
            };
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let anchors: Vec<String> = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor_of)
                    .collect();
                assert!(
                    anchors.iter().any(|a| a == anchor),
                    "{name}: {link} names no heading: {anchors:?}"
                );
            }
        }
    }
}

/// Returns the anchor of a heading as GitHub makes it.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn map_of_files_names_existing_files() {
    let text = page::read("CONTRIBUTING.md");
    let makefile = page::read("Makefile");
    let mut files = Vec::new();
    for folder in ["crates", "src", "tests", "fuzz/src"] {
        page::walk(&page::root().join(folder), &mut |path| {
            files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        });
    }
    for row in page::rows(page::section(&text, "## Layout")) {
        for path in page::code(&row[0]) {
            assert!(page::root().join(path).exists(), "{path} is not there");
        }
        for name in page::code(&row[1]) {
            let is_there = page::root().join(name).exists()
                || files.iter().any(|file| file == name)
                || ["src", "crates/agg/src", "crates/poller/src"]
                    .iter()
                    .any(|folder| page::root().join(folder).join(name).exists());
            let is_target = name
                .strip_prefix("make ")
                .is_some_and(|target| makefile.contains(&format!("\n{target}:")));
            assert!(
                is_there || is_target || name == "unsafe",
                "{name} is not there"
            );
        }
    }
    for row in page::rows(page::section(&text, "## Build and test")) {
        for target in page::code(&row[0]) {
            if let Some(target) = target.strip_prefix("make ") {
                assert!(makefile.contains(&format!("\n{target}:")), "{target}");
            }
        }
    }
}

#[test]
fn every_page_is_in_the_index() {
    let index = page::read("docs/README.md");
    for page in pages() {
        let Some(name) = page.strip_prefix("docs/").filter(|n| *n != "README.md") else {
            continue;
        };
        assert!(
            index.contains(&format!("]({name})")),
            "{name} is not in docs/README.md"
        );
    }
}
