//! See [`aggregator_fuzz::line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::line::run(data));
