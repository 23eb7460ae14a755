//! Commands that report log entries, errors and objects: AGG.LOG, AGG.ERROR, AGG.REALITY.

use super::args::Args;
use super::sequence;
use crate::codec::json;
use crate::context::WriteContext;
use crate::counters::RejectReason;
use crate::error::CommandError;
use crate::model::{ErrorType, LogEntry, ObjectReport, Occurrence, Sequence};
use crate::node::{Node, ReportOutcome};
use crate::reply::Reply;
use crate::settings::Settings;
use aggregator_protocol::level;
use aggregator_protocol::quote::{cut, quoted};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Deref;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Returns a free text, cut where it is longer than the limit.
#[inline]
fn cut_text<'a>(text: &'a [u8], max: usize, truncated: &mut u64) -> Cow<'a, [u8]> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    match cut(text, max) {
        None => Cow::Borrowed(text),
        Some(cut) => {
            *truncated += 1;
            Cow::Owned(cut)
        }
    }
}

/// The arguments of AGG.LOG.
pub(super) struct Log<'a> {
    message: Cow<'a, [u8]>,
    tags: Cow<'a, [u8]>,
    level: u8,
    at: i64,
    sequence: Option<Sequence<'a>>,
    truncated: u64,
}

impl<'a> Log<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Log<'a>, CommandError> {
        let mut truncated = 0;
        let message = cut_text(
            args.next("message")?,
            args.settings.max_item_size,
            &mut truncated,
        );
        let mut log = Log {
            message,
            tags: Cow::default(),
            level: args.default_level(level::INFO),
            at: args.now_ms(),
            sequence: None,
            truncated,
        };
        while !args.is_empty() {
            match args.option()? {
                "LEVEL" => log.level = args.level()?,
                "TAGS" => log.tags = args.tags()?,
                "SEQ" => log.sequence = Some(sequence::read(args)?),
                _ => log.at = args.at()?,
            }
        }
        Ok(log)
    }

    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.sequence
    }

    pub fn cost(&self) -> u64 {
        Node::log_cost(self.message.len() + self.tags.len())
    }

    pub fn run(&self, node: &mut Node, ctx: &mut WriteContext<'_>, reply: &mut dyn Reply) {
        node.count_truncated(self.truncated, ctx);
        let is_whole = self.truncated == 0;
        reply.int(node.push_log(&self.entry(), is_whole, ctx) as i64);
    }

    /// The log entry.
    pub fn entry(&self) -> LogEntry<'_> {
        LogEntry {
            message: &self.message,
            tags: &self.tags,
            level: self.level,
            at: self.at,
        }
    }
}

/// The arguments of AGG.ERROR.
pub(super) struct ErrorReport<'a> {
    key: ErrorKey<'a>,
    texts: [Cow<'a, [u8]>; 6],
    tags: Cow<'a, [u8]>,
    level: u8,
    error_type: ErrorType,
    gid: u64,
    nid: u64,
    at: i64,
    sequence: Option<Sequence<'a>>,
    truncated: u64,
}

/// The key of an error, by which errors are distinguished.
enum ErrorKey<'a> {
    Given(&'a [u8]),
    Hash([u8; 32]),
}

impl Deref for ErrorKey<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ErrorKey::Given(key) => key,
            ErrorKey::Hash(key) => key,
        }
    }
}

impl<'a> ErrorReport<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<ErrorReport<'a>, CommandError> {
        // In the order of Occurrence::texts: message, public, code, func, file, backtrace.
        let mut whole: [&'a [u8]; 6] = [args.next("message")?, &[], &[], &[], &[], &[]];
        let (mut tags, mut key, mut at) = (Cow::default(), None, args.now_ms());
        let mut level = args.default_level(level::ERROR);
        let mut error_type = ErrorType::default();
        let (mut gid, mut nid, mut sequence) = (0, 0, None);
        while !args.is_empty() {
            match args.option()? {
                "LEVEL" => level = args.level()?,
                "TYPE" => error_type = args.one_of("TYPE", &ErrorType::ALL, ErrorType::name)?,
                "TAGS" => tags = args.tags()?,
                "GID" => gid = args.integer("GID", 0..=i64::MAX as u64)?,
                "NID" => nid = args.integer("NID", 0..=i64::MAX as u64)?,
                "KEY" => key = Some(args.name("KEY")?),
                "AT" => at = args.at()?,
                "SEQ" => sequence = Some(sequence::read(args)?),
                // Free texts are cut where they are too long.
                "PUBLIC" => whole[1] = args.next("PUBLIC")?,
                "BACKTRACE" => whole[5] = args.next("BACKTRACE")?,
                "CODE" => whole[2] = args.word("CODE")?,
                "FUNC" => whole[3] = args.word("FUNC")?,
                _ => whole[4] = args.word("FILE")?,
            }
        }
        let key = key.map_or_else(|| ErrorKey::Hash(error_key(&whole[..5])), ErrorKey::Given);
        let mut truncated = 0;
        let texts = whole.map(|text| cut_text(text, args.settings.max_item_size, &mut truncated));
        Ok(ErrorReport {
            key,
            texts,
            tags,
            level,
            error_type,
            gid,
            nid,
            at,
            sequence,
            truncated,
        })
    }

    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.sequence
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool) -> u64 {
        let texts: usize = self.texts.iter().map(|t| t.len()).sum();
        let content = texts + self.tags.len() + 64;
        match node {
            Some(node) if closely => {
                node.error_cost(&self.key, content, node.holds_error(&self.occurrence()))
            }
            _ => Node::item_bound(content + self.key.len()),
        }
    }

    pub fn occurrence(&self) -> Occurrence<'_> {
        Occurrence {
            key: &self.key,
            texts: [0, 1, 2, 3, 4, 5].map(|i| &*self.texts[i]),
            tags: &self.tags,
            level: self.level,
            error_type: self.error_type,
            gid: self.gid,
            nid: self.nid,
            at: self.at,
        }
    }

    pub fn run(&self, node: &mut Node, ctx: &mut WriteContext<'_>, reply: &mut dyn Reply) {
        node.count_truncated(self.truncated, ctx);
        let occurrence = self.occurrence();
        let occurrences = node.record_error(&occurrence, self.truncated == 0, ctx);
        reply.array(2);
        reply.bulk(&self.key);
        reply.int(occurrences as i64);
    }
}

/// Returns the key of an error that was reported without one: a hash over its texts, each with its length, so that they
/// cannot run into each other. XXH3 with 128 bits (<https://github.com/Cyan4973/xxHash>), without a seed, in hex.
fn error_key(texts: &[&[u8]]) -> [u8; 32] {
    let parts = || {
        texts
            .iter()
            .map(|text| ((text.len() as u64).to_le_bytes(), *text))
    };
    // Incremental hashing needs a state of half a KiB, which costs more than a short text.
    let mut short = [0; 256];
    let mut len = 0;
    let fits = parts().all(|(size, text)| {
        let end = len + size.len() + text.len();
        let Some(place) = short.get_mut(len..end) else {
            return false;
        };
        let (head, tail) = place.split_at_mut(size.len());
        head.copy_from_slice(&size);
        tail.copy_from_slice(text);
        len = end;
        true
    });
    let hash = if fits {
        xxh3_128(&short[..len])
    } else {
        let mut hash = Xxh3::new();
        for (size, text) in parts() {
            hash.update(&size);
            hash.update(text);
        }
        hash.digest128()
    };
    let mut hex = [0; 32];
    let (digits, _) = hex.as_chunks_mut::<8>();
    for (digits, part) in digits
        .iter_mut()
        .zip([hash >> 96, hash >> 64, hash >> 32, hash])
    {
        *digits = hex_digits(part as u32);
    }
    hex
}

/// Returns the digits of a number in hex, all eight at once.
#[inline]
fn hex_digits(n: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut n = u64::from(n);
    n = (n << 16 | n) & 0x0000_ffff_0000_ffff;
    n = (n << 8 | n) & 0x00ff_00ff_00ff_00ff;
    n = (n << 4 | n) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 where a digit is a letter.
    let letters = (n + 6 * ONES) >> 4 & ONES;
    (n + ONES * b'0' as u64 + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// The arguments of AGG.REALITY.
pub(super) struct Reality<'a> {
    key: &'a [u8],
    model: &'a [u8],
    text: &'a [u8],
    /// The parsed text. The text of an unchanged object need not be parsed.
    scanned: OnceCell<Result<json::Scanned, json::JsonError>>,
    tags: Cow<'a, [u8]>,
    at: i64,
    ttl_s: Option<u64>,
}

/// The longest TTL, seconds (a hundred years).
const MAX_TTL_S: u64 = 100 * 366 * 86_400;

impl<'a> Reality<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Reality<'a>, CommandError> {
        let key = args.name("key")?;
        let model = args.name("model")?;
        let text = args.next("json")?;
        args.check_size("json", text)?;
        let (mut tags, mut at, mut ttl_s) = (Cow::default(), args.now_ms(), None);
        while !args.is_empty() {
            match args.option()? {
                "TAGS" => tags = args.tags()?,
                "AT" => at = args.at()?,
                _ => ttl_s = Some(args.integer("TTL", 0..=MAX_TTL_S)?),
            }
        }
        Ok(Reality {
            key,
            model,
            text,
            scanned: OnceCell::new(),
            tags,
            at,
            ttl_s,
        })
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let content = self.model.len() + self.text.len() + self.tags.len();
        if node.is_some_and(|node| node.holds_text(&self.header(), self.text)) {
            return 0;
        }
        let max = settings.max_realities;
        if closely && node.is_some_and(|node| node.rejects_object(self.key, max)) {
            return 0;
        }
        // Parsed here, before the change: the memory that it allocates is not the node's.
        match (self.report(), node) {
            // A command that is rejected costs nothing.
            (None, _) => 0,
            (Some(report), Some(node)) if closely && node.holds_object(&report) => 0,
            (Some(_), Some(node)) if closely => node.object_cost(self.key, content),
            _ => Node::item_bound(content + self.key.len()),
        }
    }

    /// The report without the JSON.
    pub fn header(&self) -> ObjectReport<'_> {
        ObjectReport {
            key: self.key,
            model: self.model,
            json: &[],
            identity: 0,
            tags: &self.tags,
            at: self.at,
            ttl_s: self.ttl_s,
        }
    }

    fn scanned(&self) -> &Result<json::Scanned, json::JsonError> {
        self.scanned.get_or_init(|| json::scan(self.text))
    }

    /// The whole report; `None`: the JSON is not valid.
    fn report(&self) -> Option<ObjectReport<'_>> {
        let scanned = self.scanned().as_ref().ok()?;
        Some(ObjectReport {
            json: &scanned.compact,
            identity: scanned.identity,
            ..self.header()
        })
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let header = self.header();
        let (report, is_same) = if node.holds_text(&header, self.text) {
            (header, true)
        } else {
            match self.scanned() {
                Ok(_) => (self.report().unwrap_or(header), false),
                Err(e) => {
                    ctx.count_rejected(RejectReason::Argument);
                    let text = quoted(self.text);
                    let why = format_args!("invalid JSON {text}: {e}");
                    return Err(CommandError::argument("AGG.REALITY", why));
                }
            }
        };
        match node.report_object(&report, is_same, ctx) {
            Some(reported) => {
                reply.int(match reported {
                    ReportOutcome::Changed => 1,
                    ReportOutcome::Unchanged => 0,
                    ReportOutcome::Older => -1,
                });
                Ok(())
            }
            None => {
                ctx.count_rejected(RejectReason::Objects);
                let (key, max) = (quoted(self.key), ctx.settings.max_realities);
                let why = format!(
                    "cannot create object {key}: the node has reached agg.max-realities ({max})"
                );
                Err(CommandError::full(
                    RejectReason::Objects,
                    "AGG.REALITY",
                    why,
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_key_is_the_same_in_one_step_and_in_many() {
        for len in [0, 1, 10, 100, 199, 200, 201, 5000] {
            let text = vec![b'x'; len];
            let texts: [&[u8]; 5] = [&text, b"", b"c", b"read", b"disk.c"];
            let mut hash = Xxh3::new();
            for text in texts {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            let hex = format!("{:032x}", hash.digest128());
            assert_eq!(&error_key(&texts)[..], hex.as_bytes(), "{len}");
        }
    }
}
