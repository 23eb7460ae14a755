//! Finds the records of a batch that a server rejects, by sending smaller and smaller parts of it.
//!
//! # Invariants
//!
//! A record counts as stored only if the server confirmed a request that contained it. A record counts as rejected only
//! if the server named it, or rejected it alone while the request itself is known to be valid. So an error in the request
//! (a wrong database name, a header) does not turn every record into a dead letter. A rejection that names no record is
//! believed if
//! - the server stored another record of the same batch, or
//! - it stores again the last record that it stored before (which does no harm), or
//! - nothing else is known and it has rejected everything for [`PATIENCE`]: an endpoint that accepts nothing of a batch
//!   must not block what is behind it for ever. What it rejects is among the dead letters, so it is not lost.
//!
//! Until then the sink is failing, and everything waits. Records that arrive in the meantime are tried too.

use std::future::Future;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Rejection, SinkError};

/// The time during which to retry with a server that rejects everything without naming a record.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The number of records that are rejected alone before the request is doubted.
const MAX_SUSPECTS: usize = 3;
/// The number of records from all of the batch that are tried then.
const PROBES: usize = 8;
/// The maximum number of times that records are sent again within one write if a busy server takes only some.
const MAX_ROUNDS: usize = 10;
/// The pause before that.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// The reply of a server to records.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// All are stored.
    Stored,
    /// Some are rejected.
    Rejected(Rejected),
    /// The request was too large.
    TooLarge(String),
    /// The server has a result for each record.
    Each(Each),
}

/// The results of the records of a request. Those that are not listed are stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Each {
    /// The records that are rejected permanently, with the reason for each.
    pub rejected: Vec<(usize, String)>,
    /// The records that are not stored for another reason, such as a full queue. They are sent again.
    pub unstored: Vec<usize>,
    /// The reason of the first of them.
    pub reason: String,
    /// True if the server has stored some of `rejected` and does not say which. Further requests are smaller then.
    pub is_vague: bool,
}

/// Some of the records are rejected permanently.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// The reason in the words of the server.
    pub reason: String,
    /// The records that it names, with the reason for each. The others are sent again.
    pub named: Vec<(usize, String)>,
    /// True if all of them are rejected.
    pub all: bool,
    /// True if the words are about records, so the server understood the request.
    pub about_records: bool,
}

/// The knowledge of a server that is kept from one batch to the next. Concurrent writers share it.
pub struct RejectionHistory {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last record that was stored.
    last_stored: Option<Vec<u8>>,
    /// Since when everything is rejected.
    rejecting_since: Option<Instant>,
}

impl Default for RejectionHistory {
    fn default() -> RejectionHistory {
        RejectionHistory {
            patience: PATIENCE,
            state: Mutex::default(),
        }
    }
}

impl RejectionHistory {
    fn note_stored(&self, record: &[u8]) {
        let mut state = self.state.lock();
        state.rejecting_since = None;
        let last = state.last_stored.get_or_insert_default();
        last.clear();
        last.extend_from_slice(record);
    }

    /// Returns whether everything has been rejected for too long.
    fn is_patience_over(&self) -> bool {
        let since = self.state.lock().rejecting_since;
        since.is_some_and(|since| since.elapsed() >= self.patience)
    }

    /// Notes that a whole write is done, so that the next one gets the full patience.
    pub fn note_done(&self) {
        self.state.lock().rejecting_since = None;
    }

    /// Returns the error for a request that is probably wrong.
    fn doubt(&self, reason: &str) -> SinkError {
        self.state
            .lock()
            .rejecting_since
            .get_or_insert_with(Instant::now);
        SinkError::retriable(format!(
            "all records are rejected and none is named, so the request is probably wrong: {reason}"
        ))
    }
}

/// A server that replies to records.
pub trait Server: Sync {
    /// Sends records.
    fn send(&self, records: &[&[u8]]) -> impl Future<Output = Result<Reply, SinkError>> + Send;
}

/// A batch that is being sent.
struct Bisection<'a, S> {
    records: &'a [&'a [u8]],
    server: &'a S,
    history: &'a RejectionHistory,
    /// True if the request itself is known to be valid.
    is_request_valid: bool,
    /// The parts that are still to be sent.
    parts: Vec<Vec<usize>>,
    rejections: Vec<Rejection>,
    /// Records that were rejected alone, in words that are not about records.
    suspects: Vec<Rejection>,
    /// The number of parts that were sent again because the server was busy.
    rounds: usize,
}

/// Sends records to a server. Returns those that are rejected permanently.
///
/// # Errors
///
/// Returns the errors of the server, and an error if it is unclear whether the records or the request are at fault.
pub async fn deliver<S: Server>(
    records: &[&[u8]],
    history: &RejectionHistory,
    server: &S,
) -> Result<Vec<Rejection>, SinkError> {
    let mut bisection = Bisection {
        records,
        server,
        history,
        is_request_valid: history.is_patience_over(),
        parts: vec![(0..records.len()).collect()],
        rejections: Vec::new(),
        suspects: Vec::new(),
        rounds: 0,
    };
    while let Some(part) = bisection.parts.pop() {
        if !part.is_empty() {
            bisection.step(part).await?;
        }
    }
    if !bisection.is_request_valid
        && let Some(last) = bisection.suspects.last()
    {
        return Err(history.doubt(&last.reason));
    }
    let mut rejections = bisection.rejections;
    rejections.append(&mut bisection.suspects);
    rejections.sort_by_key(|rejection| rejection.index);
    Ok(rejections)
}

impl<S: Server> Bisection<'_, S> {
    async fn send_part(&self, part: &[usize]) -> Result<Reply, SinkError> {
        let records: Vec<&[u8]> = part.iter().map(|index| self.records[*index]).collect();
        self.send(&records).await
    }

    async fn send(&self, records: &[&[u8]]) -> Result<Reply, SinkError> {
        let reply = self.server.send(records).await;
        // A server that is down rejects nothing.
        reply.inspect_err(|_| self.history.note_done())
    }

    async fn step(&mut self, part: Vec<usize>) -> Result<(), SinkError> {
        let rejected = match self.send_part(&part).await? {
            Reply::Stored => {
                self.is_request_valid = true;
                self.history.note_stored(self.records[part[0]]);
                return Ok(());
            }
            // The words are about the size. But they may come from a proxy that lets nothing through.
            Reply::TooLarge(reason) => Rejected {
                reason,
                about_records: self.is_request_valid,
                ..Rejected::default()
            },
            Reply::Rejected(rejected) => {
                self.is_request_valid |= rejected.about_records;
                rejected
            }
            Reply::Each(each) => return self.settle(&part, each).await,
        };
        if !rejected.named.is_empty() {
            let is_named = |at: usize| rejected.named.iter().any(|(named, _)| *named == at);
            let rest = (0..part.len()).filter(|at| !is_named(*at));
            self.parts.push(rest.map(|at| part[at]).collect());
            for (at, reason) in rejected.named {
                let index = part[at];
                self.rejections.push(Rejection { index, reason });
            }
        } else if rejected.all || part.len() == 1 {
            let reject = |index| Rejection {
                index,
                reason: rejected.reason.clone(),
            };
            if rejected.about_records {
                self.rejections.extend(part.into_iter().map(reject));
            } else {
                self.suspects.extend(part.into_iter().map(reject));
                self.check_request(&rejected.reason).await?;
            }
        } else {
            let (first, second) = part.split_at(part.len() / 2);
            self.parts.push(second.to_vec());
            self.parts.push(first.to_vec());
        }
        Ok(())
    }

    /// Takes the results of a part. Sends again what is not stored as long as some of it is taken each time.
    async fn settle(&mut self, part: &[usize], each: Each) -> Result<(), SinkError> {
        let Each {
            rejected,
            unstored,
            reason,
            is_vague: _,
        } = each;
        if unstored.len() == part.len() || (!unstored.is_empty() && self.rounds == MAX_ROUNDS) {
            self.history.note_done();
            return Err(SinkError::retriable(reason));
        }
        self.is_request_valid = true;
        let is_stored = |at: &usize| {
            !unstored.contains(at) && rejected.iter().all(|(rejected, _)| rejected != at)
        };
        if let Some(at) = (0..part.len()).find(is_stored) {
            self.history.note_stored(self.records[part[at]]);
        }
        for (at, reason) in rejected {
            let index = part[at];
            self.rejections.push(Rejection { index, reason });
        }
        if !unstored.is_empty() {
            self.rounds += 1;
            sleep(ROUND_PAUSE).await;
            self.parts
                .push(unstored.iter().map(|at| part[*at]).collect());
        }
        Ok(())
    }

    /// Finds out whether the records or the request are at fault.
    async fn check_request(&mut self, reason: &str) -> Result<(), SinkError> {
        if self.is_request_valid {
            return Ok(());
        }
        let last_stored = self.history.state.lock().last_stored.clone();
        let is_proof = |reply: &Reply| match reply {
            Reply::Stored => true,
            Reply::Rejected(rejected) => rejected.about_records,
            Reply::Each(each) => each.unstored.is_empty(),
            Reply::TooLarge(_) => false,
        };
        if let Some(record) = last_stored {
            self.is_request_valid = is_proof(&self.send(&[&record]).await?);
        } else if self.suspects.len() < MAX_SUSPECTS {
            return Ok(());
        } else {
            let mut rest: Vec<usize> = self.parts.iter().flatten().copied().collect();
            // The newest first: it was written when something may have changed.
            rest.sort_unstable_by(|a, b| b.cmp(a));
            let step = rest.len().div_ceil(PROBES).max(1);
            for index in rest.into_iter().step_by(step) {
                if is_proof(&self.send_part(&[index]).await?) {
                    self.is_request_valid = true;
                    break;
                }
            }
        }
        match self.is_request_valid {
            true => Ok(()),
            false => Err(self.history.doubt(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn no(reason: &str) -> Result<Reply, SinkError> {
        let reason = reason.to_owned();
        Ok(Reply::Rejected(Rejected {
            reason,
            ..Rejected::default()
        }))
    }

    /// A server that rejects records beginning with "bad", in words that name none.
    fn picky(records: &[&[u8]]) -> Result<Reply, SinkError> {
        match records.iter().any(|record| record.starts_with(b"bad")) {
            true => no("no"),
            false => Ok(Reply::Stored),
        }
    }

    /// A server that replies as a function says.
    struct Scripted<F>(Mutex<F>);

    impl<F: FnMut(&[&[u8]]) -> Result<Reply, SinkError> + Send> Server for Scripted<F> {
        async fn send(&self, records: &[&[u8]]) -> Result<Reply, SinkError> {
            (self.0.lock())(records)
        }
    }

    /// Delivers to a server that replies at once.
    fn run_now(
        records: &[&[u8]],
        history: &RejectionHistory,
        server: &impl Server,
    ) -> Result<Vec<Rejection>, SinkError> {
        deliver(records, history, server).now_or_never().unwrap()
    }

    /// Returns the indexes of the rejected records, and the number of requests.
    fn run(
        texts: &[&str],
        history: &RejectionHistory,
        mut server: impl FnMut(&[&[u8]]) -> Result<Reply, SinkError> + Send,
    ) -> (Result<Vec<usize>, SinkError>, usize) {
        let records: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let mut count = 0;
        let scripted = Scripted(Mutex::new(|records: &[&[u8]]| {
            count += 1;
            server(records)
        }));
        let result = run_now(&records, history, &scripted);
        if result.is_ok() {
            history.note_done();
        }
        let rejected = result.map(|all| all.iter().map(|rejection| rejection.index).collect());
        (rejected, count)
    }

    fn doubted(reason: &str) -> Result<Vec<usize>, SinkError> {
        Err(RejectionHistory::default().doubt(reason))
    }

    #[test]
    fn bad_records_are_found_and_good_ones_stored() {
        let history = RejectionHistory::default();
        let mut stored = Vec::new();
        let (rejected, _) = run(&["a", "bad", "b", "c", "bad2", "d"], &history, |records| {
            let reply = picky(records);
            if reply == Ok(Reply::Stored) {
                stored.extend(records.iter().map(|record| record[0]));
            }
            reply
        });
        assert_eq!(rejected, Ok(vec![1, 4]));
        stored.sort_unstable();
        assert_eq!(stored, b"abcd");
    }

    #[test]
    fn invalid_request_rejects_no_record_and_costs_few_requests() {
        let texts = vec!["x"; 5000];
        let (result, count) = run(&texts, &RejectionHistory::default(), |_| {
            no("unknown precision")
        });
        assert_eq!(result, doubted("unknown precision"));
        assert!(count < 40, "{count}");
        // Also behind a proxy that limits the size of a request.
        let (result, _) = run(
            &texts,
            &RejectionHistory::default(),
            |records| match records.len() {
                0..=100 => no("unknown precision"),
                _ => Ok(Reply::TooLarge("too large".into())),
            },
        );
        assert_eq!(result, doubted("unknown precision"));
        // Also when a request succeeded before.
        let history = RejectionHistory::default();
        assert_eq!(run(&["a"], &history, picky).0, Ok(vec![]));
        let (result, count) = run(&texts, &history, |_| no("unknown precision"));
        assert_eq!(result, doubted("unknown precision"));
        assert!(count < 20, "{count}");
    }

    #[test]
    fn bad_records_are_distinguished_from_a_bad_request_by_a_good_record() {
        let history = RejectionHistory::default();
        // Nothing is known yet.
        assert_eq!(run(&["bad"], &history, picky).0, doubted("no"));
        assert_eq!(
            run(&["bad", "bad", "bad"], &history, picky).0,
            doubted("no")
        );
        // A record far behind them proves that the request is valid.
        let mut texts = vec!["bad"; 30];
        texts.push("good");
        assert_eq!(run(&texts, &history, picky).0, Ok((0..30).collect()));
        // From now on the last stored record proves it.
        assert_eq!(run(&["bad"], &history, picky), (Ok(vec![0]), 2));
        assert_eq!(run(&["bad", "bad"], &history, picky).0, Ok(vec![0, 1]));
    }

    #[test]
    fn server_that_rejects_everything_for_too_long_does_not_block_for_ever() {
        let history = RejectionHistory {
            patience: Duration::ZERO,
            ..RejectionHistory::default()
        };
        for _ in 0..2 {
            assert_eq!(run(&["bad", "bad"], &history, picky).0, doubted("no"));
            assert_eq!(run(&["bad", "bad"], &history, picky).0, Ok(vec![0, 1]));
        }
    }

    #[test]
    fn words_about_records_are_believed_at_once() {
        let (result, count) = run(&["a", "b"], &RejectionHistory::default(), |_| {
            Ok(Reply::Rejected(Rejected {
                reason: "partial write dropped=2".into(),
                all: true,
                about_records: true,
                ..Rejected::default()
            }))
        });
        assert_eq!((result, count), (Ok(vec![0, 1]), 1));
        // The others are sent again, since they count as stored only when the server confirms it.
        let mut sent = Vec::new();
        let (result, _) = run(
            &["a", "bad", "c"],
            &RejectionHistory::default(),
            |records| {
                sent.push(records.len());
                let bad = records.iter().position(|record| record.starts_with(b"bad"));
                Ok(match bad {
                    None => Reply::Stored,
                    Some(at) => Reply::Rejected(Rejected {
                        named: vec![(at, "bad".into())],
                        about_records: true,
                        ..Rejected::default()
                    }),
                })
            },
        );
        assert_eq!((result, sent), (Ok(vec![1]), vec![3, 2]));
    }

    #[test]
    fn batch_that_is_too_large_is_halved_down_to_the_record_that_is_rejected() {
        let mut sizes = Vec::new();
        let (result, _) = run(
            &["a", "b", "huge", "c"],
            &RejectionHistory::default(),
            |records| {
                sizes.push(records.len());
                let huge = records.iter().any(|record| record.len() > 1);
                Ok(match huge || records.len() > 2 {
                    true => Reply::TooLarge("too large".into()),
                    false => Reply::Stored,
                })
            },
        );
        assert_eq!((result, sizes), (Ok(vec![2]), vec![4, 2, 2, 1, 1]));
    }

    proptest! {
        /// Whatever way a server rejects records: once one was stored, each good record is stored and each bad one is
        /// rejected with the reason in the words of the server.
        #[test]
        fn exactly_the_bad_records_are_rejected(
            bad in proptest::collection::vec(any::<bool>(), 0..40),
            max in 1usize..50,
            names in any::<bool>(),
            about_records in any::<bool>(),
        ) {
            let texts: Vec<String> = bad.iter().enumerate().map(|(n, bad)| format!("{bad} {n}")).collect();
            let records: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            let history = RejectionHistory::default();
            history.note_stored(b"false");
            let mut stored = Vec::new();
            let scripted = Scripted(Mutex::new(|sent: &[&[u8]]| {
                let is_bad = |record: &[u8]| record.starts_with(b"true");
                let named = sent.iter().enumerate().filter(|(_, record)| is_bad(record));
                let named: Vec<(usize, String)> = named.map(|(at, _)| (at, "x".into())).collect();
                Ok(if sent.len() > max {
                    Reply::TooLarge("large".into())
                } else if named.is_empty() {
                    stored.extend(sent.iter().map(|record| record.to_vec()));
                    Reply::Stored
                } else {
                    let named = if names { named } else { Vec::new() };
                    Reply::Rejected(Rejected { reason: "x".into(), named, all: false, about_records })
                })
            }));
            let rejections = run_now(&records, &history, &scripted);
                let rejections = rejections.unwrap();
            let expected: Vec<usize> = (0..bad.len()).filter(|n| bad[*n]).collect();
            let indexes: Vec<usize> = rejections.iter().map(|rejection| rejection.index).collect();
            prop_assert_eq!(indexes, expected);
            prop_assert!(rejections.iter().all(|rejection| rejection.reason == "x"));
            for (record, bad) in records.iter().zip(bad) {
                prop_assert_eq!(stored.iter().any(|other| other == record), !bad);
            }
        }
    }

    #[tokio::test]
    async fn records_that_a_busy_server_does_not_take_are_sent_again_alone() {
        let records: [&[u8]; 5] = [b"a", b"bad", b"b", b"c", b"d"];
        let history = RejectionHistory::default();
        // It takes the first records of each request.
        for (takes, expected) in [(3, vec![5, 2]), (2, vec![5, 3, 1]), (0, vec![5])] {
            let mut sent = Vec::new();
            let server = Scripted(Mutex::new(|records: &[&[u8]]| {
                sent.push(records.len());
                let taken = takes.min(records.len());
                let bad = records[..taken].iter().position(|record| *record == b"bad");
                Ok(Reply::Each(Each {
                    rejected: bad.into_iter().map(|at| (at, "bad".into())).collect(),
                    unstored: (taken..records.len()).collect(),
                    reason: "busy".into(),
                    is_vague: false,
                }))
            }));
            let result = deliver(&records, &history, &server).await;
            let result = result.map(|all| all.iter().map(|one| one.index).collect::<Vec<_>>());
            match takes {
                0 => assert_eq!(result, Err(SinkError::retriable("busy"))),
                _ => assert_eq!(result, Ok(vec![1])),
            }
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn error_ends_the_delivery() {
        let down = || SinkError::retriable("down");
        let (result, count) = run(&["a"], &RejectionHistory::default(), |_| Err(down()));
        assert_eq!((result, count), (Err(down()), 1));
    }
}
