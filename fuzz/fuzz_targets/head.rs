//! The head of a request, beside the parser that reads it next.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::head(data));
