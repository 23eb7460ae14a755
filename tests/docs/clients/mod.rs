//! docs/clients: the programs on its pages run, print what the pages show, and change a server as they say.
//!
//! A program is a code block below its name in bold. The block after "It prints:" is what `report` prints. If the
//! client of a page is missing its test is skipped; scripts/clients.sh fetches what is available. Pages that the index
//! marks as not run have no test.

mod checks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use checks::*;
use redis::Value;
use testkit::*;

const PORT: &str = "7777";

/// A page of docs/clients.
struct Page {
    name: &'static str,
    /// Its programs by the names of their files.
    programs: BTreeMap<String, String>,
    /// What `report` prints.
    output: String,
}

impl Page {
    fn read(name: &'static str) -> Page {
        let text = std::fs::read_to_string(folder().join(name).with_extension("md")).unwrap();
        let mut programs = BTreeMap::new();
        for part in text.split("\n**").skip(1) {
            if let Some((file, rest)) = part.split_once("**\n\n```") {
                programs.insert(file.to_owned(), block(rest));
            }
        }
        let (_, output) = text.split_once("\nIt prints:\n\n```").unwrap();
        let output = block(output);
        Page {
            name,
            programs,
            output,
        }
    }

    /// Writes its programs, for this port, into a folder.
    fn write(&self, port: u16, to: &Path) {
        for which in ["report.", "drain."] {
            let mut files = self.programs.keys();
            assert!(files.any(|file| file.starts_with(which)), "{}", self.name);
        }
        std::fs::create_dir_all(to).unwrap();
        for (file, program) in &self.programs {
            assert!(program.contains(PORT), "{file} names no port");
            std::fs::write(to.join(file), program.replace(PORT, &port.to_string())).unwrap();
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients")
}

/// Returns a code block, given the text after its opening fence.
fn block(text: &str) -> String {
    let (_, text) = text.split_once('\n').unwrap();
    let (block, _) = text.split_once("\n```").unwrap();
    format!("{block}\n")
}

/// Returns the directory where scripts/clients.sh puts clients.
fn fetched() -> PathBuf {
    std::env::var("AGG_CLIENTS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients"),
        PathBuf::from,
    )
}

/// Returns whether a command succeeds.
fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// Prints that the client of a page is missing, which is optional, and what provides it.
fn absent(what: &str, remedy: &str) {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {what} is missing, {remedy}\n").as_bytes(),
    );
}

/// Runs a command that has to succeed.
fn build(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// Runs the programs of a page against a server. `prepare` builds them in a directory; `command` returns one of them.
fn try_page(name: &'static str, prepare: impl Fn(&Path), command: impl Fn(&Path, &str) -> Command) {
    // Windows of a week: none ends during a test, which counts the records.
    let windows = "min-window 604800 hour-window 604800";
    let Some(mut server) = Server::with_settings(windows) else {
        return;
    };
    let page = Page::read(name);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    page.write(server.port, dir);
    prepare(dir);
    let program = |which: &str| {
        let mut command = command(dir, which);
        command.current_dir(dir).stdin(Stdio::null());
        command
    };

    report_does_what_it_shows(&server, &page, program("report"));
    drain_keeps_what_it_cannot_store(&server, dir, program("drain"));
    drain_stores_and_continues(&mut server, dir, program("drain"));
    report_says_which_samples_do_not_fit(&server, program("report"));
    let has = |which: &str| page.programs.keys().any(|file| file.starts_with(which));
    if has("recorder.") {
        recorder_loses_no_report(&server, program("recorder"));
    }
    if has("cluster.") {
        reports_reach_both_halves_of_a_cluster(&page, dir, program("cluster"));
    }
}

fn run(program: &str, file: String) -> Command {
    let mut command = Command::new(program);
    command.arg(file);
    command
}

#[test]
fn redis_cli() {
    if !works("redis-cli", &["--version"]) {
        missing::<()>("redis-cli");
        return;
    }
    try_page(
        "redis-cli",
        |_| (),
        |_, which| run("bash", format!("{which}.sh")),
    );
}

#[test]
fn python() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/venv/bin/python");
    let python = python.to_str().unwrap();
    if !works(python, &["-c", "import redis"]) {
        return absent("redis-py", "scripts/python.sh test installs it");
    }
    let program = |_: &Path, which: &str| {
        let mut command = run(python, format!("{which}.py"));
        command.env("PYTHONPATH", root.join("clients/python/src"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    try_page("python", |_| (), program);
}

#[test]
fn hiredis() {
    if !Path::new("/usr/include/hiredis/hiredis.h").exists() {
        missing::<()>("hiredis (Debian's libhiredis-dev)");
        return;
    }
    let compile = |dir: &Path| {
        for which in ["report", "drain"] {
            let mut cc = Command::new("cc");
            cc.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
            cc.args(["-o", which, &format!("{which}.c"), "-lhiredis"]);
            build(cc.current_dir(dir));
        }
    };
    try_page("hiredis", compile, |dir, which| {
        Command::new(dir.join(which))
    });
}

#[test]
fn redis_rs() {
    // Built always in one directory, with the versions of the workspace: only the programs are compiled again.
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redis-rs");
    let build_in_package = |dir: &Path| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(folder().join("redis-rs.md")).unwrap();
        let (_, dependencies) = page.split_once("```toml").unwrap();
        let manifest = format!(
            "[package]\nname = \"page\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n{}",
            block(dependencies)
        );
        std::fs::create_dir_all(package.join("src/bin")).unwrap();
        std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
        std::fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
        for which in ["report.rs", "drain.rs"] {
            std::fs::copy(dir.join(which), package.join("src/bin").join(which)).unwrap();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--manifest-path"]);
        cargo
            .arg(package.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(package.join("target"));
        build(cargo.env("RUSTFLAGS", "-D warnings"));
    };
    try_page("redis-rs", build_in_package, |_, which| {
        Command::new(package.join("target/debug").join(which))
    });
}

#[test]
fn phpredis() {
    if !works("php", &["-r", "exit(extension_loaded('redis') ? 0 : 1);"]) {
        return absent(
            "phpredis (Debian's php-cli and php-redis)",
            "make test-clients installs it",
        );
    }
    try_page(
        "phpredis",
        |_| (),
        |_, which| run("php", format!("{which}.php")),
    );
}

fn try_node(page: &'static str, package: &str) {
    let modules = fetched().join("node/node_modules");
    if !works("node", &["--version"]) {
        let what = format!("Node, for {page}");
        return absent(
            &what,
            "make test-clients installs it (Debian's nodejs and npm)",
        );
    }
    if !modules.join(package).exists() {
        return absent(page, "scripts/clients.sh fetches it");
    }
    let link = |dir: &Path| {
        std::os::unix::fs::symlink(modules.canonicalize().unwrap(), dir.join("node_modules"))
            .unwrap();
    };
    try_page(page, link, |_, which| run("node", format!("{which}.mjs")));
}

#[test]
fn node_redis() {
    try_node("node-redis", "redis");
}

#[test]
fn ioredis() {
    try_node("ioredis", "ioredis");
}

#[test]
fn index_lists_every_page_and_whether_it_is_tested() {
    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let not_run = ["go-redis", "jedis", "stackexchange-redis"];
    let mut pages = 0;
    for file in std::fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(page) = name.strip_suffix(".md").filter(|page| *page != "README") else {
            continue;
        };
        pages += 1;
        let row = index
            .lines()
            .find(|line| line.contains(&format!("({name})")));
        let row = row.unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(row.contains("not run"), not_run.contains(&page), "{row}");
        let text = std::fs::read_to_string(folder().join(&name)).unwrap();
        assert_eq!(
            text.contains("**Not run**"),
            not_run.contains(&page),
            "{name}"
        );
    }
    assert_eq!(pages, 10);
}
