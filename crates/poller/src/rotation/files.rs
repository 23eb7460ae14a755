//! The names of rotated files, and what both the appender and the compactor ask of files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Makes a new or renamed file survive a crash.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// Returns whether the path still leads to the open file.
pub(super) fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The form of a rotated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Plain,
    Compressed,
    /// Partly compressed, under its temporary name.
    Unfinished,
}

/// Lists the rotated files: by number, their names by form.
pub(super) fn list(path: &Path) -> io::Result<BTreeMap<u64, BTreeMap<Form, OsString>>> {
    let name = path.file_name().unwrap_or_default();
    let mut numbers: BTreeMap<u64, BTreeMap<Form, OsString>> = BTreeMap::new();
    for entry in fs::read_dir(folder(path))? {
        let other = entry?.file_name();
        if let Some((number, form)) = parse(name, &other) {
            numbers.entry(number).or_default().insert(form, other);
        }
    }
    Ok(numbers)
}

/// Reads the number and the form from the name of a rotated file.
fn parse(name: &OsStr, other: &OsStr) -> Option<(u64, Form)> {
    let rest = other
        .as_encoded_bytes()
        .strip_prefix(name.as_encoded_bytes())?;
    let rest = std::str::from_utf8(rest.strip_prefix(b".")?).ok()?;
    let (digits, extension) = rest.split_once('.').unwrap_or((rest, ""));
    let form = match extension {
        "" if !rest.ends_with('.') => Form::Plain,
        "zst" | "gz" => Form::Compressed,
        "zst.tmp" | "gz.tmp" => Form::Unfinished,
        _ => return None,
    };
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    Some((digits?.parse().ok()?, form))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Returns the path of a rotated file; `suffix` begins with a dot.
pub(super) fn numbered(path: &Path, number: u64, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}{suffix}"));
    folder(path).join(name)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
