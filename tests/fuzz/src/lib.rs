//! What the fuzz targets check, as functions of bytes: they return, or panic if something is wrong.
//!
//! `cargo test --test fuzz_corpus` runs them over the corpora, without a fuzzer.

#[path = "../../conformance/aio.rs"]
mod aio;
pub mod fds;
pub mod json;
pub mod program;
pub mod session;
pub mod tasks;
