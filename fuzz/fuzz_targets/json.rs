//! See [`aggregator_fuzz::json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::json::run(data));
