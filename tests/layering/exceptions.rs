//! What the layers do not keep to yet. The lists only get shorter.

/// Files that are part of a cycle.
pub const CYCLIC: &[&str] = &[
    "crates/agg/src/poll/append.rs",
    "crates/agg/src/poll/aside.rs",
    "crates/agg/src/poll/config/all.rs",
    "crates/agg/src/poll/config/file.rs",
    "crates/agg/src/poll/config/http.rs",
    "crates/agg/src/poll/config/mod.rs",
    "crates/agg/src/poll/config/proxy.rs",
    "crates/agg/src/poll/config/sink.rs",
    "crates/agg/src/poll/config/sink/mongo.rs",
    "crates/agg/src/poll/config/source.rs",
    "crates/agg/src/poll/config/tags.rs",
    "crates/agg/src/poll/sink/file.rs",
    "crates/agg/src/poll/sink/halve.rs",
    "crates/agg/src/poll/sink/influx.rs",
    "crates/agg/src/poll/sink/mod.rs",
    "crates/agg/src/poll/sink/mongo/answer.rs",
    "crates/agg/src/poll/sink/mongo/collection.rs",
    "crates/agg/src/poll/sink/mongo/link.rs",
    "crates/agg/src/poll/sink/mongo/mod.rs",
    "crates/agg/src/poll/sink/post.rs",
    "crates/agg/src/poll/sink/stdout.rs",
    "crates/agg/src/poll/web/gate.rs",
    "crates/agg/src/poll/web/mod.rs",
];

/// Folders of subcommands that import another.
pub const ACROSS_SUBCOMMANDS: &[(&str, &str)] = &[("drain", "poll"), ("top", "poll")];
