//! The results of `--connect`: a line for each server, sink or file.

use std::io::{self, ErrorKind, Write};

use agg_poller::check::Check;
use aggregator_protocol::format::count;
use aggregator_protocol::masking;

use crate::exit_status::ExitStatus;

/// Prints the results. The status is that of the command.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn finish(checks: &[Check]) -> Result<ExitStatus, String> {
    match print(checks) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(format!("cannot write to standard output: {error}"));
        }
        _ => {}
    }
    let failed = checks.iter().filter(|check| check.result.is_err()).count();
    if failed > 0 {
        let checks = count(checks.len() as u64, "check");
        tracing::error!("{failed} of {checks} failed");
        return Ok(ExitStatus::Incomplete);
    }
    Ok(ExitStatus::Success)
}

fn print(checks: &[Check]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for check in checks {
        let (word, text) = match &check.result {
            Ok(found) => ("ok", found),
            Err(reason) => ("failed", reason),
        };
        // The texts of servers may contain anything.
        let line = format!("{word:<6} {}: {text}", check.subject);
        writeln!(out, "{}", masking::text(&line))?;
    }
    out.flush()
}
