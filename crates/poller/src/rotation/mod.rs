//! Append-only files of whole lines that are rotated, compressed and removed.

mod appender;
mod background;

pub use appender::{Appender, Compression, Mode, Rotation};
pub use background::AsyncAppender;
