//! Finds all mistakes of a file at once.
//!
//! The checks return the first mistake that they find. So what a mistake is in (an element of a list, a key, else a
//! whole table) is taken out of the file, and the rest is checked again. A mistake that is only there because something
//! was taken out is not told: it would send the reader to the wrong place.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use agg_client::FileStamps;

use super::file::RawFile;
use super::{Config, Mistake};

/// The most that are told.
const MOST: usize = 50;

/// A step on the way to a value: a key, or where an element of a list begins in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Element(usize),
}

/// The way to a value from the file's top.
type Path = Vec<Step>;

impl Config {
    /// Checks the whole file; notes the files that it names.
    ///
    /// Returns all mistakes, in the order of the file.
    pub(super) fn parse_all(
        text: &str,
        rigour: Rigour,
        stamps: &mut FileStamps,
    ) -> Result<Config, Vec<Mistake>> {
        let (mut table, faults) = DeTable::parse_recoverable(text);
        if !faults.is_empty() {
            return Err(of_syntax(text, &faults));
        }
        let (mut mistakes, mut removed) = (Vec::new(), Vec::new());
        if rigour == Rigour::Check {
            mistakes = missing_folders(table.get_ref());
        }
        let attempts = MOST * 4;
        for _ in 0..attempts {
            let mistake = match check(&table, stamps) {
                Ok(config) if mistakes.is_empty() => return Ok(config),
                Ok(_) => break,
                Err(mistake) => mistake,
            };
            let path = mistake.at.and_then(|at| locate(table.get_ref(), at));
            if !is_consequence(&mistake.text, path.as_ref(), &removed) {
                mistakes.push(mistake);
            }
            match path {
                Some(path) if mistakes.len() < MOST && remove(table.get_mut(), &path) => {
                    removed.push(path);
                }
                _ => break,
            }
        }
        mistakes.sort_by_key(|mistake| mistake.at.unwrap_or(usize::MAX));
        Err(mistakes)
    }
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rigour {
    /// What a poller needs to start: what may come later is waited for.
    Start,
    /// All that can be known now.
    Check,
}

/// Files to write to whose directories are not there.
fn missing_folders(table: &DeTable) -> Vec<Mistake> {
    let sinks = table
        .get("sink")
        .and_then(|sinks| sinks.get_ref().as_table());
    let sinks = sinks.into_iter().flat_map(|sinks| sinks.values());
    let paths = sinks.filter_map(|sink| sink.get_ref().as_table()?.get("path"));
    let files = table.get("dead-letters").into_iter().chain(paths);
    let missing = files.filter_map(|file| {
        let path = std::path::Path::new(file.get_ref().as_str()?);
        let folder = path.parent()?;
        // Of these the checks tell another mistake.
        let other = path.starts_with("~") || folder.as_os_str().is_empty();
        let text = format!("there is no directory {}", folder.display());
        (!other && !folder.is_dir()).then(|| Mistake::at(file, text))
    });
    missing.collect()
}

fn check(table: &Spanned<DeTable>, stamps: &mut FileStamps) -> Result<Config, Mistake> {
    let raw = RawFile::deserialize(Deserializer::from(table.clone()));
    let raw = raw.map_err(|error| of_form(&error))?;
    for file in raw.files() {
        stamps.note(&file);
    }
    raw.check()
}

/// What is wrong with the syntax; of a line the first alone, as the rest follows from it.
fn of_syntax(text: &str, faults: &[Error]) -> Vec<Mistake> {
    let mut lines = Vec::new();
    let mut mistakes: Vec<Mistake> = faults.iter().map(of_form).collect();
    mistakes.sort_by_key(|mistake| mistake.at);
    mistakes.retain(|mistake| {
        let (line, _) = super::position(text, mistake.at.unwrap_or(0));
        let is_new = !lines.contains(&line);
        lines.push(line);
        is_new
    });
    mistakes.truncate(MOST);
    mistakes
}

/// What the reader of TOML found.
fn of_form(error: &Error) -> Mistake {
    let text = error.message().trim().replace('\n', ": ");
    let text = match text.strip_prefix("unknown field `") {
        Some(rest) => unknown(rest).unwrap_or(text),
        None if text.starts_with("invalid type: map") && text.contains("a sequence") => {
            "expected a list of tables: write it in [[ ]], not in [ ]".into()
        }
        None => text,
    };
    let at = error.span().map(|span| span.start);
    Mistake { at, text }
}

/// Says which key was probably meant. The text is that of serde behind "unknown field `": the key, a backtick, and
/// what was expected, each in backticks.
fn unknown(text: &str) -> Option<String> {
    let (key, expected) = text.split_once('`')?;
    let known = expected.split('`').skip(1).step_by(2);
    let distance = |other: &&str| strsim::damerau_levenshtein(key, other);
    let nearest = known.min_by_key(distance)?;
    Some(match distance(&nearest) <= 1 + key.len() / 4 {
        true => format!("unknown key `{key}`, did you mean `{nearest}`?"),
        false => format!("unknown key `{key}`{expected}"),
    })
}

/// The innermost of what has a place in the file of its own and holds this byte.
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

/// Whether a byte is in a value. Of a table it is where it begins: what is in it has places of its own.
fn is_at(value: &Spanned<DeValue>, at: usize) -> bool {
    match value.get_ref() {
        DeValue::Table(_) => value.span().start == at,
        _ => value.span().contains(&at),
    }
}

/// Takes a value out. Tells whether it was there.
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

/// Whether a mistake is there because of what was taken out.
fn is_consequence(text: &str, path: Option<&Path>, removed: &[Path]) -> bool {
    let key = |name: &str| Step::Key(name.to_owned());
    let Some(path) = path else {
        // The whole file lacks something: it may have been misspelled.
        return removed
            .iter()
            .any(|gone| gone.len() == 1 || gone[0] == key("source") || gone[0] == key("route"));
    };
    // What is said of a key is not said of those that are listed behind it.
    let said = text.split(": it takes").next().unwrap_or(text);
    let is_form = text.starts_with("unknown key");
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

/// Whether a text has a key as a word.
fn names(text: &str, key: &str) -> bool {
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.split(|c| !is_key(c)).any(|word| word == key)
}

#[cfg(test)]
mod tests {
    use super::super::position;
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let Err(all) = Config::parse_all(text, Rigour::Start, &mut FileStamps::default()) else {
            return Vec::new();
        };
        let told = all.into_iter().map(|mistake| match mistake.at {
            Some(at) => {
                let (line, column) = position(text, at);
                format!("{line}:{column}: {}", mistake.text)
            }
            None => mistake.text,
        });
        told.collect()
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
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
        let told = mistakes(text);
        let expected = [
            "1:9: a time has a unit: write \"30s\"",
            "2:1: unknown key `max-in-flite`, did you mean `max-in-flight`?",
            "3:16: `~` is not expanded here: write the whole path",
            "5:9: ",
            "5:40: ",
            "6:16: the environment has no variable AGG_NO_SUCH_NAME for the password",
            "10:1: unknown key `qeues`, did you mean `queues`?",
            "14:18: expected MIN, HOUR, LOG, ERROR or REALITY, not \"DAY\"",
            "14:25: expected MIN, HOUR, LOG, ERROR or REALITY, not \"WEEK\"",
            "15:20: there is no [sink.infux] in this file",
            "17:1: expected \"database\" in this sink; \"\" for VictoriaMetrics or QuestDB, which need none",
            "23:8: / is a directory: expected a file",
            "24:8: expected at least 1",
            "25:8: permissions are octal digits in quotes: write \"0640\"",
            "26:12: expected zstd or gzip, not \"zip\"",
        ];
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}\nexpected {expected}");
        }
        assert_eq!(told.len(), expected.len(), "{told:#?}");
    }

    #[test]
    fn consequences_of_a_mistake_are_not_told() {
        let rest =
            "[[route]]\nqueues = [\"LOG\"]\nsinks = [\"out\"]\n[sink.out]\ntype = \"stdout\"\n";
        let source = "[[source]]\nurls = [\"redis://h\"]\n";
        for (text, expected) in [
            (format!("[[sauce]]\nurls = []\n{rest}"), "1:3: unknown key `sauce`, did you mean `source`?"),
            (format!("[source]\nurls = []\n{rest}"), "1:1: expected a list of tables: write it in [[ ]]"),
            (format!("{source}{}", rest.replace("route", "rout")), "3:3: unknown key `rout`, did you mean `route`?"),
            (format!("{source}{}", rest.replace("stdout", "stdin")), "7:8: expected the type stdout, file,"),
            (format!("{source}{}", rest.replace("type", "typ")), "7:1: unknown key `typ`, did you mean `type`?"),
            (format!("{source}{}", rest.replace("[\"out\"]", "[\"aut\"]")), "5:10: there is no [sink.aut] in this file"),
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
            let told = mistakes(&text);
            assert_eq!(told.len(), 1, "{text}\n{told:#?}");
            assert!(told[0].starts_with(expected), "{text}\n{}", told[0]);
        }
        assert_eq!(mistakes(&format!("{source}{rest}")), [""; 0]);
    }

    #[test]
    fn missing_directory_is_told_by_a_check_alone() {
        let text = "dead-letters = \"/no/such/dead\"\n[[source]]\nurls = [\"redis://h\"]\n[[route]]\n\
                    queues = [\"LOG\"]\nsinks = [\"a\", \"b\"]\n[sink.a]\ntype = \"file\"\npath = \"/no/a\"\n\
                    [sink.b]\ntype = \"file\"\npath = \"here\"\n";
        let read = |rigour| Config::parse_all(text, rigour, &mut FileStamps::default());
        assert!(read(Rigour::Start).is_ok());
        let all = read(Rigour::Check).err().unwrap();
        let told: Vec<_> = all.iter().map(|mistake| &*mistake.text).collect();
        assert_eq!(
            told,
            [
                "there is no directory /no/such",
                "there is no directory /no"
            ]
        );
        assert_eq!(all[0].at, Some(15));
    }

    #[test]
    fn broken_syntax_is_told_for_each_line() {
        let told = mistakes("lease = \nlisten = \"a\nx = [1\n");
        assert!(told[0].starts_with("1:"), "{told:?}");
        assert!(told.len() <= 4, "{told:?}");
    }

    #[test]
    fn number_of_mistakes_is_bounded() {
        let keys: String = (0..1000).map(|n| format!("zzzzzz{n} = 1\n")).collect();
        let told = mistakes(&keys);
        assert_eq!(told.len(), MOST);
        assert!(told[0].starts_with("1:1: unknown key `zzzzzz0`, expected one of `poll-interval`"));
    }
}
