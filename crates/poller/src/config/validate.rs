//! Finds all errors of a file in one pass.
//!
//! The checks return the first error that they find. So the value with the error (an element of a list, a key, otherwise
//! a whole table) is removed, and the rest is checked again. A required key that is missing gets a placeholder, so that
//! the rest of its table is checked, too. An error that is only a consequence of a removed value or of a placeholder is
//! not reported: it would mislead the reader.
//!
//! Environment variables are replaced before the checks, and errors show the values as they are written.

use std::env::VarError;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use agg_client::FileStamps;
use agg_client::environment::expand_table;

use super::error::{ConfigError, position};
use super::file::RawFile;
use super::model::Config;
use super::placeholder;
use super::source::KINDS;

/// The maximum number of errors that are reported.
const MAX_ERRORS: usize = 50;
/// The maximum number of checks: an error that is a consequence of another costs one too.
const MAX_ATTEMPTS: usize = MAX_ERRORS * 4;

/// A step of a path: a key, or the byte at which an element of a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Element(usize),
}

/// The path of a value from the top of the file.
type Path = Vec<Step>;

/// Parses and checks the whole file, and notes the files that it names.
///
/// # Errors
///
/// Returns all errors, in the order of the file.
pub fn parse(
    text: &str,
    strictness: Strictness,
    stamps: &mut FileStamps,
) -> Result<Config, Vec<ConfigError>> {
    parse_with(text, strictness, stamps, &|name| std::env::var(name))
}

/// Parses like [`parse`]; `variable` reads the environment.
pub(super) fn parse_with(
    text: &str,
    strictness: Strictness,
    stamps: &mut FileStamps,
    variable: &impl Fn(&str) -> Result<String, VarError>,
) -> Result<Config, Vec<ConfigError>> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(text, &errors));
    }
    let (expansions, failed) = expand_table(table.get_mut(), text, variable);
    let (mut errors, mut removed) = (Vec::new(), Vec::new());
    // The paths of placeholders, and of keys that no table of their kind has.
    let (mut inserted, mut unknown): (Vec<Path>, Vec<Path>) = Default::default();
    for failed in failed {
        let path = locate(table.get_ref(), failed.value.start);
        if let Some(path) = path.filter(|path| remove(table.get_mut(), path)) {
            removed.push(path);
        }
        errors.push(ConfigError::at_byte(failed.at, failed.text));
    }
    if strictness == Strictness::Check {
        errors.extend(missing_folders(table.get_ref()));
    }
    for attempt in 0..MAX_ATTEMPTS {
        let error = match check(&table, stamps) {
            Ok(config) if errors.is_empty() => return Ok(config),
            Ok(_) => break,
            Err(error) => error,
        };
        let mut path = error.at.and_then(|at| locate(table.get_ref(), at));
        let placeholder = path.as_ref().and_then(|path| {
            let mut inserted = inserted.iter();
            inserted.find(|placeholder| path.starts_with(placeholder))
        });
        let missing_key = error.missing_key;
        match placeholder {
            // It is not valid here: the table cannot be checked further.
            Some(placeholder) => path = Some(placeholder[..placeholder.len() - 1].to_vec()),
            None if is_consequence(&error, path.as_ref(), &removed, &inserted, &unknown) => {}
            None => {
                if is_about_unknown(&error) {
                    unknown.extend(path.clone());
                }
                errors.push(error);
            }
        }
        if let (Some(key), Some(path), None) = (missing_key, &path, placeholder) {
            // Behind the end of the text, where nothing else is.
            let place = text.len() + 1 + attempt;
            if let Some(new) = insert_placeholder(table.get_mut(), path, key, place) {
                inserted.push(new);
                continue;
            }
        }
        match path {
            Some(path) if errors.len() < MAX_ERRORS && remove(table.get_mut(), &path) => {
                inserted.retain(|placeholder| !placeholder.starts_with(&path));
                removed.push(path);
            }
            _ => break,
        }
    }
    errors.sort_by_key(|error| error.at.unwrap_or(usize::MAX));
    errors.truncate(MAX_ERRORS);
    for error in &mut errors {
        error.text = expansions.mask(&error.text);
    }
    Err(errors)
}

/// The requirements of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Only what a poller needs to start. What may be created later is waited for.
    Start,
    /// Everything that the configuration names.
    Check,
}

/// Returns an error for each file to write to whose directory is missing.
fn missing_folders(table: &DeTable) -> Vec<ConfigError> {
    let sinks = table
        .get("sink")
        .and_then(|sinks| sinks.get_ref().as_table());
    let sinks = sinks.into_iter().flat_map(|sinks| sinks.values());
    let paths = sinks.filter_map(|sink| sink.get_ref().as_table()?.get("path"));
    let files = table.get("dead-letters").into_iter().chain(paths);
    let missing = files.filter_map(|file| {
        let path = std::path::Path::new(file.get_ref().as_str()?);
        let folder = path.parent()?;
        // The checks report another error for these paths.
        let has_other = path.starts_with("~") || folder.as_os_str().is_empty();
        let text = format!("directory {} does not exist", folder.display());
        (!has_other && !folder.is_dir()).then(|| ConfigError::at(file, text))
    });
    missing.collect()
}

fn check(table: &Spanned<DeTable>, stamps: &mut FileStamps) -> Result<Config, ConfigError> {
    let raw = RawFile::deserialize(Deserializer::from(table.clone()));
    let raw = raw.map_err(|error| match single_table(table.get_ref(), &error) {
        Some(error) => error,
        None => deserialization_error(&error),
    })?;
    for file in raw.files() {
        stamps.note(&file);
    }
    raw.check()
}

/// Converts syntax errors. Of each line only the first is kept, since the others follow from it.
fn syntax_errors(text: &str, found: &[Error]) -> Vec<ConfigError> {
    let mut lines = Vec::new();
    let mut errors: Vec<ConfigError> = found.iter().map(deserialization_error).collect();
    errors.sort_by_key(|error| error.at);
    errors.retain(|error| {
        let (line, _) = position(text, error.at.unwrap_or(0));
        let is_new = !lines.contains(&line);
        lines.push(line);
        is_new
    });
    errors.truncate(MAX_ERRORS);
    errors
}

/// Returns the error for a table that stands for a list of tables, if that is the error of serde.
fn single_table(table: &DeTable, error: &Error) -> Option<ConfigError> {
    let at = error.span()?.start;
    let is_at = |value: &Spanned<DeValue>| value.get_ref().is_table() && value.span().start == at;
    let key = ["source", "route"];
    let key = key
        .into_iter()
        .find(|&key| table.get(key).is_some_and(is_at))?;
    let text = format!("expected a list of tables: write [[{key}]], without a name");
    Some(ConfigError::at_byte(at, text))
}

/// Converts an error of the TOML parser or of serde.
fn deserialization_error(error: &Error) -> ConfigError {
    let text = error.message().trim().replace('\n', ": ");
    let text = match text.strip_prefix("unknown field `") {
        Some(rest) => unknown(rest).unwrap_or(text),
        None => text,
    };
    let at = error.span().map(|span| span.start);
    ConfigError {
        at,
        text,
        missing_key: None,
    }
}

/// Suggests the key that was probably meant. The text is what serde writes after "unknown field `": the key, a backtick,
/// and the known keys, each in backticks.
fn unknown(text: &str) -> Option<String> {
    let (key, expected) = text.split_once('`')?;
    let known = expected.split('`').skip(1).step_by(2);
    let nearest = known.min_by_key(|other| strsim::damerau_levenshtein(key, other))?;
    Some(match is_misspelled(key, nearest) {
        true => format!("unknown key `{key}`, did you mean `{nearest}`?"),
        false => format!("unknown key `{key}`{expected}"),
    })
}

/// Returns whether a key is probably meant to be another one.
fn is_misspelled(key: &str, meant: &str) -> bool {
    strsim::damerau_levenshtein(key, meant) <= 1 + key.len() / 4
}

/// Returns the path of the innermost value that contains the byte.
fn locate(table: &DeTable, at: usize) -> Option<Path> {
    table.iter().find_map(|(key, value)| {
        let step = Step::Key(key.get_ref().to_string());
        let inner = match value.get_ref() {
            DeValue::Table(table) => locate(table, at),
            DeValue::Array(items) => items.iter().find_map(|item| in_element(item, at)),
            _ => None,
        };
        let here = key.span().contains(&at) || is_at(value, at);
        match inner {
            Some(inner) => Some([vec![step], inner].concat()),
            None => here.then(|| vec![step]),
        }
    })
}

fn in_element(item: &Spanned<DeValue>, at: usize) -> Option<Path> {
    let step = Step::Element(item.span().start);
    let inner = match item.get_ref() {
        DeValue::Table(table) => locate(table, at),
        _ => None,
    };
    match inner {
        Some(inner) => Some([vec![step], inner].concat()),
        None => is_at(item, at).then(|| vec![step]),
    }
}

/// Returns whether a byte is in a value. For a table it has to be the first byte: the values in it have their own places.
fn is_at(value: &Spanned<DeValue>, at: usize) -> bool {
    match value.get_ref() {
        DeValue::Table(_) => value.span().start == at,
        _ => value.span().contains(&at),
    }
}

/// Removes a value. Returns whether it existed.
fn remove(table: &mut DeTable, path: &[Step]) -> bool {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return false;
    };
    if rest.is_empty() {
        return table.remove(key.as_str()).is_some();
    }
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => remove(table, rest),
        Some(DeValue::Array(items)) => remove_element(items, rest),
        _ => false,
    }
}

/// Inserts a placeholder for a key of the table at `path`. Returns its path, or `None` if there is no placeholder.
fn insert_placeholder(
    table: &mut DeTable,
    path: &[Step],
    key: &'static str,
    place: usize,
) -> Option<Path> {
    let is = |name: &str| path[0] == Step::Key(name.to_owned());
    let (key, value) = if is("sink") {
        (key, placeholder::of_sink(key, find(table, path)?)?)
    } else if is("route") {
        let sinks = find(table, &[Step::Key("sink".into())])?;
        (key, placeholder::of_route(key, sinks, place)?)
    } else if is("source") {
        placeholder::of_source(key, find(table, path)?, place)?
    } else {
        return None;
    };
    let span = place..place + 1;
    find(table, path)?.insert(
        Spanned::new(span.clone(), key.into()),
        Spanned::new(span, value),
    );
    Some([path, &[Step::Key(key.to_owned())]].concat())
}

/// Returns the table at a path.
fn find<'a, 'i>(table: &'a mut DeTable<'i>, path: &[Step]) -> Option<&'a mut DeTable<'i>> {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return path.is_empty().then_some(table);
    };
    match (table.get_mut(key.as_str())?.get_mut(), rest) {
        (DeValue::Table(table), rest) => find(table, rest),
        (DeValue::Array(items), [Step::Element(start), rest @ ..]) => {
            let mut items = items.iter_mut();
            let item = items.find(|item| item.span().start == *start)?;
            match item.get_mut() {
                DeValue::Table(table) => find(table, rest),
                _ => None,
            }
        }
        _ => None,
    }
}

fn remove_element(items: &mut DeArray, path: &[Step]) -> bool {
    let Some((Step::Element(start), rest)) = path.split_first() else {
        return false;
    };
    let is_it = |item: &Spanned<DeValue>| item.span().start == *start;
    let Some(index) = items.iter().position(is_it) else {
        return false;
    };
    if !rest.is_empty() {
        return match items.get_mut(index).map(Spanned::get_mut) {
            Some(DeValue::Table(table)) => remove(table, rest),
            _ => false,
        };
    }
    let others = std::mem::replace(items, DeArray::new());
    *items = others.into_iter().filter(|item| !is_it(item)).collect();
    true
}

/// Returns whether an error is only a consequence of removed values or of placeholders.
fn is_consequence(
    error: &ConfigError,
    path: Option<&Path>,
    removed: &[Path],
    inserted: &[Path],
    unknown: &[Path],
) -> bool {
    let text = &error.text;
    let key = |name: &str| Step::Key(name.to_owned());
    let Some(path) = path else {
        // What the file lacks may be the value that was removed.
        return removed
            .iter()
            .any(|gone| gone.len() == 1 || gone[0] == key("source") || gone[0] == key("route"));
    };
    if let Some(missing) = error.missing_key {
        let of_table = |gone: &&Path| gone.len() == path.len() + 1 && gone.starts_with(path);
        let is = |gone: &Path, test: &dyn Fn(&str) -> bool| match gone.last() {
            Some(Step::Key(key)) => test(key),
            _ => false,
        };
        let mut removed = removed.iter().filter(of_table);
        let mut unknown = unknown.iter().filter(of_table);
        // The required keys of a sink depend on its type and version.
        let decides = |key: &str| ["type", "version"].contains(&key);
        let is_kind = |key: &str| KINDS.contains(&key);
        // What a guessed type or kind requires.
        let mut inserted = inserted.iter().filter(of_table);
        if inserted.any(|new| is(new, &|key| decides(key) || is_kind(key))) {
            return true;
        }
        // Another kind than the one that a placeholder stands for may be meant.
        let may_be = |key: &str| match is_kind(missing) {
            true => KINDS.iter().any(|kind| is_misspelled(key, kind)),
            false => is_misspelled(key, missing),
        };
        return removed.any(|gone| is(gone, &|key| names(text, key) || decides(key)))
            || unknown.any(|gone| is(gone, &may_be));
    }
    // The keys listed at the end of a message are not at fault.
    let said = text.split(": it takes").next().unwrap_or(text);
    let is_form = is_about_unknown(error);
    let is_guessed = inserted.iter().any(|new| match &new[..] {
        // The queues that the guessed type takes.
        [of, Step::Key(name), Step::Key(kind)] if *of == key("sink") && kind == "type" => {
            text.starts_with(&format!("sink {name:?} writes "))
                || path.starts_with(&new[..2]) && names(said, kind)
        }
        [.., Step::Key(name)] => path.starts_with(&new[..new.len() - 1]) && names(said, name),
        _ => false,
    });
    if !is_form && is_guessed {
        return true;
    }
    removed.iter().any(|gone| {
        let below = gone.len() > path.len() && gone.starts_with(path);
        let named = match gone.last() {
            Some(Step::Key(name)) => {
                let beside = gone[..gone.len() - 1] == path[..path.len() - 1];
                !is_form && beside && names(said, name)
            }
            _ => false,
        };
        let of_route = gone[0] == key("route") && text.starts_with("no route names");
        let sink = match &gone[..] {
            [one] => *one == key("sink"),
            [one, Step::Key(name)] => {
                *one == key("sink") && text.contains(&format!("[sink.{name}]"))
            }
            _ => false,
        };
        below || named || of_route || (sink && text.starts_with("there is no [sink."))
    })
}

fn is_about_unknown(error: &ConfigError) -> bool {
    error.text.starts_with("unknown key")
}

/// Returns whether a text contains a key as a word.
fn names(text: &str, key: &str) -> bool {
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.split(|c| !is_key(c)).any(|word| word == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let Err(all) = parse(text, Strictness::Start, &mut FileStamps::default()) else {
            return Vec::new();
        };
        let found = all.into_iter().map(|error| match error.at {
            Some(at) => {
                let (line, column) = position(text, at);
                format!("{line}:{column}: {}", error.text)
            }
            None => error.text,
        });
        found.collect()
    }

    #[test]
    fn all_errors_are_reported_in_the_order_of_the_file() {
        let text = r#"lease = 30
max-in-flite = "64mb"
dead-letters = "~/dead"
[[source]]
urls = ["redis://a:port", "redis://b", "http://c"]
password-env = "AGG_NO_SUCH_NAME"
user = "u"

[[route]]
qeues = ["MIN"]
sinks = ["influx"]

[[route]]
queues = ["MIN", "DAY", "WEEK"]
sinks = ["influx", "infux", "out"]

[sink.influx]
type = "influxdb"
url = "http://127.0.0.1:8086"

[sink.out]
type = "file"
path = "/"
keep = 0
mode = 640
compress = "zip"
"#;
        let found = errors(text);
        let expected = [
            "1:9: a time has a unit: write \"30s\"",
            "2:1: unknown key `max-in-flite`, did you mean `max-in-flight`?",
            "3:16: `~` is not expanded: write the whole path",
            "5:9: ",
            "5:40: ",
            "6:16: the environment variable AGG_NO_SUCH_NAME of the password is not set",
            "10:1: unknown key `qeues`, did you mean `queues`?",
            "14:18: expected MIN, HOUR, LOG, ERROR or REALITY, not \"DAY\"",
            "14:25: expected MIN, HOUR, LOG, ERROR or REALITY, not \"WEEK\"",
            "15:20: there is no [sink.infux]",
            "17:1: expected \"database\" in this sink; \"\" for VictoriaMetrics or QuestDB, which need none",
            "23:8: / is a directory, not a file",
            "24:8: expected at least 1",
            "25:8: permissions are octal digits in quotes: write \"0640\"",
            "26:12: expected zstd or gzip, not \"zip\"",
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\nexpected {expected}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn consequences_of_an_error_are_not_reported() {
        let rest =
            "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";
        let source = "[[source]]\nurls = [\"redis://h\"]\n";
        for (text, expected) in [
            (format!("[[sauce]]\nurls = []\n{rest}"), "1:3: unknown key `sauce`, did you mean `source`?"),
            (format!("[source]\nurls = []\n{rest}"), "1:1: expected a list of tables: write [[source]], without a name"),
            (format!("[source.main]\nurls = []\n{rest}"), "1:2: expected a list of tables: write [[source]], without a name"),
            (format!("[[source]]\nurls = {{}}\n{rest}"), "2:8: invalid type"),
            (format!("{source}{}", rest.replace("route", "rout")), "3:3: unknown key `rout`, did you mean `route`?"),
            (format!("{source}{}", rest.replace("stdout", "stdin")), "7:8: expected the type stdout, file,"),
            (format!("{source}{}", rest.replace("type", "typ")), "7:1: unknown key `typ`, did you mean `type`?"),
            (format!("{source}{}", rest.replace("[\"out\"]", "[\"aut\"]")), "5:10: there is no [sink.aut]"),
            (format!("{source}{}", rest.replace("[\"out\"]", "5")), "5:9: invalid type: integer `5`"),
            (
                format!("{}user = \"u\"\npassword-file = \"/no/such\"\n{rest}", source),
                "4:17: cannot read /no/such: ",
            ),
            (format!("[[source]]\nrange = \"10.0.0.0/24\"\ntls = 5\ntls-ca = \"x\"\n{rest}"), "3:7: invalid type: integer `5`"),
            (
                format!("{source}{}", rest.replace(
                    "\"stdout\"",
                    "\"influxdb\"\nversion = \"2\"\nurl = \"http://h\"\nbucket = \"b\"\norg = \"o\"\ntoken-env = \"HOME\"",
                ).replace("LOG", "MIN")),
                "8:11: invalid type: string \"2\"",
            ),
        ] {
            let found = errors(&text);
            assert_eq!(found.len(), 1, "{text}\n{found:#?}");
            assert!(found[0].starts_with(expected), "{text}\n{}", found[0]);
        }
        assert_eq!(errors(&format!("{source}{rest}")), [""; 0]);
    }

    #[test]
    fn missing_key_hides_no_other_mistake_of_its_table() {
        let text = r#"[[source]]
urls = ["redis://h"]

[[route]]
include = [""]
add-tags = { host = 5 }

[[route]]
queues = ["MIN", "DAY"]
sinks = ["a", "b", "c", "d", "e", "g"]

[sink.a]
type = "influxdb"
version = 2
timout = "5s"
writers = 99
token-env = "AGG_NO_SUCH_NAME"

[sink.b]
type = "influxdb"
tls-ca = "/no/such.pem"
batch-bytes = "5"
retention-policy = 7

[sink.c]
type = "mongodb"
batch-lines = 0
time-series = "yes"

[sink.d]
type = "kafka"
sasl = "plane"
compress = "zip"

[sink.e]
type = "redis-stream"
max-length = 0
user = "u"

[sink.g]
type = "file"
mode = 640
compress = "zip"
rotate = "1mb"

[sink.h]
type = "stdin"
rotate = 5
"#;
        let found = errors(text);
        let expected = [
            "4:1: expected \"queues\" in this route",
            "4:1: expected \"sinks\" in this route",
            "5:12: a pattern is not empty",
            "6:21: invalid type: integer `5`",
            "9:18: expected MIN, HOUR, LOG, ERROR or REALITY, not \"DAY\"",
            "12:1: expected \"bucket\" in this sink",
            "12:1: expected \"org\" in this sink",
            "12:1: expected \"url\" in this sink",
            "15:1: unknown key `timout`, did you mean `timeout`?",
            "16:11: expected at most 16",
            "17:13: the environment variable AGG_NO_SUCH_NAME of the token is not set",
            "19:1: expected \"database\" in this sink",
            "19:1: expected \"url\" in this sink",
            "21:10: cannot read /no/such.pem",
            "22:15: \"5\" has no unit",
            "23:20: invalid type: integer `7`",
            "25:1: expected \"database\" in this sink",
            "25:1: expected \"uri\" in this sink",
            "27:15: expected ",
            "28:15: invalid type: string \"yes\"",
            "30:1: expected \"uri\" in this sink",
            "32:8: expected plain, scram-sha-256 or scram-sha-512",
            "33:12: expected zstd, gzip or none, not \"zip\"",
            "35:1: expected \"uri\" in this sink",
            "37:14: expected a number from 1 to",
            "38:8: a user needs password-file or password-env",
            "40:1: expected \"path\" in this sink",
            "42:8: permissions are octal digits in quotes",
            "43:12: expected zstd or gzip, not \"zip\"",
            "47:8: expected the type stdout, file,",
            "48:10: a size has a unit",
        ];
        let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
        // Several mistakes of one table are in no particular order.
        let place = |line: &&str| {
            let mut parts = line.splitn(3, ':');
            let mut number = || parts.next().unwrap().parse::<u32>().unwrap();
            (number(), number(), line.to_string())
        };
        found.sort_by_key(place);
        let same = found.iter().zip(expected);
        let same = same.filter(|(found, expected)| found.starts_with(*expected));
        assert_eq!(same.count(), expected.len(), "{found:#?}");
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn source_without_a_kind_hides_no_other_mistake() {
        let rest =
            "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";
        let no_kind = "1:1: expected one of urls, range, cluster and sentinel";
        let no_password = "the environment variable AGG_NO_SUCH_NAME of the password is not set";
        let missing = "password-env = \"AGG_NO_SUCH_NAME\"";
        for (source, expected) in [
            (
                missing.to_owned(),
                vec![no_kind.into(), format!("2:16: {no_password}")],
            ),
            (
                format!("tls-ca = \"/no/such\"\n{missing}"),
                vec![
                    no_kind.into(),
                    "2:10: cannot read certificates from /no/such".into(),
                    format!("3:16: {no_password}"),
                ],
            ),
            (
                format!("port = 0\nscan-rate = 0\n{missing}"),
                vec![
                    no_kind.into(),
                    "2:8: expected a number from 1 to".into(),
                    "3:13: expected a number from 1 to".into(),
                    format!("4:16: {no_password}"),
                ],
            ),
            (
                format!("allow = [\"x\"]\n{missing}"),
                vec![
                    no_kind.into(),
                    "2:10: expected a network".into(),
                    format!("3:16: {no_password}"),
                ],
            ),
            // Misspelled, and not a list.
            (
                format!("url = [\"redis://h\"]\n{missing}"),
                vec![
                    "2:1: unknown key `url`, did you mean `urls`?".into(),
                    format!("3:16: {no_password}"),
                ],
            ),
            (
                format!("clustr = [\"redis://h\"]\n{missing}"),
                vec![
                    "2:1: unknown key `clustr`, did you mean `cluster`?".into(),
                    format!("3:16: {no_password}"),
                ],
            ),
            (
                format!("urls = \"redis://h\"\n{missing}"),
                vec![
                    "2:8: expected a list of URLs".into(),
                    format!("3:16: {no_password}"),
                ],
            ),
            // A service is missing, not the kind.
            (
                format!("sentinel = [\"redis://h\"]\nallow = [\"x\"]\n{missing}"),
                vec![
                    "1:1: expected \"service\"".into(),
                    "3:10: expected a network".into(),
                    format!("4:16: {no_password}"),
                ],
            ),
            // Placeholders of two sources are not the same address.
            (
                format!("tls-ca = \"/no/1\"\n[[source]]\n{missing}"),
                vec![
                    no_kind.into(),
                    "2:10: cannot read certificates from /no/1".into(),
                    "3:1: expected one of urls".into(),
                    format!("4:16: {no_password}"),
                ],
            ),
        ] {
            let text = format!("[[source]]\n{source}\n{rest}");
            let mut found = errors(&text);
            found.sort();
            let same = found.iter().zip(&expected);
            let same = same.filter(|(found, expected)| found.starts_with(expected.as_str()));
            assert_eq!(same.count(), expected.len(), "{text}\n{found:#?}");
            assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
        }
    }

    #[test]
    fn sink_without_a_type_or_a_user_hides_no_other_mistake() {
        let source =
            "[[source]]\nurls = [\"redis://h\"]\n[[route]]\nqueues = [\"LOG\"]\nsinks = [\"a\"]\n";
        let no_token = "the environment variable AGG_NO_SUCH_NAME of the token is not set";
        let no_type = "6:1: expected \"type\" in this sink";
        for (sink, expected) in [
            (
                "url = \"http://h\"\nwriters = 99\ntoken-env = \"AGG_NO_SUCH_NAME\"".to_owned(),
                vec![no_type.into(), "8:11: expected at most 16".into(), format!("9:13: {no_token}")],
            ),
            (
                "type = \"influx\"\nversion = 3\nurl = \"h\"\ntoken-env = \"AGG_NO_SUCH_NAME\"".to_owned(),
                vec![
                    "10:13: ".to_owned() + no_token,
                    "7:8: expected the type".into(),
                    "9:7: expected http://".into(),
                ],
            ),
            (
                "type = \"mongodb\"\nuri = \"mongodb://h\"\ndatabase = \"d\"\npassword-env = \"PATH\"\n\
                 batch-lines = 0".to_owned(),
                vec!["11:15: expected 1 to".into(), "6:1: a password needs a user".into()],
            ),
        ] {
            let text = format!("{source}[sink.a]\n{sink}\n");
            let mut found = errors(&text);
            found.sort();
            let same = found.iter().zip(&expected);
            let same = same.filter(|(found, expected)| found.starts_with(expected.as_str()));
            assert_eq!(same.count(), expected.len(), "{text}\n{found:#?}");
            assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
        }
    }

    #[test]
    fn missing_directory_is_reported_by_a_check_only() {
        let text = "dead-letters = \"/no/such/dead\"\n[[source]]\nurls = [\"redis://h\"]\n[[route]]\n\
                    queues = [\"LOG\"]\nsinks = [\"a\", \"b\"]\n[sink.a]\ntype = \"file\"\npath = \"/no/a\"\n\
                    [sink.b]\ntype = \"file\"\npath = \"here\"\n";
        let read = |strictness| parse(text, strictness, &mut FileStamps::default());
        assert!(read(Strictness::Start).is_ok());
        let all = read(Strictness::Check).err().unwrap();
        let found: Vec<_> = all.iter().map(|error| &*error.text).collect();
        assert_eq!(
            found,
            [
                "directory /no/such does not exist",
                "directory /no does not exist"
            ]
        );
        assert_eq!(all[0].at, Some(15));
    }

    #[test]
    fn syntax_error_is_reported_for_each_line() {
        let found = errors("lease = \nlisten = \"a\nx = [1\n");
        assert!(found[0].starts_with("1:"), "{found:?}");
        assert!(found.len() <= 4, "{found:?}");
    }

    #[test]
    fn number_of_errors_is_bounded() {
        let keys: String = (0..1000).map(|n| format!("zzzzzz{n} = 1\n")).collect();
        let found = errors(&keys);
        assert_eq!(found.len(), MAX_ERRORS);
        assert!(
            found[0].starts_with("1:1: unknown key `zzzzzz0`, expected one of `poll-interval`")
        );
    }
}
