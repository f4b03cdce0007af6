//! The formats inside returned mail under libFuzzer; what must hold lies in the bodies, which `relay/tests/fuzzed.rs` runs too.
#![no_main]

#[path = "../bodies/reports.rs"]
mod body;
#[path = "../bodies/returned.rs"]
mod returned;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| body::run(octets));
