//! See [`aggregator_fuzz::listen_statsd`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::listen_statsd::run(data));
