//! See [`aggregator_fuzz::large`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::large::run(data));
