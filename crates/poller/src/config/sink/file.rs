//! The checks of a file sink.

use std::time::Duration;

use crate::rotation::{Compression, Rotation};

use super::super::error::ConfigError;
use super::super::value::start;
use super::raw::RawSink;

/// Checks when the file is rotated, and what becomes of the rotated files.
pub fn rotation(sink: &RawSink) -> Result<Rotation, ConfigError> {
    let compress = match &sink.compress {
        None => None,
        Some(packing) => match packing.get_ref().as_str() {
            "zstd" => Some(Compression::Zstd),
            "gzip" => Some(Compression::Gzip),
            other => {
                let text = format!("expected zstd or gzip, not {other:?}");
                return Err(ConfigError::at(packing, text));
            }
        },
    };
    if let Some(every) = &sink.rotate_every
        && every.get_ref().0 < Duration::from_secs(1)
    {
        return Err(ConfigError::at(every, "expected at least 1s"));
    }
    if let Some(keep) = &sink.keep
        && *keep.get_ref() == 0
    {
        return Err(ConfigError::at(keep, "expected at least 1"));
    }
    let of_rotated = [start(&sink.compress), start(&sink.keep)];
    if sink.rotate.is_none()
        && sink.rotate_every.is_none()
        && let Some(at) = of_rotated.into_iter().flatten().next()
    {
        let text = "this key is for rotated files: set rotate or rotate-every too";
        return Err(ConfigError::at_byte(at, text));
    }
    let keep = sink.keep.as_ref().map(|keep| *keep.get_ref());
    Ok(Rotation {
        size: sink.rotate.as_ref().map(|size| size.get_ref().0),
        every: sink.rotate_every.as_ref().map(|every| every.get_ref().0),
        compress,
        keep: keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)),
    })
}
