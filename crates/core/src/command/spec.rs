//! A row of the command table: the name, grammar, flags and documentation of a command, as plain data.
//!
//! Usage texts, arities, the options that the parser accepts, and all that the server learns of a command (COMMAND
//! DOCS, COMMAND INFO, key specs, ACL categories) derive from it.

use std::fmt::Write;

/// A command.
pub struct CommandSpec {
    /// Its name, as in `AGG.STAT`.
    pub name: &'static str,
    /// Says what it does, in one sentence.
    pub summary: &'static str,
    /// Its time complexity.
    pub complexity: &'static str,
    /// The version of the module that introduced it.
    pub since: &'static str,
    /// The group of commands to which it belongs.
    pub group: Group,
    /// Its properties.
    pub flags: &'static [Flag],
    /// Its use of the key, which is its first argument.
    pub access: Access,
    /// Its arguments; the first is the key, if it has one.
    pub args: &'static [Arg],
    /// The words of its options.
    pub(super) options: OptionWords,
}

/// The words that introduce the options of a command, in the order of its arguments. They follow from the arguments
/// when the table is compiled: to walk through the arguments for the word SEQ took 366 instructions of AGG.STAT, which
/// takes 10,200 with those of the server; to compare the words takes 254, to compare their keys first 60.
pub(super) struct OptionWords {
    words: [&'static str; OptionWords::MAX],
    /// See [`key`].
    keys: [u16; OptionWords::MAX],
    len: usize,
}

/// Returns what is equal where two words are, in any case: the length and the first letter. 0: no word of an option.
#[inline]
const fn key(word: &[u8]) -> u16 {
    match word {
        [first, ..] if word.len() < 256 => (word.len() as u16) << 8 | (*first | 0x20) as u16,
        _ => 0,
    }
}

/// A group of commands that users are allowed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Commands of programs that report.
    Report,
    /// The command of relays. What it stores is never evicted, so programs that report are not allowed it.
    Relay,
    /// Commands of pollers.
    Drain,
    /// Commands that read.
    Read,
    /// Replication and restoring; not for users.
    Internal,
}

/// A property of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// It may change its key.
    Write,
    /// It never changes its key.
    ReadOnly,
    /// It may need memory, and is rejected where the server has none.
    DenyOom,
    /// It takes constant or logarithmic time.
    Fast,
    /// It may block its client.
    Blocking,
}

/// The use that a command makes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Changes it and returns nothing of what others stored in it: write permission is enough.
    Report,
    /// Removes some of its content and returns it.
    Drain,
    /// Reads it.
    Read,
    /// Reads and replaces it.
    Replace,
    /// The command has no key.
    None,
}

/// An argument.
#[derive(Clone, Copy)]
pub struct Arg {
    /// Its name in COMMAND DOCS.
    pub name: &'static str,
    /// Its type.
    pub arg_type: ArgType,
    /// The word that introduces it, as in `TAGS tags`; of [`ArgType::Token`] the word that it consists of.
    pub token: Option<&'static str>,
    /// It may be omitted.
    pub is_optional: bool,
    /// It may be repeated.
    pub is_multiple: bool,
    /// The alternatives of [`ArgType::OneOf`], the parts of [`ArgType::Block`].
    pub args: &'static [Arg],
    /// Its name in usage texts, where that is another.
    display: Option<&'static str>,
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType {
    /// The key: a node.
    Key,
    /// Any text.
    Text,
    /// An integer.
    Integer,
    /// A time in Unix milliseconds.
    Time,
    /// A glob pattern.
    Pattern,
    /// A fixed word.
    Token,
    /// One of several alternatives.
    OneOf,
    /// Several arguments in a fixed order.
    Block,
}

impl Flag {
    /// Its name in the server's list of command flags.
    pub const fn name(self) -> &'static str {
        match self {
            Flag::Write => "write",
            Flag::ReadOnly => "readonly",
            Flag::DenyOom => "deny-oom",
            Flag::Fast => "fast",
            Flag::Blocking => "blocking",
        }
    }
}

impl Group {
    /// The module's ACL category for the group.
    pub const fn category(self) -> Option<&'static str> {
        match self {
            Group::Report => Some("agg-report"),
            Group::Drain => Some("agg-drain"),
            Group::Read => Some("agg-read"),
            Group::Relay => Some("agg-relay"),
            Group::Internal => None,
        }
    }
}

impl Arg {
    pub(super) const fn new(name: &'static str, arg_type: ArgType) -> Arg {
        Arg {
            name,
            arg_type,
            token: None,
            is_optional: false,
            is_multiple: false,
            args: &[],
            display: None,
        }
    }

    pub(super) const fn text(name: &'static str) -> Arg {
        Arg::new(name, ArgType::Text)
    }

    pub(super) const fn integer(name: &'static str) -> Arg {
        Arg::new(name, ArgType::Integer)
    }

    pub(super) const fn word(name: &'static str, word: &'static str) -> Arg {
        Arg::new(name, ArgType::Token).after(word)
    }

    pub(super) const fn one_of(name: &'static str, args: &'static [Arg]) -> Arg {
        Arg {
            args,
            ..Arg::new(name, ArgType::OneOf)
        }
    }

    pub(super) const fn block(name: &'static str, args: &'static [Arg]) -> Arg {
        Arg {
            args,
            ..Arg::new(name, ArgType::Block)
        }
    }

    pub(super) const fn after(self, token: &'static str) -> Arg {
        Arg {
            token: Some(token),
            ..self
        }
    }

    pub(super) const fn optional(self) -> Arg {
        Arg {
            is_optional: true,
            ..self
        }
    }

    pub(super) const fn multiple(self) -> Arg {
        Arg {
            is_multiple: true,
            ..self
        }
    }

    pub(super) const fn shown_as(self, display: &'static str) -> Arg {
        Arg {
            display: Some(display),
            ..self
        }
    }

    /// The argument without its token, as a usage text shows it.
    fn value(&self) -> String {
        let join = |separator: &str| {
            let parts: Vec<String> = self.args.iter().map(Arg::usage).collect();
            parts.join(separator)
        };
        match (self.display, self.arg_type) {
            (Some(display), _) => display.to_owned(),
            (None, ArgType::Token) => String::new(),
            (None, ArgType::OneOf) => join("|"),
            (None, ArgType::Block) => join(" "),
            (None, _) => self.name.to_owned(),
        }
    }

    /// The argument as a usage text shows it, without brackets around it.
    fn usage(&self) -> String {
        let mut value = self.value();
        if self.is_multiple {
            value = format!("{value} [{value} ...]");
        }
        match self.token {
            None => value,
            Some(token) if value.is_empty() => token.to_owned(),
            Some(token) => format!("{token} {value}"),
        }
    }

    /// The fewest words of the argument in a command.
    const fn len(&self) -> i32 {
        if self.is_optional {
            return 0;
        }
        let token = self.token.is_some() as i32;
        match self.arg_type {
            ArgType::Token => 1,
            ArgType::OneOf => {
                let (mut min, mut i) = (i32::MAX, 0);
                while i < self.args.len() {
                    let len = self.args[i].len();
                    min = if len < min { len } else { min };
                    i += 1;
                }
                token + min
            }
            ArgType::Block => {
                let (mut sum, mut i) = (token, 0);
                while i < self.args.len() {
                    sum += self.args[i].len();
                    i += 1;
                }
                sum
            }
            _ => token + 1,
        }
    }
}

impl CommandSpec {
    /// The number of its words, name included; negative: at least that many.
    pub fn arity(&self) -> i32 {
        let len = 1 + self.args.iter().map(Arg::len).sum::<i32>();
        let is_open = |arg: &Arg| arg.is_optional || arg.is_multiple;
        if self.args.iter().any(is_open) {
            -len
        } else {
            len
        }
    }

    /// Returns the line of AGG.HELP: name, arguments, summary.
    pub fn help(&self) -> String {
        let (name, usage, summary) = (self.name, self.usage(), self.summary);
        let separator = if usage.is_empty() { "" } else { " " };
        format!("{name}{separator}{usage}: {summary}")
    }

    /// Its arguments as error messages show them.
    pub fn usage(&self) -> String {
        let mut usage = String::new();
        for arg in self.args {
            let separator = if usage.is_empty() { "" } else { " " };
            let arg_usage = arg.usage();
            let _ = match arg.is_optional {
                true => write!(usage, "{separator}[{arg_usage}]"),
                false => write!(usage, "{separator}{arg_usage}"),
            };
        }
        usage
    }

    /// Its ACL categories, separated by spaces.
    pub fn categories(&self) -> String {
        let has = |flag| self.flags.contains(&flag);
        let mut categories = vec![if has(Flag::ReadOnly) { "read" } else { "write" }];
        match self.group.category() {
            None => categories.extend(["admin", "dangerous"]),
            Some(category) => {
                categories.push(if has(Flag::Fast) { "fast" } else { "slow" });
                if has(Flag::Blocking) {
                    categories.push("blocking");
                }
                categories.push(category);
            }
        }
        categories.join(" ")
    }

    /// Returns the option that a word introduces, in any case, and its number among those of the command.
    pub(super) fn option(&self, word: &[u8]) -> Option<(usize, &'static str)> {
        let given = key(word);
        for number in 0..self.options.len.min(OptionWords::MAX) {
            if self.options.keys[number] == given {
                let option = self.options.words[number];
                // Words consist of capital letters, which differ from small ones in one bit.
                let mut letters = option.bytes().zip(word);
                if letters.all(|(letter, given)| letter == given & !0x20) {
                    return Some((number, option));
                }
            }
        }
        None
    }
}

impl OptionWords {
    /// The most options that a command has. More do not compile.
    const MAX: usize = 16;

    pub(super) const fn of(args: &'static [Arg]) -> OptionWords {
        let mut options = OptionWords {
            words: [""; OptionWords::MAX],
            keys: [0; OptionWords::MAX],
            len: 0,
        };
        let mut i = 0;
        while i < args.len() {
            if args[i].is_option() {
                options.push_all(&args[i]);
            }
            i += 1;
        }
        options
    }

    /// Adds the words by which the parser recognizes an argument: its own, or those of its alternatives.
    const fn push_all(&mut self, arg: &Arg) {
        if let Some(word) = arg.token {
            return self.push(word);
        }
        let mut i = 0;
        while i < arg.args.len() {
            if let Some(word) = arg.args[i].token {
                self.push(word);
            }
            i += 1;
        }
    }

    const fn push(&mut self, word: &'static str) {
        let mut i = 0;
        while i < word.len() {
            assert!(word.as_bytes()[i].is_ascii_uppercase());
            i += 1;
        }
        self.words[self.len] = word;
        self.keys[self.len] = key(word.as_bytes());
        self.len += 1;
    }
}

impl Arg {
    /// Returns `true` if the parser finds it by its word, not by its place.
    const fn is_option(&self) -> bool {
        self.is_optional || self.token.is_some() || self.has_blocks()
    }

    /// Returns `true` if its alternatives are blocks, each introduced by a word.
    const fn has_blocks(&self) -> bool {
        matches!(self.arg_type, ArgType::OneOf)
            && matches!(self.args, [first, ..] if matches!(first.arg_type, ArgType::Block))
    }
}
