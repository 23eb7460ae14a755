//! See [`aggregator_fuzz::listen_syslog`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::listen_syslog::run(data));
