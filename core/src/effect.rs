//! Effects: what a replica and an AOF repeat, as the payload of AGG.APPLY.
//!
//! A payload is a version, the primary's clock, the id of the first entry that it queues, and changes in order. A
//! change says what was decided (this sample counts, these windows close, these entries are gone); what follows from
//! it by the node's value and rules is computed again, by the same code that the primary ran. Ids of queued entries
//! follow each other from the first.
//!
//! Layout: `01` version, signed now_ms, first id, then changes, each a code (see [`code`]) and its fields in the format
//! of `codec::bytes`. Lists of slots are runs: (gap since the end of the run before, length), growing strictly, so a
//! list never names a slot twice. Payloads that begin with another byte are frames of a saved node
//! (`node/frames.rs`).
//!
//! A report of samples, of a known error or of an unchanged object may go to replicas as it came instead
//! ([`Propagation::Command`]): where it names no time it means the clock of the node's last payload, so it is allowed
//! only while the primary's clock is that one, and only where nothing but the report itself was decided. So what is told often is told cheaply, and each
//! millisecond of a node's life costs one payload at most.
//!
//! Decoding looks at the form only and finishes before anything is changed. A change that does not fit the node's
//! value (a slot that is empty) does nothing.

use crate::codec::bytes::{Reader, put_bytes, put_doubles, put_i64, put_u64};
use crate::error::Damaged;
use crate::node::parts::{Kind, LogEntry, Occurrence, Queue, Report, Sample, Told};
use crate::settings::Rules;
use crate::text::number::Number;
use crate::text::tags;

/// The first byte of a payload of effects.
pub(crate) const VERSION: u8 = 1;

/// The codes of changes. A new one gets a new number; a number is never used again.
mod code {
    pub const ADOPT: u8 = 0;
    pub const SAMPLE: u8 = 1;
    pub const LOG: u8 = 2;
    pub const OCCUR: u8 = 3;
    pub const CHANGE: u8 = 4;
    pub const HEAR: u8 = 5;
    pub const CLOSE: u8 = 6;
    pub const GIVE_UP_TIME: u8 = 7;
    pub const FORGET_METRICS: u8 = 8;
    pub const FORGET_ERRORS: u8 = 9;
    pub const END: u8 = 10;
    pub const REQUEUE: u8 = 11;
    pub const REMOVE: u8 = 12;
    pub const REMOVE_OLDEST: u8 = 13;
    pub const TELL_ERRORS: u8 = 14;
    pub const NO_HISTORY: u8 = 15;
}

/// Bits of a sample's flags.
mod flag {
    pub const DIFF: u8 = 1;
    pub const FLOAT: u8 = 2;
    pub const TAGS: u8 = 4;
    /// The tags of the sample before.
    pub const SAME_TAGS: u8 = 8;
    /// The time of the sample before.
    pub const SAME_AT: u8 = 16;
}

/// What a change sends to replicas and the AOF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation<'a> {
    /// Nothing was changed.
    Nothing,
    /// The command that ran, as it came; see [`crate::Request::repeat`].
    Command,
    /// This payload of AGG.APPLY.
    Payload(&'a [u8]),
}

/// A growing payload, reused from command to command.
#[derive(Debug, Default)]
pub struct Effects {
    bytes: Vec<u8>,
    /// What of `bytes` is worth nothing without a change behind it.
    header: usize,
    now_ms: i64,
    first_id: u64,
    /// The command that runs is the whole effect.
    as_it_came: bool,
    no_history: bool,
    last_at: Option<i64>,
    /// Where the tags of the last sample that had some stand.
    last_tags: Option<(usize, usize)>,
}

/// The most that a buffer keeps between commands.
const KEPT: usize = 64 << 10;

impl Effects {
    /// With the buffer that is kept between commands, so that none of them seems to cost it.
    pub fn with_buffer() -> Effects {
        Effects {
            bytes: Vec::with_capacity(KEPT),
            ..Effects::default()
        }
    }

    /// Nothing to propagate.
    pub fn is_empty(&self) -> bool {
        !self.has_payload() && !self.as_it_came
    }

    /// What is to be propagated.
    pub fn propagation(&self) -> Propagation<'_> {
        match (self.has_payload(), self.as_it_came) {
            (true, _) => Propagation::Payload(&self.bytes),
            (false, true) => Propagation::Command,
            (false, false) => Propagation::Nothing,
        }
    }

    pub(crate) fn has_payload(&self) -> bool {
        self.bytes.len() > self.header
    }

    /// Starts anew, keeping a modest buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
        self.header = 0;
        self.as_it_came = false;
        self.last_at = None;
        self.last_tags = None;
    }

    /// Starts a payload: the primary's clock, the id that the first queued entry gets, and whether windows that close
    /// leave no bucket.
    pub(crate) fn open(&mut self, now_ms: i64, first_id: u64, no_history: bool) {
        self.clear();
        (self.now_ms, self.first_id, self.no_history) = (now_ms, first_id, no_history);
    }

    /// The command that runs, as it came, is all that is to be propagated.
    pub(crate) fn repeat_command(&mut self) {
        self.as_it_came = true;
    }

    /// The payload, with its header.
    fn begun(&mut self) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
            put_i64(&mut self.bytes, self.now_ms);
            put_u64(&mut self.bytes, self.first_id);
            if self.no_history {
                self.bytes.push(code::NO_HISTORY);
            }
        }
        &mut self.bytes
    }

    /// Begins the payload with the node's rules. They go along with the first change that follows; without one there
    /// is nothing to propagate.
    pub(crate) fn open_with_rules(&mut self, windows_s: [u32; 2], rules: &Rules) {
        self.begun().push(code::ADOPT);
        put_rules(&mut self.bytes, windows_s, rules);
        self.header = self.bytes.len();
    }

    pub(crate) fn sample(&mut self, name: &[u8], sample: &Sample<'_>) {
        let mut flags = 0;
        if sample.kind == Kind::Diff {
            flags |= flag::DIFF;
        }
        if matches!(sample.value, Number::Float(_)) {
            flags |= flag::FLOAT;
        }
        if self.last_at == Some(sample.at) {
            flags |= flag::SAME_AT;
        }
        if let Some(tags) = sample.tags {
            let same = self
                .last_tags
                .is_some_and(|(start, end)| self.bytes.get(start..end) == Some(tags));
            flags |= if same { flag::SAME_TAGS } else { flag::TAGS };
        }
        let out = self.begun();
        out.extend([code::SAMPLE, flags]);
        put_bytes(out, name);
        match sample.value {
            Number::Int(v) => put_u64(out, v),
            Number::Float(v) => put_doubles(out, &[v]),
        }
        if flags & flag::SAME_AT == 0 {
            put_i64(out, sample.at);
        }
        if let (Some(tags), true) = (sample.tags, flags & flag::TAGS != 0) {
            put_bytes(out, tags);
            let end = out.len();
            self.last_tags = Some((end - tags.len(), end));
        }
        self.last_at = Some(sample.at);
    }

    pub(crate) fn log(&mut self, entry: &LogEntry<'_>) {
        self.begun().push(code::LOG);
        entry.put(&mut self.bytes);
    }

    pub(crate) fn occur(&mut self, o: &Occurrence<'_>, queue: bool) {
        self.begun().extend([code::OCCUR, queue.into()]);
        o.put(&mut self.bytes);
    }

    pub(crate) fn change(&mut self, report: &Report<'_>, new_id: bool) {
        self.begun().extend([code::CHANGE, new_id.into()]);
        report.put(&mut self.bytes);
    }

    pub(crate) fn hear(&mut self, slot: u32, at: i64, ttl_s: Option<u64>) {
        self.begun().push(code::HEAR);
        put_u64(&mut self.bytes, slot.into());
        put_i64(&mut self.bytes, at);
        put_u64(&mut self.bytes, ttl_s.map_or(0, |s| s.saturating_add(1)));
    }

    /// `slots` grow strictly, here and below.
    pub(crate) fn close(&mut self, length: usize, newest: bool, slots: &[u32]) {
        self.slots(&[code::CLOSE, length as u8, newest.into()], slots);
    }

    pub(crate) fn give_up_time(&mut self, slots: &[u32]) {
        self.slots(&[code::GIVE_UP_TIME], slots);
    }

    pub(crate) fn forget_metrics(&mut self, slots: &[u32]) {
        self.slots(&[code::FORGET_METRICS], slots);
    }

    pub(crate) fn forget_errors(&mut self, slots: &[u32]) {
        self.slots(&[code::FORGET_ERRORS], slots);
    }

    pub(crate) fn end(&mut self, new_id: bool, slots: &[u32]) {
        self.slots(&[code::END, new_id.into()], slots);
    }

    pub(crate) fn requeue(&mut self, queue: Queue, slots: &[u32]) {
        self.slots(&[code::REQUEUE, queue as u8], slots);
    }

    /// `ids` grow strictly, here and below.
    pub(crate) fn remove(&mut self, queue: Queue, ids: &[u64]) {
        if ids.is_empty() {
            return;
        }
        self.begun().extend([code::REMOVE, queue as u8]);
        put_u64(&mut self.bytes, ids.len() as u64);
        let mut before = 0;
        for &id in ids {
            put_u64(&mut self.bytes, id - before);
            before = id;
        }
    }

    pub(crate) fn remove_oldest(&mut self, queue: Queue, n: u64) {
        if n > 0 {
            self.begun().extend([code::REMOVE_OLDEST, queue as u8]);
            put_u64(&mut self.bytes, n);
        }
    }

    pub(crate) fn tell_errors(&mut self, told: &[(u64, Told)]) {
        if told.is_empty() {
            return;
        }
        self.begun().push(code::TELL_ERRORS);
        put_u64(&mut self.bytes, told.len() as u64);
        let mut before = 0;
        for (id, told) in told {
            put_u64(&mut self.bytes, id - before);
            put_i64(&mut self.bytes, told.ms);
            put_u64(&mut self.bytes, told.occurrences);
            before = *id;
        }
    }

    fn slots(&mut self, head: &[u8], slots: &[u32]) {
        if slots.is_empty() {
            return;
        }
        self.begun().extend_from_slice(head);
        let runs = || slots.chunk_by(|a, b| *b == a + 1);
        put_u64(&mut self.bytes, runs().count() as u64);
        let mut before = 0;
        for run in runs() {
            let (first, len) = (run.first().copied().unwrap_or(0), run.len() as u32);
            put_u64(&mut self.bytes, (first - before).into());
            put_u64(&mut self.bytes, len.into());
            before = first + len;
        }
    }
}

/// A change, as it is read.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Adopt {
        windows_s: [u32; 2],
        rules: Rules,
    },
    Sample {
        name: &'a [u8],
        sample: Sample<'a>,
    },
    Log(LogEntry<'a>),
    Occur {
        occurrence: Occurrence<'a>,
        queue: bool,
    },
    Reality {
        report: Report<'a>,
        new_id: bool,
    },
    Hear {
        slot: u32,
        at: i64,
        ttl_s: Option<u64>,
    },
    Close {
        length: usize,
        newest: bool,
        slots: Slots<'a>,
    },
    GiveUpTime(Slots<'a>),
    ForgetMetrics(Slots<'a>),
    ForgetErrors(Slots<'a>),
    End {
        new_id: bool,
        slots: Slots<'a>,
    },
    Requeue {
        queue: Queue,
        slots: Slots<'a>,
    },
    Remove {
        queue: Queue,
        ids: Ids<'a>,
    },
    RemoveOldest {
        queue: Queue,
        n: u64,
    },
    TellErrors(Ids<'a>),
    /// Windows that close after this leave no bucket.
    NoHistory,
}

/// A payload that is being read.
#[derive(Clone)]
pub(crate) struct Payload<'a> {
    /// The primary's clock, Unix milliseconds.
    pub now_ms: i64,
    /// The id of the first entry that it queues.
    pub first_id: u64,
    reader: Reader<'a>,
    last_at: Option<i64>,
    last_tags: Option<&'a [u8]>,
}

impl<'a> Payload<'a> {
    /// Reads the header.
    pub fn open(bytes: &'a [u8]) -> Result<Payload<'a>, Damaged> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Damaged("effects of an unknown version"));
        }
        Ok(Payload {
            now_ms: reader.ms()?,
            first_id: reader.id()?,
            reader,
            last_at: None,
            last_tags: None,
        })
    }

    /// Reads it to its end once, to see that it is well-formed.
    pub fn check(&self) -> Result<(), Damaged> {
        let mut copy = self.clone();
        while let Some(change) = copy.next()? {
            check(&change)?;
        }
        Ok(())
    }

    /// The next change.
    pub fn next(&mut self) -> Result<Option<Change<'a>>, Damaged> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let code = self.reader.u8()?;
        if code == code::SAMPLE {
            return self.sample().map(Some);
        }
        let r = &mut self.reader;
        Ok(Some(match code {
            code::ADOPT => {
                let (windows_s, rules) = read_rules(r)?;
                Change::Adopt { windows_s, rules }
            }
            code::LOG => Change::Log(LogEntry::read_from(r)?),
            code::OCCUR => {
                let queue = flag(r)?;
                Change::Occur {
                    occurrence: Occurrence::read(r)?,
                    queue,
                }
            }
            code::CHANGE => {
                let new_id = flag(r)?;
                Change::Reality {
                    report: Report::read(r)?,
                    new_id,
                }
            }
            code::HEAR => Change::Hear {
                slot: r.u32()?,
                at: r.ms()?,
                ttl_s: r.u64()?.checked_sub(1),
            },
            code::CLOSE => {
                let (length, newest) = (usize::from(flag(r)?), flag(r)?);
                Change::Close {
                    length,
                    newest,
                    slots: Slots::read(r)?,
                }
            }
            code::GIVE_UP_TIME => Change::GiveUpTime(Slots::read(r)?),
            code::FORGET_METRICS => Change::ForgetMetrics(Slots::read(r)?),
            code::FORGET_ERRORS => Change::ForgetErrors(Slots::read(r)?),
            code::END => {
                let new_id = flag(r)?;
                Change::End {
                    new_id,
                    slots: Slots::read(r)?,
                }
            }
            code::REQUEUE => {
                let queue = queue(r)?;
                Change::Requeue {
                    queue,
                    slots: Slots::read(r)?,
                }
            }
            code::REMOVE => {
                let queue = queue(r)?;
                Change::Remove {
                    queue,
                    ids: Ids::read(r, false)?,
                }
            }
            code::REMOVE_OLDEST => Change::RemoveOldest {
                queue: queue(r)?,
                n: r.u64()?,
            },
            code::TELL_ERRORS => Change::TellErrors(Ids::read(r, true)?),
            code::NO_HISTORY => Change::NoHistory,
            _ => return Err(Damaged("an unknown effect")),
        }))
    }

    fn sample(&mut self) -> Result<Change<'a>, Damaged> {
        let r = &mut self.reader;
        let flags = r.u8()?;
        let name = r.name()?;
        let value = if flags & flag::FLOAT == 0 {
            Number::Int(r.u64()?)
        } else {
            let [v] = r.doubles()?;
            Number::Float(v)
        };
        let kind = Kind::from_bit(flags & flag::DIFF != 0);
        if kind == Kind::Diff && value.to_f64() < 0.0 {
            return Err(Damaged("a total is negative"));
        }
        if flags & flag::SAME_AT == 0 {
            self.last_at = Some(r.ms()?);
        }
        if flags & flag::TAGS != 0 {
            self.last_tags = Some(r.bytes()?);
        }
        let at = self.last_at.ok_or(Damaged("a sample without a time"))?;
        let tags = if flags & (flag::TAGS | flag::SAME_TAGS) == 0 {
            None
        } else {
            self.last_tags
        };
        Ok(Change::Sample {
            name,
            sample: Sample {
                kind,
                value,
                at,
                tags,
            },
        })
    }
}

/// What the form alone does not say: texts that leave as JSON, and what is compared, are in canonical form.
fn check(change: &Change<'_>) -> Result<(), Damaged> {
    let tags = match change {
        Change::Sample { sample, .. } => sample.tags.unwrap_or_default(),
        Change::Log(entry) => entry.tags,
        Change::Occur { occurrence, .. } => occurrence.tags,
        Change::Reality { report, .. } => {
            report.check()?;
            report.tags
        }
        _ => &[],
    };
    if tags::is_canonical(tags) {
        Ok(())
    } else {
        Err(Damaged("a list of tags is not in canonical form"))
    }
}

/// Reads a truth value, here and in saved nodes.
pub(crate) fn flag(r: &mut Reader<'_>) -> Result<bool, Damaged> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Damaged("a flag is neither 0 nor 1")),
    }
}

fn queue(r: &mut Reader<'_>) -> Result<Queue, Damaged> {
    Queue::ALL
        .get(usize::from(r.u8()?))
        .copied()
        .ok_or(Damaged("an unknown queue"))
}

/// Writes window lengths and rules, here and in saved nodes.
pub(crate) fn put_rules(out: &mut Vec<u8>, windows_s: [u32; 2], rules: &Rules) {
    let Rules {
        queue_bytes,
        history,
        flush_delay_ms,
        max_future_ms,
        min_interval_ms,
        max_gap_ms,
    } = rules;
    for v in windows_s.iter().chain(history) {
        put_u64(out, u64::from(*v));
    }
    for v in queue_bytes {
        put_u64(out, *v);
    }
    for v in [flush_delay_ms, max_future_ms, min_interval_ms, max_gap_ms] {
        put_i64(out, *v);
    }
}

/// Reads what `put_rules` wrote.
pub(crate) fn read_rules(r: &mut Reader<'_>) -> Result<([u32; 2], Rules), Damaged> {
    let windows_s = [r.u32()?, r.u32()?];
    let history = [r.u32()?, r.u32()?];
    let queue_bytes = [r.u64()?, r.u64()?, r.u64()?];
    let rules = Rules {
        queue_bytes,
        history,
        flush_delay_ms: r.ms()?,
        max_future_ms: r.ms()?,
        min_interval_ms: r.ms()?,
        max_gap_ms: r.ms()?,
    };
    let [min, hour] = windows_s;
    if min == 0
        || hour == 0
        || hour % min != 0
        || hour > crate::settings::MAX_WINDOW_S
        || rules.min_interval_ms == 0
    {
        return Err(Damaged("window lengths or rules are out of range"));
    }
    Ok((windows_s, rules))
}

/// A list of slots that grow strictly.
#[derive(Clone, Debug)]
pub(crate) struct Slots<'a> {
    runs: u64,
    bytes: &'a [u8],
}

impl<'a> Slots<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Slots<'a>, Damaged> {
        let runs = r.u64()?;
        let start = *r;
        let mut end = 0u64;
        for _ in 0..runs {
            end = end.saturating_add(r.u64()?).saturating_add(r.u64()?);
            if end > u64::from(u32::MAX) {
                return Err(Damaged("a slot is out of range"));
            }
        }
        Ok(Slots {
            runs,
            bytes: start.up_to(r),
        })
    }

    /// The slots below `high`.
    pub fn iter(&self, high: u32) -> impl Iterator<Item = u32> {
        let mut reader = Reader::new(self.bytes);
        let mut end = 0;
        (0..self.runs)
            .map_while(move |_| {
                let first = end + reader.u32().ok()?;
                end = first + reader.u32().ok()?;
                Some(first..end.min(high))
            })
            .flatten()
    }
}

/// A list of ids that grow, each perhaps with what was told of an error.
#[derive(Clone, Debug)]
pub(crate) struct Ids<'a> {
    count: u64,
    bytes: &'a [u8],
    told: bool,
}

impl<'a> Ids<'a> {
    fn read(r: &mut Reader<'a>, told: bool) -> Result<Ids<'a>, Damaged> {
        let count = r.u64()?;
        let start = *r;
        let mut id = 0u64;
        for _ in 0..count {
            id = id.saturating_add(r.u64()?);
            if id > crate::turn::MAX_ID {
                return Err(Damaged("an id is out of range"));
            }
            if told {
                r.ms()?;
                r.u64()?;
            }
        }
        Ok(Ids {
            count,
            bytes: start.up_to(r),
            told,
        })
    }

    /// The ids, with what was told.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Told)> {
        let mut reader = Reader::new(self.bytes);
        let mut id = 0;
        let told = self.told;
        (0..self.count).map_while(move |_| {
            id += reader.u64().ok()?;
            let told = match told {
                true => Told {
                    ms: reader.ms().ok()?,
                    occurrences: reader.u64().ok()?,
                },
                false => Told::default(),
            };
            Some((id, told))
        })
    }
}
