//! What other nodes tell of what they counted.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::counts(data));
