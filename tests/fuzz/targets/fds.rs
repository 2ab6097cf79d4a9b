//! Fuzzes handlers of file descriptors: libFuzzer around [`fuzz::fds::check`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::fds::check(data));
