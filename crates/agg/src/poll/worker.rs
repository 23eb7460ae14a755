//! One thread for each sink: takes what comes, writes it in the order in which it came, and answers each delivery.
//!
//! What holds: a delivery is answered as stored when every record of it is with the sink or among the dead letters.
//! What the sink refuses for good is set aside and what is behind it goes on. While the sink is in trouble everything
//! waits, with growing pauses; when the end is asked for, what fails once more is given up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use agg_client::Backoff;
use agg_client::Shutdown;
use agg_client::messages::{WarnOnce, of_node, say, warn};
use aggregator_protocol::RecordFormat;

use super::batch::{Delivery, Record};
use super::dead::{DeadLetters, Refusal};
use super::sink::{Limits, Refused, Sink, Trouble};
use super::status::SinkStatus;

/// A sink at work.
pub struct Worker {
    /// Its name.
    pub name: String,
    /// How it wants its records.
    pub format: RecordFormat,
    /// Where it writes.
    pub sink: Box<dyn Sink>,
    /// What comes.
    pub inbox: Receiver<Delivery>,
    /// Where the refused go.
    pub dead: DeadLetters,
    /// What is handed out more often is not tried again but set aside.
    pub max_deliveries: u64,
    /// How it goes.
    pub status: Arc<SinkStatus>,
    /// The end.
    pub stop: Shutdown,
}

/// A delivery and how many of its records are done.
struct Pending {
    delivery: Delivery,
    done: usize,
}

/// Tells of records that were delivered too often: of the first one at once, then at most once in a while.
#[derive(Default)]
struct TooOften {
    told: Option<Instant>,
    /// How many were set aside since.
    more: u64,
}

impl TooOften {
    const PAUSE: Duration = Duration::from_secs(60);

    /// How many others to tell of with this one; none where it is too early to tell of it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < Self::PAUSE)
        {
            self.more += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.more))
    }
}

impl Worker {
    /// Works until nobody is left who could send something, or for as long as it makes sense.
    ///
    /// Returns an error if the sink is gone for good.
    pub fn run(mut self) -> Result<(), String> {
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut said = (WarnOnce::default(), TooOften::default());
        loop {
            if pending.is_empty() {
                match self.inbox.recv() {
                    Ok(delivery) => pending.push_back(Pending { delivery, done: 0 }),
                    Err(_) => return Ok(()),
                }
            }
            match self.persist(&mut pending, &mut said)? {
                Some(count) => advance(&mut pending, count),
                // What is dropped is given back, also what still comes: the inbox ends with this.
                None => return Ok(()),
            }
        }
    }

    /// Writes the next records until it succeeds, and returns how many; none when the end came first.
    fn persist(
        &mut self,
        pending: &mut VecDeque<Pending>,
        said: &mut (WarnOnce, TooOften),
    ) -> Result<Option<usize>, String> {
        let mut pauses = Backoff::default();
        let mut told = None;
        loop {
            // Anew each time: a sink that was given too much wants less, and one that refuses all of it may take what
            // came meanwhile.
            let more = self.inbox.try_iter();
            pending.extend(more.map(|delivery| Pending { delivery, done: 0 }));
            let chunk = next(pending, self.sink.limits(), self.format);
            let (why, after) = match self.write(&chunk, said) {
                Ok(()) => {
                    self.status.set_trouble(None);
                    if told.is_some() {
                        say(&format!("the sink {} takes records again", self.name));
                    }
                    return Ok(Some(chunk.len()));
                }
                Err(Trouble::Later { why, after }) => (why, after),
                Err(Trouble::Never(why)) => return Err(format!("the sink {}: {why}", self.name)),
            };
            SinkStatus::add(&self.status.retries, 1);
            self.status.set_trouble(Some(&why));
            if told.as_ref() != Some(&why) {
                warn(&format!("the sink {}: {why}; trying again", self.name));
                told = Some(why);
            }
            if self.stop.is_requested() {
                return Ok(None);
            }
            let pause = pauses.next_pause();
            self.stop
                .wait(after.map_or(pause, |after| after.max(pause)));
        }
    }

    fn write(
        &mut self,
        chunk: &[(&Delivery, &Record)],
        (once, too_often): &mut (WarnOnce, TooOften),
    ) -> Result<(), Trouble> {
        let mut refusals = Vec::new();
        let mut given = Vec::with_capacity(chunk.len());
        let most = self.max_deliveries;
        for (delivery, record) in chunk {
            if record.deliveries > most {
                refusals.push(Refusal {
                    batch: &delivery.batch,
                    record,
                    reason: format!(
                        "handed out {} times, more than max-deliveries",
                        record.deliveries
                    ),
                });
                continue;
            }
            match delivery.text(record, self.format) {
                Some(text) => given.push((text, &*delivery.batch, *record)),
                None => refusals.push(Refusal {
                    batch: &delivery.batch,
                    record,
                    reason: "its JSON is not that of a window, so it has no line".into(),
                }),
            }
        }
        let mut bytes: u64 = given.iter().map(|(text, _, _)| text.len() as u64).sum();
        if !given.is_empty() {
            let texts: Vec<&[u8]> = given.iter().map(|(text, _, _)| &**text).collect();
            for Refused { index, reason } in self.sink.write(&texts)? {
                let (text, batch, record) = &given[index];
                bytes -= text.len() as u64;
                let text = format!("the sink {} refuses a record: {reason}", self.name);
                of_node(&batch.node).in_scope(|| once.say(&text));
                refusals.push(Refusal {
                    batch,
                    record,
                    reason,
                });
            }
        }
        let later = |why| Trouble::Later { why, after: None };
        self.dead.add(&self.name, &refusals).map_err(later)?;
        for refusal in &refusals {
            if refusal.record.deliveries > most
                && let Some(more) = too_often.take(Instant::now())
            {
                self.warn_too_often(refusal, more);
            }
        }
        let dead = refusals.len();
        let refused = refusals
            .iter()
            .filter_map(|refusal| refusal.record.text(self.format));
        let dead_bytes: usize = refused.map(<[u8]>::len).sum();
        SinkStatus::add(&self.status.dead, dead as u64);
        SinkStatus::add(&self.status.dead_bytes, dead_bytes as u64);
        SinkStatus::add(&self.status.stored, (chunk.len() - dead) as u64);
        SinkStatus::add(&self.status.stored_bytes, bytes);
        SinkStatus::add(&self.status.writes, 1);
        Ok(())
    }
}

impl Worker {
    fn warn_too_often(&self, refusal: &Refusal, more: u64) {
        let (batch, record) = (refusal.batch, refusal.record);
        let more = match more {
            0 => String::new(),
            more => format!("; {more} other records since the last warning"),
        };
        let text = format!(
            "the sink {}: set aside record {} of the queue {} of node {}, delivered {} times, more than \
             max-deliveries ({}){more}",
            self.name,
            record.id,
            batch.queue.name(),
            batch.node,
            record.deliveries,
            self.max_deliveries
        );
        of_node(&batch.node).in_scope(|| warn(&text));
    }
}

/// The first records that are not done, as many as one write may have and at least one.
fn next(
    pending: &VecDeque<Pending>,
    limits: Limits,
    format: RecordFormat,
) -> Vec<(&Delivery, &Record)> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for Pending { delivery, done } in pending {
        for record in &delivery.batch.records[*done..] {
            bytes += record.text(format).map_or(0, |text| text.len() + 1);
            if chunk.len() == limits.lines || (bytes > limits.bytes && !chunk.is_empty()) {
                return chunk;
            }
            chunk.push((delivery, record));
        }
    }
    chunk
}

/// Notes that so many records are done, and answers the deliveries that are so as a whole.
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
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::{Sender, channel};

    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::super::append::Mode;
    use super::super::batch::{Batch, Event};
    use super::super::room::Share;
    use super::*;
    use aggregator_protocol::NodeName;
    use aggregator_protocol::Queue;

    /// Takes a few lines at a time, refuses those that say so, and is away until it was asked so often.
    struct Picky {
        away: usize,
        got: Sender<Vec<String>>,
    }

    impl Sink for Picky {
        fn limits(&self) -> Limits {
            Limits {
                lines: 3,
                bytes: 1000,
            }
        }

        fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
            if self.away > 0 {
                self.away -= 1;
                let why = "away".into();
                return Err(Trouble::Later { why, after: None });
            }
            let texts = records
                .iter()
                .map(|r| String::from_utf8_lossy(r).into_owned());
            let texts: Vec<String> = texts.collect();
            let bad = |(index, text): (usize, &String)| {
                let reason = "bad".into();
                text.starts_with("bad").then_some(Refused { index, reason })
            };
            let refused = texts.iter().enumerate().filter_map(bad).collect();
            self.got.send(texts).unwrap();
            Ok(refused)
        }
    }

    fn delivery(texts: &[&str], number: u64, back: &UnboundedSender<Event>) -> Delivery {
        let record = |text: &&str| Record {
            id: 1,
            deliveries: 1 + u64::from(*text == "again"),
            json: Some(text.as_bytes().to_vec()),
            line: None,
        };
        let batch = Batch {
            node: NodeName(b"n".to_vec()),
            queue: Queue::Log,
            records: texts.iter().map(record).collect(),
        };
        let room = Share::new(1).take(1).unwrap();
        Delivery::new(Arc::new(batch), number, back.clone(), room)
    }

    /// What a worker wrote of two deliveries, what it answered, its counts, and the lines among the dead letters.
    fn work(away: usize, stop: Shutdown) -> (Vec<Vec<String>>, Vec<Event>, (u64, u64), usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead");
        let ((got, writes), (send, inbox)) = (channel(), channel());
        let (back, mut events) = unbounded_channel();
        let status = Arc::new(SinkStatus::new("s", "picky", Share::new(1)));
        let worker = Worker {
            name: "s".into(),
            format: RecordFormat::Json,
            sink: Box::new(Picky { away, got }),
            inbox,
            dead: DeadLetters::new(path.clone(), Mode::default()),
            max_deliveries: 1,
            status: status.clone(),
            stop,
        };
        send.send(delivery(&["a", "bad", "b", "again", "c"], 1, &back))
            .unwrap();
        send.send(delivery(&["d"], 2, &back)).unwrap();
        drop(send);
        worker.run().unwrap();
        let dead = std::fs::read_to_string(path).unwrap_or_default();
        let (stored, refused) = (&status.stored, &status.dead);
        let mut answers = Vec::new();
        while let Ok(event) = events.try_recv() {
            answers.push(event);
        }
        (
            writes.try_iter().collect(),
            answers,
            (
                stored.load(Ordering::Relaxed),
                refused.load(Ordering::Relaxed),
            ),
            dead.lines().count(),
        )
    }

    #[test]
    fn what_is_refused_is_set_aside_and_the_rest_goes_on() {
        let (writes, events, counts, dead) = work(0, Shutdown::default());
        assert_eq!(writes, [vec!["a", "bad", "b"], vec!["c", "d"]]);
        assert_eq!(events, [Event::Stored(1), Event::Stored(2)]);
        assert_eq!((counts, dead), ((4, 2), 2));
    }

    #[test]
    fn record_delivered_too_often_is_warned_of_at_most_once_a_minute() {
        let (mut too_often, start) = (TooOften::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(too_often.take(at(0)), Some(0));
        assert_eq!([1, 30, 59].map(|s| too_often.take(at(s))), [None; 3]);
        assert_eq!(too_often.take(at(60)), Some(3));
        assert_eq!(too_often.take(at(130)), Some(0));
    }

    #[test]
    fn a_sink_that_comes_back_gets_all_and_nothing_twice() {
        let (writes, events, counts, _) = work(1, Shutdown::default());
        assert_eq!(writes.len(), 2);
        assert_eq!(events, [Event::Stored(1), Event::Stored(2)]);
        assert_eq!(counts, (4, 2));
    }

    #[test]
    fn at_the_end_a_sink_that_is_away_gives_back() {
        let stop = Shutdown::default();
        stop.request();
        let (writes, mut events, counts, dead) = work(9, stop);
        assert!(writes.is_empty());
        events.sort_by_key(|event| matches!(event, Event::GivenUp(2)));
        assert_eq!(events, [Event::GivenUp(1), Event::GivenUp(2)]);
        assert_eq!((counts, dead), ((0, 0), 0));
    }
}
