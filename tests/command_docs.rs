//! COMMAND DOCS and COMMAND INFO, and therefore the hints of redis-cli, describe every command correctly: its grammar,
//! arity, flags and key.

use std::collections::BTreeMap;

use redis::Value;
use testkit::*;

/// A documented command.
struct Contract {
    /// Its documented usage, with `QUEUE` for one of all five and `COLUMN` for a column.
    grammar: &'static str,
    /// The number of arguments with the name; negative: at least that many.
    arity: i64,
    flags: &'static [&'static str],
    /// The flags of its key spec.
    key: &'static [&'static str],
}

const QUEUE: &str = "MIN|HOUR|LOG|ERROR|REALITY";
const COLUMN: &str = "METRIC|VALUE|TYPE|HIST|TIMES|TAGS|AT";

const REPORT: &[&str] = &["RW", "update"];
const DRAIN: &[&str] = &["RW", "access", "delete"];
const READ: &[&str] = &["RO", "access"];

const COMMANDS: [Contract; 20] = [
    Contract {
        grammar: "AGG.STAT node metric value [ABS|ADD|DIFF|INC] [HIST] [TIMES n] [TAGS tags] [AT ms] [SEQ source n]",
        arity: -4,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.MSTAT node [ABS|ADD|DIFF|INC] [HIST] [TAGS tags] [AT ms] [ATOMIC] \
                  [SEQ source n] VALUES metric value [metric value ...]|\
                  COLUMNS COLUMN [COLUMN ...] VALUES value [value ...]",
        arity: -5,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.HIST node metric [SUM s] [MIN m] [MAX m] [TAGS tags] [AT ms] [SEQ source n] \
                  VALUES value times [value times ...]",
        arity: -6,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.LOG node message [LEVEL level] [TAGS tags] [AT ms] [SEQ source n]",
        arity: -3,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.ERROR node message [PUBLIC text] [LEVEL level] [TYPE BUG|PERF|OPS|UNKNOWN] \
                  [TAGS tags] [CODE c] [FUNC f] [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] \
                  [AT ms] [SEQ source n]",
        arity: -3,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.REALITY node key model json [TAGS tags] [AT ms] [TTL seconds]",
        arity: -5,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.IMPORT node QUEUE [FLOOR floor] id record [id record ...]",
        arity: -5,
        flags: &["write", "denyoom", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.FORGET node METRIC|ERROR|REALITY name",
        arity: 4,
        // Not denyoom: it frees memory when memory is full.
        flags: &["write", "fast"],
        key: REPORT,
    },
    Contract {
        grammar: "AGG.REQUEUE node ERROR|REALITY [MATCH glob]",
        arity: -3,
        // Its new records need memory.
        flags: &["write", "denyoom"],
        key: DRAIN,
    },
    Contract {
        grammar: "AGG.POP node QUEUE [QUEUE ...] [COUNT n] [FORMAT JSON|LINE]",
        arity: -3,
        flags: &["write"],
        key: DRAIN,
    },
    Contract {
        grammar: "AGG.FETCH node QUEUE [QUEUE ...] [COUNT n] [LEASE ms] [BLOCK ms] \
                  [FORMAT JSON|LINE] [WITHFLOOR]",
        arity: -3,
        flags: &["write", "blocking"],
        key: DRAIN,
    },
    Contract {
        grammar: "AGG.ACK node QUEUE id [id ...]",
        arity: -4,
        flags: &["write"],
        key: DRAIN,
    },
    Contract {
        grammar: "AGG.NACK node QUEUE id [id ...]",
        arity: -4,
        flags: &["write"],
        key: DRAIN,
    },
    Contract {
        grammar: "AGG.EXTEND node QUEUE ms id [id ...]",
        arity: -5,
        flags: &["write"],
        key: DRAIN,
    },
    Contract {
        grammar: "AGG.PEEK node QUEUE [QUEUE ...] [COUNT n] [FROM id] [REV] [FORMAT JSON|LINE]",
        arity: -3,
        flags: &["readonly"],
        key: READ,
    },
    Contract {
        grammar: "AGG.GET node METRIC|ERROR|REALITY name",
        arity: 4,
        flags: &["readonly", "fast"],
        key: READ,
    },
    Contract {
        grammar: "AGG.RANGE node metric MIN|HOUR [FROM ms] [TO ms]",
        arity: -4,
        flags: &["readonly"],
        key: READ,
    },
    Contract {
        grammar: "AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] [WITHVALUES|WITHLAST]",
        arity: -4,
        flags: &["readonly"],
        key: READ,
    },
    Contract {
        grammar: "AGG.INFO node",
        arity: 2,
        flags: &["readonly", "fast"],
        key: READ,
    },
    // Not documented: effects are replicated by it.
    Contract {
        grammar: "AGG.APPLY node payload",
        arity: 3,
        flags: &["write"],
        key: &["RW", "access", "update"],
    },
];

impl Contract {
    fn name(&self) -> &'static str {
        self.grammar.split(' ').next().unwrap()
    }

    /// Returns the usage with the names of queues in place of `QUEUE`, and those of columns in place of `COLUMN`.
    fn line(&self) -> String {
        self.grammar
            .replace(" QUEUE", &format!(" {QUEUE}"))
            .replace("[QUEUE", &format!("[{QUEUE}"))
            .replace("COLUMN [COLUMN", &format!("{COLUMN} [{COLUMN}"))
    }
}

/// Returns the COMMAND DOCS of a command.
fn docs(server: &Server, name: &str) -> Value {
    let reply: Value = server.ask(&format!("COMMAND DOCS {name}"));
    let pair = list(&reply);
    assert_eq!(pair.len(), 2, "{name}: {reply:?}");
    let listed = redis::from_redis_value::<String>(pair[0].clone()).unwrap();
    assert!(listed.eq_ignore_ascii_case(name), "{listed}");
    pair[1].clone()
}

/// Returns the COMMAND INFO of a command.
fn info(server: &Server, name: &str) -> Vec<Value> {
    let reply: Value = server.ask(&format!("COMMAND INFO {name}"));
    list(&list(&reply)[0]).to_vec()
}

/// Returns the sorted words of a list, or of a set in RESP3.
fn sorted_words(value: &Value) -> Vec<String> {
    let mut words: Vec<String> = redis::from_redis_value(value.clone()).unwrap();
    words.sort();
    words
}

fn sorted(words: &[&str]) -> Vec<String> {
    let mut sorted: Vec<String> = words.iter().map(|word| word.to_string()).collect();
    sorted.sort();
    sorted
}

fn has_flag(arg: &Value, flag: &str) -> bool {
    at(arg, "flags").is_some_and(|flags| sorted_words(flags).iter().any(|f| f == flag))
}

fn args(map: &Value) -> &[Value] {
    at(map, "arguments").map_or(&[], list)
}

/// Returns an argument as redis-cli shows it in its hints.
fn hint(arg: &Value) -> String {
    let parts = |between: &str| -> String {
        let parts: Vec<String> = args(arg).iter().map(hint).collect();
        parts.join(between)
    };
    let value = match text(arg, "type").as_str() {
        "pure-token" => String::new(),
        "oneof" => parts("|"),
        "block" => parts(" "),
        _ => text(arg, "name"),
    };
    let token = at(arg, "token").map_or(String::new(), |_| text(arg, "token"));
    let mut hint = [token, value.clone()].join(" ").trim().to_owned();
    if has_flag(arg, "multiple") {
        hint = format!("{hint} [{value} ...]");
    }
    if has_flag(arg, "optional") {
        hint = format!("[{hint}]");
    }
    hint
}

fn hints(docs: &Value) -> String {
    let hints: Vec<String> = args(docs).iter().map(hint).collect();
    hints.join(" ")
}

/// Returns a usage with `_` for each placeholder: documents and COMMAND DOCS may name it differently (`AT ms` and `AT
/// at`).
fn shape(line: &str) -> String {
    let mut shape = String::new();
    let is_part = |c: char| c.is_alphanumeric() || c == '.' || c == '-';
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let stands = word == "..." || word.starts_with(|c: char| c.is_uppercase());
        match end {
            0 => shape.push(c),
            _ if stands => shape += word,
            _ => shape.push('_'),
        }
        rest = &rest[end.max(c.len_utf8() * usize::from(end == 0))..];
    }
    shape
}

/// Returns words that an argument of COMMAND DOCS permits; of alternatives, the one with this number.
fn example(arg: &Value, choice: usize) -> Vec<String> {
    let name = text(arg, "name");
    let value: Vec<String> = match text(arg, "type").as_str() {
        "pure-token" => vec![],
        // Both are required.
        "oneof" if name == "column" => vec!["METRIC".into(), "VALUE".into()],
        "oneof" => example(&args(arg)[choice % args(arg).len()], choice),
        "block" => args(arg).iter().flat_map(|a| example(a, choice)).collect(),
        "unix-time" => vec![now_ms().to_string()],
        "integer" => vec!["1".into()],
        "pattern" => vec!["*".into()],
        _ => match name.as_str() {
            "value" | "sum" | "min" | "max" => vec!["1.5".into()],
            "json" => vec!["{}".into()],
            "tags" => vec!["a:b".into()],
            "level" => vec!["warning".into()],
            _ => vec![format!("some.{name}")],
        },
    };
    let mut words: Vec<String> = Vec::new();
    if at(arg, "token").is_some() {
        words.push(text(arg, "token"));
    }
    words.extend(value.iter().cloned());
    if has_flag(arg, "multiple") && text(arg, "type") != "oneof" {
        words.extend(value);
    }
    words
}

#[test]
fn shape_of_a_usage_keeps_literal_words() {
    assert_eq!(
        shape("AGG.X node [LEVEL 0..9] [FORMAT JSON|LINE] id [id ...] [REV]"),
        "AGG.X _ [LEVEL _] [FORMAT JSON|LINE] _ [_ ...] [REV]"
    );
}

#[test]
fn server_has_the_documented_commands_and_no_others() {
    let Some(server) = Server::start() else {
        return;
    };
    let found: Vec<String> = server.ask("COMMAND LIST FILTERBY MODULE agg");
    let mut found: Vec<String> = found.iter().map(|name| name.to_uppercase()).collect();
    found.sort();
    let mut names = COMMANDS.each_ref().map(Contract::name).to_vec();
    names.push("AGG.HELP");
    assert_eq!(found, sorted(&names));
}

#[test]
fn help_has_a_line_for_each_command_but_the_internal_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let lines: Vec<String> = server.ask("AGG.HELP");
    let shown = COMMANDS.iter().filter(|c| c.name() != "AGG.APPLY");
    let expected: Vec<String> = shown
        .map(|command| {
            let docs = docs(&server, command.name());
            let usage = shape(
                &command
                    .grammar
                    .replace(" QUEUE", " queue")
                    .replace("[QUEUE", "[queue")
                    .replace("COLUMN [COLUMN", "column [column"),
            );
            format!("{usage}: {}", text(&docs, "summary"))
        })
        .chain(["AGG.HELP: Lists the commands with their arguments.".to_owned()])
        .collect();
    let found: Vec<String> = lines
        .iter()
        .map(|line| {
            let (usage, summary) = line.split_once(": ").unwrap();
            format!("{}: {summary}", shape(usage))
        })
        .collect();
    assert_eq!(found, expected);

    let info = info(&server, "AGG.HELP");
    assert_eq!(info[1], Value::Int(1));
    assert_eq!(sorted_words(&info[2]), ["fast", "module", "readonly"]);
    assert_eq!(info[3..6], [Value::Int(0), Value::Int(0), Value::Int(0)]);
    assert!(args(&docs(&server, "AGG.HELP")).is_empty());
    assert!(send::<Value>(&mut server.connection(), &[b"AGG.HELP", b"x"]).is_err());
}

#[test]
fn command_docs_list_the_documented_arguments() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in &COMMANDS {
        let name = command.name();
        let line = format!("{name} {}", hints(&docs(&server, name)));
        assert_eq!(shape(&line), shape(&command.line()), "{line}");
    }
}

#[test]
fn every_argument_has_a_name_and_the_node_is_the_key() {
    let Some(server) = Server::start() else {
        return;
    };
    fn names(arg: &Value) -> Vec<String> {
        let own = [text(arg, "name")].into_iter();
        own.chain(args(arg).iter().flat_map(names)).collect()
    }
    for command in &COMMANDS {
        let docs = docs(&server, command.name());
        let first = &args(&docs)[0];
        assert_eq!(
            (text(first, "name"), text(first, "type")),
            ("node".into(), "key".into())
        );
        assert_eq!(int(first, "key_spec_index"), 0);
        let mut seen = BTreeMap::new();
        for arg in args(&docs) {
            let [name, ..] = &names(arg)[..] else {
                unreachable!()
            };
            assert!(names(arg).iter().all(|name| !name.is_empty()), "{arg:?}");
            *seen.entry(name.clone()).or_insert(0) += 1;
        }
        assert!(
            seen.values().all(|n| *n == 1),
            "{}: two arguments of one name: {seen:?}",
            command.name()
        );
    }
}

/// Returns whether any text is a good argument. A record of AGG.IMPORT has to be one of its id.
fn takes_examples(command: &Contract) -> bool {
    !["AGG.APPLY", "AGG.IMPORT"].contains(&command.name())
}

#[test]
fn documented_arguments_are_accepted() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in COMMANDS.iter().filter(|c| takes_examples(c)) {
        let docs = docs(&server, command.name());
        // The first queues are MIN, HOUR and LOG, the formats JSON and LINE.
        for choice in 0..3 {
            let mut line = vec![command.name().to_owned()];
            line.extend(args(&docs).iter().flat_map(|arg| example(arg, choice)));
            let words: Vec<&[u8]> = line.iter().map(|word| word.as_bytes()).collect();
            let reply = send::<Value>(&mut server.connection(), &words);
            assert!(reply.is_ok(), "{}: {reply:?}", line.join(" "));
            let () = server.ask("FLUSHALL");
        }
    }
}

#[test]
fn optional_arguments_may_be_omitted() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in COMMANDS.iter().filter(|c| takes_examples(c)) {
        let docs = docs(&server, command.name());
        let needed = args(&docs).iter().filter(|arg| !has_flag(arg, "optional"));
        let mut line = vec![command.name().to_owned()];
        line.extend(needed.flat_map(|arg| example(arg, 0)));
        let words: Vec<&[u8]> = line.iter().map(|word| word.as_bytes()).collect();
        let reply = send::<Value>(&mut server.connection(), &words);
        assert!(reply.is_ok(), "{}: {reply:?}", line.join(" "));
        let () = server.ask("FLUSHALL");
    }
}

#[test]
fn command_docs_have_a_summary_and_a_complexity() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in &COMMANDS {
        let name = command.name();
        let docs = docs(&server, name);
        let summary = text(&docs, "summary");
        assert!(
            summary.len() > 10 && summary.ends_with('.'),
            "{name}: {summary}"
        );
        assert!(text(&docs, "complexity").starts_with("O("), "{name}");
        assert_eq!(text(&docs, "since"), env!("CARGO_PKG_VERSION"), "{name}");
        assert_eq!(text(&docs, "group"), "module", "{name}");
        assert_eq!(text(&docs, "module"), "agg", "{name}");
    }
}

#[test]
fn arity_and_flags_are_correct() {
    let Some(server) = Server::start() else {
        return;
    };
    let expected = COMMANDS.each_ref().map(|command| {
        let mut flags = sorted(command.flags);
        // Added by the server to all commands of modules.
        flags.push("module".into());
        flags.sort();
        (command.name(), Value::Int(command.arity), flags)
    });
    let found = COMMANDS.each_ref().map(|command| {
        let info = info(&server, command.name());
        let places = [Value::Int(1), Value::Int(1), Value::Int(1)];
        assert_eq!(info[3..6], places, "{}", command.name());
        (command.name(), info[1].clone(), sorted_words(&info[2]))
    });
    let wrong: Vec<_> = found
        .iter()
        .zip(&expected)
        .filter(|(f, e)| f != e)
        .collect();
    assert!(wrong.is_empty(), "found and expected: {wrong:#?}");
}

#[test]
fn key_specs_match_what_commands_do_with_the_node() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in &COMMANDS {
        let name = command.name();
        let info = info(&server, name);
        let specs = list(&info[8]);
        assert_eq!(specs.len(), 1, "{name}");
        let spec = &specs[0];
        let flags = sorted_words(at(spec, "flags").unwrap());
        assert_eq!(flags, sorted(command.key), "{name}");
        let begin = at(spec, "begin_search").unwrap();
        assert_eq!(text(begin, "type"), "index", "{name}");
        assert_eq!(int(at(begin, "spec").unwrap(), "index"), 1, "{name}");
        let find = at(spec, "find_keys").unwrap();
        assert_eq!(text(find, "type"), "range", "{name}");
        let range = at(find, "spec").unwrap();
        assert_eq!(
            (int(range, "lastkey"), int(range, "keystep")),
            (0, 1),
            "{name}"
        );
    }
}

#[test]
fn server_finds_the_key_of_every_command() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in &COMMANDS {
        let docs = docs(&server, command.name());
        let words: Vec<String> = args(&docs).iter().flat_map(|arg| example(arg, 0)).collect();
        let line = format!("{} {}", command.name(), words.join(" "));
        let keys: Vec<String> = server.ask(&format!("COMMAND GETKEYS {line}"));
        assert_eq!(keys, ["some.node"], "{line}");
        let flags: Value = server.ask(&format!("COMMAND GETKEYSANDFLAGS {line}"));
        let pair = list(&list(&flags)[0]);
        assert_eq!(self::sorted_words(&pair[1]), sorted(command.key), "{line}");
    }
}

#[test]
fn wrong_number_of_arguments_is_an_error_of_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    for command in &COMMANDS {
        let name = command.name();
        let least = command.arity.unsigned_abs() as usize;
        let mut counts: Vec<usize> = (1..least).collect();
        if command.arity > 0 {
            counts.extend([least + 1, least + 2]);
        }
        for count in counts {
            let mut line = vec![name];
            line.resize(count, "x");
            assert_eq!(
                server.error(&line.join(" ")).to_lowercase(),
                format!(
                    "err wrong number of arguments for '{}' command",
                    name.to_lowercase()
                )
            );
        }
    }
    assert_eq!(server.ask::<i64>("DBSIZE"), 0);
}
