//! The lists of effects: slots as runs, ids as differences, and imported records.

use crate::codec::bytes::Reader;
use crate::error::DecodeError;
use crate::model::Delivery;

/// A list of slots that grow strictly.
#[derive(Clone, Debug)]
pub(crate) struct Slots<'a> {
    runs: u64,
    bytes: &'a [u8],
}

impl<'a> Slots<'a> {
    pub fn read(r: &mut Reader<'a>) -> Result<Slots<'a>, DecodeError> {
        let runs = r.u64()?;
        let start = *r;
        let mut end = 0u64;
        for _ in 0..runs {
            end = end.saturating_add(r.u64()?).saturating_add(r.u64()?);
            if end > u64::from(u32::MAX) {
                return Err(DecodeError("a slot is out of range"));
            }
        }
        Ok(Slots {
            runs,
            bytes: start.up_to(r),
        })
    }

    /// Returns the number of slots.
    pub fn total(&self) -> u64 {
        let mut reader = Reader::new(self.bytes);
        (0..self.runs)
            .map_while(|_| reader.u64().and_then(|_| reader.u64()).ok())
            .fold(0, u64::saturating_add)
    }

    /// Returns the slots below `high`.
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

/// A list of ids that grow, each optionally with a delivery of its error.
#[derive(Clone, Debug)]
pub(crate) struct Ids<'a> {
    count: u64,
    bytes: &'a [u8],
    has_deliveries: bool,
}

impl<'a> Ids<'a> {
    pub fn read(r: &mut Reader<'a>, has_deliveries: bool) -> Result<Ids<'a>, DecodeError> {
        let count = r.u64()?;
        let start = *r;
        let mut id = 0u64;
        for _ in 0..count {
            id = id.saturating_add(r.u64()?);
            if id > crate::id::MAX_ID {
                return Err(DecodeError("an id is out of range"));
            }
            if has_deliveries {
                r.ms()?;
                r.u64()?;
            }
        }
        Ok(Ids {
            count,
            bytes: start.up_to(r),
            has_deliveries,
        })
    }

    /// Returns the ids, each with its delivery.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Delivery)> {
        let mut reader = Reader::new(self.bytes);
        let mut id = 0;
        let has_deliveries = self.has_deliveries;
        (0..self.count).map_while(move |_| {
            id += reader.u64().ok()?;
            let delivery = match has_deliveries {
                true => Delivery {
                    ms: reader.ms().ok()?,
                    occurrences: reader.u64().ok()?,
                },
                false => Delivery::default(),
            };
            Some((id, delivery))
        })
    }
}

/// A list of records of another server, whose ids grow strictly.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    count: u64,
    bytes: &'a [u8],
    /// The largest id.
    pub last: u64,
}

impl<'a> Records<'a> {
    pub fn read(r: &mut Reader<'a>) -> Result<Records<'a>, DecodeError> {
        let count = r.u64()?;
        let start = *r;
        let mut last = 0u64;
        for _ in 0..count {
            let id = last.saturating_add(r.u64()?);
            if id <= last || id > crate::id::MAX_ID {
                return Err(DecodeError("an id is out of range"));
            }
            last = id;
            r.bytes()?;
        }
        Ok(Records {
            count,
            bytes: start.up_to(r),
            last,
        })
    }

    /// Returns the ids and texts.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let mut reader = Reader::new(self.bytes);
        let mut id = 0;
        (0..self.count).map_while(move |_| {
            id += reader.u64().ok()?;
            Some((id, reader.bytes().ok()?))
        })
    }
}
