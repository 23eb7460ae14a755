//! Reports samples, a log entry, an error and an object, and reads back what the node holds.
//!
//! `cargo run --example report [URL]`

use std::error::Error as StdError;

use agg_client::command::{
    Error, ErrorType, GetMetric, Info, Kind, Level, Log, Mstat, Reality, Sample, SampleType, Scan,
    Stat,
};
use agg_client::{Access, ClientError, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("redis://127.0.0.1:7777");
    let server = Server::parse(url, &Access::default())?;
    let mut connection = server.connect().await?;
    let node = "example";

    // Many samples in one pipeline; each has its own answer.
    let samples = [
        Stat::new(node, "cpu.load", 12.5).tags("unit:percent"),
        Stat::new(node, "net.rx@eth0", 123_456_u64).sample_type(SampleType::Diff),
        Stat::new(node, "cpu.load", f64::NAN),
    ];
    for (index, answer) in connection.run_all(&samples).await?.into_iter().enumerate() {
        match answer {
            Ok(counted) => println!("sample {index}: counted {counted}"),
            Err(error) => println!("sample {index}: {error}"),
        }
    }

    // Or many samples in one command, each with options of its own.
    let samples = [
        Sample::new("mem.used", 4096),
        Sample::new("mem.free", 1024),
        Sample::new("http.requests", 1).sample_type(SampleType::Inc),
        Sample::new("http.seconds", 0.012).hist().tags("unit:s"),
    ];
    let reply = connection.run(&Mstat::new(node, samples)).await?;
    println!("counted {}, rejected {:?}", reply.counted, reply.rejected);

    let id = connection
        .run(
            &Log::new(node, "backup finished")
                .level(Level::INFO)
                .tags("job:nightly"),
        )
        .await?;
    println!("log entry {}", if id > 0 { "queued" } else { "not queued" });

    let error = Error::new(node, "disk sda: read failed")
        .error_type(ErrorType::Ops)
        .key("disk-sda");
    let occurrence = connection.run(&error).await?;
    println!("error {}: {}", occurrence.key, occurrence.occurrences);

    let disk = Reality::new(node, "sda", "system.Disk", r#"{"mounted": true}"#).ttl_s(3600);
    println!("object: {:?}", connection.run(&disk).await?);

    // An error reply leaves the connection usable.
    match connection.run(&Log::new(node, "too early").at(1)).await {
        Err(ClientError::Command(error)) => println!("rejected: {}", error.code),
        other => println!("unexpected: {other:?}"),
    }

    if let Some(metric) = connection.run(&GetMetric::new(node, "cpu.load")).await? {
        println!("{}: last {}, {:?}", metric.name, metric.last, metric.tags);
    }
    let page = connection
        .run(&Scan::new(node, Kind::Metric, "0").matching("mem.*"))
        .await?;
    println!("{} metrics match mem.*", page.names.len());
    if let Some(info) = connection.run(&Info::new(node)).await? {
        println!("{} metrics, {} errors", info.metrics, info.errors);
    }
    Ok(())
}
