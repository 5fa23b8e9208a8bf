//! What a judge is asked, and what is made of its answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::verdict(data));
