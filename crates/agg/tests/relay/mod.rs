//! Records that pollers relay from a leaf to a hub with the sink `aggregator`, and that another poller drains from the hub
//! into a file: none is lost and none is there twice, whatever fails between them.

mod faults;
mod hub;
mod support;
