//! A snapshot of the state, sorted so that failures come first. The page, the metrics and the readiness check are
//! rendered from it, and as JSON it is `/status.json`.

mod model;
mod problems;
mod snapshot;

pub use model::{LATE, NodeView, QueueView, ServerView, SinkView, State, View};
