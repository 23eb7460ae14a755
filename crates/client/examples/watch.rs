//! Follows the primaries of a Redis or Valkey Cluster: prints each that appears, moves or disappears.
//!
//! `cargo run --example watch URL [COUNT]`; ends after COUNT changes.

use agg_client::discovery::{Cluster, Source};
use agg_client::{Access, Server};
use tokio::sync::mpsc::unbounded_channel;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("expected the URL of a member")?;
    let count = arguments.next().map_or(Ok(usize::MAX), |n| n.parse())?;
    let seeds = vec![Server::parse(&url, &Access::default())?];

    let (sender, mut changes) = unbounded_channel();
    let watch = tokio::spawn(Source::Cluster(Cluster { seeds }).watch(sender));
    for _ in 0..count {
        let Some(change) = changes.recv().await else {
            break;
        };
        match change.server {
            Some(server) => println!("{} is at {}", change.id, server.endpoint()),
            None => println!("{} has disappeared", change.id),
        }
    }
    // The watch ends when nobody listens.
    drop(changes);
    watch.await?;
    Ok(())
}
