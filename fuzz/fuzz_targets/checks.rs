//! Checks, and what is held against them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::checks(data));
