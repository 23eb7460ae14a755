//! See [`aggregator_fuzz::listen_otlp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aggregator_fuzz::listen_otlp::run(data));
