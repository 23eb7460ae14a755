//! The layers of the code: what may import what.
//!
//! Known exceptions are listed in `exceptions.rs`. A test fails for an exception that is no longer needed.

mod cycles;
mod exceptions;
mod imports;

use cycles::cycles;
use exceptions::{ACROSS_SUBCOMMANDS, CYCLIC};
use imports::{Imports, imports};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crates, lowest first. Each depends only on those before it.
const ORDER: [&str; 6] = ["protocol", "core", "client", "poller", "listener", "agg"];

/// Crates that the module depends on.
const OF_THE_MODULE: [&str; 2] = ["protocol", "core"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folders of the module and of the crates.
fn packages() -> Vec<(String, PathBuf)> {
    let mut packages = vec![(".".to_owned(), root())];
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        packages.push((format!("crates/{name}"), entry.path()));
    }
    packages.retain(|(_, path)| path.join("Cargo.toml").exists());
    packages.sort();
    packages
}

/// Reads the sources below a folder, by their path in it.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder_now) = open.pop() {
        for entry in std::fs::read_dir(&folder_now).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn imports_of(package: &str) -> Imports {
    imports(&sources(&root().join(package).join("src")))
}

/// Compares what was found with the exceptions.
fn check<T: Ord + std::fmt::Debug>(found: BTreeSet<T>, exceptions: BTreeSet<T>, what: &str) {
    let new: Vec<&T> = found.difference(&exceptions).collect();
    assert!(new.is_empty(), "{what}: {new:#?}");
    let fixed: Vec<&T> = exceptions.difference(&found).collect();
    assert!(fixed.is_empty(), "exceptions to be removed: {fixed:#?}");
}

#[test]
fn files_of_a_crate_do_not_import_each_other_in_cycles() {
    let mut found = BTreeSet::new();
    for (package, _) in packages() {
        for group in cycles(&imports_of(&package)) {
            eprintln!("{package}: a cycle of {group:#?}");
            found.extend(group.iter().map(|file| format!("{package}/src/{file}")));
        }
    }
    let exceptions = CYCLIC.iter().map(|file| (*file).to_owned()).collect();
    check(found, exceptions, "files in a cycle");
}

#[test]
fn ffi_imports_nothing_from_the_rest_of_the_module() {
    let imports = imports_of(".");
    let of_ffi = imports.iter().filter(|(file, _)| file.starts_with("ffi/"));
    let found: BTreeSet<_> = of_ffi
        .flat_map(|(file, others)| others.iter().map(move |other| (file, other)))
        .filter(|(_, other)| !other.starts_with("ffi/"))
        .collect();
    check(found, BTreeSet::new(), "imports of ffi");
}

#[test]
fn subcommands_do_not_import_each_other() {
    let imports = imports_of("crates/agg");
    let folder = |file: &str| file.split_once('/').map(|(folder, _)| folder.to_owned());
    let mut found = BTreeSet::new();
    for (file, others) in &imports {
        for other in others {
            match (folder(file), folder(other)) {
                (Some(a), Some(b)) if a != b => drop(found.insert((a, b))),
                _ => {}
            }
        }
    }
    let exceptions = ACROSS_SUBCOMMANDS.iter();
    let exceptions = exceptions.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    check(found, exceptions.collect(), "subcommands");
}

/// Reads the names of the packages that a package depends on outside of tests, and its own name.
fn manifest(folder: &Path) -> (String, Vec<String>) {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let (mut name, mut dependencies) = (String::new(), Vec::new());
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim().split('.').next().unwrap_or_default();
        if section == "package" && key == "name" {
            name = value.trim().trim_matches('"').to_owned();
        }
        if matches!(section, "dependencies" | "build-dependencies") {
            let renamed = value.split_once("package = \"").map(|(_, rest)| rest);
            let package = renamed.and_then(|rest| rest.split('"').next());
            dependencies.push(package.unwrap_or(key).to_owned());
        }
    }
    (name, dependencies)
}

#[test]
fn crates_depend_only_on_lower_ones() {
    let folders: BTreeMap<String, String> = packages()
        .into_iter()
        .map(|(folder, path)| (manifest(&path).0, folder.replace("crates/", "")))
        .collect();
    for (folder, path) in packages() {
        let folder = folder.replace("crates/", "");
        let allowed: &[&str] = match folder.as_str() {
            "." => &OF_THE_MODULE,
            // Used by tests and measurements alone, so they may use anything.
            "testkit" | "fleet-sim" => &ORDER,
            _ => {
                let rank = ORDER.iter().position(|name| *name == folder);
                &ORDER[..rank.unwrap_or_else(|| panic!("{folder} has no place in the order"))]
            }
        };
        for dependency in manifest(&path).1 {
            if let Some(dependency) = folders.get(&dependency) {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{folder} depends on {dependency}"
                );
            }
        }
    }
}

fn tree(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    let files = files.iter();
    files
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn edges(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let imports = imports(&tree(files));
    let pairs = imports.into_iter();
    pairs
        .flat_map(|(file, others)| others.into_iter().map(move |other| (file.clone(), other)))
        .collect()
}

#[test]
fn cycle_of_a_fixture_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::{self, B};"),
        ("b/mod.rs", "fn f() { super::c::g(&[crate::c::X]) }"),
        ("c.rs", "pub struct X; fn g() { crate::a::h() }"),
        ("d.rs", "use crate::a::A;"),
    ];
    let found = cycles(&imports(&tree(&files)));
    let expected = ["a.rs", "b/mod.rs", "c.rs"].map(str::to_owned);
    assert_eq!(found, [BTreeSet::from(expected)]);
}

#[test]
fn imports_are_read_from_all_kinds_of_paths() {
    let of_a = |source: &str| -> Vec<String> {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", source),
            ("a/child.rs", ""),
            ("b.rs", ""),
            ("b/inner.rs", ""),
        ];
        let edges = edges(&files).into_iter();
        let of_a = edges.filter(|(file, _)| file == "a/mod.rs");
        of_a.map(|(_, other)| other).collect()
    };
    assert_eq!(of_a("use crate::b::inner::X as Y;"), ["b/inner.rs"]);
    assert_eq!(
        of_a("use crate::b::{inner::{X, Y}, Z};"),
        ["b.rs", "b/inner.rs"]
    );
    assert_eq!(of_a("use child::X;"), ["a/child.rs"]);
    assert_eq!(of_a("fn f(x: &child::X) {}"), ["a/child.rs"]);
    assert_eq!(of_a("fn f() { g!(self::child::X) }"), ["a/child.rs"]);
    assert_eq!(of_a("mod inline { use super::super::b::X; }"), ["b.rs"]);
    assert_eq!(of_a("macro_rules! m { () => { $crate::b::X } }"), ["b.rs"]);
    // None of these is an import.
    assert_eq!(of_a("mod child; use std::b::X; use b::X;"), [""; 0]);
    assert_eq!(
        of_a("// crate::b::X\nconst S: &str = \"crate::b::X\";"),
        [""; 0]
    );
    assert_eq!(of_a("#[cfg(test)] mod tests { use crate::b::X; }"), [""; 0]);
}

#[test]
fn re_export_is_an_import_of_what_it_names() {
    let files = [
        ("lib.rs", "pub mod a; mod b; pub use a::{A, B as C};"),
        ("a.rs", "pub struct A; pub use crate::d::B;"),
        ("b.rs", "use crate::{A, C};"),
        ("d.rs", "pub struct B;"),
    ];
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(edges(&files), [pair("b.rs", "a.rs"), pair("b.rs", "d.rs")]);
}
