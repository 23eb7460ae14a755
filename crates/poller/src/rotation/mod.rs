//! Append-only files of whole lines that are rotated, compressed and removed.

mod appender;
mod background;
mod compactor;
mod files;
mod settings;

pub use appender::Appender;
pub use background::AsyncAppender;
pub use settings::{Compression, Mode, Rotation};
