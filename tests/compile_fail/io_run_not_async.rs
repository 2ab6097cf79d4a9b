//! Must not compile: a task is an async function.

use executor::{IoContext, IoCx, Remote};

fn handler(io: &IoContext) -> Remote<u32> {
    io.run(|_io: &IoCx| 7)
}

fn main() {}
