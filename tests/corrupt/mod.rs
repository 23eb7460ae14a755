//! Damaged data: payloads of RESTORE and AGG.APPLY, and files, are rejected or accepted, whatever they contain. They
//! never end the server, block it, or make it allocate more than a small multiple of their size.
//!
//! Payloads are those of real nodes, mutated and with corrected checksums. AGG_SEED and AGG_PAYLOADS set which and how
//! many; AGG_HEAVY=1 runs more. A test that fails prints the seed.

mod amplification;
mod apply;
mod dump;
mod files;
mod mutate;
mod newer;
mod restore;
mod support;
