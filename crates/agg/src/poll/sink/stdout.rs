//! Standard output, a line each. What was flushed counts as written: nothing can know what a pipe's reader makes of it.

use std::io::{self, Write};

use super::{Limits, Refused, Sink, Trouble, shown};
use aggregator_protocol::RecordFormat;

/// Standard output.
pub struct Stdout(pub RecordFormat);

impl Sink for Stdout {
    fn limits(&self) -> Limits {
        Limits {
            lines: usize::MAX,
            bytes: 64 * 1024,
        }
    }

    fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
        let mut out = io::stdout().lock();
        match out
            .write_all(&shown(records, self.0))
            .and_then(|()| out.flush())
        {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(Trouble::Never(format!("cannot write: {error}"))),
        }
    }
}
