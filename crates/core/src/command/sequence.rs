//! The option SEQ of reports, which makes them idempotent.

use super::args::Args;
use crate::error::CommandError;
use crate::model::{MAX_NUMBER, MAX_SOURCE, Sequence};
use aggregator_protocol::quote::quoted_short;

/// Reads the source and the number that follow the word SEQ.
pub(super) fn read<'a>(args: &mut Args<'a, '_>) -> Result<Sequence<'a>, CommandError> {
    let source = args.next("SEQ")?;
    args.check_not_empty("SEQ source", source)?;
    if source.len() > MAX_SOURCE {
        let (text, len) = (quoted_short(source), source.len());
        return Err(args.reject(format_args!(
            "SEQ source {text} has {len} bytes: the maximum is {MAX_SOURCE}"
        )));
    }
    let number = args.integer("SEQ number", 0..=MAX_NUMBER)?;
    Ok(Sequence { source, number })
}
