//! Sequence numbers on the primary: which reports are repetitions, and which sources are evicted for a new one.
//!
//! A number is checked before anything else of the node, and consumed after the command has changed the node. Between
//! the two the command may be rejected, and then nothing of its number has been kept.

use crate::context::WriteContext;
use crate::model::Sequence;
use crate::node::Node;
use crate::node::sources::Source;

/// Sources that are evicted at once where their limit was lowered: some ten microseconds.
const EVICTED: u32 = 64;

/// What a node says of a sequence number.
pub(crate) enum Admission<'a> {
    /// The number is not greater than the last one of its source.
    Repetition,
    /// The source is new, and memory does not suffice for it.
    NoMemory,
    /// The number is new.
    New(Admitted<'a>),
}

/// A sequence number that is new, and what it takes to keep it. It is consumed by [`Node::consume`].
pub(crate) struct Admitted<'a> {
    sequence: Sequence<'a>,
    slot: Option<u32>,
    /// Sources that are evicted for a new one.
    evicted: u32,
}

impl Node {
    /// Checks a sequence number, and changes nothing.
    pub(crate) fn admit<'a>(
        &self,
        sequence: Sequence<'a>,
        ctx: &mut WriteContext<'_>,
    ) -> Admission<'a> {
        let (slot, evicted) = match self.sources.find(sequence.source) {
            Some((_, last)) if sequence.number <= last => return Admission::Repetition,
            Some((slot, _)) => (Some(slot), 0),
            None => match self.evicted_for(sequence, ctx) {
                None => return Admission::NoMemory,
                Some(evicted) => (None, evicted),
            },
        };
        // A replica does not know the limit.
        ctx.verbatim_allowed &= evicted == 0;
        Admission::New(Admitted {
            sequence,
            slot,
            evicted,
        })
    }

    /// Consumes the number of a command that has changed the node.
    pub(crate) fn consume(&mut self, admitted: &Admitted<'_>, ctx: &mut WriteContext<'_>) {
        self.drop_sources(admitted.evicted, ctx);
        if !ctx.effects.is_verbatim() {
            ctx.effects.sequence(&admitted.sequence);
        }
        self.sources.accept(admitted.slot, admitted.sequence);
    }

    /// Returns how many sources are evicted for a new one: those beyond the limit, but not many at once. Under memory
    /// pressure they are also as many as free the memory that it takes; `None`: there are too few.
    fn evicted_for(&self, sequence: Sequence<'_>, ctx: &WriteContext<'_>) -> Option<u32> {
        let excess = self.excess_sources(ctx.settings.max_sources.saturating_sub(1));
        if !ctx.memory_pressure {
            return Some(excess);
        }
        let (mut missing, mut evicted) = (Source::size_of(sequence.source) as i64, 0);
        for source in self.sources.iter() {
            missing -= source.size() as i64;
            evicted += 1;
            if missing <= 0 {
                return Some(evicted.max(excess));
            }
        }
        None
    }

    /// Drops sources beyond the limit, some at a time. Returns whether there are more.
    pub(super) fn trim_sources(&mut self, ctx: &mut WriteContext<'_>) -> bool {
        let max = ctx.settings.max_sources;
        self.drop_sources(self.excess_sources(max), ctx);
        self.sources.len() > max
    }

    fn excess_sources(&self, max: u32) -> u32 {
        self.sources.len().saturating_sub(max).min(EVICTED)
    }

    fn drop_sources(&mut self, n: u32, ctx: &mut WriteContext<'_>) {
        if n > 0 {
            ctx.effects.drop_sources(n);
            let dropped = u64::from(self.sources.evict(n));
            ctx.apply
                .count(|c| c.sources_dropped = c.sources_dropped.saturating_add(dropped));
        }
    }

    /// Returns whether the number is not greater than the last one of its source.
    pub(crate) fn is_repetition(&self, sequence: Sequence<'_>) -> bool {
        let known = self.sources.find(sequence.source);
        known.is_some_and(|(_, last)| sequence.number <= last)
    }

    /// Returns whether the number can be consumed without evicting a source.
    pub(crate) fn is_consumable(&self, sequence: Sequence<'_>, max_sources: u32) -> bool {
        match self.sources.find(sequence.source) {
            Some((_, last)) => sequence.number > last,
            None => self.sources.len() < max_sources,
        }
    }
}
