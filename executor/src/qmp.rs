//! QMP, the QEMU Monitor Protocol: commands, events and the wire.
//!
#![forbid(unsafe_code)]

mod args;
mod error;
mod lexer;
mod parser;
mod request;
mod string;
mod writer;

pub use error::{Error, ErrorClass};
pub use request::{Arguments, Request, Ticket};
pub use writer::Json;
