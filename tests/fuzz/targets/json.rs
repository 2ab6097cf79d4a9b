//! Fuzzes JSON text in QMP's dialect: libFuzzer around [`fuzz::json::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::json::check(data));
