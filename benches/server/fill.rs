//! Metrics with a history: replayed samples of windows that have ended.

use crate::Result;
use crate::host::Host;
use crate::load::{Clients, Random, Requests};
use crate::rows::line;

/// The number of samples in one command.
const BATCH: usize = 100;

/// The number of samples of a metric in each window.
const SAMPLES_PER_WINDOW: usize = 3;

/// The default windows in milliseconds.
pub const MIN: i64 = 300_000;
pub const HOUR: i64 = 3_600_000;

/// The tags of all metrics.
pub const TAGS: &str = "dim:iops location:elgouna";

/// Returns the name of a metric, at most 15 bytes for 100,000 metrics.
pub fn name(i: usize) -> String {
    format!("disk.iops@{i:05}")
}

/// The metrics of a node.
pub struct Metrics<'a> {
    pub host: &'a Host,
    pub node: &'a str,
    pub count: usize,
    pub random: Random,
}

impl Metrics<'_> {
    /// Reports each metric in the windows that begin at `starts`.
    pub fn replay(&mut self, starts: &[i64]) -> Result<()> {
        for start in starts {
            for sample in 0..SAMPLES_PER_WINDOW as i64 {
                let at = start + (2 * sample + 1) * MIN / (2 * SAMPLES_PER_WINDOW as i64);
                self.sample(Some(at))?;
            }
        }
        Ok(())
    }

    /// Reports each metric once, now or at a time.
    pub fn sample(&mut self, at: Option<i64>) -> Result<()> {
        let (mut requests, commands) = self.requests(8, at);
        let replies = Clients::connect(self.host.port(), 4)?.run(&mut requests, commands, b"*3")?;
        match replies.wrong {
            0 => Ok(()),
            _ => Err(format!("samples were rejected: {}", replies.first_wrong).into()),
        }
    }

    /// Returns requests that report each metric once, now, in batches of one command; and the number of commands.
    pub fn unbatched_requests(&mut self) -> (Requests, usize) {
        self.requests(1, None)
    }

    fn requests(&mut self, batch: usize, at: Option<i64>) -> (Requests, usize) {
        let commands = self.count.div_ceil(BATCH);
        let at = at.map_or_else(String::new, |at| format!(" AT {at}"));
        let mut first = line(&format!("AGG.MSTAT {}{at} TAGS", self.node));
        first.extend([TAGS.into(), "VALUES".into()]);
        let requests = Requests::build(batch, commands, |i| {
            let mut words = first.clone();
            for i in i * BATCH..self.count.min((i + 1) * BATCH) {
                words.extend([name(i), self.random.value()]);
            }
            words
        });
        (requests, commands)
    }
}

/// Returns the start of an hour in the past, in milliseconds.
pub fn hours_ago(hours: i64) -> i64 {
    testkit::now_ms() / HOUR * HOUR - hours * HOUR
}

/// Drains the queues of a node.
pub fn take_all(host: &Host, node: &str) -> Result<()> {
    loop {
        let taken: redis::Value = host.ask(&format!("AGG.POP {node} MIN HOUR LOG COUNT 10000"))?;
        if testkit::list(&taken).is_empty() {
            return Ok(());
        }
    }
}
