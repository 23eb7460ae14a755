//! The task of a sink: takes deliveries, writes their records in the order in which they came, and reports on each delivery.
//!
//! # Invariants
//!
//! A delivery is reported as stored when every record of it is in the sink or among the dead letters. Records that the
//! sink rejects permanently become dead letters, and the records after them are written. While the sink fails, everything
//! waits, with growing backoff. Once shutdown is requested, the next failure abandons everything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::spans::of_node;
use agg_client::Backoff;
use agg_client::Shutdown;
use agg_client::WarnOnce;
use aggregator_protocol::RecordFormat;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use super::batch::{Delivery, Record};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::error::PollError;
use super::sink::{BatchLimits, Origin, Rejection, Sink, SinkError};
use super::status::SinkStatus;

/// A sink and what it needs to run.
pub struct Worker {
    /// The name of the sink.
    pub name: String,
    /// The format in which the sink takes records.
    pub format: RecordFormat,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// The deliveries.
    pub inbox: UnboundedReceiver<Delivery>,
    /// The file for rejected records.
    pub dead_letters: DeadLetters,
    /// A record that was delivered more often becomes a dead letter without another attempt.
    pub max_deliveries: u64,
    /// The counters and the state of the sink.
    pub status: Arc<SinkStatus>,
    /// Requests to end.
    pub shutdown: Shutdown,
}

/// A delivery, and how many of its records are done.
struct Pending {
    delivery: Delivery,
    done: usize,
}

impl Pending {
    fn new(delivery: Delivery) -> Pending {
        Pending { delivery, done: 0 }
    }
}

/// The warnings of a worker.
#[derive(Default)]
struct Warnings {
    rejections: WarnOnce,
    too_often: TooOften,
}

/// Limits warnings of records that were delivered too often: the first one is shown at once, then at most one a minute.
#[derive(Default)]
struct TooOften {
    last: Option<Instant>,
    /// The number of records since the last warning.
    suppressed: u64,
}

impl TooOften {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Returns how many records to mention besides this one, or `None` if no warning is due.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < Self::PAUSE)
        {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Worker {
    /// Runs until all senders are gone, or until a write fails after shutdown was requested.
    ///
    /// # Errors
    ///
    /// Returns an error if the sink can never be written to again.
    pub async fn run(mut self) -> Result<(), PollError> {
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut warnings = Warnings::default();
        loop {
            if pending.is_empty() {
                match self.inbox.recv().await {
                    Some(delivery) => pending.push_back(Pending::new(delivery)),
                    None => return Ok(()),
                }
            }
            match self.write_next(&mut pending, &mut warnings).await? {
                Some(count) => advance(&mut pending, count),
                // Dropped deliveries are abandoned, also those that still arrive: the inbox is dropped too.
                None => return Ok(()),
            }
        }
    }

    /// Writes the next records, again and again until it succeeds. Returns their number, or `None` if shutdown was
    /// requested before.
    async fn write_next(
        &mut self,
        pending: &mut VecDeque<Pending>,
        warnings: &mut Warnings,
    ) -> Result<Option<usize>, PollError> {
        let mut backoff = Backoff::default();
        let mut last_warning = None;
        loop {
            // The chunk is built again for each attempt: a sink that was given too much takes less, and one that rejects
            // all of it may accept what arrived since.
            while let Ok(delivery) = self.inbox.try_recv() {
                pending.push_back(Pending::new(delivery));
            }
            let chunk = next_chunk(pending, self.sink.limits(), self.format);
            let (reason, retry_after) = match self.write(&chunk, warnings).await {
                Ok(()) => {
                    self.status.set_error(None);
                    if last_warning.is_some() {
                        tracing::info!("sink {} recovered", self.name);
                    }
                    return Ok(Some(chunk.len()));
                }
                Err(SinkError::Retriable {
                    reason,
                    retry_after,
                }) => (reason, retry_after),
                Err(SinkError::Fatal(reason)) => {
                    let name = self.name.clone();
                    return Err(PollError::SinkFailed { name, reason });
                }
            };
            SinkStatus::add(&self.status.retries, 1);
            self.status.set_error(Some(&reason));
            if last_warning.as_ref() != Some(&reason) {
                tracing::warn!("sink {}: {reason}; retrying", self.name);
                last_warning = Some(reason);
            }
            if self.shutdown.is_requested() {
                return Ok(None);
            }
            let pause = backoff.next_pause();
            let pause = retry_after.map_or(pause, |after| after.max(pause));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shutdown.requested() => {}
            }
        }
    }

    async fn write(
        &mut self,
        chunk: &[(&Delivery, &Record)],
        warnings: &mut Warnings,
    ) -> Result<(), SinkError> {
        let mut letters = Vec::new();
        let mut given = Vec::with_capacity(chunk.len());
        for (delivery, record) in chunk {
            let letter = |reason| DeadLetter {
                batch: &delivery.batch,
                record,
                reason,
            };
            if record.deliveries > self.max_deliveries {
                let count = record.deliveries;
                letters.push(letter(format!(
                    "delivered {count} times, more than max-deliveries"
                )));
                continue;
            }
            match delivery.text(record, self.format) {
                Some(text) => given.push((text, &*delivery.batch, *record)),
                None => letters.push(letter(
                    "not a window record: it has no form in line protocol".into(),
                )),
            }
        }
        let mut bytes: u64 = given.iter().map(|(text, _, _)| text.len() as u64).sum();
        if !given.is_empty() {
            let texts: Vec<&[u8]> = given.iter().map(|(text, _, _)| &**text).collect();
            let origins = given.iter().map(|(_, batch, record)| Origin {
                node: &batch.node,
                queue: batch.queue,
                id: record.id,
                floor: record.floor,
            });
            let origins: Vec<Origin> = origins.collect();
            let rejections = self.sink.write_from(&texts, &origins).await?;
            for Rejection { index, reason } in rejections {
                let (text, batch, record) = &given[index];
                bytes -= text.len() as u64;
                let text = format!("sink {} rejected a record: {reason}", self.name);
                of_node(&batch.node).in_scope(|| warnings.rejections.warn(&text));
                letters.push(DeadLetter {
                    batch,
                    record,
                    reason,
                });
            }
        }
        self.dead_letters
            .add(&self.name, &letters)
            .await
            .map_err(|error| SinkError::retriable(error.to_string()))?;
        for letter in &letters {
            if letter.record.deliveries > self.max_deliveries
                && let Some(more) = warnings.too_often.next(Instant::now())
            {
                self.warn_too_often(letter, more);
            }
        }
        self.count(chunk.len(), bytes, &letters);
        Ok(())
    }

    /// Counts a write: the records of the chunk, of which some became dead letters, and the bytes of the others.
    fn count(&self, records: usize, bytes: u64, letters: &[DeadLetter]) {
        let dead_bytes: usize = letters
            .iter()
            .filter_map(|letter| letter.batch.text(letter.record, self.format))
            .map(<[u8]>::len)
            .sum();
        let status = &self.status;
        SinkStatus::add(&status.dead, letters.len() as u64);
        SinkStatus::add(&status.dead_bytes, dead_bytes as u64);
        SinkStatus::add(&status.stored, (records - letters.len()) as u64);
        SinkStatus::add(&status.stored_bytes, bytes);
        SinkStatus::add(&status.writes, 1);
    }

    fn warn_too_often(&self, letter: &DeadLetter, more: u64) {
        let (batch, record) = (letter.batch, letter.record);
        let more = match more {
            0 => String::new(),
            more => format!("; {more} other records since the last warning"),
        };
        let text = format!(
            "sink {}: record {} of queue {} of node {} moved to the dead letters: delivered {} times, more than \
             max-deliveries ({}){more}",
            self.name,
            record.id,
            batch.queue.name(),
            batch.node,
            record.deliveries,
            self.max_deliveries
        );
        of_node(&batch.node).in_scope(|| tracing::warn!("{text}"));
    }
}

/// Returns the first records that are not done: as many as one write takes, and at least one.
fn next_chunk(
    pending: &VecDeque<Pending>,
    limits: BatchLimits,
    format: RecordFormat,
) -> Vec<(&Delivery, &Record)> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for Pending { delivery, done } in pending {
        for record in &delivery.batch.records[*done..] {
            let text = delivery.batch.text(record, format);
            bytes += text.map_or(0, |text| text.len() + 1);
            if chunk.len() == limits.records || (bytes > limits.bytes && !chunk.is_empty()) {
                return chunk;
            }
            chunk.push((delivery, record));
        }
    }
    chunk
}

/// Notes that the first `count` records are done, and reports the deliveries that are complete.
fn advance(pending: &mut VecDeque<Pending>, mut count: usize) {
    while let Some(mut first) = pending.pop_front() {
        let rest = first.delivery.batch.records.len() - first.done;
        if rest > count {
            first.done += count;
            pending.push_front(first);
            return;
        }
        count -= rest;
        first.delivery.stored();
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use std::sync::atomic::Ordering;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::super::batch::{Batch, DeliveryStatus};
    use super::super::budget::Budget;
    use super::super::rotation::Mode;
    use super::*;
    use aggregator_protocol::NodeName;
    use aggregator_protocol::Queue;

    /// Takes a few records at a time, rejects those that begin with "bad", and fails the first `failures` writes.
    struct Picky {
        failures: usize,
        written: UnboundedSender<Vec<String>>,
    }

    #[async_trait]
    impl Sink for Picky {
        fn limits(&self) -> BatchLimits {
            BatchLimits {
                records: 3,
                bytes: 1000,
            }
        }

        async fn connect(&mut self) -> Result<String, SinkError> {
            Ok("picky".into())
        }

        async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(SinkError::retriable("down"));
            }
            let texts = records
                .iter()
                .map(|r| String::from_utf8_lossy(r).into_owned());
            let texts: Vec<String> = texts.collect();
            let bad = |(index, text): (usize, &String)| {
                let reason = "bad".into();
                text.starts_with("bad")
                    .then_some(Rejection { index, reason })
            };
            let rejections = texts.iter().enumerate().filter_map(bad).collect();
            self.written.send(texts).unwrap();
            Ok(rejections)
        }
    }

    fn delivery(
        texts: &[&str],
        number: u64,
        reports: &UnboundedSender<DeliveryStatus>,
    ) -> Delivery {
        let mut batch = Batch::new(NodeName(b"n".to_vec()), Queue::Log);
        for text in texts {
            let deliveries = 1 + u64::from(*text == "again");
            batch.push(1, deliveries, Some(text.as_bytes()), None);
        }
        let permit = Budget::new(1).try_acquire(1).unwrap();
        Delivery::new(Arc::new(batch), number, reports.clone(), permit)
    }

    /// The result of a worker's two deliveries.
    struct Outcome {
        writes: Vec<Vec<String>>,
        reports: Vec<DeliveryStatus>,
        /// The counts of stored records and of dead letters.
        counts: (u64, u64),
        /// The lines in the file of dead letters.
        dead: usize,
    }

    async fn run(failures: usize, shutdown: Shutdown) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead");
        let ((written, mut writes), (send, inbox)) = (unbounded_channel(), unbounded_channel());
        let (reports, mut received) = unbounded_channel();
        let status = Arc::new(SinkStatus::new("s", "picky", Budget::new(1)));
        let worker = Worker {
            name: "s".into(),
            format: RecordFormat::Json,
            sink: Box::new(Picky { failures, written }),
            inbox,
            dead_letters: DeadLetters::new(path.clone(), Mode::default()),
            max_deliveries: 1,
            status: status.clone(),
            shutdown,
        };
        send.send(delivery(&["a", "bad", "b", "again", "c"], 1, &reports))
            .unwrap();
        send.send(delivery(&["d"], 2, &reports)).unwrap();
        drop(send);
        worker.run().await.unwrap();
        let dead = std::fs::read_to_string(path).unwrap_or_default();
        Outcome {
            writes: std::iter::from_fn(|| writes.try_recv().ok()).collect(),
            reports: std::iter::from_fn(|| received.try_recv().ok()).collect(),
            counts: (
                status.stored.load(Ordering::Relaxed),
                status.dead.load(Ordering::Relaxed),
            ),
            dead: dead.lines().count(),
        }
    }

    #[tokio::test]
    async fn rejected_records_become_dead_letters_and_the_rest_is_written() {
        let outcome = run(0, Shutdown::default()).await;
        assert_eq!(outcome.writes, [vec!["a", "bad", "b"], vec!["c", "d"]]);
        let stored = [DeliveryStatus::Stored(1), DeliveryStatus::Stored(2)];
        assert_eq!(outcome.reports, stored);
        assert_eq!((outcome.counts, outcome.dead), ((4, 2), 2));
    }

    #[test]
    fn record_delivered_too_often_is_warned_of_at_most_once_a_minute() {
        let (mut too_often, start) = (TooOften::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(too_often.next(at(0)), Some(0));
        assert_eq!([1, 30, 59].map(|s| too_often.next(at(s))), [None; 3]);
        assert_eq!(too_often.next(at(60)), Some(3));
        assert_eq!(too_often.next(at(130)), Some(0));
    }

    #[tokio::test]
    async fn recovered_sink_gets_everything_once() {
        let outcome = run(1, Shutdown::default()).await;
        assert_eq!(outcome.writes.len(), 2);
        let stored = [DeliveryStatus::Stored(1), DeliveryStatus::Stored(2)];
        assert_eq!(outcome.reports, stored);
        assert_eq!(outcome.counts, (4, 2));
    }

    #[tokio::test]
    async fn failing_sink_abandons_its_deliveries_at_shutdown() {
        let shutdown = Shutdown::default();
        shutdown.request();
        let mut outcome = run(9, shutdown).await;
        assert!(outcome.writes.is_empty());
        let is_second = |status: &DeliveryStatus| matches!(status, DeliveryStatus::Abandoned(2));
        outcome.reports.sort_by_key(is_second);
        let abandoned = [DeliveryStatus::Abandoned(1), DeliveryStatus::Abandoned(2)];
        assert_eq!(outcome.reports, abandoned);
        assert_eq!((outcome.counts, outcome.dead), ((0, 0), 0));
    }
}
