//! Fuzzes one monitor's session: libFuzzer around [`fuzz::session::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::session::check(data));
