//! How a batch goes to a server of which some records are refused: in halves, until the bad ones are alone.
//!
//! What holds: a record counts as written only where the server said so of a request that had it, and as refused for
//! good only where it was named, or refused alone while the request as such is known to be well. So a mistake in the
//! request (a wrong name of a database, a header) does not send everything to the dead letters: a refusal that speaks of
//! no record is believed when
//! - the server stored another record of the same batch, or
//! - stores the last one that it stored before, which is sent once more (a repetition does no harm), or
//! - nothing else is known and everything has been refused for [`PATIENCE`]: an endpoint that really takes none of a
//!   batch must not stop what is behind it for ever. What it refuses is among the dead letters, and so not lost.
//!
//! Until then the sink is in trouble, and everything waits. What comes meanwhile is tried too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Refused, Trouble};

/// How long a server that refuses everything, without naming a record, is waited for.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Records that are refused alone before the request is doubted.
const SUSPECTS: usize = 3;
/// More that are tried then, from all of the batch.
const TRIED: usize = 8;

/// What a server makes of records.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Stored,
    Bad(Bad),
    TooLarge(String),
}

/// Some of the records are refused for good.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bad {
    /// The server's words.
    pub why: String,
    /// Those that it names, with what it says of each. It is asked anew about the others.
    pub named: Vec<(usize, String)>,
    /// It is all of them.
    pub all: bool,
    /// The words speak of records, so the request was understood.
    pub of_records: bool,
}

/// What is remembered from one batch to the next; shared by those who write at the same time.
pub struct Doubt {
    patience: Duration,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The last record that was stored.
    known: Option<Vec<u8>>,
    /// Since when everything is refused.
    since: Option<Instant>,
}

impl Default for Doubt {
    fn default() -> Doubt {
        Doubt {
            patience: PATIENCE,
            memory: Mutex::default(),
        }
    }
}

impl Doubt {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, record: &[u8]) {
        let mut memory = self.lock();
        memory.since = None;
        let known = memory.known.get_or_insert_default();
        known.clear();
        known.extend_from_slice(record);
    }

    /// Whether it has lasted for too long.
    fn is_over(&self) -> bool {
        let since = self.lock().since;
        since.is_some_and(|since| since.elapsed() >= self.patience)
    }

    /// All of a write is done: the next one gets its time too.
    pub fn done(&self) {
        self.lock().since = None;
    }

    fn hold(&self, why: &str) -> Trouble {
        self.lock().since.get_or_insert_with(Instant::now);
        Trouble::Later {
            why: format!(
                "it refuses all records and names none, as if the request were wrong: {why}"
            ),
            after: None,
        }
    }
}

/// A batch under way.
struct Course<'a, S> {
    records: &'a [&'a [u8]],
    send: S,
    doubt: &'a Doubt,
    /// The request as such is well.
    proven: bool,
    /// What is still to be sent.
    todo: Vec<Vec<usize>>,
    refused: Vec<Refused>,
    /// Refused alone, by words that speak of no record.
    suspects: Vec<Refused>,
}

/// Brings records to a server by `send`. Returns those that are refused for good.
pub fn deliver<S>(records: &[&[u8]], doubt: &Doubt, send: S) -> Result<Vec<Refused>, Trouble>
where
    S: FnMut(&[&[u8]]) -> Result<Answer, Trouble>,
{
    let mut course = Course {
        records,
        send,
        doubt,
        proven: doubt.is_over(),
        todo: vec![(0..records.len()).collect()],
        refused: Vec::new(),
        suspects: Vec::new(),
    };
    while let Some(part) = course.todo.pop() {
        if !part.is_empty() {
            course.step(part)?;
        }
    }
    if !course.proven
        && let Some(last) = course.suspects.last()
    {
        return Err(doubt.hold(&last.reason));
    }
    let mut refused = course.refused;
    refused.append(&mut course.suspects);
    refused.sort_by_key(|refused| refused.index);
    Ok(refused)
}

impl<S: FnMut(&[&[u8]]) -> Result<Answer, Trouble>> Course<'_, S> {
    fn ask(&mut self, part: &[usize]) -> Result<Answer, Trouble> {
        let records: Vec<&[u8]> = part.iter().map(|index| self.records[*index]).collect();
        self.send(&records)
    }

    fn send(&mut self, records: &[&[u8]]) -> Result<Answer, Trouble> {
        let answer = (self.send)(records);
        // While it is away it refuses nothing.
        answer.inspect_err(|_| self.doubt.lock().since = None)
    }

    fn step(&mut self, part: Vec<usize>) -> Result<(), Trouble> {
        let bad = match self.ask(&part)? {
            Answer::Stored => {
                self.proven = true;
                self.doubt.stored(self.records[part[0]]);
                return Ok(());
            }
            // Speaks of the size; but what says so may be a proxy that lets nothing through.
            Answer::TooLarge(why) => Bad {
                why,
                of_records: self.proven,
                ..Bad::default()
            },
            Answer::Bad(bad) => {
                self.proven |= bad.of_records;
                bad
            }
        };
        if !bad.named.is_empty() {
            let is_named = |at: usize| bad.named.iter().any(|(named, _)| *named == at);
            let rest = (0..part.len()).filter(|at| !is_named(*at));
            self.todo.push(rest.map(|at| part[at]).collect());
            for (at, reason) in bad.named {
                let index = part[at];
                self.refused.push(Refused { index, reason });
            }
        } else if bad.all || part.len() == 1 {
            let refuse = |index| Refused {
                index,
                reason: bad.why.clone(),
            };
            if bad.of_records {
                self.refused.extend(part.into_iter().map(refuse));
            } else {
                self.suspects.extend(part.into_iter().map(refuse));
                self.doubt_it(&bad.why)?;
            }
        } else {
            let (first, second) = part.split_at(part.len() / 2);
            self.todo.push(second.to_vec());
            self.todo.push(first.to_vec());
        }
        Ok(())
    }

    /// Finds out whether it is the records or the request.
    fn doubt_it(&mut self, why: &str) -> Result<(), Trouble> {
        if self.proven {
            return Ok(());
        }
        let known = self.doubt.lock().known.clone();
        let proves = |answer: &Answer| match answer {
            Answer::Stored => true,
            Answer::Bad(bad) => bad.of_records,
            Answer::TooLarge(_) => false,
        };
        if let Some(known) = known {
            self.proven = proves(&self.send(&[&known])?);
        } else if self.suspects.len() < SUSPECTS {
            return Ok(());
        } else {
            let mut rest: Vec<usize> = self.todo.iter().flatten().copied().collect();
            // The newest first: it came when something may have changed.
            rest.sort_unstable_by(|a, b| b.cmp(a));
            let step = rest.len().div_ceil(TRIED).max(1);
            for index in rest.into_iter().step_by(step) {
                if proves(&self.ask(&[index])?) {
                    self.proven = true;
                    break;
                }
            }
        }
        match self.proven {
            true => Ok(()),
            false => Err(self.doubt.hold(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn no(why: &str) -> Result<Answer, Trouble> {
        let why = why.to_owned();
        Ok(Answer::Bad(Bad {
            why,
            ..Bad::default()
        }))
    }

    /// A server that refuses what has "bad" in it, in words that name nothing.
    fn picky(records: &[&[u8]]) -> Result<Answer, Trouble> {
        match records.iter().any(|record| record.starts_with(b"bad")) {
            true => no("no"),
            false => Ok(Answer::Stored),
        }
    }

    /// The places of what is refused, and how many requests it took.
    fn run(
        texts: &[&str],
        doubt: &Doubt,
        mut server: impl FnMut(&[&[u8]]) -> Result<Answer, Trouble>,
    ) -> (Result<Vec<usize>, Trouble>, usize) {
        let records: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let mut count = 0;
        let result = deliver(&records, doubt, |records| {
            count += 1;
            server(records)
        });
        if result.is_ok() {
            doubt.done();
        }
        let places = result.map(|refused| refused.iter().map(|refused| refused.index).collect());
        (places, count)
    }

    fn held(why: &str) -> Result<Vec<usize>, Trouble> {
        Err(Doubt::default().hold(why))
    }

    #[test]
    fn the_bad_ones_are_found_and_the_good_ones_stored() {
        let doubt = Doubt::default();
        let mut stored = Vec::new();
        let (refused, _) = run(&["a", "bad", "b", "c", "bad2", "d"], &doubt, |records| {
            let answer = picky(records);
            if answer == Ok(Answer::Stored) {
                stored.extend(records.iter().map(|record| record[0]));
            }
            answer
        });
        assert_eq!(refused, Ok(vec![1, 4]));
        stored.sort_unstable();
        assert_eq!(stored, b"abcd");
    }

    #[test]
    fn a_fault_of_the_request_refuses_no_record_and_costs_few_requests() {
        let texts = vec!["x"; 5000];
        let (result, count) = run(&texts, &Doubt::default(), |_| no("unknown precision"));
        assert_eq!(result, held("unknown precision"));
        assert!(count < 40, "{count}");
        // Nor behind a proxy that takes less at once.
        let (result, _) = run(&texts, &Doubt::default(), |records| match records.len() {
            0..=100 => no("unknown precision"),
            _ => Ok(Answer::TooLarge("too large".into())),
        });
        assert_eq!(result, held("unknown precision"));
        // Nor when it worked before.
        let doubt = Doubt::default();
        assert_eq!(run(&["a"], &doubt, picky).0, Ok(vec![]));
        let (result, count) = run(&texts, &doubt, |_| no("unknown precision"));
        assert_eq!(result, held("unknown precision"));
        assert!(count < 20, "{count}");
    }

    #[test]
    fn bad_records_alone_are_told_from_a_bad_request_by_one_that_is_good() {
        let doubt = Doubt::default();
        // Nothing is known yet.
        assert_eq!(run(&["bad"], &doubt, picky).0, held("no"));
        assert_eq!(run(&["bad", "bad", "bad"], &doubt, picky).0, held("no"));
        // What is far behind them proves it.
        let mut texts = vec!["bad"; 30];
        texts.push("good");
        assert_eq!(run(&texts, &doubt, picky).0, Ok((0..30).collect()));
        // From now on it is asked about what it knows.
        assert_eq!(run(&["bad"], &doubt, picky), (Ok(vec![0]), 2));
        assert_eq!(run(&["bad", "bad"], &doubt, picky).0, Ok(vec![0, 1]));
    }

    #[test]
    fn what_refuses_everything_for_too_long_stops_nothing_for_ever() {
        let doubt = Doubt {
            patience: Duration::ZERO,
            ..Doubt::default()
        };
        for _ in 0..2 {
            assert_eq!(run(&["bad", "bad"], &doubt, picky).0, held("no"));
            assert_eq!(run(&["bad", "bad"], &doubt, picky).0, Ok(vec![0, 1]));
        }
    }

    #[test]
    fn words_that_speak_of_records_are_believed_at_once() {
        let (result, count) = run(&["a", "b"], &Doubt::default(), |_| {
            Ok(Answer::Bad(Bad {
                why: "partial write dropped=2".into(),
                all: true,
                of_records: true,
                ..Bad::default()
            }))
        });
        assert_eq!((result, count), (Ok(vec![0, 1]), 1));
        // The others are sent again: they count as stored when the server says so.
        let mut sent = Vec::new();
        let (result, _) = run(&["a", "bad", "c"], &Doubt::default(), |records| {
            sent.push(records.len());
            let bad = records.iter().position(|record| record.starts_with(b"bad"));
            Ok(match bad {
                None => Answer::Stored,
                Some(at) => Answer::Bad(Bad {
                    named: vec![(at, "bad".into())],
                    of_records: true,
                    ..Bad::default()
                }),
            })
        });
        assert_eq!((result, sent), (Ok(vec![1]), vec![3, 2]));
    }

    #[test]
    fn what_is_too_large_goes_in_halves_and_alone_to_the_dead_letters() {
        let mut sizes = Vec::new();
        let (result, _) = run(&["a", "b", "huge", "c"], &Doubt::default(), |records| {
            sizes.push(records.len());
            let huge = records.iter().any(|record| record.len() > 1);
            Ok(match huge || records.len() > 2 {
                true => Answer::TooLarge("too large".into()),
                false => Answer::Stored,
            })
        });
        assert_eq!((result, sizes), (Ok(vec![2]), vec![4, 2, 2, 1, 1]));
    }

    proptest! {
        /// Servers that refuse in any of the ways, and none that does all in one: once a record is known, each good
        /// record is stored and each bad one refused, with the server's words for it.
        #[test]
        fn exactly_the_bad_ones_are_refused(
            bad in proptest::collection::vec(any::<bool>(), 0..40),
            most in 1usize..50,
            names in any::<bool>(),
            of_records in any::<bool>(),
        ) {
            let texts: Vec<String> = bad.iter().enumerate().map(|(n, bad)| format!("{bad} {n}")).collect();
            let records: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            let doubt = Doubt::default();
            doubt.stored(b"false");
            let mut stored = Vec::new();
            let refused = deliver(&records, &doubt, |sent| {
                let is_bad = |record: &[u8]| record.starts_with(b"true");
                let named = sent.iter().enumerate().filter(|(_, record)| is_bad(record));
                let named: Vec<(usize, String)> = named.map(|(at, _)| (at, "x".into())).collect();
                Ok(if sent.len() > most {
                    Answer::TooLarge("large".into())
                } else if named.is_empty() {
                    stored.extend(sent.iter().map(|record| record.to_vec()));
                    Answer::Stored
                } else {
                    let named = if names { named } else { Vec::new() };
                    Answer::Bad(Bad { why: "x".into(), named, all: false, of_records })
                })
            });
            let refused = refused.unwrap();
            let expected: Vec<usize> = (0..bad.len()).filter(|n| bad[*n]).collect();
            prop_assert_eq!(refused.iter().map(|refused| refused.index).collect::<Vec<_>>(), expected);
            prop_assert!(refused.iter().all(|refused| refused.reason == "x"));
            for (record, bad) in records.iter().zip(bad) {
                prop_assert_eq!(stored.iter().any(|other| other == record), !bad);
            }
        }
    }

    #[test]
    fn trouble_ends_it() {
        let trouble = || Trouble::Later {
            why: "away".into(),
            after: None,
        };
        let (result, count) = run(&["a"], &Doubt::default(), |_| Err(trouble()));
        assert_eq!((result, count), (Err(trouble()), 1));
    }
}
