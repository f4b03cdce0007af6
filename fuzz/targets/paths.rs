//! Return paths and the meaning of replies under libFuzzer; what must hold lies in the body, which `relay/tests/fuzzed.rs` runs too.
#![no_main]

#[path = "../bodies/paths.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| body::run(octets));
