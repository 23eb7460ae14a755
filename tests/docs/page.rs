//! Parses a Markdown page into blocks and tables.

use std::path::{Path, PathBuf};

/// The first line of a block that cannot run.
pub const NOT_RUN: &str = "# not run by the tests: ";

/// How a session of redis-cli begins, which `readme.rs` runs.
pub const PROMPT: &str = "127.0.0.1:7777> ";

/// A fenced block.
pub struct Block {
    /// The language after the fence, as `sh`.
    pub language: String,
    /// The number of its first line, from 1.
    pub line: usize,
    pub text: String,
}

/// A command with its output, if that is shown.
pub struct Step {
    pub line: usize,
    pub command: String,
    pub shown: Option<String>,
}

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the pages that are tested here: those of docs/, docs/listen/ and docs/sinks/, and CONTRIBUTING.md.
pub fn pages() -> Vec<String> {
    let mut pages = vec!["CONTRIBUTING.md".to_owned()];
    for folder in ["docs", "docs/listen", "docs/sinks"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    pages
}

/// Returns the text of a page.
pub fn read(page: &str) -> String {
    let path: PathBuf = root().join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Returns the text below a heading, up to the next of its level or above.
pub fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let start = text
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{heading} is missing"))
        + heading.len()
        + 2;
    let mut at = start;
    let mut is_code = false;
    for line in text[start..].split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        let hashes = line.bytes().take_while(|b| *b == b'#').count();
        if !is_code && (1..=level).contains(&hashes) {
            break;
        }
        at += line.len();
    }
    &text[start..at]
}

/// Returns all fenced blocks.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (i, line) in text.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            is_open = !is_open;
            if is_open {
                blocks.push(Block {
                    language: language.to_owned(),
                    line: i + 2,
                    text: String::new(),
                });
            }
        } else if is_open && let Some(block) = blocks.last_mut() {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!is_open, "a block has no end");
    blocks
}

/// Returns the commands of the blocks that can run.
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks(text) {
        if block.text.starts_with(NOT_RUN) {
            continue;
        }
        match block.language.as_str() {
            "sh" => steps.push(Step {
                line: block.line,
                command: block.text,
                shown: None,
            }),
            "console" if block.text.starts_with(PROMPT) => {}
            "console" => steps.extend(session(&block)),
            _ => {}
        }
    }
    steps
}

fn session(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (i, line) in block.text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                line: block.line + i,
                command: format!("{command}\n"),
                shown: Some(String::new()),
            });
            continue;
        }
        let step = steps
            .last_mut()
            .unwrap_or_else(|| panic!("line {}: no command before {line}", block.line + i));
        let shown = step.shown.as_mut().unwrap();
        match line.strip_prefix("> ") {
            Some(more) if shown.is_empty() => step.command += &format!("{more}\n"),
            _ => *shown += &format!("{line}\n"),
        }
    }
    steps
}

/// Returns the rows of all tables as cells, without headers and rules.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let is_rule = |line: &str| line.starts_with("| -") || line.starts_with("|-");
        let is_head = lines.get(i + 1).is_some_and(|next| is_rule(next));
        if line.starts_with('|') && !is_head && !is_rule(line) {
            let line = line.trim().trim_matches('|').replace("\\|", "\0");
            let cells = line.split('|');
            rows.push(
                cells
                    .map(|cell| cell.trim().replace('\0', "|"))
                    .collect::<Vec<_>>(),
            );
        }
    }
    rows
}

/// Returns the texts between backticks.
pub fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Calls `look` with all Rust files in a directory and below.
pub fn walk(folder: &Path, look: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, look);
        } else if path.extension().is_some_and(|e| e == "rs") {
            look(&path);
        }
    }
}
