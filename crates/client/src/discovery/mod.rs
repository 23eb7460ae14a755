//! Where servers are: sources that are watched for those that come and go.
//!
//! What holds: a server keeps its identity ([`Found::id`]) for as long as it is meant to be the same, whatever its
//! address; a source that cannot be asked says so and takes nothing back.

mod cluster;
mod hosts;
mod persistent;
pub mod probe;
mod range;
pub mod scan;
mod sentinel;
mod slots;

use tokio::sync::mpsc::UnboundedSender;

use crate::connect::Server;

pub use cluster::Cluster;
pub use hosts::Hosts;
pub use range::Range;
pub use sentinel::Sentinel;

/// Where servers are.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// At these addresses.
    Urls(Vec<Server>),
    /// Somewhere in a range, at one port.
    Range(Range),
    /// In a Redis or Valkey Cluster.
    Cluster(Cluster),
    /// Where Sentinels say.
    Sentinel(Sentinel),
}

/// News of a source.
#[derive(Clone)]
pub struct Found {
    /// What the server is known by: its place, or what stands for several places of which one is it at a time.
    pub id: String,
    /// Where it is now; none: it is no more.
    pub server: Option<Server>,
}

impl Source {
    /// Tells of the servers and what becomes of them, until nobody listens.
    pub async fn watch(self, news: UnboundedSender<Found>) {
        let told = async {
            match self {
                Source::Urls(servers) => {
                    for server in servers {
                        // Nobody listens at the end of the program.
                        let _ = news.send(Found {
                            id: server.endpoint().to_owned(),
                            server: Some(server),
                        });
                    }
                    std::future::pending().await
                }
                Source::Range(range) => range.watch(&news).await,
                Source::Cluster(cluster) => cluster.watch(&news).await,
                Source::Sentinel(sentinel) => sentinel.watch(&news).await,
            }
        };
        tokio::select! {
            () = told => {}
            () = news.closed() => {}
        }
    }
}
