//! The command line of the benchmark.

use clap::Parser;

/// Selects the measurements and their duration.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "make bench",
    about = "Measures the module in a server: CPU time per command compared with SET, memory, latency, RDB",
    after_help = "\
Sections: commands (for each of --names), types, aof, io-threads, timeseries, drain, memory, latency, rdb.

Examples:
  make bench                                    everything, at most about ten minutes
  make bench ARGS=--quick                       everything, small: a minute or two
  make bench ARGS='--only STAT --rounds 9'      the rows that have STAT in their name
  make bench ARGS='--only drain --only memory'  two sections
  make bench ARGS=--publish                     table into docs/benchmarks.md, plot into benches/

Without make: cargo build --release && cargo bench --bench server -- --quick
AGG_MODULE names another module, AGG_SERVER another server.
RedisTimeSeries is measured where scripts/servers.sh could fetch it."
)]
pub struct Options {
    /// Only rows whose section or name contains this text, ignoring case; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,

    /// Rounds, of which the median counts [default: 5, quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Commands per row and round [default: 400000, quick 100000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1000..))]
    requests: Option<u32>,

    /// Keys of SET and metrics in one node; several separated by commas: one set for each [default: 100000,10000, quick
    /// 100000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    names: Vec<u32>,

    /// Metrics in the node of the section latency [default: 1000000, quick 50000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20_000..=10_000_000))]
    metrics: Option<u32>,

    /// Commands that a client sends before it waits for the replies
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pipeline: u32,

    /// Connections at once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,

    /// Everything, but small
    #[arg(long)]
    pub quick: bool,

    /// Write the table into docs/benchmarks.md, between its markers, and the plot to benches/results.svg
    #[arg(long, conflicts_with_all = ["only", "quick"])]
    pub publish: bool,

    /// Cargo gives it to every bench target
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Returns the number of rounds.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }) as usize
    }

    /// Returns the number of commands per row and round.
    pub fn requests(&self) -> usize {
        let default = if self.quick { 100_000 } else { 400_000 };
        self.requests.unwrap_or(default) as usize
    }

    /// Returns the numbers of names. All sections but `commands` use the first.
    pub fn names(&self) -> Vec<usize> {
        if !self.names.is_empty() {
            return self.names.iter().map(|n| *n as usize).collect();
        }
        let default: &[usize] = if self.quick {
            &[100_000]
        } else {
            &[100_000, 10_000]
        };
        default.to_vec()
    }

    /// Returns the number of metrics in the node of the section latency.
    pub fn metrics(&self) -> usize {
        let default = if self.quick { 50_000 } else { 1_000_000 };
        self.metrics.unwrap_or(default) as usize
    }

    /// Returns whether a row is wanted.
    pub fn wants(&self, section: &str, row: &str) -> bool {
        let text = format!("{section}/{row}").to_lowercase();
        self.only.is_empty() || (self.only.iter()).any(|part| text.contains(&part.to_lowercase()))
    }
}
