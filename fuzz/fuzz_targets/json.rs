//! The strict pass over JSON, beside serde_json.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::json(data));
