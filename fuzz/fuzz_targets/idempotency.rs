//! Idempotency keys and the fingerprints of requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clawrk_fuzz::idempotency(data));
