//! Ids, times, cursors, keys and everything else that is read from one short text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::names(data));
