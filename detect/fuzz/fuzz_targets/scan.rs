//! The scan, with any instructions, and `serde_json` agree on every input: `cargo +nightly fuzz run scan fuzz/corpus/scan fuzz/seeds/scan`.

#![no_main]

#[path = "../../tests/scan_agreement/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
