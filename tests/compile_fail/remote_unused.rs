//! Must not compile: a `Remote` that is dropped cancels: say what is meant.

#![deny(unused_must_use)]

use executor::{IoContext, IoCx};

fn handler(io: &IoContext) {
    io.run(async |_io: &IoCx| ());
}

fn main() {}
