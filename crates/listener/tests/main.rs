//! Faults around the listener: servers and networks that fail, senders that flood or are slow, and its end.
//!
//! Servers are real ones with the module ([`testkit`]), and the listener runs in the process of the tests. With
//! AGG_HEAVY=1 more faults are made.

mod cuts;
mod ending;
mod hostile;
mod outage;
mod requests;
mod scrapes;
mod support;
