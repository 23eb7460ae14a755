//! The arguments of a command, read from left to right, and the errors of invalid ones.
//!
//! Every error names the command, the argument and what was expected, and quotes what was given (shortened, control
//! characters escaped). It is raised before anything changes. Errors are built out of line, so that the checks of valid
//! arguments are inlined.

use super::spec::CommandSpec;
use crate::counters::RejectReason;
use crate::error::{CommandError, ErrorCode};
use crate::model::{Queue, SampleKind};
use crate::settings::{MAX_ITEMS, Settings};
use crate::time::{MAX_MS, Now};
use aggregator_protocol::level;
use aggregator_protocol::number::{self, Number, NumberError};
use aggregator_protocol::quote::{quoted, quoted_short};
use aggregator_protocol::tags;
use std::borrow::Cow;

/// Times below this look like seconds (it is the year 1973 in milliseconds).
const LOOKS_LIKE_SECONDS: i64 = 100_000_000_000;

/// The longest pattern, bytes.
const MAX_PATTERN: usize = 1024;

/// The arguments of a command, read from left to right.
pub(super) struct Args<'a, 's> {
    spec: &'static CommandSpec,
    rest: &'a [&'a [u8]],
    given: u64,
    pub settings: &'s Settings,
    now: Now,
}

impl<'a, 's> Args<'a, 's> {
    /// Starts at the first argument after the command's name.
    #[inline]
    pub fn new(
        spec: &'static CommandSpec,
        args: &'a [&'a [u8]],
        settings: &'s Settings,
        now: Now,
    ) -> Args<'a, 's> {
        Args {
            spec,
            rest: args.get(1..).unwrap_or_default(),
            given: 0,
            settings,
            now,
        }
    }

    /// Returns the error of an invalid argument of this command.
    #[cold]
    pub fn reject(&self, text: impl std::fmt::Display) -> CommandError {
        CommandError::argument(self.spec.name, text)
    }

    /// Returns the server's clock, Unix milliseconds.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now.ms()
    }

    /// Returns the server's clock, Unix microseconds.
    pub fn now_us(&self) -> u64 {
        self.now.wall_us
    }

    /// Returns the next argument without taking it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.rest.first().copied()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes all remaining arguments.
    pub fn take_rest(&mut self) -> &'a [&'a [u8]] {
        std::mem::take(&mut self.rest)
    }

    /// Takes the next argument unchecked.
    #[inline]
    pub fn next(&mut self, what: &str) -> Result<&'a [u8], CommandError> {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                Ok(first)
            }
            None => Err(self.end_at(what)),
        }
    }

    /// Returns the error of arguments that end where an argument, or the value of an option, is expected.
    #[cold]
    fn end_at(&self, what: &str) -> CommandError {
        match self.given {
            0 => self.missing(what),
            _ => self.with_usage(format_args!("{what} requires a value")),
        }
    }

    /// Returns the error of a required argument that is not given.
    #[cold]
    pub fn missing(&self, what: &str) -> CommandError {
        self.with_usage(format_args!("{what} is missing"))
    }

    #[cold]
    fn with_usage(&self, text: std::fmt::Arguments<'_>) -> CommandError {
        let (name, usage) = (self.spec.name, self.spec.usage());
        self.reject(format_args!("{text}; usage: {name} {usage}"))
    }

    /// Takes a name: neither empty nor too long.
    #[inline]
    pub fn name(&mut self, what: &str) -> Result<&'a [u8], CommandError> {
        let name = self.next(what)?;
        self.check_name(what, name)?;
        Ok(name)
    }

    /// Takes a text that is rejected where it is too long.
    #[inline]
    pub fn word(&mut self, what: &str) -> Result<&'a [u8], CommandError> {
        let word = self.next(what)?;
        self.check_size(what, word)?;
        Ok(word)
    }

    #[inline]
    pub fn check_name(&self, what: &str, name: &[u8]) -> Result<(), CommandError> {
        self.check_not_empty(what, name)?;
        self.check_size(what, name)
    }

    #[inline]
    pub fn check_not_empty(&self, what: &str, name: &[u8]) -> Result<(), CommandError> {
        if name.is_empty() {
            return Err(self.reject(format_args!("{what} must not be empty")));
        }
        Ok(())
    }

    #[inline]
    pub fn check_size(&self, what: &str, text: &[u8]) -> Result<(), CommandError> {
        if text.len() <= self.settings.max_item_size {
            Ok(())
        } else {
            Err(self.too_long(what, text))
        }
    }

    #[cold]
    fn too_long(&self, what: &str, text: &[u8]) -> CommandError {
        let (text, len) = (quoted_short(text), text.len());
        let max = self.settings.max_item_size;
        self.reject(format_args!(
            "{what} {text} has {len} bytes: agg.max-item-size allows {max}"
        ))
    }

    /// Checks the length of the name of a node.
    #[inline]
    pub fn check_node(&self, node: &[u8]) -> Result<(), CommandError> {
        if node.len() <= self.settings.max_node_name {
            Ok(())
        } else {
            Err(self.node_too_long(node))
        }
    }

    #[cold]
    fn node_too_long(&self, node: &[u8]) -> CommandError {
        let (text, len) = (quoted_short(node), node.len());
        let max = self.settings.max_node_name;
        self.reject(format_args!(
            "node {text} has {len} bytes: the maximum is {max}"
        ))
    }

    /// Takes the next argument, which is the word of one of the command's options; each may be given once.
    pub fn option(&mut self) -> Result<&'static str, CommandError> {
        let word = self.next("an option")?;
        let Some((i, option)) = self.spec.option(word) else {
            return Err(self.with_usage(format_args!("unknown option {}", quoted(word))));
        };
        if self.given & (1 << i) != 0 {
            return Err(self.reject(format_args!("{option} is given twice")));
        }
        self.given |= 1 << i;
        Ok(option)
    }

    /// Takes the pattern of MATCH. Patterns are short, because matching takes time in proportion to the pattern and the
    /// name.
    pub fn pattern(&mut self) -> Result<&'a [u8], CommandError> {
        let pattern = self.next("MATCH")?;
        self.check_size("MATCH", pattern)?;
        if pattern.len() > MAX_PATTERN {
            let (text, len) = (quoted_short(pattern), pattern.len());
            return Err(self.reject(format_args!(
                "MATCH {text} has {len} bytes: the maximum is {MAX_PATTERN}"
            )));
        }
        Ok(pattern)
    }

    /// Takes the keyword of one of several values, whose keywords `name` returns.
    pub fn one_of<T: Copy>(
        &mut self,
        what: &str,
        values: &[T],
        name: fn(T) -> &'static str,
    ) -> Result<T, CommandError> {
        let word = self.next(what)?;
        self.parse_one_of(what, word, values, name)
    }

    /// Parses the keyword of one of several values.
    pub fn parse_one_of<T: Copy>(
        &self,
        what: &str,
        word: &[u8],
        values: &[T],
        name: fn(T) -> &'static str,
    ) -> Result<T, CommandError> {
        let is_given = |value: &&T| name(**value).as_bytes().eq_ignore_ascii_case(word);
        values.iter().find(is_given).copied().ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|value| name(*value)).collect();
            let (word, names) = (quoted(word), names.join(", "));
            self.reject(format_args!(
                "invalid {what} {word}: expected one of {names}"
            ))
        })
    }

    /// Takes an integer within a range.
    pub fn integer(
        &mut self,
        what: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, CommandError> {
        let text = self.next(what)?;
        self.parse_integer(what, text, range)
    }

    /// Parses an integer within a range.
    pub fn parse_integer(
        &self,
        what: &str,
        text: &[u8],
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, CommandError> {
        number::parse_u64(text)
            .filter(|n| range.contains(n))
            .ok_or_else(|| {
                let (text, min, max) = (quoted(text), range.start(), range.end());
                self.reject(format_args!(
                    "invalid {what} {text}: expected an integer from {min} to {max}"
                ))
            })
    }

    /// Takes a time in Unix milliseconds that is not too far ahead of the clock.
    pub fn at(&mut self) -> Result<i64, CommandError> {
        let text = self.next("AT")?;
        self.parse_at(text)
    }

    /// Parses a time in Unix milliseconds that is not too far ahead of the clock.
    pub fn parse_at(&self, given: &[u8]) -> Result<i64, CommandError> {
        let at = self.parse_ms("AT", given)?;
        let given = given.escape_ascii();
        let ahead = at.saturating_sub(self.now.ms());
        let max = self.settings.rules.max_future_ms;
        if at < LOOKS_LIKE_SECONDS {
            return Err(self.reject(format_args!(
                "AT {given} looks like seconds: times are Unix milliseconds"
            )));
        }
        if at > MAX_MS {
            return Err(self.reject(format_args!(
                "AT {given} is out of range: the maximum is {MAX_MS}"
            )));
        }
        if ahead > max {
            let detail = format_args!(
                "AT {given} is {ahead} ms ahead of the server's clock: agg.max-future-ms allows {max}"
            );
            let (code, reason) = (ErrorCode::Err, RejectReason::Future);
            return Err(CommandError::new(code, reason, self.spec.name, detail));
        }
        Ok(at)
    }

    /// Takes any time in Unix milliseconds.
    pub fn ms(&mut self, what: &str) -> Result<i64, CommandError> {
        let text = self.next(what)?;
        self.parse_ms(what, text)
    }

    fn parse_ms(&self, what: &str, text: &[u8]) -> Result<i64, CommandError> {
        let ms = number::parse_u64(text).map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        ms.ok_or_else(|| {
            self.reject(format_args!(
                "invalid {what} {}: expected a time in Unix milliseconds",
                quoted(text)
            ))
        })
    }

    /// Takes a level.
    pub fn level(&mut self) -> Result<u8, CommandError> {
        let text = self.next("LEVEL")?;
        level::parse(text).ok_or_else(|| {
            let (text, expected) = (quoted(text), level::EXPECTED);
            self.reject(format_args!("invalid LEVEL {text}: expected {expected}"))
        })
    }

    /// Returns the level of a report without one; in version 1 (0.1.0) it was 5 for all.
    pub fn default_level(&self, level: u8) -> u8 {
        match self.settings.is_version_1 {
            true => 5,
            false => level,
        }
    }

    /// Takes a tag list, in canonical form.
    pub fn tags(&mut self) -> Result<Cow<'a, [u8]>, CommandError> {
        let text = self.next("TAGS")?;
        self.parse_tags(text)
    }

    /// Parses a tag list, and returns it in canonical form.
    pub fn parse_tags(&self, text: &'a [u8]) -> Result<Cow<'a, [u8]>, CommandError> {
        self.check_size("TAGS", text)?;
        if self.settings.is_version_1 {
            return Ok(tags::from_v1(text));
        }
        tags::canonical(text).map_err(|e| {
            self.reject(format_args!(
                "invalid tag {} in TAGS: expected name:value or name=value",
                quoted(&e.word)
            ))
        })
    }

    /// Returns the queue of an argument.
    pub fn queue(&self, text: &[u8]) -> Option<Queue> {
        Queue::ALL
            .into_iter()
            .find(|q| q.name().as_bytes().eq_ignore_ascii_case(text))
    }

    /// Takes one queue.
    pub fn one_queue(&mut self) -> Result<Queue, CommandError> {
        self.one_of("queue", &Queue::ALL, Queue::name)
    }

    /// Takes one or more queues, each once; they end where an option begins.
    pub fn queues(&mut self) -> Result<Vec<Queue>, CommandError> {
        let mut queues = vec![self.one_queue()?];
        while let Some(queue) = self.rest.first().and_then(|text| self.queue(text)) {
            if queues.contains(&queue) {
                return Err(self.reject(format_args!("queue {} is given twice", queue.name())));
            }
            queues.push(queue);
            self.rest = &self.rest[1..];
        }
        Ok(queues)
    }

    /// Takes queue ids to the end: sorted, each once.
    pub fn ids(&mut self) -> Result<Vec<u64>, CommandError> {
        let given = self.rest.len();
        if given > MAX_ITEMS {
            return Err(self.reject(format_args!(
                "{given} ids given: the maximum is {MAX_ITEMS}"
            )));
        }
        let mut ids = vec![self.integer("id", 1..=crate::id::MAX_ID)?];
        while !self.is_empty() {
            ids.push(self.integer("id", 1..=crate::id::MAX_ID)?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Checks that no argument is left.
    pub fn finish(&self) -> Result<(), CommandError> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => {
                Err(self.with_usage(format_args!("unexpected argument {}", quoted(word))))
            }
        }
    }
}

/// Parses a decimal number.
#[inline]
pub(super) fn number(what: &str, text: &[u8]) -> Result<Number, String> {
    number::parse(text).map_err(|e| {
        let text = quoted(text);
        match e {
            NumberError::NotDecimal => format!("invalid {what} {text}: expected a decimal number"),
            NumberError::TooLarge => format!("invalid {what} {text}: too large for a double"),
            NumberError::TooSmall => format!("invalid {what} {text}: too close to 0 for a double"),
        }
    })
}

/// Parses the value of a sample.
pub(super) fn value(text: &[u8], kind: SampleKind) -> Result<Number, String> {
    let value = number("value", text)?;
    if kind.may_be_negative() || value.to_f64() >= 0.0 {
        return Ok(value);
    }
    let text = quoted(text);
    Err(match kind {
        SampleKind::Inc => {
            format!(
                "invalid value {text}: an increment must not be negative; use ADD to change a gauge"
            )
        }
        _ => format!("invalid value {text}: a DIFF metric must not be negative"),
    })
}
