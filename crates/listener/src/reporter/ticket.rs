//! The outcomes of the reports of a request.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::batch::Outcome;

/// The server cannot take the request at present; nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server cannot be reached")]
pub struct Unavailable;

/// The outcome of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The number of input reports that count, those that were late included.
    pub counted: u64,
    /// The number that the server has rejected.
    pub rejected: u64,
    /// The reason of the first rejection.
    pub reason: Option<String>,
    /// A limit of the server is reached, or its user lacks a right: the same request may succeed later.
    pub is_full: bool,
}

/// Collects the outcomes of the reports of a request.
pub struct Ticket {
    state: Mutex<State>,
    done: Notify,
}

struct State {
    /// The reports without an outcome.
    open: usize,
    /// A report has an outcome, or was dropped.
    is_touched: bool,
    is_lost: bool,
    /// The reports without an outcome are not to be sent again.
    is_cancelled: bool,
    answer: Answer,
}

impl Ticket {
    pub fn new(reports: usize) -> Ticket {
        Ticket {
            state: Mutex::new(State {
                open: reports,
                is_touched: false,
                is_lost: false,
                is_cancelled: false,
                answer: Answer::default(),
            }),
            done: Notify::new(),
        }
    }

    /// Adds the outcome of a report.
    pub fn answered(&self, outcome: &Outcome) {
        self.close(1, |state| {
            state.is_touched = true;
            let answer = &mut state.answer;
            answer.counted += outcome.counted + outcome.late;
            answer.rejected += outcome.rejected_inputs();
            if let Some(reason) = outcome.reason() {
                answer.is_full |= outcome.is_full();
                answer.reason.get_or_insert_with(|| reason.to_owned());
            }
        });
    }

    /// Notes that a report was dropped, because the buffer was full.
    pub fn lost(&self, inputs: u64) {
        self.withdrawn(1, inputs);
    }

    /// Notes that reports were removed before they were sent, with so many input reports.
    pub fn withdrawn(&self, reports: usize, inputs: u64) {
        if reports == 0 {
            return;
        }
        self.close(reports, |state| {
            state.is_lost = true;
            state.answer.rejected += inputs;
            state.answer.is_full = true;
            state
                .answer
                .reason
                .get_or_insert_with(|| Unavailable.to_string());
        });
    }

    /// Makes the reports without an outcome not be sent again. The server may have taken them.
    pub fn cancel(&self) {
        self.state.lock().is_cancelled = true;
    }

    /// Returns whether the reports without an outcome are not to be sent.
    pub fn is_cancelled(&self) -> bool {
        self.state.lock().is_cancelled
    }

    /// Notes that a report was replaced by `parts`.
    pub fn split(&self, parts: usize) {
        let mut state = self.state.lock();
        state.open = (state.open + parts).saturating_sub(1);
    }

    fn close(&self, reports: usize, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.open = state.open.saturating_sub(reports);
        if state.open == 0 {
            self.done.notify_waiters();
        }
    }

    /// Returns whether all reports have an outcome.
    pub fn is_done(&self) -> bool {
        self.state.lock().open == 0
    }

    /// Completes when all reports have an outcome.
    pub async fn done(&self) {
        loop {
            let done = self.done.notified();
            if self.is_done() {
                return;
            }
            done.await;
        }
    }

    /// Returns what became of the request with so many input reports, if those without an outcome are not sent again.
    pub fn unfinished(&self, inputs: u64) -> Result<Answer, Unavailable> {
        let state = self.state.lock();
        if !state.is_touched {
            return Err(Unavailable);
        }
        let mut answer = state.answer.clone();
        answer.rejected = inputs.saturating_sub(answer.counted);
        let reason = || Unavailable.to_string();
        answer.reason.get_or_insert_with(reason);
        Ok(answer)
    }

    /// Returns what became of the request.
    pub fn answer(&self) -> Result<Answer, Unavailable> {
        let state = self.state.lock();
        match state.is_lost && !state.is_touched {
            true => Err(Unavailable),
            false => Ok(state.answer.clone()),
        }
    }
}
