//! Discovery of servers: sources that are watched for servers that appear, move and disappear.
//!
//! # Invariants
//!
//! - A server keeps its identity ([`Found::id`]) for as long as it is meant to be the same, whatever its address.
//! - A source that cannot be queried reports that, and withdraws no server.

mod cluster;
mod found;
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
pub use found::Found;
pub use hosts::{Hosts, HostsError};
pub use range::Range;
pub use sentinel::Sentinel;

/// A source of servers.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Servers at these addresses.
    Urls(Vec<Server>),
    /// Servers at one port of a range of addresses.
    Range(Range),
    /// The primaries of a Redis or Valkey Cluster.
    Cluster(Cluster),
    /// The primary of a service that Sentinels watch.
    Sentinel(Sentinel),
}

impl Source {
    /// Sends the servers and every change of them, until the receiver is dropped.
    pub async fn watch(self, news: UnboundedSender<Found>) {
        let watch = async {
            match self {
                Source::Urls(servers) => {
                    for server in servers {
                        // The receiver is dropped at the end of the program.
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
            () = watch => {}
            () = news.closed() => {}
        }
    }
}
