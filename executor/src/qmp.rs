//! QMP, the QEMU Monitor Protocol: commands, events and the wire.
//!
#![forbid(unsafe_code)]

mod error;
mod lexer;
mod parser;
mod string;
mod writer;

pub use error::{Error, ErrorClass};
pub use writer::Json;
