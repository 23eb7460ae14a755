//! The suite that every sink of `agg poll` passes: the same records, the same faults and the same final check, with a real
//! target or, for HTTP, a stub.
//!
//! - [`target`]: what the suite has to know of a target. A sink joins the suite with a file in targets/ and a line below.
//! - [`session`]: a source, a target, pollers, and the final check.
//! - [`faults`]: one function for each fault.
//! - [`table`]: the table of docs/sinks/README.md, which has to agree with the suite.
//!
//! # Invariants
//!
//! Each fault ends with [`session::Session::finish`]: the target has every record that the server delivered, each once
//! where the sink guarantees that; no record but the poisoned ones is a dead letter; the queues are empty; no poller took
//! more memory than its limit. The records that are expected are read from the server, not from a poller.
//!
//! `AGG_HEAVY=1` makes rounds larger. `AGG_SINKS_MEASURED=DIRECTORY` writes what each test measured to a file there.

mod faults;
mod session;
mod table;
mod target;
mod targets;

use target::{Fault, Target};

/// Makes a module for each sink, with a test for each fault, and the list of sinks for the table.
macro_rules! sinks {
    ($($name:ident: $target:ty,)*) => {
        $(mod $name {
            use super::{Fault, run, targets};
            type Sink = $target;

            #[test]
            fn poller_is_killed() {
                run::<Sink>(Fault::Kill);
            }

            #[test]
            fn target_is_away() {
                run::<Sink>(Fault::Away);
            }

            #[test]
            fn target_is_slow() {
                run::<Sink>(Fault::Slow);
            }

            #[test]
            fn target_cuts_after_it_stored() {
                run::<Sink>(Fault::Cut);
            }

            #[test]
            fn target_rejects_single_records() {
                run::<Sink>(Fault::Reject);
            }

            #[test]
            fn target_is_full() {
                run::<Sink>(Fault::Full);
            }

            #[test]
            fn schema_conflicts() {
                run::<Sink>(Fault::Conflict);
            }

            #[test]
            fn backlog_is_larger_than_the_memory() {
                run::<Sink>(Fault::Backlog);
            }

            #[test]
            fn several_pollers_share_the_queues() {
                run::<Sink>(Fault::Several);
            }
        })*

        /// Returns the row of each sink.
        fn rows() -> Vec<table::Row> {
            vec![$(table::row::<$target>()),*]
        }
    };
}

sinks! {
    file: targets::file::File,
    http: targets::http::Http,
    influxdb: targets::influxdb::InfluxDb,
    influxdb_victoria: targets::victoria_metrics::VictoriaMetrics<targets::victoria_metrics::LineProtocol>,
    mongodb: targets::mongodb::MongoDb,
    prometheus: targets::prometheus::Receiver,
    prometheus_victoria: targets::victoria_metrics::VictoriaMetrics<targets::victoria_metrics::RemoteWrite>,
    otlp: targets::otlp::Otlp,
    postgresql: targets::postgresql::PostgreSql,
    opensearch: targets::opensearch::OpenSearch,
    redis_stream: targets::redis_stream::RedisStream,
    aggregator: targets::aggregator::Aggregator,
    kafka: targets::kafka::Kafka,
}

fn run<T: Target>(fault: Fault) {
    match T::support(fault) {
        Ok(()) => faults::run::<T>(fault),
        Err(reason) => eprintln!("{}, {}: not possible: {reason}", T::TITLE, fault.name()),
    }
}
