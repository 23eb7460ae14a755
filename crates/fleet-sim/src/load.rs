//! The samples that the nodes of a process get: all metrics of a node in one AGG.MSTAT at each interval.

use aggregator_core::{CommandError, Now, Reply};

use crate::random::Random;
use crate::server::{Server, Shared};

/// Kinds of metrics, as programs on a machine report them.
const KINDS: [&str; 8] = [
    "cpu.user",
    "cpu.system",
    "memory.used",
    "disk.read",
    "disk.write",
    "net.in",
    "net.out",
    "requests.time",
];
/// The number of different values.
const VALUES: usize = 1000;

/// Makes samples.
pub struct Load {
    metrics: Vec<String>,
    values: Vec<String>,
    random: Random,
}

/// A reply that nobody reads.
struct Ignored;

impl Reply for Ignored {
    fn array(&mut self, _: usize) {}
    fn map(&mut self, _: usize) {}
    fn bulk(&mut self, _: &[u8]) {}
    fn int(&mut self, _: i64) {}
    fn null(&mut self) {}
}

impl Load {
    /// Creates the load of nodes with so many metrics.
    pub fn new(metrics: u64, seed: u64) -> Load {
        let mut random = Random::new(seed);
        let name = |n: u64| {
            format!(
                "{}@{}",
                KINDS[n as usize % KINDS.len()],
                n / KINDS.len() as u64
            )
        };
        Load {
            metrics: (0..metrics).map(name).collect(),
            values: (0..VALUES)
                .map(|_| format!("{}.{:02}", random.below(1000), random.below(100)))
                .collect(),
            random,
        }
    }

    /// Reports a sample of each metric of a server's node.
    ///
    /// # Errors
    ///
    /// The core rejects the samples.
    pub fn report(
        &mut self,
        server: &mut Server,
        shared: &mut Shared,
        now: Now,
    ) -> Result<(), CommandError> {
        let name = server.name.clone();
        let mut words: Vec<&[u8]> = Vec::with_capacity(2 * self.metrics.len() + 5);
        words.extend([
            &b"AGG.MSTAT"[..],
            &name,
            b"TAGS",
            b"rack:a1 site:berlin",
            b"VALUES",
        ]);
        let first = self.random.below(VALUES as u64) as usize;
        for (index, metric) in self.metrics.iter().enumerate() {
            words.push(metric.as_bytes());
            words.push(self.values[(first + index * 7) % VALUES].as_bytes());
        }
        server.report(shared, &words, now, &mut Ignored)
    }
}
