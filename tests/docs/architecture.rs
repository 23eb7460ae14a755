//! docs/architecture.md: its counts, and the files and functions that it names, are those of the sources.

use crate::page;

#[test]
fn way_of_a_sample_names_the_functions_of_its_files() {
    let text = page::read("docs/architecture.md");
    let section = page::section(&text, "## The way of a sample");
    let rows = page::rows(section);
    assert!(section.contains(&format!("through {} files", rows.len())));
    for row in rows {
        let [_, file, step] = &row[..] else {
            panic!("{row:?}");
        };
        let source = page::read(file.trim_matches('`'));
        for name in page::code(step) {
            // A setting is named as users write it.
            let name = name.strip_prefix("agg.").unwrap_or(name).replace('-', "_");
            let name = name.rsplit("::").next().unwrap();
            assert!(source.contains(name), "{name} is not in {file}");
        }
    }
}

#[test]
fn files_of_the_page_exist() {
    let text = page::read("docs/architecture.md");
    // Blocks contain single backticks.
    let outside: String = text.split("```").step_by(2).collect();
    let mut named = 0;
    for path in page::code(&outside) {
        let is_path = path.contains('/') && !path.contains([' ', '-', ':']);
        if is_path && (path.ends_with(".rs") || path.ends_with('/')) {
            assert!(page::root().join(path).exists(), "{path} is missing");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
}

#[test]
fn functions_of_the_module_api_are_counted() {
    let source = page::read("src/ffi/raw.rs");
    let (_, declared) = source.split_once("\nfunctions! {").unwrap();
    let (declared, _) = declared.split_once("\n}").unwrap();
    let is_function =
        |line: &&str| line.trim_start().starts_with("RedisModule_") && line.contains(": fn(");
    let count = declared.lines().filter(is_function).count();
    let text = page::read("docs/architecture.md");
    assert!(
        text.contains(&format!("(`src/ffi/raw.rs`): {count} of its functions")),
        "{count}"
    );
    assert!(
        source.contains(&format!("uses {count} of the API's")),
        "{count}"
    );
}
