//! Drains the logs and errors of a node: fetches records under a lease, prints them, and acknowledges them.
//!
//! `cargo run --example drain [URL]`

use std::time::Duration;

use agg_client::command::{Ack, Fetch, Nack};
use agg_client::{Access, ClientError, Queue, Reconnector, Server, Shutdown};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("redis://127.0.0.1:7777");
    let server = Server::parse(url, &Access::default())?;

    // A program that runs for long requests the end when a signal arrives; this one ends when the queues are empty.
    let shutdown = Shutdown::default();
    let mut reconnector = Reconnector::new(&server, &shutdown, Some(Duration::from_secs(30)));
    while let Some(mut connection) = reconnector.connect().await? {
        match drain(&mut connection).await {
            Ok(count) => {
                reconnector.worked();
                println!("{count} records");
                break;
            }
            // A record that was fetched and not acknowledged is handed out again when its lease ends.
            Err(error) => reconnector.failed(error).await?,
        }
    }
    Ok(())
}

async fn drain(connection: &mut agg_client::Connection) -> Result<usize, ClientError> {
    let (node, queues) = ("example", [Queue::Log, Queue::Error]);
    let fetch = Fetch::new(node, &queues)
        .count(500)
        .lease(Duration::from_secs(60));
    let mut count = 0;
    loop {
        let records = connection.run(&fetch).await?;
        if records.is_empty() {
            return Ok(count);
        }
        for record in &records {
            match std::str::from_utf8(&record.record) {
                Ok(json) => {
                    println!("{} {json}", record.queue.name());
                    let ack = Ack::new(node, record.queue, std::slice::from_ref(&record.id));
                    connection.run(&ack).await?;
                    count += 1;
                }
                // What cannot be handled here is left for others.
                Err(_) => {
                    let nack = Nack::new(node, record.queue, std::slice::from_ref(&record.id));
                    connection.run(&nack).await?;
                }
            }
        }
    }
}
