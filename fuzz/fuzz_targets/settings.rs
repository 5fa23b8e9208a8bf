//! The settings in `clawrk.toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::settings(data));
