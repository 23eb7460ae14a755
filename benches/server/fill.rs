//! Metrics as they are after hours of work: replayed samples of windows that have passed.

use crate::Outcome;
use crate::commands::line;
use crate::host::Host;
use crate::load::{Clients, Random, Requests};

/// Samples of one command.
const AT_ONCE: usize = 100;

/// Samples of a metric in each window.
const IN_A_WINDOW: usize = 3;

/// The usual windows, milliseconds.
pub const MIN: i64 = 300_000;
pub const HOUR: i64 = 3_600_000;

/// The list of tags that all metrics share.
pub const TAGS: &str = "dim:iops location:elgouna";

/// The name of a metric, at most 15 bytes for 100,000 of them.
pub fn name(i: usize) -> String {
    format!("disk.iops@{i:05}")
}

/// Metrics of a node.
pub struct Metrics<'a> {
    pub host: &'a Host,
    pub node: &'a str,
    pub count: usize,
    pub random: Random,
}

impl Metrics<'_> {
    /// Samples of each metric in the windows that begin there.
    pub fn replay(&mut self, starts: &[i64]) -> Outcome<()> {
        for start in starts {
            for sample in 0..IN_A_WINDOW as i64 {
                let at = start + (2 * sample + 1) * MIN / (2 * IN_A_WINDOW as i64);
                self.sample(Some(at))?;
            }
        }
        Ok(())
    }

    /// One sample of each, now or at a time.
    pub fn sample(&mut self, at: Option<i64>) -> Outcome<()> {
        let (mut requests, commands) = self.requests(8, at);
        let ran = Clients::connect(self.host.port(), 4)?.run(&mut requests, commands, b"*3")?;
        match ran.wrong {
            0 => Ok(()),
            _ => Err(format!("samples were refused: {}", ran.first_wrong).into()),
        }
    }

    /// Commands that report each once, now, to be sent one by one; and how many.
    pub fn one_by_one(&mut self) -> (Requests, usize) {
        self.requests(1, None)
    }

    fn requests(&mut self, batch: usize, at: Option<i64>) -> (Requests, usize) {
        let commands = self.count.div_ceil(AT_ONCE);
        let at = at.map_or_else(String::new, |at| format!(" AT {at}"));
        let mut first = line(&format!("AGG.MSTAT {}{at} TAGS", self.node));
        first.extend([TAGS.into(), "VALUES".into()]);
        let requests = Requests::build(batch, commands, |i| {
            let mut words = first.clone();
            for i in i * AT_ONCE..self.count.min((i + 1) * AT_ONCE) {
                words.extend([name(i), self.random.value()]);
            }
            words
        });
        (requests, commands)
    }
}

/// An hour whose windows have long ended, milliseconds.
pub fn hours_ago(hours: i64) -> i64 {
    testkit::now_ms() / HOUR * HOUR - hours * HOUR
}

/// Takes all that waits in the queues of a node.
pub fn take_all(host: &Host, node: &str) -> Outcome<()> {
    loop {
        let taken: redis::Value = host.ask(&format!("AGG.POP {node} MIN HOUR LOG COUNT 10000"))?;
        if testkit::list(&taken).is_empty() {
            return Ok(());
        }
    }
}
