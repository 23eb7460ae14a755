//! The ages of ids, in spite of steps of the wall clock.
//!
//! An id is about the time at which it was given, in microseconds, as long as ids and the clock advance together. After
//! the clock was set back they do not: earlier ids are of the old clock, and later ones only count on until the clock
//! has caught up. So marks record then which ids belong to which running time of the server. A clock that is set
//! forward is trusted: the machine may have been suspended, which does not count as running time.

use crate::time::Now;
use std::collections::VecDeque;

/// A wall clock that is behind the running time by this much was set back; a smaller difference has been slewed.
const STEP_US: u64 = 1_000_000;

/// The limit of the number of marks.
const MAX_COUNT: usize = 64;

/// Ids up to this one, and above that of the mark before, were given at this running time or before.
struct Mark {
    id: u64,
    mono_ms: u64,
    /// The id is a reading of the clock at that time, and so are the ids before it.
    by_clock: bool,
}

/// The ages of ids.
#[derive(Default)]
pub struct Ages {
    /// Ordered by id.
    marks: VecDeque<Mark>,
    /// Both clocks at the last observation.
    last: Option<Now>,
}

impl Ages {
    /// Creates ages without observations.
    pub const fn new() -> Ages {
        Ages {
            marks: VecDeque::new(),
            last: None,
        }
    }

    /// Records the clocks; to be called several times a second. `newest`: the largest existing id.
    pub fn observe(&mut self, newest: u64, now: Now) {
        if let Some(last) = self.last {
            let passed_us = now
                .mono_ms
                .saturating_sub(last.mono_ms)
                .saturating_mul(1000);
            let expected_us = last.wall_us.saturating_add(passed_us);
            if expected_us.saturating_sub(now.wall_us) > STEP_US {
                self.mark(last.wall_us, last.mono_ms, true);
            }
        }
        self.last = Some(now);
        if newest > now.wall_us {
            self.mark(newest, now.mono_ms, false);
        }
    }

    fn mark(&mut self, id: u64, mono_ms: u64, by_clock: bool) {
        if self.marks.back().is_some_and(|last| last.id >= id) {
            return;
        }
        if self.marks.len() >= MAX_COUNT {
            // The ids of a dropped mark count as those of the next: as younger than they are. Old marks have been
            // through this often, so the error of an age is a share of the age.
            let mut keeps = false;
            self.marks.retain(|mark| {
                keeps = !keeps;
                keeps || mark.by_clock
            });
            if self.marks.len() >= MAX_COUNT {
                self.marks.pop_front();
            }
        }
        self.marks.push_back(Mark {
            id,
            mono_ms,
            by_clock,
        });
    }

    /// Returns the age of an id, milliseconds: a lower bound where its time is not known.
    pub fn age_ms(&self, id: u64, now: Now) -> u64 {
        let at = self.marks.partition_point(|mark| mark.id < id);
        match self.marks.get(at) {
            Some(mark) => {
                let before = if mark.by_clock {
                    (mark.id - id) / 1000
                } else {
                    0
                };
                now.mono_ms
                    .saturating_sub(mark.mono_ms)
                    .saturating_add(before)
            }
            None => now.wall_us.saturating_sub(id) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3_600_000_000;
    const START: u64 = 500 * HOUR_US;

    /// The clocks so many seconds after the start, with the wall clock set forward or back by so many hours.
    fn at(s: u64, hours: i64) -> Now {
        Now {
            wall_us: (START + s * 1_000_000).saturating_add_signed(hours * HOUR_US as i64),
            mono_ms: 1_000 + s * 1_000,
        }
    }

    #[test]
    fn age_follows_a_clock_that_is_set_forward() {
        let mut ages = Ages::default();
        for s in 0..100 {
            ages.observe(START, at(s, 0));
        }
        assert_eq!(ages.age_ms(START, at(100, 0)), 100_000);
        assert_eq!(ages.age_ms(START + 30_000_000, at(100, 0)), 70_000);
        ages.observe(START, at(101, 1));
        assert_eq!(ages.age_ms(START, at(101, 1)), 3_701_000);
    }

    #[test]
    fn age_keeps_growing_when_the_clock_is_set_back() {
        for hours in [-2, -1] {
            let mut ages = Ages::default();
            for s in 0..10 {
                ages.observe(START, at(s, 0));
            }
            for s in 10..20 {
                ages.observe(START, at(s, hours));
            }
            assert_eq!(ages.age_ms(START, at(20, hours)), 20_000, "{hours}");
            assert_eq!(ages.age_ms(START + 5_000_000, at(20, hours)), 15_000);
        }
    }

    #[test]
    fn age_is_kept_of_ids_ahead_of_the_clock() {
        let mut ages = Ages::default();
        ages.observe(START, at(0, 0));
        // One more id each second, as the clock is an hour behind.
        for s in 1..=7_200 {
            ages.observe((START + s).max(at(s, -1).wall_us), at(s, -1));
        }
        let now = at(7_200, -1);
        assert_eq!(ages.age_ms(START, now), 7_200_000);
        let early = ages.age_ms(START + 60, now);
        assert!((3_600_000..=7_140_000).contains(&early), "{early}");
        let late = at(7_190, -1).wall_us;
        assert_eq!(ages.age_ms(late, now), 10_000);
        assert!(ages.marks.len() <= MAX_COUNT);
    }

    #[test]
    fn foreign_id_ahead_of_the_clock_is_as_old_as_it_is_known() {
        let mut ages = Ages::default();
        let ahead = START + HOUR_US;
        ages.observe(ahead, at(0, 0));
        ages.observe(ahead, at(60, 0));
        assert_eq!(ages.age_ms(ahead, at(60, 0)), 60_000);
    }
}
