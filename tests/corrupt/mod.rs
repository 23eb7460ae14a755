//! Damage: what is given to RESTORE and AGG.APPLY, and what files hold, is refused or taken, whatever it is; it never
//! ends the server, holds it up, or makes it allocate more than a small multiple of its size.
//!
//! Payloads are those of real nodes, mutated, with their checksums made right again. AGG_SEED and AGG_PAYLOADS set which
//! and how many, AGG_HEAVY=1 makes them more; what fails prints the seed.

mod amplification;
mod apply;
mod dump;
mod files;
mod mutate;
mod newer;
mod restore;
mod support;
