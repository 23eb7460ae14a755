//! Connects to the sinks of a configuration, and writes nothing.

use futures_util::future::join_all;

use crate::config::Config;
use crate::sink::{self, SinkError};

/// The result of a connection to a sink.
pub struct SinkCheck {
    /// The name of the sink.
    pub name: String,
    /// A description of its target, or the reason for which a write would fail.
    pub result: Result<String, String>,
}

/// Connects to all sinks at the same time. The results are in the order of the configuration.
pub async fn sinks(config: &Config) -> Vec<SinkCheck> {
    let checks = config.sinks.iter().map(async |settings| {
        let mut sink = sink::open(settings.kind.clone(), settings.format);
        let result = sink.connect().await.map_err(|error| match error {
            SinkError::Retriable { reason, .. } | SinkError::Fatal(reason) => reason,
        });
        SinkCheck {
            name: settings.name.clone(),
            result,
        }
    });
    join_all(checks).await
}
