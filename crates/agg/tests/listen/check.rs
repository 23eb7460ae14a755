//! The configuration is checked before anything is opened.

use crate::support::{agg, err};

/// Runs `agg listen`. Returns the exit code and what it wrote to standard error.
fn listen(arguments: &str) -> (Option<i32>, String) {
    let url = "redis://127.0.0.1:1";
    let output = agg(url, &format!("listen {arguments}")).output().unwrap();
    (output.status.code(), err(&output))
}

#[test]
fn check_names_the_protocols_or_the_error() {
    let (code, text) = listen("--check");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.ends_with("configuration valid: statsd, otlp, syslog\n"),
        "{text}"
    );
    let (code, text) = listen("--check --statsd 127.0.0.1:1 --syslog 127.0.0.1:1");
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.ends_with("127.0.0.1:1 is in [statsd] and in [syslog]\n"),
        "{text}"
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("listen.toml");
    std::fs::write(&path, "[statsd]\n[otlp]\n").unwrap();
    let file = format!("--config {}", path.display());
    let (code, text) = listen(&format!("--check {file}"));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.ends_with("listen.toml: configuration valid: statsd, otlp\n"),
        "{text}"
    );
    std::fs::write(&path, "[statsd]\nport = 1\n").unwrap();
    for check in ["--check ", ""] {
        let (code, text) = listen(&format!("{check}{file}"));
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains("listen.toml:2:1: unknown field `port`"),
            "{text}"
        );
    }
}

#[test]
fn arguments_that_a_file_replaces_are_rejected() {
    for argument in [
        "--statsd 127.0.0.1:0",
        "--tag a:b",
        "--errors-from ERROR",
        "--listen 127.0.0.1:0",
    ] {
        let (code, text) = listen(&format!("--config listen.toml {argument}"));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("cannot be used with"), "{text}");
    }
}

#[test]
fn example_and_packaged_configurations_are_valid() {
    for path in ["examples/listen.toml", "../../packaging/agg/listen.toml"] {
        let root = env!("CARGO_MANIFEST_DIR");
        let (code, text) = listen(&format!("--check --config {root}/{path}"));
        assert_eq!(code, Some(0), "{text}");
    }
}

#[test]
fn every_setting_of_the_example_is_valid_without_its_comment() {
    let root = env!("CARGO_MANIFEST_DIR");
    let example = std::fs::read_to_string(format!("{root}/examples/listen.toml")).unwrap();
    let shown = example.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("listen.toml");
    std::fs::write(&path, shown.collect::<Vec<_>>().join("\n")).unwrap();
    let (code, text) = listen(&format!("--check --config {}", path.display()));
    assert_eq!(code, Some(0), "{text}");
}
