//! Orders from standard input, one per line, and lines of JSON to standard output.
//!
//! | order | effect |
//! | --- | --- |
//! | `advance MS` | the wall clock goes forward |
//! | `jitter MS` | windows close late by up to so much |
//! | `samples` | all nodes get samples at once |
//! | `freeze` | no samples, and no window closes any more |
//! | `mark` | begins a measurement |
//! | `report` | writes what was measured since the mark |
//! | `killed POLLER` | the servers that this poller drained last wait for another |

use std::io::Write;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};

/// An order.
pub enum Order {
    Advance(u64),
    Jitter(u64),
    Samples,
    Freeze,
    Mark,
    Report,
    Killed(String),
}

/// The orders that come in.
pub struct Orders(Lines<BufReader<Stdin>>);

impl Orders {
    /// Reads orders from standard input.
    pub fn new() -> Orders {
        Orders(BufReader::new(stdin()).lines())
    }

    /// Returns the next order, or `None` when standard input is closed.
    pub async fn next(&mut self) -> Option<Order> {
        while let Some(line) = self.0.next_line().await.ok()? {
            let mut words = line.split_whitespace();
            let (order, argument) = (words.next(), words.next().unwrap_or_default());
            let number = argument.parse().unwrap_or_default();
            return Some(match order {
                Some("advance") => Order::Advance(number),
                Some("jitter") => Order::Jitter(number),
                Some("samples") => Order::Samples,
                Some("freeze") => Order::Freeze,
                Some("mark") => Order::Mark,
                Some("report") => Order::Report,
                Some("killed") => Order::Killed(argument.to_owned()),
                _ => {
                    eprintln!("fleet-sim: unknown order {line:?}");
                    continue;
                }
            });
        }
        None
    }
}

/// Writes a line of JSON to standard output.
pub fn write(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        // Whoever started the program has ended, and so will it.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}
