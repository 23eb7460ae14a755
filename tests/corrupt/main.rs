//! Damage: what is given to RESTORE and AGG.APPLY, and what files hold, is refused or taken, whatever it is; it never
//! ends the server, holds it up, or makes it allocate more than a small multiple of its size.
//!
//! Payloads are those of real nodes, mutated, with their checksums made right again. AGG_SEED and AGG_PAYLOADS set which
//! and how many, AGG_HEAVY=1 makes them more; what fails prints the seed.

#[path = "../support/attack.rs"]
#[allow(dead_code)]
mod attack;
#[path = "../support/mod.rs"]
mod support;

mod apply;
mod blow_up;
mod dump;
mod files;
mod kit;
mod mutate;
mod newer;
mod restore;
