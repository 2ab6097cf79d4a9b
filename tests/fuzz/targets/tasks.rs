//! Fuzzes the life of tasks: libFuzzer around [`fuzz::tasks::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::tasks::check(data));
