//! Reading effects: the form of a payload is checked to its end before anything is changed.

use super::lists::{Ids, Records, Slots};
use super::{VERSION, code, flag as bit};
use crate::codec::bytes::{Reader, put_i64, put_u64};
use crate::error::DecodeError;
use crate::model::histogram::Percentiles;
use crate::model::{
    Aggregate, Lengths, LogEntry, MAX_TIMES, ObjectReport, Occurrence, Queue, Sample, SampleKind,
    Sequence, Window,
};
use crate::settings::{DEFAULT_SLOT_S, MAX_HISTORY, Rules};
use aggregator_protocol::number::Number;

/// A change.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Adopt {
        lengths: Lengths,
        rules: Rules,
    },
    Sample {
        name: &'a [u8],
        sample: Sample<'a>,
    },
    /// `sample` refers to the aggregate once it is applied.
    Hist {
        name: &'a [u8],
        sample: Sample<'a>,
        aggregate: Box<Aggregate>,
    },
    Log(LogEntry<'a>),
    RecordError {
        occurrence: Occurrence<'a>,
        queue: bool,
    },
    Reality {
        report: ObjectReport<'a>,
        new_id: bool,
    },
    Touch {
        slot: u32,
        at: i64,
        ttl_s: Option<u64>,
    },
    Close {
        window: Window,
        newest: bool,
        slots: Slots<'a>,
    },
    TrimHistory {
        window: Window,
        at_once: u8,
        slots: Slots<'a>,
    },
    ResetTime(Slots<'a>),
    ForgetMetrics(Slots<'a>),
    DropForgotten(Slots<'a>),
    HalveHistograms(Slots<'a>),
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
    AckErrors(Ids<'a>),
    Sequence(Sequence<'a>),
    DropSources(u32),
    Import {
        queue: Queue,
        floor: u64,
        records: Records<'a>,
    },
    /// Windows that close after this are not kept in the history.
    NoHistory,
}

/// A payload, read change by change.
#[derive(Clone)]
pub(crate) struct Payload<'a> {
    /// The version that wrote it; see [`VERSION`].
    pub version: u8,
    /// The primary's clock, Unix milliseconds.
    pub now_ms: i64,
    /// The id of the first record that it queues.
    pub first_id: u64,
    reader: Reader<'a>,
    last_at: Option<i64>,
    last_tags: Option<&'a [u8]>,
}

impl<'a> Payload<'a> {
    /// Reads the header.
    pub fn open(bytes: &'a [u8]) -> Result<Payload<'a>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if !(1..=VERSION).contains(&version) {
            return Err(DecodeError("effects of an unknown version"));
        }
        Ok(Payload {
            version,
            now_ms: reader.ms()?,
            first_id: reader.id()?,
            reader,
            last_at: None,
            last_tags: None,
        })
    }

    /// Reads the next change.
    pub fn next(&mut self) -> Result<Option<Change<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let code = self.reader.u8()?;
        if code == code::SAMPLE {
            let (name, sample) = self.sample()?;
            return Ok(Some(Change::Sample { name, sample }));
        }
        if code == code::HIST {
            return self.hist().map(Some);
        }
        let r = &mut self.reader;
        Ok(Some(match code {
            code::ADOPT => {
                let (lengths, rules) = read_rules(r, self.version.into())?;
                Change::Adopt { lengths, rules }
            }
            code::LOG => Change::Log(LogEntry::read_from(r)?),
            code::RECORD_ERROR => {
                let queue = flag(r)?;
                Change::RecordError {
                    occurrence: Occurrence::read(r)?,
                    queue,
                }
            }
            code::CHANGE => {
                let new_id = flag(r)?;
                Change::Reality {
                    report: ObjectReport::read(r)?,
                    new_id,
                }
            }
            code::TOUCH => Change::Touch {
                slot: r.u32()?,
                at: r.ms()?,
                ttl_s: r.u64()?.checked_sub(1),
            },
            code::CLOSE => {
                let (window, newest) = (Window::from_bit(flag(r)?), flag(r)?);
                Change::Close {
                    window,
                    newest,
                    slots: Slots::read(r)?,
                }
            }
            code::TRIM_HISTORY => Change::TrimHistory {
                window: Window::from_bit(flag(r)?),
                at_once: r.u8()?,
                slots: Slots::read(r)?,
            },
            code::RESET_TIME => Change::ResetTime(Slots::read(r)?),
            code::FORGET_METRICS => Change::ForgetMetrics(Slots::read(r)?),
            code::HALVE_HISTOGRAMS => Change::HalveHistograms(Slots::read(r)?),
            code::DROP_FORGOTTEN => Change::DropForgotten(Slots::read(r)?),
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
            code::ACK_ERRORS => Change::AckErrors(Ids::read(r, true)?),
            code::SEQUENCE => Change::Sequence(Sequence::read(r)?),
            code::DROP_SOURCES => Change::DropSources(r.u32()?),
            code::IMPORT => Change::Import {
                queue: queue(r)?,
                floor: r.id()?,
                records: Records::read(r)?,
            },
            code::NO_HISTORY => Change::NoHistory,
            _ => return Err(DecodeError("an unknown effect")),
        }))
    }

    fn hist(&mut self) -> Result<Change<'a>, DecodeError> {
        let (name, mut sample) = self.sample()?;
        if sample.kind != SampleKind::Abs || sample.times != 1 {
            return Err(DecodeError("aggregated samples are of no gauge"));
        }
        let (aggregate, samples) = Aggregate::read(&mut self.reader)?;
        sample.times = samples;
        Ok(Change::Hist {
            name,
            sample,
            aggregate: Box::new(aggregate),
        })
    }

    fn sample(&mut self) -> Result<(&'a [u8], Sample<'a>), DecodeError> {
        let r = &mut self.reader;
        let flags = r.u8()?;
        let name = r.name()?;
        let value = if flags & bit::FLOAT == 0 {
            Number::Int(r.u64()?)
        } else {
            let [v] = r.doubles()?;
            Number::Float(v)
        };
        let kind = match (flags & bit::DIFF != 0, flags & bit::INC != 0) {
            (false, false) => SampleKind::Abs,
            (true, false) => SampleKind::Diff,
            (false, true) => SampleKind::Inc,
            (true, true) => SampleKind::Add,
        };
        if !kind.may_be_negative() && value.to_f64() < 0.0 {
            return Err(DecodeError("a total or an increment is negative"));
        }
        let times = match flags & bit::TIMES {
            0 => 1,
            _ => r.u64()?,
        };
        let has_times = matches!(kind, SampleKind::Abs | SampleKind::Inc);
        if times == 0 || times > MAX_TIMES || times > 1 && !has_times {
            return Err(DecodeError("a number of occurrences is out of range"));
        }
        if flags & bit::SAME_AT == 0 {
            self.last_at = Some(r.ms()?);
        }
        if flags & bit::TAGS != 0 {
            self.last_tags = Some(r.bytes()?);
        }
        let at = self.last_at.ok_or(DecodeError("a sample without a time"))?;
        let tags = if flags & (bit::TAGS | bit::SAME_TAGS) == 0 {
            None
        } else {
            self.last_tags
        };
        let sample = Sample {
            kind,
            value,
            times,
            aggregate: None,
            at,
            tags,
            tag_id: None,
            hist: flags & bit::HIST != 0,
        };
        Ok((name, sample))
    }
}

impl<'a> Change<'a> {
    /// Returns its tag list.
    pub fn tags_mut(&mut self) -> Option<&mut &'a [u8]> {
        match self {
            Change::Sample { sample, .. } | Change::Hist { sample, .. } => sample.tags.as_mut(),
            Change::Log(entry) => Some(&mut entry.tags),
            Change::RecordError { occurrence, .. } => Some(&mut occurrence.tags),
            Change::Reality { report, .. } => Some(&mut report.tags),
            _ => None,
        }
    }
}

/// Reads a boolean, here and in saved nodes.
pub(crate) fn flag(r: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError("a flag is neither 0 nor 1")),
    }
}

fn queue(r: &mut Reader<'_>) -> Result<Queue, DecodeError> {
    Queue::ALL
        .get(usize::from(r.u8()?))
        .copied()
        .ok_or(DecodeError("an unknown queue"))
}

/// Writes window lengths and rules, here and in saved nodes.
pub(crate) fn put_rules(out: &mut Vec<u8>, lengths: &Lengths, rules: &Rules) {
    let Rules {
        queue_bytes,
        history,
        flush_delay_ms,
        max_future_ms,
        min_interval_ms,
        max_gap_ms,
        percentiles,
        hist_records,
    } = rules;
    for v in lengths.windows_s.0.iter().chain(history) {
        put_u64(out, u64::from(*v));
    }
    for v in queue_bytes {
        put_u64(out, *v);
    }
    for v in [flush_delay_ms, max_future_ms, min_interval_ms, max_gap_ms] {
        put_i64(out, *v);
    }
    percentiles.put(out);
    out.push((*hist_records).into());
    put_u64(out, lengths.slot_s.into());
}

/// Reads what `put_rules` wrote. `version`: that of effects or saved nodes; before version 3 there were neither
/// percentiles nor slots.
pub(crate) fn read_rules(
    r: &mut Reader<'_>,
    version: u64,
) -> Result<(Lengths, Rules), DecodeError> {
    let windows_s = [r.u32()?, r.u32()?];
    let history = [r.u32()?, r.u32()?];
    let queue_bytes = [r.u64()?, r.u64()?, r.u64()?];
    let mut rules = Rules {
        queue_bytes,
        history,
        flush_delay_ms: r.ms()?,
        max_future_ms: r.ms()?,
        min_interval_ms: r.ms()?,
        max_gap_ms: r.ms()?,
        percentiles: Percentiles::DEFAULT,
        hist_records: false,
    };
    if version >= 3 {
        rules.percentiles = Percentiles::read(r)?;
        rules.hist_records = flag(r)?;
    }
    let [min, hour] = windows_s;
    let has_slots = version >= 3;
    let slot_s = match has_slots {
        true => r.u32()?,
        false => DEFAULT_SLOT_S,
    };
    let lengths = Lengths::new(windows_s, slot_s);
    if min == 0
        || hour == 0
        || has_slots && slot_s != lengths.slot_s
        || hour % min != 0
        || hour > crate::settings::MAX_WINDOW_S
        || history.into_iter().any(|max| max > MAX_HISTORY)
        || rules.min_interval_ms == 0
        || rules.max_gap_ms > crate::settings::MAX_GAP_MS
    {
        return Err(DecodeError("window lengths or rules are out of range"));
    }
    Ok((lengths, rules))
}
