//! The support that the tests of all packages share: servers, clusters and Sentinels on free loopback ports, commands
//! and replies, nodes with contents, random workloads, stubs and proxies, programs that run, and documented
//! transcripts.
//!
//! The base is re-exported flat, for `use testkit::*`. What few suites need keeps its module: [`cluster`], [`proxy`],
//! [`random_workload`], [`resp_stub`], [`sentinel`].
//!
//! # Invariants
//!
//! Everything that is started here ends with its value, by its process id, and listens at loopback addresses only, at
//! ports that [`free_port`] gives out once.

mod attack;
mod command;
mod flag_on_drop;
mod gate;
mod node;
mod process;
mod random;
mod reply;
mod server;
mod transcript;
mod wait;

pub mod cluster;
pub mod proxy;
pub mod random_workload;
pub mod resp_stub;
pub mod sentinel;

pub use attack::*;
pub use command::*;
pub use flag_on_drop::*;
pub use gate::*;
pub use node::*;
pub use process::*;
pub use random::*;
pub use reply::*;
pub use server::*;
pub use transcript::*;
pub use wait::*;
