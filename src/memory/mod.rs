//! The memory limits: `agg.max-memory` over all that the module uses in this server, and `agg.max-node-memory` for each
//! node. [`accounting`] says whether a change fits, [`eviction`] drops records until it does.

pub mod accounting;
pub mod eviction;
