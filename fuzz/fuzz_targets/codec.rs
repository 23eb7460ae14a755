//! See [`aggregator_fuzz::codec`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::codec::run(data));
