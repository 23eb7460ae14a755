//! See [`aggregator_fuzz::arguments`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::arguments::run(data));
